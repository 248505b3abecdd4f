"""What a Raspberry Pi's firmware says of its supply and its heat: `vcgencmd get_throttled`, without that program.

Source: drivers/char/broadcom/vcio.c of Raspberry Pi's kernel; vcgencmd/vcgencmd.c of raspberrypi/utils; the bits:
raspberrypi.com/documentation/computers/os.html#get_throttled. The kernel's file for it, soc:firmware/get_throttled,
gave a warning with a backtrace since 4.19 and is gone from 6.12 (raspberrypi/linux#6697).
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from knoop_hw.errors import BadReading, DeviceError

# The first may do nothing else; older kernels have only the second, which may also write the board's fuses.
DEVICES = ("vcio_gencmd", "vcio")
_PROPERTY = 3 << 30 | struct.calcsize("P") << 16 | 100 << 8  # _IOWR(100, 0, char *)
_GENCMD = 0x00030080
_MESSAGE = "=6I1024sI"  # its size, 0 for a request; tag, room, length, error; the words; no further tag

Ioctl = Callable[[int, int, bytearray, bool], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """What is now, and what was at any time since boot. Throttled: slower than asked, by heat or by supply."""

    undervoltage: bool
    throttled: bool
    undervoltage_since_boot: bool
    throttled_since_boot: bool


def here(root: Path = Path("/")) -> bool:
    """Whether this machine has such a firmware; whether we may ask it is another matter."""
    return any(any((root / "sys/class").glob(f"*/{name}")) for name in DEVICES)


def throttled(root: Path = Path("/"), *, ioctl: Ioctl = fcntl.ioctl) -> Throttled:
    """What it says now. Raises OSError where we may not ask, BadReading for an answer that is none."""
    message = bytearray(struct.pack(_MESSAGE, struct.calcsize(_MESSAGE), 0, _GENCMD, 1024, 0, 0, b"get_throttled", 0))
    device = _opened(root)
    try:
        ioctl(device, _PROPERTY, message, True)
    finally:
        os.close(device)
    words: bytes = struct.unpack(_MESSAGE, message)[6]
    said = words.partition(b"\0")[0].decode("ascii", "replace")
    match = re.fullmatch(r"throttled=0x([0-9a-f]{1,8})", said.strip())
    if match is None:
        raise BadReading(f"the firmware's answer is not understood: {said[:60]!r}")
    bits = int(match[1], 16)
    return Throttled(
        undervoltage=bool(bits & 0x1), throttled=bool(bits & 0xE),
        undervoltage_since_boot=bool(bits & 0x10000), throttled_since_boot=bool(bits & 0xE0000),
    )  # fmt: skip


def _opened(root: Path) -> int:
    why: OSError = DeviceError("the firmware has no device to ask it by")
    for name in DEVICES:
        try:
            return os.open(root / "dev" / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            why = error
    raise why
