"""What the agent measures itself: the signal of this machine's Wi-Fi, which the other half cannot see. Pure.

Source: net/wireless/wext-proc.c and net/ipv4/fib_trie.c, net/ipv6/route.c of the kernel, for /proc/net/wireless, route
and ipv6_route. docs/adr/0019-which-half.md says which channels come from which half, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from knoop_hw.decode import Between, Seconds
from knoop_hw.filters import Delta, Options
from knoop_hw.model import Channel

_UP, _REJECT = 0x1, 0x200  # include/uapi/linux/route.h: RTF_UP, RTF_REJECT
# A signal that nobody touches goes up and down by 2 dB; a line every quarter of an hour says that it is still watched.
_RATHER = Options(delta=Delta(3.0), heartbeat_s=900.0)
_STRONGEST, _WEAKEST = 0, -120  # dBm; a receiver hears nothing below, and a driver that has no value says -256


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Options):
    """`[network]`: the channel `network.signal`, in dBm, of the Wi-Fi that leads out. Without the table there is none.

    `every_s`: how often it is asked. Any option of a channel may be said as well. `root`: where proc is mounted.
    """

    SIGNAL: ClassVar[str] = "network.signal"

    every_s: Annotated[Seconds, Between(1, 86400)] = 60.0
    root: Path = Path("/")

    @property
    def options(self) -> Options:
        """What its readings go through, as those of a sensor do."""
        return Options.of(self).over_defaults(_RATHER)

    @property
    def channel(self) -> Channel:
        """As everybody sees it."""
        return Channel(
            name=self.SIGNAL, kind="sensor", type="number", unit="dBm", cls=self.cls or "telemetry", label=self.label,
            aliases=self.aliases, digits=self.digits or 0,
        )  # fmt: skip


def signal(wireless: str, routes: str, routes6: str = "") -> float | None:
    """The strength in dBm at which the Wi-Fi of the default route hears its access point, else the only Wi-Fi's.

    None where there is no such Wi-Fi, where it is not connected, and where its driver does not count in dBm. Takes what
    the three files of /proc/net say.
    """
    there = dict(_levels(wireless))
    ways = sorted([*_ways(routes), *_ways6(routes6)])
    out = [name for _, name in ways if name in there]
    chosen = out[0] if out else next(iter(there)) if len(there) == 1 else ""
    return there.get(chosen)


def _levels(wireless: str) -> Iterator[tuple[str, float | None]]:
    for line in wireless.splitlines()[2:]:
        name, _, said = line.partition(":")
        columns = said.split()  # status, link, level, noise …; a point says that the value is new
        try:
            level = float(columns[2].removesuffix("."))
        except (IndexError, ValueError):
            continue
        yield name.strip(), level if _WEAKEST <= level < _STRONGEST else None


def _ways(routes: str) -> Iterator[tuple[int, str]]:
    """The default routes, each with its metric."""
    for line in routes.splitlines()[1:]:
        columns = line.split()  # interface, destination, gateway, flags, references, use, metric, mask …
        if len(columns) >= 8 and columns[1] == columns[7] == "00000000":
            yield from _way(columns[0], columns[3], columns[6], 10)


def _ways6(routes: str) -> Iterator[tuple[int, str]]:
    for line in routes.splitlines():
        columns = line.split()  # destination, its length, source, its length, next hop, metric, …, flags, interface
        if len(columns) == 10 and columns[0] == "0" * 32 and columns[1] == "00":
            yield from _way(columns[9], columns[8], columns[5], 16)


def _way(name: str, flags: str, metric: str, base: int) -> Iterator[tuple[int, str]]:
    with suppress(ValueError):
        if int(flags, 16) & (_UP | _REJECT) == _UP:
            yield int(metric, base), name
