"""A device that speaks lines of text on a serial port: an Arduino, a Pico, a scale, a weather station."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Annotated, Literal

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.leash import leashed
from knoop_hw.protocols.told import Write, check_ends
from knoop_hw.protocols.values import SIMPLER, Said, Value, excerpt, fields_of, read
from knoop_hw.serialport import Framing, Port, open_port
from knoop_hw.source import Field, Sample, check_names
from knoop_hw.timer import within

__all__ = ["Config", "Write", "fields", "open"]

log = logging.getLogger(__name__)

LONGEST = 1024  # bytes of a line
MOST = 50  # lines of one read that are looked at; who sends more than people can follow is heard now and then
MUCH = 2048  # bytes of one read; who keeps to 115 200 baud has 1152 in the rest below, and is soon heard in full again
REST_S = 0.1  # after more than these: the event loop has other things to do
EVERY_S = 10.0
FOR_EVER = 86_400_000_000_000
QUIET_S = 0.3  # a device that is asked has nothing to say for so long before it is
ANSWER_S = 2.0  # a device that is told something answers in milliseconds, a slow one in some hundred
BOOT_S = 3.0  # an Arduino starts anew when its port is opened; its boot loader swallows what comes in 1 to 2 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`device` is the port. `values`: each becomes a channel; a line gives those that it holds. A device that is only
    written to has none, and is there for as long as its port is.

    `poll` is what a device is asked every `every_s` that speaks only then. `timeout_s` is how long nothing may come
    that fits. `checksum`: "nmea" takes only lines that end in `*` and the XOR of what stands before it.
    """

    name: str
    device: Path
    values: dict[str, Value] = field(default_factory=dict)
    baudrate: Annotated[int, Between(50, 4_000_000)] = 9600
    framing: Framing = "8N1"
    poll: str = ""
    every_s: Annotated[Seconds, Between(0.1, 86400)] | None = None
    timeout_s: Annotated[Seconds, Between(1, 604_800)] = 60.0
    checksum: Literal["", "nmea"] = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be heard (ValueError)."""
        check_names("values", self.values)
        check_ends("poll", self.poll)
        if self.every_s is not None and not self.poll:
            raise ValueError("every: is how often a device is asked; add 'poll', or leave it out: it is heard at once")
        if self.poll and self.timeout_s <= self.asked_s:
            raise ValueError("timeout: is not longer than 'every'; correct one of them")

    @property
    def asked_s(self) -> float:
        """How often it is asked."""
        return EVERY_S if self.every_s is None else self.every_s


def fields(config: Config) -> tuple[Field, ...]:
    """The configured ones, whether the device sends them or not."""
    return fields_of(config.values)


def moves(config: Config, to: Write) -> frozenset[object]:
    """What an output with `to` moves, as far as can be known: no two may say the same."""
    return frozenset({(config.device.resolve(), to.write)})


class Lines:
    """Cuts a stream of bytes into lines. Pure; blank ones are skipped, too long ones dropped to their end.

    `partial`: the first line may lack its beginning, and is dropped. `overlong` counts the lines that did not end.
    """

    def __init__(self, *, partial: bool = True) -> None:
        self._rest = b""
        self._drop = partial
        self.overlong = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends: a line feed, a carriage return or both."""
        *lines, rest = re.split(rb"[\r\n]+", self._rest + data)
        if lines and self._drop:
            del lines[0]
            self._drop = False
        long = sum(len(line) > LONGEST for line in lines)
        if len(rest) > LONGEST:
            long += not self._drop
            rest, self._drop = b"", True
        self._rest = rest
        self.overlong += long
        return [line for line in lines if line.strip() and len(line) <= LONGEST]


def checked(line: bytes) -> bytes | None:
    """The line in front of its checksum, which fits; None for another (NMEA 0183: `$…*HH`)."""
    body, _, digits = line.strip().rpartition(b"*")
    right = reduce(xor, body.removeprefix(b"$"), 0)
    return body if re.fullmatch(rb"[0-9A-Fa-f]{2}", digits) and int(digits, 16) == right else None


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Talker]:  # noqa: A001 -- the contract's name
    """Open the port; raises DeviceError."""
    owner = f"sensor.{config.name}"
    async with open_port(config.device, owner=owner, baudrate=config.baudrate, framing=config.framing) as port:
        yield Talker(config, port, clock)


class Talker:
    """The open device: one tuple of samples a line, of the values that it holds."""

    def __init__(self, config: Config, port: Port, clock: Clock) -> None:
        self._config, self._port, self._clock = config, port, clock
        self._owner = f"sensor.{config.name}"
        self._heard_ns = dict.fromkeys(config.values, clock.boottime_ns())  # when each was heard last
        self._missing: set[str] = set()
        self._strange = _Strange()
        self._said = False
        self._spoke = asyncio.Event()
        self._told: tuple[Write, bool | float, asyncio.Future[bool | float]] | None = None
        self._contrary: bool | float | None = None
        self.fields = fields(config)

    async def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """Raises DeviceError when nothing fits for `timeout`, the port is gone, or a line takes too long to read."""
        heard = await self._unasked() if self._config.poll else b""
        lines = Lines(partial=bool(heard) or not self._config.poll)
        lines.feed(heard)
        asks_ns = self._clock.boottime_ns() if self._config.poll else None
        while True:
            now_ns = self._clock.boottime_ns()
            if asks_ns is not None and asks_ns <= now_ns:
                await self._port.write(self._config.poll.encode())
                pause_s = self._config.asked_s if self._spoke.is_set() else min(self._config.asked_s, BOOT_S)
                asks_ns = now_ns + int(pause_s * 1e9)
            coming_ns = (at_ns for at_ns in (asks_ns, self._silent_ns) if at_ns is not None)
            due_ns = min(coming_ns, default=now_ns + FOR_EVER)
            try:
                data = await within(self._port.read(), max(due_ns - now_ns, 1_000_000) / 1e9, clock=self._clock)
            except TimeoutError:
                data = b""
            taken = lines.feed(data)
            self._strange.size += len(data)
            if taken:
                self._spoke.set()
            for line in taken[-MOST:]:
                if samples := self._samples(line):
                    yield samples
                await self._clock.sleep(0)  # a pattern may take ms: what else is due comes between two lines
            if silent := self._silent():
                yield silent
            if len(taken) > MOST or len(data) >= MUCH:
                await self._clock.sleep(REST_S)

    async def write(self, to: Write, value: bool | float) -> bool | float | None:
        """Send the text of `to`; returns the value that the device answers, None where it has no `answer`.

        Raises DeviceError, also when no answer comes within 2 s. One after the other, and while `samples` is followed.
        A switch that says the contrary is given these 2 s, too: it may have answered what it was told before.
        Until the device has spoken once it may not listen yet: then this waits for that, at most 3 s.
        """
        if not self._spoke.is_set():
            with suppress(TimeoutError):
                await within(self._spoke.wait(), BOOT_S, clock=self._clock)
            self._spoke.set()
        if not to.answer:
            await self._port.write(to.of(value))
            return None
        answer = asyncio.get_running_loop().create_future()
        self._told, self._contrary = (to, value, answer), None
        try:
            await self._port.write(to.of(value))
            return await within(_of(answer), ANSWER_S, clock=self._clock)
        except TimeoutError:
            if self._contrary is not None:
                return self._contrary
            raise DeviceError(f"{self._owner}: no line that fits 'answer' came within {ANSWER_S:g} s") from None
        finally:
            self._told = None

    async def _unasked(self) -> bytes:
        """What the device says before it is asked: the rest of an answer to who asked before us."""
        try:
            return await within(self._port.read(), QUIET_S, clock=self._clock)
        except TimeoutError:
            return b""

    def _samples(self, line: bytes) -> tuple[Sample, ...]:
        """What the line holds; nothing when it fits no value, or is spoiled."""
        whole = checked(line) if self._config.checksum else line
        if whole is None or b"\xff" in line:  # the port's word for a spoiled byte; no UTF-8 has one
            self._strange.spoiled += 1
            if not self._said:
                self._said = True
                log.warning("%s: a spoiled line was dropped; further ones are only counted", self._owner)
            return ()
        now_ns, text = self._clock.boottime_ns(), _text(whole)
        try:
            answers, found = leashed(lambda: (self._answers(text), read(self._config.values, Said(text))))
        except TimeoutError:
            raise DeviceError(f"{self._owner}: {excerpt(text)} is too long for a pattern; {SIMPLER}") from None
        if not found and answers:
            return ()
        if not found:
            self._strange.lines += 1
            self._strange.last = line
            return ()
        self._strange = _Strange()
        self._missing -= found.keys()
        self._heard_ns |= dict.fromkeys(found, now_ns)
        return tuple(
            Sample(field=name, value=value, quality="error" if value is None else "ok", boottime_ns=now_ns)
            for name, value in found.items()
        )

    def _answers(self, line: str) -> bool:
        """Whether this line confirms what was written just now."""
        if self._told is None or self._told[2].done():
            return False
        to, wanted, answer = self._told
        try:
            value = to.confirmed(line)
        except BadReading as error:
            answer.set_exception(DeviceError(f"{self._owner}: answers {excerpt(line)}: {error}"))
            return True
        if to.kind == "switch" and value not in {None, wanted}:
            self._contrary = value
        elif value is not None:
            answer.set_result(value)
        return value is not None

    @property
    def _silent_ns(self) -> int | None:
        """When the next value has been silent for `timeout`; None: it has no values."""
        heard_ns = [at_ns for name, at_ns in self._heard_ns.items() if name not in self._missing]
        return min(heard_ns) + int(self._config.timeout_s * 1e9) if heard_ns else None

    def _silent(self) -> tuple[Sample, ...]:
        """The values that are `missing` from now on. Raises DeviceError when that is all of them."""
        now_ns = self._clock.boottime_ns()
        if self._silent_ns is None or now_ns < self._silent_ns:
            return ()
        past_ns = now_ns - int(self._config.timeout_s * 1e9)
        silent = {name for name, at_ns in self._heard_ns.items() if at_ns <= past_ns}
        if len(silent) == len(self._heard_ns):
            raise DeviceError(f"{self._owner}: {self._why()}")
        fresh, self._missing = silent - self._missing, silent
        return tuple(Sample(field=name, value=None, quality="missing", boottime_ns=now_ns) for name in sorted(fresh))

    def _why(self) -> str:
        waited, strange = f"no value in {self._config.timeout_s:g} s", self._strange
        if strange.lines:
            return f"{waited}; {strange.lines} lines fit none of 'values', the last was {excerpt(_text(strange.last))}"
        if strange.spoiled or self._port.spoiled:
            count = f"{strange.spoiled} spoiled lines, {self._port.spoiled} bytes with a wrong parity or stop bit"
            return f"{waited}, {count}; check 'baudrate', 'framing', 'checksum' and the cable"
        if strange.size:
            return f"{waited}; {strange.size} bytes came, but no line of at most {LONGEST}; check 'baudrate'"
        asked = " or understands no 'poll'" if self._config.poll else ""
        return f"{waited}, and not one byte; check the cable, and whether the device runs{asked}"


async def _of(answer: asyncio.Future[bool | float]) -> bool | float:
    return await answer


@dataclass(slots=True)
class _Strange:
    """What came since the last line that fitted."""

    size: int = 0
    lines: int = 0
    spoiled: int = 0
    last: bytes = b""
