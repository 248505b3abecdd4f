"""What the store writes to the card: `python -m knoop_bench.wear [--json] [--folder FOLDER]`.

Bytes that the process hands to the kernel (wchar of /proc/self/io), per telemetry reading, with one commit a second,
checkpoints included. The card sees at least that, in blocks of its own size; what it makes of them nobody can measure
from here. Time is not waited for: a second of the store's is as long as its commit takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Literal

from knoop.record import Record
from knoop.store import Store

SINK = "pubsub"
CHANNELS = (1, 5, 20)
COMMITS = 1800  # half an hour of seconds: several checkpoints, also of one channel
FULL_BYTES = 1024 * 1024  # a small store is full soon, and drops as a large one does
BOOTTIME_NS, AT_NS, SECOND_NS = 10 * 86_400 * 10**9, 1_795_342_503 * 10**9, 10**9

Link = Literal["up", "slow", "down"]
LINKS: dict[Link, str] = {
    "up": "acknowledged before the commit: history only",
    "slow": "acknowledged after the commit",
    "down": "not acknowledged at all",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """Of `channels` readings a second. `written` and `kept` are bytes a reading: what was written, what the file grew.

    `full`: the store was full all the time, so that as much was dropped as came.
    """

    channels: int
    link: Link
    full: bool
    written: float
    kept: float
    cpu_us: float


def written_bytes() -> int:
    """What this process, all its threads, has written so far."""
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def second(number: int, channels: int, sinks: Collection[str]) -> list[tuple[Record, Collection[str]]]:
    """A reading of each channel, as a sensor's are."""
    return [
        (
            Record(
                run="k3v9q2xa", channel=f"room{channel}.temperature", seq=number, cls="telemetry", type="number",
                value=20.0 + (number * 7 + channel) % 50 / 10, unit="°C", boot="6f1c2a54-0a5b-4a6e-9a53-1b2c3d4e5f60",
                boottime_ns=BOOTTIME_NS + number * SECOND_NS + channel, at_ns=AT_NS + number * SECOND_NS + channel,
            ),
            sinks,
        )
        for channel in range(channels)
    ]  # fmt: skip


async def measure(folder: Path, channels: int, link: Link, *, full: bool = False, commits: int | None = None) -> Wear:
    """One figure, in a store of its own in `folder`."""
    path = folder / f"{channels}-{link}-{full}.db"
    sinks = () if link == "up" else (SINK,)
    commits = commits or COMMITS
    async with Store.open(path, **({"max_bytes": FULL_BYTES} if full else {})) as store:
        before = 1
        if full:
            while True:
                await store.add([entry for n in range(before, before + 50) for entry in second(n, channels, sinks)])
                before += 50
                if store.dropped["telemetry"] or not await store.span(channels=["room0.temperature"], last=1, limit=1):
                    break
        await store.add(second(before, channels, sinks))
        size, wrote, cpu = path.stat().st_size, written_bytes(), process_time()
        for number in range(before + 1, before + 1 + commits):
            kept = await store.add(second(number, channels, sinks))
            if link == "slow":
                await store.delivered(SINK, [record.row for record in kept])
        wrote, cpu = written_bytes() - wrote, process_time() - cpu
    readings = commits * channels
    return Wear(
        channels=channels, link=link, full=full, written=wrote / readings,
        kept=0.0 if full else (path.stat().st_size - size) / readings, cpu_us=cpu * 1e6 / readings,
    )  # fmt: skip


async def run(folder: Path) -> list[Wear]:
    """Every figure."""
    cases: list[tuple[Link, bool]] = [("up", False), ("slow", False), ("down", False), ("up", True), ("down", True)]
    return [await measure(folder, channels, link, full=full) for link, full in cases for channels in CHANNELS]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m knoop_bench.wear", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--folder", type=Path, help="measure on this file system; not in memory, as /tmp may be")
    given = parser.parse_args(arguments)
    logging.getLogger("knoop.store").setLevel(logging.ERROR)  # that it is full is what is measured
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = asyncio.run(run(Path(folder)))
    if given.json:
        for wear in found:
            print(json.dumps(asdict(wear)))
        return 0
    print("channels at 1/s   link   store   bytes written a reading   bytes kept   CPU µs")
    for wear in found:
        figures = f"{wear.written:25.0f} {wear.kept:12.0f} {wear.cpu_us:8.0f}"
        print(f"{wear.channels:15}   {wear.link:4}   {'full' if wear.full else 'room':5} {figures}")
    print("\n".join(f"{link}: {meaning}" for link, meaning in LINKS.items()))
    print("full: as much is dropped as comes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
