"""Modbus RTU over RS-485 or any serial port: registers become values, and outputs are written.

An energy meter such as Eastron's SDM120 or SDM630 ("Smart Meter Modbus Protocol Implementation", input registers):

    [sensor.grid]
    driver = "modbus"
    device = "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0"
    baudrate = 2400           # how the SDM120 is delivered; the SDM630 9600
    unit = 1
    [sensor.grid.registers]
    voltage = { at = 0, table = "input", type = "float32", unit = "V" }
    power = { at = 12, table = "input", type = "float32", unit = "W" }
    energy = { at = 342, table = "input", type = "float32", unit = "kWh", digits = 2 }

Source: MODBUS Application Protocol V1.1b3 and MODBUS over Serial Line V1.02 (modbus.org). Several sensors may name one
device: they share the bus. Why only pymodbus's frames and messages: docs/adr/0022-modbus.md.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from knoop_hw.clock import Clock
from knoop_hw.decode import Between, Seconds
from knoop_hw.errors import DeviceError
from knoop_hw.life import end
from knoop_hw.protocols.registers import EXCEPTIONS, Block, Register, Write, parts, plan, values
from knoop_hw.rtu import Bus, Framing, NoAnswer, Request, join
from knoop_hw.source import Field, Sample, check_names
from knoop_hw.timer import within

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

__all__ = ["Config", "Write", "fields", "open"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """`device` is the port, `unit` the address of the device on it. `registers` are the values: name → where and how.

    `framing`: the standard says 8E1, most devices are delivered with 8N1. `timeout_s` is how long an answer may take;
    it must be longer than the slowest one takes. `retries`: how often it is asked again. `gap`: registers that are
    read along, although nobody asked for them, where that saves a request; `most`: registers in one request.
    """

    shared: ClassVar[bool] = True  # several sensors may name one device, when they agree on `PORT`
    PORT: ClassVar[tuple[str, ...]] = ("baudrate", "framing")

    name: str
    device: Path
    unit: Annotated[int, Between(1, 247)] = 1
    baudrate: Annotated[int, Between(300, 1_000_000)] = 9600
    framing: Framing = "8N1"
    every_s: Annotated[Seconds, Between(0.1, 86400)] = 10.0
    timeout_s: Annotated[Seconds, Between(0.02, 60)] = 1.0
    retries: Annotated[int, Between(0, 5)] = 2
    gap: Annotated[int, Between(0, 100)] = 8
    most: Annotated[int, Between(4, 125)] = 125
    registers: dict[str, Register] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a network address, and names that no channel can have (ValueError)."""
        if self.device.parts[:2] != ("/", "dev") and re.search(r":\d{1,5}$|^tcp:", str(self.device.name)):
            text = "is a network address; the hardware half has no network, so Modbus TCP is not possible"
            raise ValueError(f"device: '{self.device.name}' {text}; name a serial port")
        check_names("registers", self.registers)


def fields(config: Config) -> tuple[Field, ...]:
    """One for each of `registers`, in their order; none for a device that is only written to."""
    return tuple(
        Field(name=name, type="boolean" if item.boolean else "number", unit=item.unit, digits=item.digits)
        for name, item in config.registers.items()
    )


def moves(config: Config, to: Write) -> frozenset[object]:
    """What an output with `to` writes on which bus: no two may write the same."""
    entry, port = to.entry, config.device.resolve()
    return frozenset((port, config.unit, entry.table, entry.at + more) for more in range(entry.size))


def check(to: Write, level: bool | float) -> None:
    """Raise ValueError when no register of this type holds `level`."""
    to.words(level)


def doubts(config: Config) -> Iterator[str]:
    """The addresses that look like a manual's numbers."""
    for name, item in config.registers.items():
        if item.advice:
            yield f"registers.{name}.at: {item.at} is an address, too{item.advice}"


@asynccontextmanager
async def open(config: Config, *, clock: Clock) -> AsyncIterator[Modbus]:  # noqa: A001 -- the contract's name
    """Open the port, or join those who have."""
    bus = join(
        config.device, owner=f"sensor.{config.name}", baudrate=config.baudrate, framing=config.framing, clock=clock
    )
    async with bus as joined:
        yield Modbus(config, joined, clock)


class _Refused(Exception):
    """The device answered with an exception."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(EXCEPTIONS.get(code, (f"exception {code}", False))[0])


class Modbus:
    """The open device."""

    def __init__(self, config: Config, bus: Bus, clock: Clock) -> None:
        self._config, self._bus, self._clock = config, bus, clock
        self._owner = f"sensor.{config.name}"
        self._plan = plan(config.registers, gap=config.gap, most=config.most)
        self._said: set[tuple[str, ...]] = set()
        self._output: Write | None = None  # one that is in this device
        self._has_output = asyncio.Event()
        self.fields = fields(config)

    async def samples(self) -> AsyncIterator[tuple[Sample, ...]]:
        """All values every `every_s`. One that the device refuses, or has no answer for, is missing or an error alone.

        Without registers it asks for one of its outputs, to know that the device is there. Raises DeviceError when the
        port is gone, at once, or the unit does not answer.
        """
        while True:
            started_ns = self._clock.boottime_ns()
            yield await self._round()
            spent_s = (self._clock.boottime_ns() - started_ns) / 1e9
            try:
                await within(self._bus.gone.wait(), self._config.every_s - spent_s, clock=self._clock)
            except TimeoutError:
                continue
            self._bus.check(self._owner)

    async def write(self, to: Write, value: bool | float) -> bool | float | None:
        """Write, and read back. None where the device does not let that be read. Raises DeviceError."""
        self._know(to)
        entry = to.entry
        try:
            words = to.words(value)
        except ValueError as error:
            raise DeviceError(f"{self._owner}: {error}") from None
        where = f"{entry.table} {entry.at}"
        try:
            # Somebody waits for it: that it is not done is said soon.
            request = self._bus.codec.write(self._config.unit, entry.table, entry.at, words)
            await self._ask(request, retries=min(self._config.retries, 1))
        except _Refused as refused:
            raise DeviceError(f"{self._owner}: unit {self._config.unit} does not take {where}: {refused}") from None
        except NoAnswer as none:
            raise DeviceError(self._no_answer(where, none)) from None
        try:
            return await self._read_back(to)
        except (_Refused, NoAnswer):
            return None

    async def shown(self, to: Write) -> bool | float | None:
        """What it is, without writing. None where the device does not let that be read. Raises DeviceError."""
        self._know(to)
        try:
            return await self._read_back(to)
        except _Refused:
            return None
        except NoAnswer as none:
            raise DeviceError(self._no_answer(f"{to.entry.table} {to.entry.at}", none)) from None

    def _know(self, to: Write) -> None:
        self._output = to
        self._has_output.set()

    async def _read_back(self, to: Write) -> bool | float | None:
        entry = to.entry
        block = Block(table=entry.table, at=entry.at, count=entry.size, names=("",))
        return to.value(await self._words(block))

    async def _round(self) -> tuple[Sample, ...]:
        found: dict[str, Sample] = {}
        asked: list[Block] = []
        silent: list[tuple[Block, NoAnswer]] = []
        waiting = list(self._plan)
        answered = False
        while waiting:
            block = waiting.pop(0)
            try:
                words = await self._words(block)
            except _Refused as refused:
                answered = True
                smaller = parts(block, self._config.registers, most=self._config.most)
                if smaller and refused.code in {2, 3}:  # one address is wrong, or they are too many: ask for parts
                    waiting = [*smaller, *waiting]
                    continue
                how = "has no" if refused.code == 2 else "does not give"
                self._say_once(block, f"unit {self._config.unit} {how} {block}: {refused}", code=refused.code)
                read: dict[str, bool | float | None] | None = None
            except NoAnswer as nothing:
                silent.append((block, nothing))
                # Some devices are silent about what they have not: a second request tells these from dead ones.
                if not answered and (len(silent) == 2 or not waiting):
                    first, why = silent[0]
                    raise DeviceError(self._no_answer(", ".join(first.names), why)) from None
                read = None
            else:
                answered = True
                read = values(block, self._config.registers, words)
                self._said.discard(block.names)
            asked.append(block)
            now_ns = self._clock.boottime_ns()
            found |= {name: _sample(name, read, now_ns) for name in block.names}
        for block, why in silent:
            heard = "spoiled answers" if why.spoiled else "no answer"
            self._say_once(block, f"{heard} when unit {self._config.unit} is asked for {block}", code=2)
        quiet = [block for block, _ in silent]
        self._plan = (*(block for block in asked if block not in quiet), *quiet)  # next time who answers comes first
        if not self._plan:
            await self._there()
        return tuple(found[item.name] for item in self.fields)

    async def _there(self) -> None:
        """Without values of its own: return when an output in it is known and has answered. Raises DeviceError."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._has_output, self._bus.gone)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(waiting)
        self._bus.check(self._owner)
        if self._output is not None:
            await self.shown(self._output)  # a refusal is an answer, too

    async def _words(self, block: Block) -> list[int]:
        request = self._bus.codec.read(self._config.unit, block.table, block.at, block.count)
        answer = await self._ask(request, retries=0 if block.names in self._said else self._config.retries)
        return [int(bit) for bit in answer.bits][: block.count] or list(answer.registers)

    async def _ask(self, request: Request, *, retries: int) -> ModbusPDU:
        timeout_s = self._config.timeout_s
        for last in (False, True):
            answer = await self._bus.ask(request, owner=self._owner, timeout_s=timeout_s, tries=1 + retries)
            if not answer.isError():
                return answer
            if last or not EXCEPTIONS.get(answer.exception_code, ("", False))[1]:
                raise _Refused(answer.exception_code)
            await self._clock.sleep(timeout_s)  # it is busy
        raise AssertionError

    def _say_once(self, block: Block, text: str, *, code: int) -> None:
        if block.names in self._said:
            return
        self._said.add(block.names)
        remedy = "; check 'at' and 'table'" if code in {1, 2, 3} else ""  # another says something of the device
        if code == 2:
            remedy += next((hint for name in block.names if (hint := self._config.registers[name].advice)), "")
        log.warning("%s: %s: %s%s", self._owner, ", ".join(block.names), text, remedy)

    def _no_answer(self, what: str, none: NoAnswer) -> str:
        unit = f"unit {self._config.unit}"
        if none.spoiled:
            text = f"what comes for {what} is no answer of {unit}; check 'baudrate', 'framing' and the termination"
        else:
            text = f"does not answer ({unit}, asked for {what}); check A/B, 'baudrate', 'framing', 'unit', termination"
        return f"{self._owner}: {text}"


def _sample(name: str, read: dict[str, bool | float | None] | None, at_ns: int) -> Sample:
    value = None if read is None else read[name]
    return Sample(
        field=name, value=value, quality="error" if read is None else "missing" if value is None else "ok",
        boottime_ns=at_ns,
    )  # fmt: skip
