"""What can go wrong in the hardware half.

HardwareError(Exception)
├ ConfigError(ValueError)      the configuration: every problem at once, exit 78
├ DeviceError(OSError)         a device or line that is absent, taken or dead
│ └ NotAsBefore                a reload failed, and so did going back: only a start helps
├ BadReading(ValueError)       a device answered nonsense (CRC, range, framing): count it, log once down, once up
└ SetRefused(PermissionError)  an output that may not move now: interlock, min-off, range, unknown, device, absent
"""

from __future__ import annotations

from dataclasses import dataclass


class HardwareError(Exception):
    """The root of this package's errors."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a configuration file: where it stands and what to do."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{where}{self.path}: {self.text}" if self.path else f"{where}{self.text}"


class ConfigError(HardwareError, ValueError):
    """A configuration that cannot be used; `problems` holds all of them, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DeviceError(HardwareError, OSError):
    """A device or line that is absent, taken or dead; the text names it and the remedy."""


class NotAsBefore(DeviceError):
    """A reload failed, and what was there before does not open any more either."""


class BadReading(HardwareError, ValueError):
    """A device answered, but not with a reading."""


class SetRefused(HardwareError, PermissionError):
    """An output may not move now; `reason` is one of the Board protocol's words, or says that nobody was asked."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


def reason_of(error: BaseException) -> str:
    """Why, in a few words: the kernel's where it is one of its errors, else the error's own."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
