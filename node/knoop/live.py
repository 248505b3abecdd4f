"""`knoop probe --watch`: the values of inputs and sensors as they change. No server, and no output opened."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from knoop.errors import NodeError, Usage
from knoop.payload import timestamp
from knoop.text import Voice
from knoop_hw.board import Board
from knoop_hw.clock import Clock, SystemClock
from knoop_hw.decode import suggest
from knoop_hw.errors import DeviceError
from knoop_hw.link import LinkClosed, pair
from knoop_hw.logs import printable
from knoop_hw.messages import Readings, Stored
from knoop_hw.model import Channel, Reading
from knoop_hw.pins import line_of
from knoop_hw.tables import Config, Input, Sensor

NOTE_ROWS = 4  # below the values: how it ends, and the log's last sentence
STOP = "if that is the node, stop it first: `sudo systemctl stop knoop-hw`, or Ctrl-C where it runs"


class Absent(NodeError):
    """What was asked for is not there."""


def watch(arguments: argparse.Namespace, there: Config | None) -> int:
    """Show values until Ctrl-C; `there` is what node.toml says. Raises Usage, Absent or DeviceError."""
    config, channels = watched(arguments.name, pull=arguments.pull, there=there)
    asyncio.run(_show(config, channels, as_json=arguments.json))
    return 0


def watched(names: Collection[str], *, pull: str, there: Config | None) -> tuple[Config, dict[str, str]]:
    """The board to open, without outputs, and what is shown: channel → what it is called here.

    A name is a channel, the device that has several, or a line. Raises Usage where nothing is named, Absent.
    """
    if there is None and not names:
        raise Usage("there is no node.toml here; name lines: knoop probe --watch GPIO17 GPIO27")
    there = there or Config()
    inputs = {line.name: line for line in there.inputs}
    sensors = {sensor.name: sensor for sensor in there.sensors}
    if not names:
        names = [*inputs, *sensors]
        if not names:
            raise Absent("node.toml has no input and no sensor; name a line: knoop probe --watch GPIO17")
    chosen_inputs: dict[str, Input] = {}
    chosen_sensors: dict[str, Sensor] = {}
    wanted: set[str] = set()
    lines: dict[str, str] = {}
    for name in names:
        device = name.partition(".")[0]
        if (pin := _pin(name)) is not None:
            line = _line(pin, there, pull)
            chosen_inputs[line.name] = line
            wanted.add(line.name)
            lines |= {line.name: pin} if line.name not in inputs else {}
        elif device in inputs or device in sensors:
            chosen_inputs |= {device: inputs[device]} if device in inputs else {}
            chosen_sensors |= {device: sensors[device]} if device in sensors else {}
            wanted.add(name)
        elif device in {line.name for line in there.outputs} | {remote.name for remote in there.remotes}:
            raise Absent(f"'{name}' is an output, and probe opens none; ask the node: it says where it is")
        else:
            raise Absent(f"there is no '{name}'; {suggest(name, sorted({*inputs, *sensors}))}")
    config = replace(
        there, inputs=tuple(chosen_inputs.values()), outputs=(), remotes=(), sensors=tuple(chosen_sensors.values())
    )
    shown = {
        channel.name: lines.get(channel.name, channel.name) for channel in config.channels()
        if {channel.name, channel.name.partition(".")[0]} & wanted
    }  # fmt: skip
    if missing := sorted(name for name in wanted if "." in name and name not in shown):
        raise Absent(f"there is no '{missing[0]}'; {suggest(missing[0], [item.name for item in config.channels()])}")
    return config, shown


def _pin(name: str) -> str | None:
    try:
        return line_of(name.upper())
    except ValueError:
        return None


def _line(pin: str, there: Config, pull: str) -> Input:
    """The input that node.toml has on this line, else one that shows it as it is."""
    for output in there.outputs:
        if output.pin == pin:
            raise Absent(f"{pin} is output.{output.name}, and probe opens no output")
    own = next((line for line in there.inputs if line.pin == pin), None)
    return own or Input(name=pin.lower(), pin=pin, pull=pull, debounce_s=0.0)  # type: ignore[arg-type]  # argparse checked it


class Shown(Protocol):
    """A way to show readings."""

    def show(self, readings: Collection[Reading]) -> None:
        """These are new."""
        ...


async def _show(config: Config, called: Mapping[str, str], *, as_json: bool) -> None:
    clock = SystemClock()
    channels = {channel.name: channel for channel in config.channels() if channel.name in called}
    way = _way(channels, called, clock, as_json=as_json)
    try:
        with way.heard() if isinstance(way, _InPlace) else nullcontext():
            async with Board(config, clock=clock) as board:
                await _follow(board, lambda readings: way.show([item for item in readings if item.channel in channels]))
    except DeviceError as error:
        if "in use" in str(error) or "busy" in str(error):
            raise DeviceError(f"{error}\n{STOP}") from None
        raise


def _way(channels: Mapping[str, Channel], called: Mapping[str, str], clock: Clock, *, as_json: bool) -> Shown:
    """In place where there is a terminal with room for all; else line by line."""
    if as_json:
        return _Json(channels, called, clock)
    words = _Words(channels, called, clock)
    rows = shutil.get_terminal_size().lines
    in_place = sys.stdout.isatty() and len(channels) + NOTE_ROWS < rows
    return _InPlace(words, list(channels)) if in_place else _Lines(words)


async def _follow(board: Board, show: Callable[[Collection[Reading]], None]) -> None:
    """Be the board's agent: show what it says, and let it forget that."""
    ours, boards = pair()
    serving = asyncio.create_task(board.serve(boards))
    try:
        while True:
            message = await ours.receive()
            if isinstance(message, Readings):
                show(message.items)
                await ours.send(Stored(upto=message.upto))
    except LinkClosed:
        await serving  # it says why
    finally:
        await ours.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


class _Words:
    """A reading as people read it."""

    def __init__(self, channels: Mapping[str, Channel], called: Mapping[str, str], clock: Clock) -> None:
        self._channels, self._clock = channels, clock
        self.called = called
        self.width = max(map(len, called.values()))
        self._voice = Voice(lang="en", now_ns=clock.time_ns())

    def value(self, reading: Reading) -> str:
        channel = self._channels[reading.channel]
        if self.called[channel.name] != channel.name and isinstance(reading.value, bool):
            return "high" if reading.value else "low"  # a line of no input: what it means nobody said
        if reading.value is None:
            return reading.quality
        said = self._voice.value(channel, reading.value)
        return said if reading.quality == "ok" else f"{said} ({reading.quality})"

    def at(self, reading: Reading) -> str:
        return f"{datetime.fromtimestamp(_at_ns(reading, self._clock) / 1e9).astimezone():%H:%M:%S.%f}"[:-3]


class _Lines:
    """One line a reading."""

    def __init__(self, words: _Words) -> None:
        self._words = words

    def show(self, readings: Collection[Reading]) -> None:
        for reading in readings:
            name = self._words.called[reading.channel]
            _print(f"{self._words.at(reading)}  {name:<{self._words.width}}  {self._words.value(reading)}")


class _InPlace:
    """One row a channel, written over and over; below them the last line of the log, which would tear the rows."""

    def __init__(self, words: _Words, order: Collection[str]) -> None:
        self._words, self._order = words, order
        self._latest: dict[str, Reading] = {}
        self._counts = dict.fromkeys(order, 0)
        self._drawn = 0
        self._note = ""

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Take the log meanwhile."""
        root, ours = logging.getLogger(), _Log(self._noted)
        former, root.handlers[:] = root.handlers[:], [ours]
        try:
            yield
        finally:
            root.handlers[:] = former

    def _noted(self, text: str) -> None:
        self._note = text
        self._draw()

    def show(self, readings: Collection[Reading]) -> None:
        for reading in readings:
            self._latest[reading.channel] = reading
            self._counts[reading.channel] += 1
        self._draw()

    def _draw(self) -> None:
        words, width = self._words, shutil.get_terminal_size().columns
        rows = []
        for name in self._order:
            row = f"{words.called[name]:<{words.width}}  "
            if (reading := self._latest.get(name)) is None:
                row += "nothing yet"
            else:
                row += f"{words.value(reading):<24} {words.at(reading)}  {self._counts[name]:>6} ×"
            rows.append(printable(row)[: width - 1])
        rows += ["Ctrl-C ends.", *textwrap.wrap(printable(self._note), width - 1)]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        drawn = "".join(f"\r\x1b[K{row}\n" for row in rows)
        print(f"{up}{drawn}\x1b[J", end="", flush=True)  # noqa: T201 -- a terminal's screen
        self._drawn = len(rows)


class _Log(logging.Handler):
    """Hands on what is logged."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


class _Json:
    """One object a reading."""

    def __init__(self, channels: Mapping[str, Channel], called: Mapping[str, str], clock: Clock) -> None:
        self._channels, self._called, self._clock = channels, called, clock

    def show(self, readings: Collection[Reading]) -> None:
        for reading in readings:
            told = {
                "channel": self._called[reading.channel], "value": reading.value,
                "unit": self._channels[reading.channel].unit, "quality": reading.quality,
                "at": timestamp(_at_ns(reading, self._clock)),
            }  # fmt: skip
            print(json.dumps(told, ensure_ascii=False), flush=True)  # noqa: T201 -- a command's output


def _at_ns(reading: Reading, clock: Clock) -> int:
    return clock.time_ns() - (clock.boottime_ns() - reading.boottime_ns)


def _print(text: str) -> None:
    print(printable(text), flush=True)  # noqa: T201 -- a command's output
