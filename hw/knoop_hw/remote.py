"""All outputs that live in devices: what was asked, what the guards allow, what the device then says.

As `outputs` is for lines, but a device takes its time and may be away. docs/adr/0018-outputs-in-devices.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable
from functools import partial
from typing import Any

from knoop_hw.clock import Clock
from knoop_hw.device import WRITE_S, Device, Wanted, same
from knoop_hw.errors import DeviceError, SetRefused
from knoop_hw.guards import Due, Guard, Level
from knoop_hw.life import end
from knoop_hw.model import Quality, Report, Value
from knoop_hw.remote_tables import Remote
from knoop_hw.source import Source
from knoop_hw.timer import Timer

log = logging.getLogger(__name__)

RETRY_S = 1.0  # a device that refuses a forced change is asked again every second


class Remotes:
    """The outputs in devices. Every change, whoever wanted it, is reported; `close` takes each to its safe level."""

    def __init__(self, *, clock: Clock, report: Report) -> None:
        self._clock, self._report_to = clock, report
        self._devices: dict[str, Device] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer = Timer(self._enforce, clock=clock)

    # Which there are --------------------------------------------------------------------------------------------------

    @property
    def names(self) -> frozenset[str]:
        """Those of now, whether their devices are there or not."""
        return frozenset(name for device in self._devices.values() for name in device.outputs)

    def open(self, configs: Iterable[Remote]) -> None:
        """Have these as well; their initial levels are written when their devices are there."""
        for config in configs:
            guard = Guard(config.name, config.limits, value=None, now_ns=self._clock.boottime_ns())
            self._device(config.sensor).outputs[config.name] = Wanted(config, guard)
        for device in self._devices.values():
            if device.source is not None:
                self._spawn(self._begin(device, device.source))

    def opened(self, sensor: str, source: Source | None) -> None:
        """The device of this sensor is there (`source`), or is not any more."""
        device = self._device(sensor)
        device.source = source
        for output in device.outputs.values():
            output.begun = False
            if source is None:
                self._report(output, None, "missing")
        if source is not None and device.outputs:
            self._spawn(self._begin(device, source))

    def staying(self, configs: Iterable[Remote], *, gone: Collection[str]) -> set[str]:
        """Which of the outputs these configurations do not touch; those of sensors that are `gone` are."""
        lines = {o.config.name: o.config.line for o in self._outputs() if o.config.sensor not in gone}
        return {config.name for config in configs if lines.get(config.name) == config.line}

    def renew(self, configs: Iterable[Remote]) -> None:
        """Let words of these outputs hold from now on; nothing is written."""
        for config in configs:
            self._device(config.sensor).outputs[config.name].config = config

    def moved_by_a_restart(self) -> list[str]:
        """The outputs that closing and opening again would write to, or whose lease it would forget."""
        moved = []
        for output in self._outputs():
            guard, ends = output.guard, {output.config.initial_level, output.config.safe_level} - {None}
            there = output.begun or output.tells  # one that is away may come back as it was
            if there and (guard.lasting != guard.value or ends - ({guard.value} if guard.known else set())):
                moved.append(output.config.name)
        return moved

    def _device(self, sensor: str) -> Device:
        return self._devices.setdefault(sensor, Device(sensor))

    def _outputs(self) -> Iterable[Wanted]:
        return (output for device in self._devices.values() for output in device.outputs.values())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What is asked ----------------------------------------------------------------------------------------------------

    async def set(self, name: str, value: bool | float, *, for_s: float | None = None, until_ns: int) -> Level:
        """Move an output; returns the level that the device shows, or that it was told where it cannot show any.

        Wishes for one device are done one after the other, in order, and none after `until_ns`. Raises SetRefused with
        the protocol's word and a sentence.
        """
        self._notice()
        device, output = self._find(name)
        async with device.turn:
            await self._pay(device)
            now_ns = self._clock.boottime_ns()
            if output.leaving:
                raise SetRefused("device", f"{name}: is being closed; ask again")
            if not output.begun:
                if device.source is None:
                    text = f"sensor.{device.name} is not there; see to that device, its own readings say more"
                    raise SetRefused("absent", f"{name}: {text}")
                raise SetRefused("device", f"{name}: sensor.{device.name} does not answer; see to that device")
            if now_ns >= until_ns:
                raise SetRefused("device", f"{name}: its device was busy for too long; ask again")
            level = output.guard.request(value, now_ns=now_ns, for_s=for_s)
            limit_s = min(WRITE_S, (until_ns - now_ns) / 1e9)
            try:
                return await self._apply(device, output, level, for_s=for_s, limit_s=limit_s)
            except DeviceError as error:
                raise SetRefused("device", str(error)) from None

    def _find(self, name: str) -> tuple[Device, Wanted]:
        for device in self._devices.values():
            if (output := device.outputs.get(name)) is not None:
                return device, output
        raise SetRefused("unknown", f"{name}: is not an output in a device")

    def beat(self) -> None:
        """The agent lives. What was due after a silence that was too long happens all the same."""
        self._enforce()
        now_ns = self._clock.boottime_ns()
        for output in self._outputs():
            output.guard.beat(now_ns)

    # What must happen -------------------------------------------------------------------------------------------------

    async def _begin(self, device: Device, source: Source) -> None:
        """The device is there: each output gets its initial level, or is as it was."""
        while device.source is source:
            for output in device.beginning:
                async with device.turn:  # of each: who leaves, or must be safe, does not wait for all of them
                    if device.source is source and not output.leaving and not output.begun:
                        await self._initial(device, output, source)
            self._timer.at(self._due_ns())
            if not device.beginning:
                return
            await self._clock.sleep(RETRY_S)

    async def _initial(self, device: Device, output: Wanted, source: Source) -> None:
        if not output.met:
            output.guard = Guard(output.config.name, output.config.limits, value=None, now_ns=self._clock.boottime_ns())
        try:
            shown = await self._look(device, output)
        except DeviceError as error:
            if device.source is source and not output.leaving:
                self._report(output, None, "error")
                self._fails(output, error)
            return
        if device.source is not source or output.leaving:
            return
        now_ns, guard, kept = self._clock.boottime_ns(), output.guard, output.has(shown)
        level, then_ns = output.first(now_ns, shown)
        output.met = output.begun = True
        if shown is not None:
            self._report(output, shown, "ok")
            self._works(output)
        if kept:
            return
        if level is None:
            guard.lost(now_ns)
            if shown is not None:
                guard.found(shown, now_ns=now_ns)
            elif output.said is not None:  # nobody knows, but it is said to keep its level
                self._report(output, output.said, "estimate")
            return
        output.owed = None
        try:
            if shown == level:
                guard.applied(level, now_ns=now_ns, forced=True)
            else:
                await self._apply(device, output, level, forced=True)
            if then_ns is not None:
                guard.follow(guard.limits.level(on=True), at_ns=then_ns)
        except DeviceError as error:
            self._fails(output, error)

    async def _look(self, device: Device, output: Wanted) -> Level | None:
        """How it is, where its device can tell.

        Raises DeviceError for one that told before, and is to be asked again: to write what it may not have lost,
        because an answer was, would switch off what runs.
        """
        try:
            return await device.shown(output.config, clock=self._clock)
        except DeviceError as error:
            self._notice()
            if output.tells and output.owed is None:
                raise
            if output.config.initial_level is None:
                log.warning("%s", error)
            return None

    def _notice(self) -> None:
        """What is due is owed from now on, also when we hung until now."""
        now_ns = self._clock.boottime_ns()
        for output in self._outputs():
            output.notice(now_ns)

    def _enforce(self) -> None:
        self._notice()
        now_ns = self._clock.boottime_ns()
        for device in self._devices.values():
            if not device.paying and any(output.owes(now_ns) for output in device.outputs.values()):
                device.paying = True
                self._spawn(self._settle(device))
        self._timer.at(self._due_ns())

    async def _settle(self, device: Device) -> None:
        try:
            async with device.turn:
                await self._pay(device)
        finally:
            device.paying = False
        self._timer.at(self._due_ns())

    async def _pay(self, device: Device) -> None:
        """Do what is owed to this device, with its `turn` held."""
        for output in list(device.outputs.values()):
            if output.owes(self._clock.boottime_ns()) and (due := output.owed) is not None:
                await self._force(device, output, due)

    async def _force(self, device: Device, output: Wanted, due: Due) -> None:
        name = output.config.name
        try:
            if due.cause == "lease":
                output.guard.returning(due.value, now_ns=self._clock.boottime_ns())
            await self._apply(device, output, due.value, forced=True)
            log.info("%s: set to %s by %s", name, due.value, due.cause)
        except SetRefused as refused:
            output.guard.let_go()
            output.owed = None
            log.warning("%s: does not return to %s after its lease: %s", name, due.value, refused)
        except DeviceError as error:
            self._fails(output, error)

    def _fails(self, output: Wanted, error: DeviceError) -> None:
        output.retry_ns = self._clock.boottime_ns() + int(RETRY_S * 1e9)
        again = "; trying again every second" if output.owed or output.guard.due() or not output.begun else ""
        if not output.failing:
            log.error("%s%s", error, again)
        output.failing = True

    def _works(self, output: Wanted) -> None:
        if output.failing:
            log.warning("output.%s: is back", output.config.name)
        output.failing = False

    def _due_ns(self) -> int | None:
        """When the first output wants something; what is being done is not waited for."""
        return min((
            max(due.at_ns, output.retry_ns)
            for device in self._devices.values() for output in device.outputs.values()
            if output.begun and not output.leaving and not (output.owed and device.paying)
            and (due := output.owed or output.guard.due())
        ), default=None)  # fmt: skip

    # Writing ----------------------------------------------------------------------------------------------------------

    async def _apply(
        self, device: Device, output: Wanted, level: Level, *, for_s: float | None = None, forced: bool = False,
        limit_s: float = WRITE_S,
    ) -> Level:  # fmt: skip
        began_ns, owed, output.coming = self._clock.boottime_ns(), output.owed, level
        try:
            shown = await self._move(device, output, level, limit_s=limit_s)
        except DeviceError:
            output.guard.failed(level, now_ns=self._clock.boottime_ns(), for_s=for_s)
            raise
        else:
            # On since it may have been, off since it is.
            at_ns = began_ns if level else self._clock.boottime_ns()
            output.guard.applied(level, now_ns=at_ns, for_s=for_s, forced=forced)
            if output.owed is owed or (output.owed and output.owed.cause == "fault"):  # else it became due meanwhile
                output.owed, output.retry_ns = None, 0
            self._works(output)
            return shown
        finally:
            output.coming = None
            self._timer.at(self._due_ns())

    async def _move(self, device: Device, output: Wanted, level: Level, *, limit_s: float = WRITE_S) -> Level:
        """Write, and report what the device then shows. Raises DeviceError, also when that is another level."""
        opened = device.source
        try:
            shown = await device.write(output.config, level, limit_s=limit_s, clock=self._clock)
        except DeviceError:
            self._report(output, None, "error" if opened is not None and device.source is opened else "missing")
            raise
        if shown is None:
            self._report(output, level, "estimate")
            return level
        self._report(output, shown, "ok")
        if not same(output.config, shown, level):
            text = f"its device shows {shown} after it was set to {level}; look at it"
            raise DeviceError(f"output.{output.config.name}: {text}")
        return shown

    def _report(self, output: Wanted, value: Value, quality: Quality) -> None:
        if isinstance(value, bool | float):
            output.said, output.tells = value, output.tells or quality == "ok"
        if self._devices[output.config.sensor].outputs.get(output.config.name) is output:  # else it is gone by now
            self._report_to(output.config.name, value, quality, self._clock.boottime_ns())

    # The end ----------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Take every output to its safe level, all devices at once, in 2 s at most; closing twice is fine."""
        await self.release(self.names)
        self._timer.close()
        await end(self._tasks)

    async def release(self, names: Iterable[str]) -> None:
        """Take these outputs to their safe levels and have them no more, whatever fails."""
        names = set(names)
        going: list[tuple[Device, list[Wanted]]] = []
        for device in self._devices.values():
            if outputs := [output for name, output in device.outputs.items() if name in names]:
                going.append((device, outputs))
            for output in outputs:
                output.leaving = True
        await asyncio.gather(*(
            device.leave(outputs, partial(self._move, device), clock=self._clock) for device, outputs in going
        ))  # fmt: skip
        for device, outputs in going:
            for output in outputs:
                device.outputs.pop(output.config.name, None)
        self._timer.at(self._due_ns())
