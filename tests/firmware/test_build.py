"""What `make image` says and leaves when it cannot be made: a sentence with the remedy, and nothing half done."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from knoop_firmware import base, boot, build, disk, recipe, release, tools
from knoop_firmware.tools import BuildError

FIRMWARE = Path(__file__).parents[2] / "firmware"
EPOCH = 1_700_000_000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache/knoop").mkdir(parents=True)
    return tmp_path / "cache/knoop"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make an image in the folder that is returned, all of it but what takes long and what needs root."""
    out = tmp_path / "out"

    def press(_tree, target, **_):
        target.write_bytes(b"system")

    def write(card, **_):
        card.write_bytes(b"card")

    monkeypatch.setattr(build.os, "geteuid", lambda: 0)
    for module, name, instead in (
        (build.base, "emulation", lambda: None), (build.base, "pieces", lambda: tmp_path),
        (build.base, "base", lambda: tmp_path / "root.tar"), (build.base, "unpack", lambda _tar, root: root.mkdir()),
        (build.base, "lists", lambda work: work), (build.root, "with_package", lambda tar, _package: tar),
        (build.root, "finish", lambda *_, **__: None), (build, "Kernel", lambda _folder: None),
        (build, "initramfs", lambda *_, **__: b""), (build.boot, "assemble", lambda target, **_: target.mkdir()),
        (build.boot, "verify", lambda _folder: None), (build.disk, "squash", press), (build.disk, "write", write),
        (build.release, "papers", lambda packed, *_, **__: packed.with_name("written").touch()),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, instead)
    (tmp_path / "knoop.deb").touch()

    def make(*arguments):
        monkeypatch.setattr(sys, "argv", ["build", "--out", str(out), "--deb", str(tmp_path / "knoop.deb"), *arguments])
        status = build.main()
        return status, out

    return make


def test_nothing_but_what_is_made_anew_goes_from_the_folder(made):
    _, out = made()
    stem = f"knoop-{build.version()}"
    others = {"knoop-notes.txt", "knoop-release.key", "knoop-0.0.9.img.xz", "knoop-0.0.9.sha256", f"{stem}.notes"}
    papers = {f"{stem}{suffix}" for suffix in release.PAPERS}
    for name in others | papers:
        (out / name).write_text("before")
    assert made("--no-compress")[0] == 0
    assert {path.name for path in out.iterdir()} == others | {f"{stem}.img", "written"}
    assert made()[0] == 0
    assert {path.name for path in out.iterdir()} == others | {f"{stem}.img", f"{stem}.img.xz", "written"}


@pytest.fixture
def former(made, monkeypatch):
    """Lay an image with its papers into the folder anew, from before; whose the files are that are there, by name."""
    _, out = made("--no-compress")
    names = [f"knoop-{build.version()}{suffix}" for suffix in (".img", ".img.xz", *release.PAPERS)]

    def write(packed, image, *_, place, **__):
        for name in names[2:]:
            (packed.parent / name).write_text("new")
        assert ([image.name, packed.name], place) == (names[:2], out)

    def lay():
        for path in out.iterdir():
            path.unlink()
        for name in names:
            (out / name).write_text("before")
        return dict.fromkeys(names, "before")

    def there():
        return {path.name: "before" if path.read_bytes() == b"before" else "new" for path in out.iterdir()}

    monkeypatch.setattr(build.release, "papers", write)
    return lay, there


@pytest.mark.parametrize("what", [KeyboardInterrupt, BuildError, OSError])
@pytest.mark.parametrize("where", ["lists", "xz", "papers", "cp"])
def test_what_is_interrupted_leaves_the_former_image_with_all_that_describes_it(made, former, monkeypatch, where, what):
    lay, there = former
    before = lay()

    def run(*command, **given):
        if command[0] == where:
            raise what
        return tools.run(*command, **given)

    def stop(*_, **__):
        raise what

    if module := {"lists": build.base, "papers": build.release}.get(where):
        monkeypatch.setattr(module, where, stop)
    monkeypatch.setattr(build, "run", run)
    assert made("--keep-root", "kept")[0] == (130 if what is KeyboardInterrupt else 1)
    assert there() == before


def test_wherever_the_power_goes_nothing_describes_another_image(made, former, monkeypatch):
    lay, there = former
    names = [*lay()]

    def cut(change):
        def changed(*given, **how):
            if next(left, None) is None:
                raise OSError("the power is gone")
            return change(*given, **how)

        return changed

    for changes in range(2 * len(names) + 1):
        lay()
        left = iter(range(changes))
        with monkeypatch.context() as power:
            power.setattr(Path, "rename", cut(Path.rename))
            power.setattr(Path, "unlink", cut(Path.unlink))
            status, _ = made()
        found = there()
        assert len(set(found.values())) <= 1, f"after {changes} changes: {found}"
        assert names[0] not in found or set(found) == set(names), f"after {changes} changes: {found}"
    assert (status, found) == (0, dict.fromkeys(names, "new"))


def test_ctrl_c_while_it_is_put_in_place_waits_until_all_of_it_is_there(made, former, monkeypatch):
    lay, there = former
    before, rename = lay(), Path.rename

    def interrupted(path, target):
        os.kill(os.getpid(), signal.SIGINT)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    assert made()[0] == 130
    assert there() == dict.fromkeys(before, "new")


def test_debians_lists_are_asked_for_before_what_takes_long_and_only_for_papers(made, monkeypatch, capsys):
    monkeypatch.setattr(build.base, "lists", lambda _work: tools.run("false"))
    assert made()[0] == 1
    assert "Unpacking" not in capsys.readouterr().err
    assert made("--no-compress")[0] == 0


def test_an_image_without_the_node_is_none(made, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "DEB", tmp_path / "build.py")
    monkeypatch.setattr(sys, "argv", ["build", "--out", str(tmp_path / "out")])
    assert build.main() == 1
    assert "build.py" in capsys.readouterr().err
    assert made("--deb", str(tmp_path / "gone.deb"))[0] == 1
    assert "gone.deb: there is no such package" in capsys.readouterr().err
    assert [*(tmp_path / "out").iterdir()] == []


def test_a_key_that_cannot_sign_is_said_before_anything_is_made(made, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KNOOP_SIGNING_KEY", str(tmp_path / "gone.key"))
    status, out = made()
    assert (status, out.exists()) == (1, False)
    assert "gone.key" in capsys.readouterr().err


def test_two_at_a_time_in_one_folder_are_one(made, monkeypatch, capsys):
    def second(*_, **__):
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from knoop_firmware import build; build.os.geteuid = lambda: 0;"
             "sys.exit(build.main())", "--out", out, "--deb", out.parent / "knoop.deb", "--no-compress"],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(FIRMWARE)},
        )  # fmt: skip
        assert (done.returncode, done.stderr.strip()) == (
            1, f"{out}: another one is made there just now; wait for it, or name another folder with --out",
        )
        raise BuildError("enough")

    _, out = made()
    monkeypatch.setattr(build.disk, "write", second)
    assert made()[0] == 1
    assert "enough" in capsys.readouterr().err


def test_what_a_killed_building_left_beside_the_image_goes_with_the_next(made):
    _, out = made()
    (out / f"{build.UNFINISHED}k1lled/boot").mkdir(parents=True)
    (out / "knoop-image-notes").mkdir()
    assert made("--no-compress")[0] == 0
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"knoop-image-notes"}


def test_a_full_disk_is_a_sentence_with_a_remedy(made, cache, monkeypatch, capsys):
    def full(*_, **__):
        Path("/dev/full").write_bytes(b"x")

    monkeypatch.setattr(build.disk, "write", full)
    status, out = made()
    assert (status, [*out.iterdir()]) == (1, [])
    said = capsys.readouterr().err
    assert "by --out" in said
    assert f"({cache}) by XDG_CACHE_HOME" in said


def test_a_program_that_is_missing_is_named():
    with pytest.raises(BuildError, match=r"^mkfs\.knoop is not installed here; `make image` installs what it needs$"):
        tools.run("mkfs.knoop", "x")


def test_what_debian_has_in_sbin_is_found_by_who_became_root_by_plain_su(made, monkeypatch):
    found = []
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setattr(build.disk, "squash", lambda _tree, target, **_: target.write_bytes(
        tools.run("sfdisk", "--version") + tools.run("sh", "-c", "command -v mkfs.ext4")))  # fmt: skip
    monkeypatch.setattr(build.disk, "card_number", lambda system: found.append(system.read_text()) or "12345678")
    assert made("--no-compress")[0] == 0
    assert found[0].startswith("sfdisk from util-linux")
    assert found[0].endswith("/sbin/mkfs.ext4\n")


@pytest.mark.parametrize("given", ["abc", "", "-1", "1.5", " 1", "1_000", "١", "1700000000000"])
def test_a_time_that_is_none_is_said_before_anything_is_made(made, monkeypatch, capsys, given):
    monkeypatch.setattr(build.base, "pieces", lambda: pytest.fail("something was made"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
    assert made()[0] == 1
    said = f"SOURCE_DATE_EPOCH={given}: seconds since 1970 are wanted, as `date +%s` prints them; unset it, and files"
    assert said in capsys.readouterr().err
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    assert build.epoch() == EPOCH


def test_without_a_network_it_says_where_it_should_have_come_from(monkeypatch, tmp_path):
    # nobody listens on the port "discard"
    monkeypatch.setattr(base, "SOURCES", [source.replace("deb.debian.org", "127.0.0.1:9") for source in recipe.SOURCES])
    with pytest.raises(BuildError, match=r"deb\.debian\.org: is that reachable from here\?.*try again"):
        base.lists(tmp_path / "apt")


def test_another_mistake_is_not_called_the_networks():
    with pytest.raises(BuildError) as raised:
        base._fetch("sh", "-c", "echo arch-test is missing; exit 25")
    assert str(raised.value).endswith("ended with 25:\narch-test is missing\n")


def test_an_interruption_just_as_a_program_ends_is_no_other_error(tmp_path, monkeypatch):
    class Ended(subprocess.Popen):
        def communicate(self, *given):
            if self.returncode is None:
                self.wait()
                raise KeyboardInterrupt
            return super().communicate(*given)

    monkeypatch.setattr(tools.subprocess, "Popen", Ended)
    with pytest.raises(KeyboardInterrupt):
        tools.run("true")


def test_what_a_killed_building_left_in_the_cache_goes_with_the_next(cache):
    (cache / "image-base-unfinished-abc/draft").mkdir(parents=True)
    (cache / "image-other-unfinished-abc").mkdir()
    tools.cached("image-base", "0" * 12, lambda folder: None)
    assert {path.name for path in cache.iterdir()} == {
        f"image-base-{'0' * 12}", "image-base.lock", "image-other-unfinished-abc",
    }  # fmt: skip


def test_an_interrupted_step_keeps_nothing(cache):
    def make(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tools.cached("image-base", "0" * 12, make)
    assert {path.name for path in cache.iterdir()} == {"image-base.lock"}


def test_another_interruption_while_it_tidies_up_comes_after_that(tmp_path, monkeypatch):
    class Impatient(tempfile.TemporaryDirectory):
        def cleanup(self):
            os.kill(os.getpid(), signal.SIGINT)
            super().cleanup()

    monkeypatch.setattr(tools.tempfile, "TemporaryDirectory", Impatient)
    with pytest.raises(KeyboardInterrupt), tools.scratch("knoop-", tmp_path):
        pass
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts, as `make image` does: as root")
def test_the_proc_of_a_root_is_seen_by_nobody_else_and_is_gone_with_it(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    script = """if True:
        import subprocess, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from knoop_firmware import base
        subprocess.run(["mount", "--rbind", "/", sys.argv[2]], check=True)
        print(base.in_root(Path(sys.argv[2]), "cat", "/proc/self/comm").decode())
    """
    command = ("unshare", "--mount", sys.executable, "-c", script, FIRMWARE, root)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("cat", "")
    assert str(root) not in Path("/proc/mounts").read_text("utf-8")


def test_sigterm_ends_it_as_ctrl_c_does(made, monkeypatch, capsys):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(build.disk, "write", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    try:
        status, out = made()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (status, [*out.iterdir()]) == (130, [])
    assert "what was half done is gone" in capsys.readouterr().err


def test_files_lie_on_the_boot_partition_in_the_same_order_wherever_it_was_made(tmp_path):
    content, image = tmp_path / "boot", tmp_path / "boot.img"
    names = [f"{n:02}.dtbo" for n in (7, 3, 9, 1, 8, 0, 4, 6, 2, 5)]
    for name in names:
        (content / "overlays/deep").mkdir(parents=True, exist_ok=True)
        (content / "overlays" / name).write_text(name)
        (content / "overlays/deep" / name).write_text(name)
    (content / "cmdline.txt").write_text("x")
    disk._fat(image, content, "12345678", EPOCH)
    for folder in ("overlays", "overlays/deep"):
        listed = subprocess.run(["mdir", "-b", "-i", image, f"::{folder}"], check=True, capture_output=True, text=True)
        files = [line.rpartition("/")[2] for line in listed.stdout.split() if not line.endswith("/")]
        assert files == sorted(names)


def test_a_radios_program_may_lie_on_the_card():
    """A Zero 2 W whose radio Debian has no program for: the folder is there, says what belongs in it, and is read."""
    place = dict(word.partition("=")[::2] for word in boot.command_line("12345678").split())["firmware_class.path"]
    folder = recipe.FILES / "boot" / Path(place).relative_to("/boot/firmware") / "brcm"
    assert "brcmfmac43430b0-sdio.bin" in (folder / "README.txt").read_text("utf-8")
