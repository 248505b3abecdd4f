"""Two builds: the same is said to be the same, and what differs is named with its file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from knoop_firmware import compare, scan

EPOCH = 1_700_000_000


@pytest.fixture
def two(tmp_path):
    """Two folders with the same in them."""
    for name in "ab":
        folder = tmp_path / name
        (folder / "usr/lib").mkdir(parents=True)
        (folder / "usr/lib/x.pyc").write_bytes(b"\0" * 100)
        (folder / "etc").mkdir()
        (folder / "etc/issue").write_text("Knoop\n")
        (folder / "etc/link").symlink_to("issue")
        same_times(folder)
    return tmp_path / "a", tmp_path / "b"


def same_times(folder):
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def differing(two):
    return [str(difference) for difference in compare.folders(*two, name="system")]


def test_the_same_is_the_same(two):
    assert differing(two) == []


def test_each_kind_of_difference_is_named(two):
    _, other = two
    (other / "usr/lib/x.pyc").write_bytes(b"\0" * 40 + b"\1\2" + b"\0" * 58)
    (other / "etc/issue").chmod(0o600)
    (other / "etc/link").unlink()
    (other / "etc/link").symlink_to("motd")
    (other / "etc/new").write_text("")
    same_times(other)
    assert differing(two) == [
        "system/etc/issue: its rights (0644 and 0600)",
        "system/etc/link: a link to issue and to motd",
        "system/etc/new: only in the second; comes from Debian: compare the two lists of packages",
        "system/usr/lib/x.pyc: its bytes (2 of 100, from byte 40); compiled Python has the time of its source in it, "
        "or was compiled from another source",
    ]


def test_a_time_alone_is_a_difference(two):
    os.utime(two[1] / "etc/issue", (EPOCH + 60, EPOCH + 60))
    assert differing(two) == [f"system/etc/issue: its time ({EPOCH} and {EPOCH + 60})"]


def test_the_command_says_it_and_its_status_tells(two):
    def said():
        return subprocess.run(
            [sys.executable, "-m", "knoop_firmware.compare", *two], capture_output=True, text=True, check=False,
            cwd=Path(__file__).parents[2] / "firmware",
        )  # fmt: skip

    assert (said().returncode, said().stdout) == (0, "The same, to the last byte.\n")
    (two[1] / "etc/new").write_text("")
    assert said().returncode == 1


def test_two_cards(two, tmp_path):
    """Whole images, made as the builder makes them, of folders as small as these."""
    from knoop_firmware import disk

    def card(name, root):
        boot, system, image = tmp_path / f"boot-{name}", tmp_path / f"{name}.sqfs", tmp_path / f"{name}.img"
        boot.mkdir()
        disk.squash(root, system, epoch=EPOCH)
        number = disk.card_number(system)
        (boot / "cmdline.txt").write_text(f"root=PARTUUID={number}-02\n")
        disk.write(image, boot=boot, system=system, number=number, epoch=EPOCH)
        return image

    first, again = card("first", two[0]), card("again", two[0])
    assert compare.images(first, again) == []
    assert scan.image(first, left=[b"Knoop"]) == [
        "etc/shadow: is not there, so nothing says that the accounts are locked",
        "etc/issue: has a trace of the machine that made it (Knoop) at byte 0",
    ]
    (two[1] / "etc/issue").write_text("Knopp\n")
    same_times(two[1])
    found = compare.images(first, card("other", two[1]))
    assert [difference.where for difference in found] == [
        "before the partitions", "boot", "boot/cmdline.txt", "system", "system/etc/issue",
    ]  # fmt: skip
    assert found[0].why == "the number of the card, made from the system partition"
    assert found[-1].what == "its bytes (1 of 6, from byte 3)"
