"""install.sh in Debians that are booted: there, there again, away; refused where it would not work; from the web."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.running import Ended
from tests.units import packages, roots
from tests.units.nspawn import Container

SCRIPT = packages.ROOT / "systemd/install.sh"
SUITE = "trixie"  # dpkg, apt and openssl of the newer Debian; the older one is in the test that has both
LONG_S = 120.0  # for what takes 10 s where nothing else is going on


@pytest.fixture(scope="module")
def beside(tmp_path_factory) -> Path:
    """A folder as somebody would download it: install.sh and packages for both Debians."""
    folder = tmp_path_factory.mktemp("download")
    for suite in roots.SUITES:
        shutil.copy(packages.built(suite, tmp_path_factory), folder)
    shutil.copy(SCRIPT, folder)
    return folder


@pytest.fixture
def debian(beside, tmp_path) -> Iterator[Container]:
    with Container(roots.root(SUITE), tmp_path, binds={"/download": beside}) as container:
        yield container


@pytest.fixture(scope="module")
def bare(beside, tmp_path_factory) -> Iterator[Container]:
    """One for all that is refused: nothing is ever installed in it."""
    with Container(roots.root(SUITE), tmp_path_factory.mktemp("bare"), binds={"/download": beside}) as container:
        yield container
        assert version(container) == ""


def sh(debian: Container, *arguments: str, check: bool = True) -> Ended:
    """Run install.sh, as root and without a network."""
    return debian.run("unshare", "--net", "sh", "/download/install.sh", *arguments, check=check, within_s=LONG_S)


def version(debian: Container) -> str:
    return debian.run("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", "knoop", check=False).out


@pytest.mark.parametrize("suite", roots.SUITES)
def test_it_takes_the_package_for_this_machine_and_goes_again_and_leaves_the_data(suite, beside, tmp_path):
    with Container(roots.root(suite), tmp_path, binds={"/download": beside}) as debian:
        first = sh(debian)
        number = {"bookworm": 12, "trixie": 13}[suite]
        assert version(debian) == f"installed {packages.VERSION}-1~deb{number}"
        assert "sudo knoop init" in first.out
        assert "sudo systemctl enable --now knoop-hw knoop" in first.out
        assert "Nothing to do" in sh(debian).out

        debian.write("/etc/knoop/node.toml", "kept\n")
        gone = sh(debian, "--uninstall")
        assert "/etc/knoop" in gone.out
        assert "sudo apt purge knoop" in gone.out
        assert not debian.exists("/usr/lib/knoop")
        assert not debian.exists("/usr/bin/knoop")
        assert debian.read("/etc/knoop/node.toml") == "kept\n"
        assert "not installed" in sh(debian, "--uninstall").out


def test_it_mends_and_upgrades_and_refuses_to_go_back(debian, beside, tmp_path):
    sh(debian)
    debian.run("rm", "-r", "/usr/lib/knoop")
    sh(debian)  # it is put there again
    assert debian.run("knoop", "--version").out == f"knoop {packages.VERSION}\n"
    (old,) = beside.glob("knoop_*deb13*.deb")
    new = packages.later(old, tmp_path, version="99.0-1~deb13", changed="knoop/agent.py")
    try:
        assert f"Upgrading from {packages.VERSION}-1~deb13" in sh(debian).out  # of two beside it, the newer one
        assert version(debian) == "installed 99.0-1~deb13"
        back = sh(debian, f"/download/{old.name}", check=False)
        assert (back.code, "is newer than" in back.err) == (1, True)
        assert version(debian) == "installed 99.0-1~deb13"
    finally:
        new.unlink()


def test_what_an_installation_left_that_was_cut_short_goes_too(debian, beside):
    (package,) = beside.glob("knoop_*deb13*.deb")
    debian.run("dpkg", "--unpack", f"/download/{package.name}")
    assert "removing" in sh(debian, "--uninstall").out
    assert not debian.exists("/usr/lib/knoop")
    assert "not installed" in sh(debian, "--uninstall").out


def test_a_dry_run_changes_nothing(bare):
    assert "Would:" in sh(bare, "--dry-run").out
    assert version(bare) == ""


def test_who_is_not_root_is_told_what_to_type(bare):
    bare.run("cp", "/download/install.sh", "/srv/install.sh")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    command = ("sh", "-c", "cd /srv && sh ./install.sh 'my files/knoop.deb'")
    said = bare.run(*nobody, *command, check=False)
    assert (said.code, "su -" in said.err) == (1, True)
    assert "  sh /srv/install.sh '/srv/my files/knoop.deb'" in said.err
    bare.write("/usr/local/bin/sudo", "", mode=0o755)
    said = bare.run(*nobody, *command, check=False)
    bare.run("rm", "/usr/local/bin/sudo")
    assert (said.code, "sudo sh ./install.sh 'my files/knoop.deb'" in said.err) == (1, True)


@pytest.mark.parametrize(("replace", "sentence"), [
    ("dpkg --print-architecture|echo armhf", "64-bit Raspberry Pi OS"),
    ("dpkg --print-architecture|echo riscv64", "not packaged for this kind of processor"),
])  # fmt: skip
def test_a_machine_that_cannot_run_it_is_refused_with_a_sentence(bare, replace, sentence):
    asked, answer = replace.split("|")
    script = f'#!/bin/sh\n[ "dpkg $*" = "{asked}" ] && exec {answer}\nexec /usr/bin/dpkg "$@"\n'
    bare.write("/usr/local/sbin/dpkg", script, mode=0o755)
    said = sh(bare, check=False)
    bare.run("rm", "/usr/local/sbin/dpkg")
    assert (said.code, sentence in said.err) == (1, True)
    assert version(bare) == ""


def test_a_package_for_another_debian_or_of_something_else_is_refused(bare, beside):
    (other,) = beside.glob("knoop_*deb12*.deb")
    said = sh(bare, f"/download/{other.name}", check=False)
    assert (said.code, "is for Debian 12, and this is Debian 13" in said.err) == (1, True)
    assert "not a package of Knoop" in sh(bare, "/download/install.sh", check=False).err
    bare.run("sed", "-i", "s/^ID=.*/ID=ubuntu/", "/etc/os-release")
    said = sh(bare, check=False)
    bare.run("sed", "-i", "s/^ID=.*/ID=debian/", "/etc/os-release")
    assert "the packages are for Debian 12 and 13" in said.err


@pytest.fixture
def published(beside, tmp_path) -> Iterator[tuple[str, Path, Path]]:
    """Packages on the web, signed. The address, the folder, and the publisher's public key."""
    folder = tmp_path / "published"
    shutil.copytree(beside, folder, ignore=shutil.ignore_patterns("install.sh"))
    private, public = tmp_path / "private.pem", folder / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()} *{file.name}\n" for file in folder.glob("*.deb")]
    sums += [line.replace(" *", "  ").replace(".deb", ".deb.spdx.json") for line in sums]  # a release has more files
    (folder / "SHA256SUMS").write_text("".join(sums))
    subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", folder / "SHA256SUMS",
                    "-out", folder / "SHA256SUMS.sig"], check=True)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder, public
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


def from_web(debian: Container, url: str, key: str) -> Ended:
    """With Python's client in wget's place: a minimal Debian has neither wget nor curl."""
    debian.write("/usr/local/bin/wget", "#!/usr/bin/python3\nimport sys, urllib.request\n"
                 "target = next(a.split('=', 1)[1] for a in sys.argv if a.startswith('--output-document='))\n"
                 "urllib.request.urlretrieve(sys.argv[-1], target)\n", mode=0o755)  # fmt: skip
    return debian.run("sh", "/download/install.sh", "--from", url, "--key", key, check=False, within_s=LONG_S)


def test_from_the_web_only_what_the_key_signed_is_installed(debian, published):
    url, folder, key = published
    debian.write("/root/key.pem", key.read_text())

    (package,) = folder.glob("knoop_*deb13*.deb")
    right = package.read_bytes()
    package.write_bytes(right[:-1] + b"x")
    said = from_web(debian, url, "/root/key.pem")
    assert (said.code, "is not what its publisher signed" in said.err) == (1, True)
    package.write_bytes(right)

    sums = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(sums + "\n")
    said = from_web(debian, url, "/root/key.pem")
    assert (said.code, "is not signed by the key" in said.err) == (1, True)
    (folder / "SHA256SUMS").write_text(sums)
    assert version(debian) == ""
    assert debian.run("find", "/tmp", "-name", "tmp.*").out == ""  # nothing of it is left

    said = from_web(debian, url, "/root/key.pem")
    assert said.code == 0, said.said
    assert version(debian) == f"installed {packages.VERSION}-1~deb13"
