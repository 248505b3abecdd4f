"""What a package is made of, without making one (that, and its installation: tests/units/test_package.py)."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from knoop import cli

ROOT = Path(__file__).parents[2]
DEB = ROOT / "systemd/deb"
SCRIPTS = (DEB / "postinst", DEB / "prerm", DEB / "postrm", ROOT / "systemd/install.sh")


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deb_build", DEB / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = loaded()


def wheel(folder: Path, *names: str) -> Path:
    file = folder / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return file


def test_only_what_is_read_at_run_time_is_unpacked(tmp_path):
    names = (
        "thing/__init__.py", "thing/data.json", "thing/fast.so", "thing/fast.pyx", "thing/fast.c", "thing/launch.exe",
        "slixmpp/test/slixtest.py", "thing-1.dist-info/METADATA", "thing-1.dist-info/WHEEL", "thing-1.dist-info/RECORD",
        "thing-1.dist-info/licenses/LICENSE.MIT", "thing-1.data/scripts/thing", "thing-1.data/data/share/man/thing.1",
    )  # fmt: skip
    build.unpack(wheel(tmp_path, *names), tmp_path / "site")
    unpacked = [path for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "site")) for path in unpacked} == {
        "thing/__init__.py", "thing/data.json", "thing/fast.so", "thing-1.dist-info/METADATA",
        "thing-1.dist-info/WHEEL", "thing-1.dist-info/licenses/LICENSE.MIT",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["../outside.py", "/etc/outside.py", "thing-1.data/headers/thing.hpp", "there.py"])
def test_a_wheel_that_puts_something_elsewhere_or_over_another_is_refused(tmp_path, name):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/there.py").write_text("another's")
    with pytest.raises(SystemExit):
        build.unpack(wheel(tmp_path, name), tmp_path / "site")
    assert [path.name for path in tmp_path.rglob("*.py")] == ["there.py"]


@pytest.mark.parametrize(("written", "debian"), [
    ("0.1.0", "0.1.0"), ("0.2.0rc1", "0.2.0~rc1"), ("0.2.0.dev3", "0.2.0~dev3"), ("1.0b2", "1.0~b2"),
])  # fmt: skip
def test_a_version_before_a_release_is_older_than_it_for_dpkg(written, debian, monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "{written}"\n')
    monkeypatch.setattr(build, "ROOT", tmp_path)
    package = build.Package(arch="arm64", suite="trixie", epoch=0)
    assert package.version == f"{debian}-1~deb13"
    assert package.name == f"knoop_{debian}-1~deb13_arm64.deb"


def test_the_newer_debian_gets_the_newer_version_of_the_same_knoop():
    versions = [build.Package(arch="arm64", suite=suite, epoch=0).version for suite in ("bookworm", "trixie")]
    assert subprocess.run(["dpkg", "--compare-versions", versions[0], "lt", versions[1]], check=False).returncode == 0


def test_licences_are_named_as_debian_does():
    assert build.spdx("Apache-2.0 OR BSD-3-Clause") == "Apache-2.0 or BSD-3-Clause"
    assert build.spdx("MIT License") == build.spdx("MIT") == "Expat"
    assert build.spdx("MIT-0") == "MIT-0"


def test_whose_a_library_is_stands_in_its_licence(tmp_path):
    file = tmp_path / "LICENSE"
    file.write_text("MIT\n\n    Copyright (c) 2010-2014 Somebody <s@example.org>\nThe above copyright notice …\n"
                    "# © 2019 Another\nCopyright {yyyy} {name}\n")  # fmt: skip
    assert list(build.rights(file)) == ["2010-2014 Somebody <s@example.org>", "2019 Another"]


def test_every_file_of_systemd_has_its_place_or_is_none_of_the_package_s():
    elsewhere = {".md", ".sh", ".yaml", ".conf", ""}  # watchdog.conf is the image's; .deb's own folder has no ending
    assert {path.suffix for path in (ROOT / "systemd").iterdir()} <= {*build.PLACES, *elsewhere}


def test_the_units_that_say_when_they_start_are_switched_on():
    units = [path for path in (ROOT / "systemd").iterdir() if path.suffix in {".service", ".socket"}]
    on = {unit.name for unit in units if build.enabled(unit)}
    assert on == {"knoop.service", "knoop-hw.service", "knoop-board.socket"}


def test_the_control_file_leaves_no_blank(tmp_path):
    package = build.Package(arch="arm64", suite="trixie", epoch=0)
    build.units(tmp_path)
    build.control(package, tmp_path)
    for name in ("control", "postinst", "prerm", "postrm"):
        assert not re.search(r"@[A-Z]+@", (tmp_path / "DEBIAN" / name).read_text())
    said = (tmp_path / "DEBIAN/control").read_text()
    assert "python3 (>= 3.13~), python3 (<< 3.14)" in said
    assert "Architecture: arm64" in said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_posix(script):
    done = subprocess.run(["dash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_script_restarts_the_half_that_has_the_outputs():
    for script in SCRIPTS:
        for line in script.read_text("utf-8").splitlines():
            said = line.partition("#")[0]
            assert not ("restart" in said and "knoop-hw" in said), (script.name, line)


def test_the_first_boot_s_commands_are_ones_that_exist():
    said = yaml.safe_load((ROOT / "systemd/user-data.yaml").read_text("utf-8"))
    assert (ROOT / "systemd/user-data.yaml").read_text("utf-8").startswith("#cloud-config\n")
    assert list(said) == ["runcmd"]
    assert all(isinstance(word, str) for command in said["runcmd"] for word in command)
    install, init, start = said["runcmd"]
    assert Path(install[1]).name == "install.sh"
    words = shlex.split(re.search(r"knoop (init .*?) \|\|", init[2])[1])
    arguments = cli.parser().parse_args(words)
    assert (arguments.yes, arguments.no_doctor, arguments.config) == (True, True, Path("/etc/knoop/node.toml"))
    assert f"rm {arguments.invite}" in init[2]  # it is deleted where it was read
    assert start[:3] == ["systemctl", "enable", "--now"]


@pytest.mark.parametrize(("ends", "tries", "code", "left"), [
    ([0], 1, 0, False), ([69, 69, 0], 3, 0, False), ([77], 1, 77, True), ([69] * 99, 90, 0, True),
])  # fmt: skip
def test_the_first_boot_waits_for_the_network_and_for_nothing_else(tmp_path, ends, tries, code, left):
    """`ends`: with which exit code `knoop init` ends each time. What is not 69 is no matter of waiting."""
    command = yaml.safe_load((ROOT / "systemd/user-data.yaml").read_text("utf-8"))["runcmd"][1]
    invite, count = tmp_path / "knoop-invite.txt", tmp_path / "count"
    invite.write_text("xmpp:")
    next_one = f'echo >>{count}; sed -n "$(wc -l <{count})p" {tmp_path}/ends | (read code; exit $code)'
    for name, text in (("knoop", next_one), ("sleep", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "ends").write_text("".join(f"{end}\n" for end in ends))
    script = command[2].replace("/boot/firmware", str(tmp_path)).replace("/etc/knoop", str(tmp_path))
    done = subprocess.run([*command[:2], script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert (done.returncode, len(count.read_text()), invite.exists()) == (code, tries, left)


def test_a_machine_that_no_package_is_for_is_asked_for_which(monkeypatch):
    monkeypatch.setattr(build.os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(SystemExit, match=r"riscv64.*--arch"):
        build.here()


def test_without_git_the_time_of_the_files_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SystemExit, match=r"git does not say when(.|\n)*SOURCE_DATE_EPOCH"):
        build.commit_time()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert build.commit_time() == 7


def test_no_wheel_may_want_a_newer_libc_than_the_package_says():
    wants = [tuple(map(int, name.split("_")[1:])) for name in build.PLATFORMS if "_" in name]
    assert max(wants) == tuple(map(int, build.LIBC.split(".")))


def test_help_says_every_option_and_mistakes_are_usage():
    script = str(ROOT / "systemd/install.sh")
    said = subprocess.run(["sh", script, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option in said for option in ("--from", "--key", "--uninstall", "--dry-run"))
    assert "set -eu" not in said
    for wrong in (["--what"], ["--from"], ["a.deb", "b.deb"], ["a.deb", "--uninstall"], ["--key", "x"]):
        assert subprocess.run(["sh", script, *wrong], capture_output=True, check=False).returncode == 2, wrong


def test_of_an_install_sh_that_was_cut_short_nothing_runs(tmp_path):
    """Wherever a download ended: no command but the settings at its top, so it is never half an installation."""
    script, trace = (ROOT / "systemd/install.sh").read_bytes(), tmp_path / "trace"
    (tmp_path / "bin").mkdir()
    for name in ("dirname", "dpkg", "id", "mktemp", "apt-get", "dpkg-query"):
        tool = tmp_path / "bin" / name
        tool.write_text(f"#!/bin/sh\necho {name} >>{shlex.quote(str(trace))}\n")
        tool.chmod(0o755)
    ends = [end for end, byte in enumerate(script) if byte == ord("\n")]
    for end in (*ends[::7], *ends[-20:-1], len(script) - 4):
        cut = tmp_path / "install.sh"
        cut.write_bytes(script[:end])
        subprocess.run(["/bin/dash", str(cut), "--uninstall"], env={"PATH": str(tmp_path / "bin")}, check=False,
                       stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
        assert not trace.exists() or set(trace.read_text().split()) == {"dirname"}, end
    cut.write_bytes(script)
    subprocess.run(["/bin/dash", str(cut), "--uninstall"], env={"PATH": str(tmp_path / "bin")}, check=False,
                   stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
    assert {"id", "dpkg-query"} & set(trace.read_text().split())  # the whole does run


def ended(folder: Path, *arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """install.sh run in this folder, on a Debian 13 that has only these programs, each with its lines of shell."""
    tools = folder.parent / "bin"
    tools.mkdir()
    for name in ("cat", "chmod", "cp", "dirname", "mktemp", "realpath", "rm", "sed"):
        (tools / name).symlink_to(shutil.which(name))
    for name, lines in {"dpkg": "echo arm64", "apt-get": "exit 100", **programs}.items():
        (tools / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tools / name).chmod(0o755)
    (folder.parent / "os-release").write_text("ID=debian\nVERSION_ID=13\n")
    script = (ROOT / "systemd/install.sh").read_text("utf-8").replace("/etc/os-release", f"{folder.parent}/os-release")
    (folder / "install.sh").write_text(script.replace("/usr/lib/systemd/system", str(tools)), "utf-8")
    return subprocess.run(["/bin/dash", "install.sh", *arguments], cwd=folder, env={"PATH": str(tools)}, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)  # fmt: skip


TYPED = [
    (["knoop_1-1~deb13_arm64.deb"], ["{}/knoop_1-1~deb13_arm64.deb"]),
    (["../Anna's files/knoop.deb"], ["{}/../Anna's files/knoop.deb"]),
    (["/srv/knoop.deb"], ["/srv/knoop.deb"]),
    (["--from", "https://example.org/a?b", "--key", "key.pem"],
     ["--from", "https://example.org/a?b", "--key", "{}/key.pem"]),
    (["--uninstall"], ["--uninstall"]),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "told"), TYPED)
def test_without_sudo_root_is_told_where_the_files_are(tmp_path, typed, told):
    """`su -` goes to /root: a package that was named from here was not found there."""
    home = tmp_path / "o'brien"
    home.mkdir()
    done = ended(home, *typed, id="echo 1000")
    assert (done.returncode, "su -" in done.stderr) == (1, True), done.stderr
    wanted = [str(Path(word.format(home)).resolve()) if word.startswith("{}") else word for word in told]
    assert shlex.split(done.stderr.splitlines()[-1]) == ["sh", f"{home}/install.sh", *wanted]


@pytest.mark.parametrize("typed", [typed for typed, _ in TYPED])
def test_with_sudo_what_is_told_is_what_was_typed(tmp_path, typed):
    home = tmp_path / "home"
    home.mkdir()
    done = ended(home, *typed, id="echo 1000", sudo="exit 0")
    assert done.returncode == 1
    assert shlex.split(done.stderr.splitlines()[-1]) == ["sudo", "sh", "install.sh", *typed]


@pytest.mark.parametrize(("typed", "state", "sentence"), [
    ("--uninstall", "installed 1-1~deb13", "It could not be removed; the lines above say why."),
    ("knoop.deb", "", "It could not be installed; the lines above say why."),
])  # fmt: skip
def test_when_apt_fails_a_sentence_says_so_and_the_code_is_this_script_s(tmp_path, typed, state, sentence):
    home = tmp_path / "home"
    home.mkdir()
    (home / "knoop.deb").touch()
    fields = "case $3 in Package) echo knoop ;; Architecture) echo arm64 ;; Version) echo 1-1~deb13 ;; esac"
    done = ended(home, typed, **{"id": "echo 0", "dpkg-query": f"echo {state}", "dpkg-deb": fields,
                                 "apt-get": "echo E: the lock is held >&2; exit 100"})  # fmt: skip
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert "E: the lock is held" in told[0]
    assert sentence in told
    assert len(told) > told.index(sentence) + 1  # and what to do
