"""The stand-in for the Pi's firmware and for a card reader, on a small card of the tests' own."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.image import bootloader
from tests.image.card import SECTOR, Card

START, SIZE_MB = 2048 * SECTOR, 34
CONFIG = """# ours
upstream_kernel=1
kernel=vmlinuz
initramfs initrd.img followkernel
include buses.txt

[pi4]
cmdline=other.txt

[all]
dtparam=
"""
TREE = """/dts-v1/;
/ {
    #address-cells = <1>;
    #size-cells = <0>;
    pins: pins { compatible = "test,pins"; };
};
"""
OVERLAY = """/dts-v1/;
/plugin/;
/ {
    fragment@0 {
        target-path = "/";
        __overlay__ { wire: onewire { compatible = "w1-gpio"; gpios = <&pins 4 6>; }; };
    };
    __overrides__ { gpiopin = <&wire>, "gpios:4"; };
};
"""
FILES = {
    "config.txt": CONFIG, "buses.txt": "dtoverlay=wire,gpiopin=17\n", "vmlinuz": "kernel", "initrd.img": "initramfs",
    "cmdline.txt": "root=PARTUUID=01020304-02\n  quiet\n", "other.txt": "quiet", "overlays/wire.dtbo": "",
    **dict.fromkeys(bootloader.BOARDS, ""), **dict.fromkeys(bootloader.FIRMWARE, ""),
}  # fmt: skip


def compiled(source: str) -> bytes:
    return subprocess.run(
        ["dtc", "-q", "-@", "-I", "dts", "-O", "dtb"], input=source.encode(), capture_output=True, check=True
    ).stdout


def made(folder: Path, files: Mapping[str, str]) -> Card:
    """A card with one partition, which holds these files; trees and overlays are compiled."""
    file = folder / "card.img"
    with file.open("wb") as opened:
        opened.truncate(START + (SIZE_MB << 20))
        opened.seek(446)
        opened.write(struct.pack("<8BII", 0x80, 0, 0, 0, 0x0C, 0, 0, 0, START // SECTOR, (SIZE_MB << 20) // SECTOR))
        opened.seek(510)
        opened.write(b"\x55\xaa")
    where = ("-i", f"{file}@@{START}")
    sectors = str((SIZE_MB << 20) // SECTOR)
    subprocess.run(["mformat", *where, "-F", "-h", "64", "-s", "32", "-T", sectors, "::"], check=True)
    subprocess.run(["mmd", *where, "::overlays"], check=True)
    card = Card(file)
    for name, content in files.items():
        if name.endswith((".dtb", ".dtbo")):
            card.write(name, compiled(TREE if name.endswith(".dtb") else OVERLAY))
        else:
            card.write(name, content)
    return card


def test_what_the_kernel_is_started_with(tmp_path):
    card = made(tmp_path, FILES)
    loaded = bootloader.load(card, bootloader.PI_3B, tmp_path / "loaded")
    assert (loaded.kernel.read_text(), loaded.initrd.read_text()) == ("kernel", "initramfs")
    assert loaded.command_line == "root=PARTUUID=01020304-02 quiet"
    assert bootloader.named(card) <= card.names()
    line = subprocess.run(["fdtget", str(loaded.tree), "/onewire", "gpios"], capture_output=True, text=True, check=True)
    assert line.stdout.split()[1:] == ["17", "6"]
    assert bootloader.settings(card, "bcm2711-rpi-4-b.dtb").values["cmdline"] == "other.txt"


@pytest.mark.parametrize(
    "missing", ["initrd.img", "other.txt", "overlays/wire.dtbo", "bcm2711-rpi-400.dtb", "start4.elf"]
)
def test_a_file_that_is_missing_is_found(tmp_path, missing):
    card = made(tmp_path, {name: content for name, content in FILES.items() if name != missing})
    assert bootloader.named(card) - card.names() == {missing}


def test_a_missing_include_is_named(tmp_path):
    card = made(tmp_path, {name: content for name, content in FILES.items() if name != "buses.txt"})
    with pytest.raises(AssertionError, match=r"buses\.txt is not on the FAT partition"):
        bootloader.named(card)


def test_bytes_are_found_where_they_stand_and_after_they_were_deleted(tmp_path):
    card = made(tmp_path, {"knoop.toml": "password = 'swordfish'"})
    assert len(card.holds(b"swordfish")) == 1
    subprocess.run(["mdel", "-i", f"{card.file}@@{START}", "::knoop.toml"], check=True)
    assert card.names() == frozenset()
    assert len(card.holds(b"swordfish")) == 1
    assert b"swordfish" in card.fat()
