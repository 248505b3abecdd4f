"""`make bench-board`: what lines cost on the emulated board, by gpiod and by lgpio; ratios only.

The same hardware half with eight lines (seven inputs, of which one counts, and an output), started as its command.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.board.guest import Guest, Program, Stream, boot

IDLE_S = 20.0
SPAN_S, SETTLED, SETTLE_BOUND_S = 0.5, 0.02, 60.0  # two spans in a row within 2 % of a core are alike
PACE_S, PULSES = 0.01, 300  # slower than either library; where the host is busy, the emulator still merges a few edges
EDGES, EDGE_PAUSE_S = 100, 0.12  # below the ten a second that are told of a contact
LAMP = '[output.lamp]\npin = "GPIO3"\n'
LINES = '[input.water]\nkind = "counter"\npin = "GPIO7"\ndebounce = "0ms"\n' + "".join(
    f'[input.door{number}]\npin = "GPIO{number}"\ndebounce = "0ms"\n' for number in (0, 1, 2, 4, 5, 6)
) + LAMP
TEN = "".join(f'[input.door{number}]\npin = "GPIO{4 + number}"\n' for number in range(9)) + LAMP


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: what it is, its unit, and how it is said."""

    what: str
    unit: str
    digits: int = 0


ROWS = (
    Row("CPU when idle, of one core", "‰", 2), Row("CPU per edge", "µs"), Row("pulses lost", f"of {PULSES}"),
    Row("edge to reading, median", "ms", 1), Row("edge to reading, p99", "ms", 1),
    Row("memory, RSS", "kB"), Row("memory, PSS", "kB"), Row("threads", ""),
)  # fmt: skip


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="knoop-board-") as folder:
        guest = boot(Path(folder))
        try:
            for driver in ("gpiod", "lgpio"):
                with running(guest, f'[board]\ndriver = "{driver}"\n{LINES}'):
                    pass  # the first start compiles the modules, which leaves memory behind
            found = {driver: measure(guest, driver) for driver in ("gpiod", "lgpio")}
            ten = memory(guest, f'[board]\ndriver = "simulated"\n{TEN}')
        finally:
            guest.close()
    print(f"{'':32}{'gpiod':>12}{'lgpio':>12}{'lgpio / gpiod':>16}")
    for row, gpiod, lgpio in zip(ROWS, found["gpiod"], found["lgpio"], strict=True):
        ratio = f"{lgpio / gpiod:.2f}" if gpiod else "–"
        what = f"{row.what} ({row.unit})" if row.unit else row.what
        print(f"{what:32}{gpiod:12.{row.digits}f}{lgpio:12.{row.digits}f}{ratio:>16}")
    print(f"ten lines on the simulated board: RSS {ten[0]} kB, PSS {ten[1]} kB")
    return 0


@contextmanager
def running(guest: Guest, tables: str) -> Iterator[tuple[Program, Stream]]:
    """knoop-hw with these tables, and a connection that says nothing."""
    guest.write("/root/bench/node.toml", tables)
    guest.write("/root/bench/state/.keep", "")
    where = ("--config", "node.toml", "--socket", "board.sock", "--state", "state")
    program = guest.start("knoop-hw", *where, cwd="/root/bench", log="/root/bench/log")
    program.says("the board is open", within_s=120)
    stream = guest.dial("/root/bench/board.sock")
    try:
        yield program, stream
    finally:
        stream.close()
        program.signal(signal.SIGTERM)
        program.wait()
        guest.run("/bin/busybox", "rm", "-rf", "/root/bench")


def measure(guest: Guest, driver: str) -> list[float]:
    """In the order of ROWS."""
    with running(guest, f'[board]\ndriver = "{driver}"\n{LINES}') as (program, stream):
        settle(guest, program)
        before = cpu_ns(guest, program)
        time.sleep(IDLE_S)
        idle = (cpu_ns(guest, program) - before) / (IDLE_S * 1e6)

        before = cpu_ns(guest, program)
        for level in (True, False) * PULSES:
            guest.lines.drive(7, level)
            time.sleep(PACE_S)
        settle(guest, program)
        per_edge = (cpu_ns(guest, program) - before) / (2 * PULSES) / 1e3
        lost = PULSES - last(stream, "water")["value"]

        took_ms = [1000 * latency_s(guest, stream, 5, level) for level in (True, False) * (EDGES // 2)]
        status = guest.read(f"/proc/{program.pid}/status")
        return [
            idle, per_edge, lost, statistics.median(took_ms), sorted(took_ms)[int(0.99 * len(took_ms))],
            *_memory(guest, program), number_of(status, "Threads"),
        ]


def memory(guest: Guest, tables: str) -> tuple[int, int]:
    """RSS and PSS in kB, when the start is over."""
    with running(guest, tables) as (program, _):
        settle(guest, program)
        return _memory(guest, program)


def settle(guest: Guest, program: Program) -> None:
    """Return when it takes as much of a core as in the span before: what was to be done is done.

    A driver that polls never rests, so `Guest.rest` would wait for ever.
    """
    deadline = time.monotonic() + SETTLE_BOUND_S
    before, former = cpu_ns(guest, program), 1.0
    while True:
        time.sleep(SPAN_S)
        now = cpu_ns(guest, program)
        share = (now - before) / (SPAN_S * 1e9)
        if abs(share - former) < SETTLED:
            return
        assert time.monotonic() < deadline, "it does not settle"
        before, former = now, share


def _memory(guest: Guest, program: Program) -> tuple[int, int]:
    said = guest.read(f"/proc/{program.pid}/smaps_rollup")
    return number_of(said, "Rss"), number_of(said, "Pss")


def number_of(text: str, key: str) -> int:
    return int(next(line for line in text.splitlines() if line.startswith(f"{key}:")).split()[1])


def cpu_ns(guest: Guest, program: Program) -> int:
    """Time on a core, all threads together (the kernel's Documentation/scheduler/sched-stats.rst)."""
    _, said = guest.run("/bin/busybox", "sh", "-c", f"cat /proc/{program.pid}/task/*/schedstat")
    return sum(int(line.split()[0]) for line in said.splitlines())


def last(stream: Stream, channel: str) -> Any:
    """The newest reading of a channel."""
    readings = [item for line in stream.lines for item in json.loads(line).get("items", ())]
    return [reading for reading in readings if reading["channel"] == channel][-1]


def latency_s(guest: Guest, stream: Stream, line: int, level: bool) -> float:
    """From an edge outside to its reading at the host; both directions of the emulator are in it."""
    known = len(stream.lines)
    began = time.monotonic()
    guest.lines.drive(line, level)
    wait(lambda: any(f'"door{line}"'.encode() in text for text in stream.lines[known:]))
    index = next(index for index, text in enumerate(stream.lines[known:]) if f'"door{line}"'.encode() in text)
    time.sleep(max(0.0, EDGE_PAUSE_S - (time.monotonic() - began)))
    return stream.heard_s[known + index] - began


def wait(true: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "no reading"
        time.sleep(0.0005)


if __name__ == "__main__":
    sys.exit(main())
