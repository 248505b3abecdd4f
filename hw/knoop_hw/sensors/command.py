"""A program that prints a value, run now and then: for what no other driver knows."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from knoop_hw import rights
from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Scalar, Seconds
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.leash import leashed
from knoop_hw.model import Quality
from knoop_hw.model import Value as Reading
from knoop_hw.protocols.values import SIMPLER, Said, Value, check_unit, excerpt, fields_of, read, value_of
from knoop_hw.source import Field, Sample, Stuck, check_names
from knoop_hw.timer import within

MOST = 64 * 1024  # bytes of output; what prints more is not printing a value
MOST_COMPLAINTS = 1024 * 1024  # bytes; reading them costs time, too, and only the last line is told
CHUNK = 4096
END_S = 1.0  # between asking a program to end and ending it, and for the kernel to do so
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_SUCH = '["/usr/bin/cat", "/proc/loadavg"]'


def _words(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(word, str) and "\0" not in word for word in raw):
        raise ValueError(raw)
    return tuple(raw)


Command = Annotated[
    tuple[str, ...],
    Scalar(f"a list of words such as {_SUCH} (there is no shell that would split a text)", _words,
           schema={"type": "array", "items": {"type": "string"}, "minItems": 1}),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`command` is the program, with its full path, and its arguments: what it prints is the value.

    With `values` the output has several. It is run every `every_s`, and ended after `timeout_s`. `type` and `unit` are
    those of the one value.
    """

    name: str
    command: Command
    every_s: Annotated[Seconds, Between(1, 604_800)] = 60.0
    timeout_s: Annotated[Seconds, Between(0.1, 300)] = 10.0
    type: Literal["number", "text", "boolean"] = "number"
    unit: str = ""
    values: dict[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be run or means nothing (ValueError)."""
        if not Path(self.command[0]).is_absolute():
            program = self.command[0]
            raise ValueError(f"command: '{program}' has no full path; `command -v {program}` in a terminal prints it")
        check_names("values", self.values)
        if self.values:
            for key, default in (("type", "number"), ("unit", "")):
                if getattr(self, key) != default:
                    raise ValueError(f"{key}: each of 'values' has its own; move it there")
        check_unit(self.type, self.unit)


def fields(config: Config) -> tuple[Field, ...]:
    """Those of `values`, or the one of the sensor's own name."""
    if config.values:
        return fields_of(config.values)
    return (Field(name="", type=config.type, unit=config.unit),)


def lacks(config: Config) -> Iterator[str]:
    """The program; whether it may be run is known only to the user that runs it."""
    program = Path(config.command[0])
    with suppress(PermissionError):
        if not program.is_file():
            yield f"command: {_no_file(program)}"


def _no_file(program: Path) -> str:
    return f"{program} is no file; install it or correct 'command'"


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Runs]:  # noqa: A001 -- the contract's name
    """See whether there is such a program; raises DeviceError."""
    if wrong := _wrong(Path(config.command[0])):
        raise DeviceError(f"sensor.{config.name}: {wrong}")
    yield Runs(config, clock)


def _wrong(program: Path) -> str:
    if not program.is_file():
        return _no_file(program)
    return "" if os.access(program, os.X_OK) else f"{program} may not be run by {rights.us()}; try `chmod +x {program}`"


class Runs:
    """The program's values, again and again; one run at a time."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self.fields = fields(config)

    async def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """One tuple a run. Raises DeviceError when the program fails, prints too much or no value, or does not end."""
        while True:
            began_ns = self._clock.boottime_ns()
            try:
                values = self._values(await self._run())
            except BadReading as error:
                raise DeviceError(f"sensor.{self._config.name}: {self._config.command[0]} {error}") from None
            yield tuple(_sample(item.name, values, began_ns) for item in self.fields)
            await self._clock.sleep(self._config.every_s - (self._clock.boottime_ns() - began_ns) / 1e9)

    async def _run(self) -> str:
        """What it printed. Raises BadReading, and Stuck when it cannot even be killed."""
        try:
            transport, run = await self._start()
        except OSError as error:
            raise BadReading(f"does not start: {error.strerror}") from None
        try:
            await within(run.done.wait(), self._config.timeout_s, clock=self._clock)
        except TimeoutError:
            raise BadReading(f"had not ended after {self._config.timeout_s:g} s, and was made to") from None
        else:
            return run.output(transport.get_returncode())
        finally:
            await self._end(transport, run)

    async def _start(self) -> tuple[asyncio.SubprocessTransport, _Run]:
        starting = asyncio.ensure_future(asyncio.get_running_loop().subprocess_exec(
            _Run, *self._config.command, stdin=subprocess.DEVNULL, env=ENVIRONMENT, cwd="/", start_new_session=True,
        ))  # fmt: skip
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:  # asyncio itself would wait for ever for one that is cancelled before it runs
            with suppress(OSError):
                await self._end(*await starting)
            raise

    async def _end(self, transport: asyncio.SubprocessTransport, run: _Run) -> None:
        """Leave nothing of it: it and what it started is asked to end, then ended."""
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if run.ended:
                    return
                with suppress(OSError):
                    os.killpg(transport.get_pid(), number)
                with suppress(TimeoutError):
                    await within(run.exited.wait(), END_S, clock=self._clock)
            if not run.exited.is_set():
                text = f"sensor.{self._config.name}: {self._config.command[0]} cannot be ended; see `ps`"
                raise Stuck(text, returned=asyncio.ensure_future(run.exited.wait()))
        finally:
            # Kills it, too, if we were cancelled once more; its pipes may be held by what it left. A program that has
            # become root is not ours to kill: Stuck says so.
            with suppress(PermissionError):
                transport.close()

    def _values(self, output: str) -> dict[str, Reading]:
        config = self._config
        if not config.values:
            return {"": value_of(output, config.type)}
        try:
            values = leashed(lambda: read(config.values, Said(output)))
        except TimeoutError:
            raise BadReading(f"prints {excerpt(output)}: too long for a pattern; {SIMPLER}") from None
        if not values:
            raise BadReading(f"prints {excerpt(output)}: none of 'values' is in it")
        return values


def _sample(name: str, values: Mapping[str, Reading], at_ns: int) -> Sample:
    value = values.get(name)
    quality: Quality = "ok" if value is not None else "error" if name in values else "missing"
    return Sample(field=name, value=value, quality=quality, boottime_ns=at_ns)


class _Run(asyncio.SubprocessProtocol):
    """A running program: `exited` is the program, `done` when nothing more of it matters."""

    def __init__(self) -> None:
        self.done, self.exited = asyncio.Event(), asyncio.Event()
        self.ended = False  # the program, and all that had its pipes
        self._output, self._complaint = bytearray(), bytearray()
        self._left = {1: MOST, 2: MOST_COMPLAINTS}  # bytes that may still come
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._left[fd] -= len(data)
        if self._left[fd] < 0:
            self._transport.get_pipe_transport(fd).pause_reading()
            self.done.set()
        elif fd == 1:
            self._output += data
        else:
            self._complaint = (self._complaint + data)[-CHUNK:]

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended = True
        self.done.set()

    def output(self, code: int | None) -> str:
        """What it printed. Raises BadReading for too much, or when it failed."""
        if self._left[1] < 0:
            raise BadReading(f"prints more than {MOST // 1024} KiB, and was ended")
        if self._left[2] < 0:
            raise BadReading(f"complains in more than {MOST_COMPLAINTS >> 20} MiB, and was ended: {self._last_words()}")
        if code != 0:
            raise BadReading(f"failed ({_said(code)}): {self._last_words()}")
        return self._output.decode("utf-8", "replace")

    def _last_words(self) -> str:
        lines = self._complaint.decode("utf-8", "replace").split("\n")
        said = (excerpt(line.strip(), limit=120) for line in reversed(lines) if line.strip())
        return next(said, "it does not say why")


def _said(code: int | None) -> str:
    """How it ended (subprocess: a signal is a negative code)."""
    return f"exit code {code}" if code is None or code >= 0 else f"signal {-code}"
