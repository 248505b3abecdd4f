"""What lies on the FAT partition: the firmware that starts the board, the kernel, and the texts that they read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from knoop_firmware.kernel import Kernel
from knoop_firmware.recipe import FILES, TREES
from knoop_firmware.tools import BuildError

# Of Raspberry Pi's start files: a Pi 3's and a Pi 4's. The others are for cameras (x), debugging (db) and for boards
# whose screen is off for good (cd).
FIRMWARE = ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")
KERNEL = "vmlinuz"
INITRAMFS = "initramfs.img"
BUSES = "knoop-buses.txt"

CONFIG = f"""\
# What the Raspberry Pi's firmware reads first. Sensors' buses are chosen in knoop.toml ([board] buses), not here:
# they are written to {BUSES}.

arm_64bit=1
# The device trees are those of the kernel (bcm2837-…, bcm2711-…), not those of Raspberry Pi's own.
upstream_kernel=1
kernel={KERNEL}
initramfs {INITRAMFS} followkernel

# Messages while it starts, on GPIO14 and GPIO15 with 115200 bit/s; nobody can log in there.
enable_uart=1

# No sound, no camera and no Bluetooth is used; the screen shows how the node is.
disable_splash=1

include {BUSES}
"""

# persist_gpio_outputs: a line keeps its level when the process that drove it ends, as on Raspberry Pi's own kernel;
# without, an upgrade of Knoop would move every relay (docs/outputs.md).
# firmware_class.path: where the kernel looks first for a radio's program, such as the one that Debian does not have
# (files/boot/wifi/brcm/README.txt). Source: Documentation/driver-api/firmware/fw_search_path.rst.
COMMAND_LINE = (
    "console=tty0 console=ttyS1,115200 root=PARTUUID={number}-02 ro rootwait net.ifnames=0 loglevel=5 panic=10 "
    "pinctrl_bcm2835.persist_gpio_outputs=1 firmware_class.path=/boot/firmware/wifi"
)
NO_BUSES = "# Written by Knoop from [board] buses in knoop.toml; empty as long as that names none.\n"


def assemble(target: Path, *, kernel: Kernel, pieces: Path, initramfs: bytes, overlays: Path) -> None:
    """Everything but cmdline.txt, which has the card's number in it; from `files/boot` comes knoop.toml."""
    target.mkdir()
    for name in FIRMWARE:
        shutil.copyfile(pieces / "raspi-firmware/usr/lib/raspi-firmware" / name, target / name)
    for pattern in TREES.split():
        for tree in sorted(kernel.trees.glob(pattern)):
            shutil.copyfile(tree, target / tree.name)
    shutil.copyfile(kernel.image, target / KERNEL)
    (target / INITRAMFS).write_bytes(initramfs)
    (target / "config.txt").write_text(CONFIG)
    (target / BUSES).write_text(NO_BUSES)
    if (FILES / "boot").is_dir():
        shutil.copytree(FILES / "boot", target, dirs_exist_ok=True)
    shutil.copytree(overlays, target / "overlays")
    licences = target / "licences"  # Raspberry Pi allows the firmware to be passed on together with its licence
    licences.mkdir()
    shutil.copyfile(pieces / "raspi-firmware/usr/share/doc/raspi-firmware/copyright", licences / "raspi-firmware.txt")


def command_line(number: str, *, console: bool = True) -> str:
    """What the kernel is told. Without `console` the header's serial lines are left to who has the bus "uart"."""
    said = COMMAND_LINE.format(number=number) + "\n"
    return said if console else re.sub(r"console=ttyS\S+ ", "", said)


def named_files(config: str) -> list[str]:
    """The files that a config.txt says are there."""
    found = re.findall(r"^(?:kernel=|initramfs |include )(\S+)", config, re.MULTILINE)
    overlays = re.findall(r"^dtoverlay=([^,\s]+)", config, re.MULTILINE)
    return [*found, *(f"overlays/{name}.dtbo" for name in overlays)]


def verify(folder: Path) -> None:
    """Raises BuildError when config.txt names what is not there: no emulated boot would notice."""
    missing = [name for name in named_files((folder / "config.txt").read_text()) if not (folder / name).exists()]
    if missing:
        raise BuildError(f"config.txt names what is not on the boot partition: {', '.join(missing)}")
