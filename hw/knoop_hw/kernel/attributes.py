"""One value of a kernel's device, and how a file of sysfs that holds a number is read.

Source: the kernel's Documentation/filesystems/sysfs.rst (one value a file, at most a page), `iio_format_value` in
drivers/iio/industrialio-core.c (what a number may look like), Documentation/hwmon/sysfs-interface.rst.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from knoop_hw.errors import BadReading

PAGE = 4096  # bytes; no attribute is longer
# IIO prints `-0.500000000`, and no exponent; some chips' own attributes have one. Not what float() takes beyond:
# `nan`, `inf`, `1_000`, other scripts' digits. Lists of values and decibels (`3.000000 dB`) are no reading either.
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d{1,2})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One value of a device.

    `name` as the ABI has it (`voltage0-voltage1`, `temp1`), `field` as node.toml names it, "" for what cannot be a
    channel of ours. `read` asks the chip, which may take seconds: it returns the value in `unit`, None where the
    channel is switched off, and raises OSError or BadReading.
    """

    name: str
    field: str = ""
    unit: str = ""
    label: str = ""
    read: Callable[[], float | None]


def number(file: Path) -> Decimal:
    """The number in this file, exactly. Raises OSError as the kernel says it, and BadReading for what is none."""
    try:
        text = _said(file)
    except BlockingIOError:  # EAGAIN, of a chip that was busy: "try again"
        text = _said(file)
    if not _NUMBER.fullmatch(text):
        raise BadReading(f"{file.name} says {text[:40]!r}, which is no number" if text else f"{file.name} is empty")
    return Decimal(text)


def as_float(value: Decimal, name: str) -> float:
    """This value of `name`, worked out exactly, as a reading has it. Raises BadReading for one beyond all floats."""
    told = float(value)
    if not math.isfinite(told):
        raise BadReading(f"{name} is out of all bounds")
    return told


def _said(file: Path) -> str:
    """Not by Path.read_text, which takes EAGAIN for the end of the file and fails with TypeError."""
    opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(opened, PAGE).decode("ascii", "replace").strip("\0\n ")
    finally:
        os.close(opened)
