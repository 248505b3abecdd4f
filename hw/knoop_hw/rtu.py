"""A Modbus RTU bus: one port for all its units, one request at a time, and only an answer that fits is one.

Source: MODBUS over Serial Line V1.02 (modbus.org), §2.4 and §2.5.1; frames and their meaning are pymodbus's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError
from knoop_hw.life import end
from knoop_hw.protocols.registers import BITS, Table
from knoop_hw.serialport import Port, open_port
from knoop_hw.timer import within

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

log = logging.getLogger(__name__)

Framing = Literal["8N1", "8E1", "8O1", "8N2"]

# Longer than the 16 ms for which USB adapters hold bytes back; §2.5.1.1's 1.5 characters are lost in that.
GAP_S = 0.05


class NoAnswer(Exception):
    """Nothing came that answers; `spoiled` when something came."""

    def __init__(self, *, spoiled: bool) -> None:
        self.spoiled = spoiled
        super().__init__("spoiled" if spoiled else "silent")


class Codec:
    """Requests to bytes, and bytes to the one answer that they may hold."""

    def __init__(self) -> None:
        # Not pymodbus.client, which imports ssl: this half has no network.
        from pymodbus.framer import FramerRTU  # noqa: PLC0415 -- the library of one driver
        from pymodbus.pdu import DecodePDU, bit_message, register_message  # noqa: PLC0415

        # COMPAT(pymodbus 3.16): it logs an answer of another unit as an error. What matters is said here. Check before
        # removal: `test_what_comes_from_others_is_not_logged`.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._framer = FramerRTU(DecodePDU(is_server=False))
        self._reads: dict[Table, type[ModbusPDU]] = {
            "coil": bit_message.ReadCoilsRequest, "discrete": bit_message.ReadDiscreteInputsRequest,
            "holding": register_message.ReadHoldingRegistersRequest,
            "input": register_message.ReadInputRegistersRequest,
        }  # fmt: skip
        self._coil = bit_message.WriteSingleCoilRequest
        self._single = register_message.WriteSingleRegisterRequest
        self._several = register_message.WriteMultipleRegistersRequest

    def read(self, unit: int, table: Table, at: int, count: int) -> Request:
        """Functions 1 to 4."""
        pdu = self._reads[table](dev_id=unit, address=at, count=count)
        size = (count + 7) // 8 if table in BITS else 2 * count
        return Request(pdu=pdu, frame=self._framer.buildFrame(pdu), size=5 + size, writes=False)

    def write(self, unit: int, table: Table, at: int, words: Sequence[int]) -> Request:
        """Functions 5, 6 and 16."""
        if table in BITS:
            pdu: ModbusPDU = self._coil(dev_id=unit, address=at, bits=[bool(words[0])])
        elif len(words) == 1:
            pdu = self._single(dev_id=unit, address=at, registers=list(words))
        else:
            pdu = self._several(dev_id=unit, address=at, registers=list(words))
        return Request(pdu=pdu, frame=self._framer.buildFrame(pdu), size=8, writes=True)

    def answer(self, request: Request, heard: bytes) -> ModbusPDU | None:
        """The answer to `request` in what was heard, be it an exception; None when there is none (yet).

        It is the unit asked, the function asked, of just the length asked, with the right CRC, and for a write the
        same words as the request's. What stands before and after is noise.
        """
        unit, function = request.pdu.dev_id, request.pdu.function_code
        for start in range(len(heard) - 4):
            if heard[start] != unit or heard[start + 1] & 0x7F != function:
                continue
            refused = heard[start + 1] > 0x7F
            frame = heard[start : start + (5 if refused else request.size)]
            if not refused and not self._may_be(request, frame):
                continue
            # COMPAT(pymodbus 3.16): FramerRTU.decode gives up at the first bytes that look like a frame and are none:
            # it gets just the bytes of one, and its start is found here. Check before removal:
            # `test_the_right_answer_is_known_behind_and_before_noise`.
            _, pdu = self._framer.handleFrame(frame, unit, 0)
            if pdu is not None:
                return pdu
        return None

    @staticmethod
    def _may_be(request: Request, frame: bytes) -> bool:
        if len(frame) < request.size:
            return False
        if request.writes:
            return frame[2:6] == request.frame[2:6]
        return frame[2] == request.size - 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked: pymodbus's message, its bytes, and how many bytes its answer has."""

    pdu: ModbusPDU
    frame: bytes
    size: int
    writes: bool


class Bus:
    """An open port and who waits for a turn on it; `gone` is set when the port is.

    A unit that did not answer rests for as long as it was waited for, while the others go on, and once more when it
    answers again: an answer that was only late comes in that time and is nobody's. Without it the answer to one
    request could be taken for that to the next one of the same length. A unit that was silent is asked once, not again
    and again, until it answers.
    """

    def __init__(self, device: Path, port: Path, *, baudrate: int, framing: Framing, clock: Clock) -> None:
        self.settings = (baudrate, framing)
        self.gone = asyncio.Event()
        self.users = 0
        self.codec = Codec()
        self._device, self._place, self._clock = device, port, clock
        # A start bit, 8 bits, parity, stop bits. Above 19200 baud the silence is 1.75 ms (§2.5.1.1).
        self._char_s = (9 + (framing[1] != "N") + int(framing[2])) / baudrate
        self._silence_s = 3.5 * self._char_s if baudrate <= 19_200 else 0.00175
        self._stack = AsyncExitStack()
        self._opening, self._turn = asyncio.Lock(), asyncio.Lock()
        self._port: Port | None = None
        self._listening: asyncio.Task[None] | None = None
        self._why = self._opened_by = ""
        self._heard = bytearray()
        self._arrived = asyncio.Event()
        self._last_ns = 0
        self._rested_ns: dict[int, int] = {}
        self._silent: set[int] = set()
        self._echoes = self._warned = False

    async def open(self, owner: str) -> None:
        """Open the port, unless somebody has. Raises DeviceError."""
        async with self._opening:
            if self._port is None:
                baudrate, framing = self.settings
                port = open_port(self._device, owner=owner, baudrate=baudrate, framing=framing)
                self._port = await self._stack.enter_async_context(port)
                self._opened_by = owner
                self._listening = asyncio.create_task(self._listen(self._port))

    async def close(self) -> None:
        """Let go of the port."""
        self._end(f"{self._device} is closed")
        if self._listening is not None:
            await end([self._listening])
        await self._stack.aclose()

    def check(self, owner: str) -> None:
        """Raise DeviceError when the port is gone."""
        if self.gone.is_set():
            raise DeviceError(f"{owner}: {self._why}")

    async def ask(self, request: Request, *, owner: str, timeout_s: float, tries: int) -> ModbusPDU:
        """The answer, be it an exception. Raises NoAnswer, or DeviceError when the port is gone."""
        unit = request.pdu.dev_id
        noise = False
        left = 1 if unit in self._silent else tries
        while left:
            await self._clock.sleep(self._rest_s(unit))
            async with self._turn:  # first come, first served
                if self._rest_s(unit) > 0:  # since we began to wait for our turn
                    continue
                left -= 1
                self.check(owner)
                try:
                    found = await self._exchange(request, owner, timeout_s)
                except asyncio.CancelledError:
                    self._rest(unit, timeout_s)  # its answer comes when nobody waits for it
                    raise
                noise = noise or bool(self._heard)
            if found is not None:
                if unit in self._silent:
                    self._rest(unit, timeout_s)
                self._silent.discard(unit)
                return found
        raise NoAnswer(spoiled=noise)

    def _rest(self, unit: int, seconds: float) -> None:
        self._rested_ns[unit] = self._clock.boottime_ns() + int(seconds * 1e9)

    def _rest_s(self, unit: int) -> float:
        return max(self._rested_ns.get(unit, 0) - self._clock.boottime_ns(), 0) / 1e9

    async def _exchange(self, request: Request, owner: str, timeout_s: float) -> ModbusPDU | None:
        """One request, and its answer if one comes."""
        unit = request.pdu.dev_id
        await self._quiet(timeout_s)
        self._heard.clear()
        assert self._port is not None
        try:
            await self._port.write(request.frame)
        except DeviceError as error:
            self._end(str(error))
        self._last_ns = self._clock.boottime_ns()
        # Both ways take their time, and an adapter may have taken the request long before it is on the wire.
        patience_s = timeout_s + (len(request.frame) + request.size) * self._char_s
        due_ns = self._last_ns + int(patience_s * 1e9)
        while True:
            self.check(owner)
            heard = self._without_echo(request)
            if (found := self.codec.answer(request, heard)) is not None:
                return found
            left_s = (due_ns - self._clock.boottime_ns()) / 1e9
            whole = len(heard) >= request.size
            if left_s <= 0:
                self._silent.add(unit)
                self._rest(unit, timeout_s)
                return None
            self._arrived.clear()
            try:
                await within(self._arrived.wait(), min(left_s, GAP_S) if whole else left_s, clock=self._clock)
            except TimeoutError:
                if whole:  # it has answered, and not so that it can be read: it may be asked again at once
                    self._warn(owner)
                    return None

    async def _quiet(self, timeout_s: float) -> None:
        """3.5 characters of silence between frames; a bus that is never quiet is not waited for without an end."""
        give_up_ns = self._clock.boottime_ns() + int(timeout_s * 1e9)
        while (now_ns := self._clock.boottime_ns()) < give_up_ns:
            left_s = self._silence_s - (now_ns - self._last_ns) / 1e9
            if left_s <= 0:
                return
            await self._clock.sleep(left_s)

    def _without_echo(self, request: Request) -> bytes:
        """Some adapters hear what they send. That of a read cannot be its answer; that of a write looks like one."""
        heard = bytes(self._heard)
        if heard.startswith(request.frame) and (self._echoes or not request.writes):
            self._echoes = True
            return heard[len(request.frame) :]
        return heard

    def _warn(self, owner: str) -> None:
        if not self._warned:
            self._warned = True
            text = "what came was not the answer (CRC, unit, function or length) and was dropped"
            log.warning("%s: %s; further ones are not said", owner, text)

    async def _listen(self, port: Port) -> None:
        """Hear everything at once, asked for or not: what nobody waits for must not be there when somebody does."""
        try:
            while True:
                data = await port.read()
                self._heard += data
                if len(self._heard) > 4096:  # a frame has 256; this is a babbler
                    del self._heard[:-512]
                self._last_ns = self._clock.boottime_ns()
                self._arrived.set()
        except DeviceError as error:
            self._end(str(error))

    def _end(self, why: str) -> None:
        self._why = self._why or why.removeprefix(f"{self._opened_by}: ")
        self.gone.set()
        self._arrived.set()
        if _BUSES.get(self._place) is self:
            del _BUSES[self._place]
        if self._port is not None:
            self._port.close()  # or it could not be opened again when it is back


_BUSES: dict[Path, Bus] = {}  # this process's, by the port itself: several sensors share one


@asynccontextmanager
async def join(device: Path, *, owner: str, baudrate: int, framing: Framing, clock: Clock) -> AsyncIterator[Bus]:
    """The bus on this port, open for as long as somebody uses it.

    Raises DeviceError when it does not open, or is open with other settings.
    """
    port = device.resolve()  # noqa: ASYNC240 -- /dev is memory; /dev/serial/by-id/… and /dev/ttyUSB0 may be one
    bus = _BUSES.get(port)
    if bus is None:
        bus = _BUSES[port] = Bus(device, port, baudrate=baudrate, framing=framing, clock=clock)
    elif bus.settings != (baudrate, framing):
        raise DeviceError(f"{owner}: {device} is open with other settings; give all its sensors the same")
    bus.users += 1
    try:
        await bus.open(owner)
        yield bus
    finally:
        bus.users -= 1
        if not bus.users:
            await bus.close()
