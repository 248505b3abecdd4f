"""The agent's own sensor: asks the kernel for the signal of the Wi-Fi, and makes records of what it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from knoop.network import Network, signal
from knoop.record import Record
from knoop.together import first
from knoop_hw.clock import Clock
from knoop_hw.filters import Filter
from knoop_hw.life import in_a_thread
from knoop_hw.model import Quality

PATIENCE_S = 10.0  # the kernel asks the chip, whose firmware may hang


class Wifi:
    """`network.signal`, from `run` until cancelled. `put` takes each record; `now_ns` is UTC, None while unknown."""

    def __init__(
        self, table: Network, *, run: str, clock: Clock, now_ns: Callable[[], int | None],
        put: Callable[[Record], None],
    ) -> None:  # fmt: skip
        self._table, self._channel = table, table.channel
        self._run, self._clock, self._now_ns, self._put = run, clock, now_ns, put
        self._filter = Filter(table.options)
        self._seq = 0

    async def run(self) -> None:
        """Ask now, and then every `every_s`; one that does not answer is asked again when it has."""
        while True:
            started_ns = self._clock.boottime_ns()
            asking = in_a_thread(partial(_ask, self._table.root), name="knoop-wifi")
            await first(asking, self._clock.sleep(PATIENCE_S))
            if not asking.done():
                self._say(None, "error")
            self._say(level := await asking, "missing" if level is None else "ok")
            await self._clock.sleep(self._table.every_s - (self._clock.boottime_ns() - started_ns) / 1e9)

    def _say(self, level: float | None, quality: Quality) -> None:
        passed = self._filter.feed(level, quality, self._clock.boottime_ns())
        if passed is None:
            return
        self._seq += 1
        value, quality, boottime_ns = passed
        channel = self._channel
        self._put(
            Record(
                run=self._run, channel=channel.name, seq=self._seq, cls=channel.cls, type=channel.type, value=value,
                unit=channel.unit, quality=quality, boot=self._clock.boot_id, boottime_ns=boottime_ns,
                at_ns=self._now_ns(),
            )
        )


def _ask(root: Path) -> float | None:
    # By way of `self`, which stays where a sandbox hides what is not about processes (ProcSubset=pid).
    there = root / "proc/self/net"
    return signal(_said(there / "wireless"), _said(there / "route"), _said(there / "ipv6_route"))


def _said(file: Path) -> str:
    """What a file of proc says, "" where it is not: a machine without Wi-Fi, a kernel without IPv6."""
    try:
        return file.read_text("ascii", "replace")
    except OSError:
        return ""
