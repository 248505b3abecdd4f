"""Pulses by the kernel's own PWM (/sys/class/pwm): exact, and they go on when this program does not.

Source: the kernel's Documentation/ABI/testing/sysfs-class-pwm, Documentation/driver-api/pwm.rst and drivers/pwm
(sysfs.c, core.c, pwm-bcm2835.c; Raspberry Pi's pwm-rp1.c); the channels of lines: `pwm` and `pwm-2chan` in Raspberry
Pi's overlays README. Tested on files that behave as those sources say; not tried on a Raspberry Pi.
"""

from __future__ import annotations

import re
import select
from collections.abc import Mapping
from pathlib import Path

from knoop_hw.errors import DeviceError
from knoop_hw.kernel.functions import Function, functions, set_by_card
from knoop_hw.tables import KERNEL_PWM

# The controller whose channels reach the header, by the name that its address gives it, and its lines' channels. Up to
# the Pi 4 GPIO12 and GPIO18 share a channel, as do GPIO13 and GPIO19. The N of pwmchipN changes from kernel to kernel.
CHANNELS: Mapping[str, Mapping[str, int]] = {
    r".*20c000\.pwm": {"GPIO12": 0, "GPIO13": 1, "GPIO18": 0, "GPIO19": 1},  # BCM2835 to BCM2711
    r".*098000\.pwm": {"GPIO12": 0, "GPIO13": 1, "GPIO18": 2, "GPIO19": 3},  # RP1: Pi 5
}
OVERLAYS = dict(zip(KERNEL_PWM, ("pin=12,func=4", "pin=13,func=4", "pin=18,func=2", "pin=19,func=2"), strict=True))
RIGHTS_S = 1.0  # how long udev may take to give the group its rights on a new channel; commonly some 20 ms
OTHER = 'or set [board] driver = "lgpio", whose pulses are made in software'


class Sysfs:
    """Reading and writing attributes; tests put a kernel of their own in its place."""

    def read(self, attribute: Path) -> str:
        return attribute.read_text("ascii").strip()

    def write(self, attribute: Path, value: int | str) -> None:
        attribute.write_text(f"{value}\n", "ascii")


class KernelPwm:
    """All channels of a board, opened by the line on which they come out."""

    def __init__(self, root: Path = Path("/"), *, sysfs: Sysfs | None = None) -> None:
        self._root, self._sysfs = root, Sysfs() if sysfs is None else sysfs
        self._taken: dict[Path, Pulses] = {}

    def open(self, line: str, *, active_low: bool, initial: float, hz: float) -> Pulses:
        """Pulses on `line` (`GPIO18`), from the first one with `initial`, the share of time that it is active.

        A channel that pulses already goes on without a gap. Raises DeviceError that says what is missing.
        """
        folder = self.find(line, functions(self._root))
        if (other := self._taken.get(folder)) is not None and not other.closed:
            raise DeviceError(f"{line} has the pulses of {other.line}: both show one channel; take another line")
        try:
            self._export(folder)
            pulses = Pulses(line, folder, active_low=active_low, sysfs=self._sysfs)
            pulses.begin(initial, period_ns=round(1e9 / hz))
        except PermissionError:
            text = "this user may not set pulses; on a Raspberry Pi they must be in the group gpio"
            raise DeviceError(f"{line}: {text} (`ls -l {folder.parent}/`)") from None
        except OSError as error:
            raise DeviceError(f"{line}: the kernel's PWM refuses ({error.strerror})") from None
        self._taken[folder] = pulses
        return pulses

    def find(self, line: str, held: Mapping[str, Function]) -> Path:
        """The channel that comes out on a line of KERNEL_PWM; `held`: the board's functions. Raises DeviceError."""
        muxed = {name for name, function in held.items() if function.kind == "PWM"}
        if not muxed or line in muxed:
            for chip in sorted((self._root / "sys/class/pwm").glob("pwmchip*")):
                for name, channels in CHANNELS.items():
                    if re.fullmatch(name, (chip / "device").resolve().name):
                        return chip / f"pwm{channels[line]}"
        here = f" (this board has them on {', '.join(sorted(muxed))})" if muxed else ""
        remedy = f"add `dtoverlay=pwm,{OVERLAYS[line]}` to config.txt and restart the board"
        if set_by_card(self._root):
            remedy = "name this output in knoop.toml on the card and start again"
        raise DeviceError(f"{line} has no pulses of the kernel's{here}; {remedy}, {OTHER}")

    def _export(self, folder: Path) -> None:
        if not folder.exists():
            self._sysfs.write(folder.parent / "export", int(folder.name.removeprefix("pwm")))
        for _ in range(int(RIGHTS_S * 100)):
            try:
                self._sysfs.write(folder / "enable", self._sysfs.read(folder / "enable"))  # as it is
            except PermissionError:
                select.select((), (), (), 0.01)  # udev tells nobody when it is done
            else:
                return


class Pulses:
    """One channel that pulses; `value` is the share of time that it is active, 0 to 1.

    `close` leaves it as it is: switching it off or giving it back would make the line low, and low may be on.
    """

    def __init__(self, line: str, folder: Path, *, active_low: bool, sysfs: Sysfs) -> None:
        self.line, self.closed = line, False
        self._folder, self._active_low, self._sysfs = folder, active_low, sysfs

    def begin(self, value: float, *, period_ns: int) -> None:
        """Pulse with this period from now on. The duty cycle never exceeds the period, not even in between."""
        if self._sysfs.read(self._folder / "polarity") == "inversed":  # another program's; it changes only at rest
            self._sysfs.write(self._folder / "enable", 0)
            self._sysfs.write(self._folder / "polarity", "normal")
        former_ns = self._number("period")
        duty_ns = round(self._high(value) * period_ns)
        steps = [("duty_cycle", duty_ns), ("period", period_ns)]
        if former_ns < duty_ns or former_ns == 0:
            steps.reverse()
        for name, wanted in steps:
            if self._number(name) != wanted:
                self._sysfs.write(self._folder / name, wanted)
        if self._number("enable") != 1:
            self._sysfs.write(self._folder / "enable", 1)

    @property
    def value(self) -> float:
        """As the kernel has it."""
        self._open()
        period_ns = self._number("period")
        high = self._number("duty_cycle") / period_ns if period_ns and self._number("enable") else 0.0
        return self._high(high)

    @value.setter
    def value(self, value: float) -> None:
        self._open()
        self._sysfs.write(self._folder / "duty_cycle", round(self._high(value) * self._number("period")))

    def close(self) -> None:
        """Let go; closing twice is fine."""
        self.closed = True

    def _open(self) -> None:
        if self.closed:
            raise OSError(f"{self.line} is closed")

    def _high(self, active: float) -> float:
        """The share of time that the wire is high, and back."""
        return 1 - active if self._active_low else active

    def _number(self, name: str) -> int:
        return int(self._sysfs.read(self._folder / name))
