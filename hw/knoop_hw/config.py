"""The hardware half's tables of node.toml, read whole: what is wrong with them, all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from knoop_hw import bus, source, units
from knoop_hw.decode import Document, into, keys, suggest
from knoop_hw.decode import load as load_file
from knoop_hw.errors import ConfigError, Problem
from knoop_hw.filters import NUMERIC, Options, foreign
from knoop_hw.locate import Place
from knoop_hw.model import NAME, Channel
from knoop_hw.remote_tables import Remote
from knoop_hw.scenario import World
from knoop_hw.scenario import read as read_scenario
from knoop_hw.tables import KERNEL_PWM, BoardTable, Config, Input, Output, Sensor, SensorField, SensorHead

TABLES = ("board", "input", "output", "sensor")
AGENTS = frozenset({"alert", "network", "node"})  # what the other half's channels begin with (docs/adr/0019, 0031)


def load(document: Document, problems: list[Problem]) -> Config:
    """The hardware half's configuration; what is wrong with it is appended to `problems`, all at once.

    When problems were appended the result is only good for finding more of them.
    """
    return _Loader(document, problems).load()


class _Loader:
    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self._document, self._problems = document, problems

    def wrong(self, path: Place, text: str) -> None:
        self._problems.append(self._document.problem(path, text))

    def load(self) -> Config:
        for kind in TABLES[1:]:
            if not isinstance(self._document.data.get(kind, {}), Mapping):
                self.wrong((kind,), f"expected tables such as [{kind}.door]")
        board = self._into(BoardTable, self._document.data.get("board", {}), ("board",)) or BoardTable()
        inputs = [made for name, raw in self._tables("input") if (made := self._line(Input, "input", name, raw))]
        on_lines = [(name, raw) for name, raw in self._tables("output") if not _in_a_device(raw)]
        outputs = [made for name, raw in on_lines if (made := self._line(Output, "output", name, raw))]
        in_devices = [(name, raw) for name, raw in self._tables("output") if _in_a_device(raw)]
        remotes = [made for name, raw in in_devices if (made := self._remote(name, raw))]
        self._unique_names()
        self._unique_pins(board, inputs, outputs)
        self._pulses(board, outputs)
        outputs = self._interlocked(outputs)
        world = self._world(board)
        sensors = [made for name, raw in self._tables("sensor") if (made := self._sensor(name, raw, world))]
        self._unique_devices(sensors)
        self._told(remotes, sensors)
        return Config(
            board=board, inputs=tuple(inputs), outputs=tuple(outputs), remotes=tuple(remotes), sensors=tuple(sensors),
            world=world, written=self._written(board), file=self._document.file,
        )  # fmt: skip

    def _written(self, board: BoardTable) -> dict[str, Any]:
        """Our tables as they stand there, to be read again from another place."""
        tables = {kind: self._document.data[kind] for kind in TABLES if kind in self._document.data}
        if board.scenario is not None:
            tables["board"] = {**tables["board"], "scenario": str(board.scenario.absolute())}
        return tables

    def _into(self, kind: type[Any], raw: object, path: Place, **more: Any) -> Any:
        return into(kind, raw, document=self._document, path=path, problems=self._problems, **more)

    def _tables(self, kind: str) -> Iterator[tuple[str, Any]]:
        tables = self._document.data.get(kind, {})
        if isinstance(tables, Mapping):
            yield from tables.items()

    def _line(self, kind: type[Any], table: str, name: str, raw: object) -> Any:
        return self._into(kind, raw, (table, name), given={"name": name})

    def _remote(self, name: str, raw: Mapping[str, Any]) -> Remote | None:
        """An output in a device: its keys, and those that the driver of its sensor has for what is written."""
        place: Place = ("output", name)
        sensors = dict(self._tables("sensor"))
        sensor = raw["sensor"]
        if not isinstance(sensor, str) or sensor not in sensors:
            there = suggest(str(sensor), sensors) if sensors else "add its table"
            self.wrong((*place, "sensor"), f"there is no sensor '{sensor}'; {there}")
            return None
        driver_name = sensors[sensor].get("driver") if isinstance(sensors[sensor], Mapping) else None
        if driver_name not in source.names():
            return None  # that has been said of the sensor
        write = getattr(source.load(driver_name), "Write", None)
        if write is None:
            self.wrong((*place, "sensor"), f"its driver '{driver_name}' only reads; name a sensor that can be written")
            return None
        if "pin" in raw:
            self.wrong((*place, "pin"), "an output is on a pin or in a device; leave out 'pin' or 'sensor'")
        general = {key: field_name for key, field_name in keys(Remote).items() if field_name not in {"name", "to"}}
        said = {key: raw[key] for key in raw if key in general}
        kind = said.get("kind", "switch")
        given = {"name": name, "kind": kind if kind in ("switch", "number") else "switch"}
        given = {key: value for key, value in given.items() if key in {f.name for f in fields(write)}}
        own = {key for key, field_name in keys(write).items() if field_name not in given}
        for key in raw.keys() - own - general.keys() - {"pin"}:
            self.wrong((*place, key), f"unknown key; {suggest(key, sorted({*own, *general}))}")
        to = self._into(write, {key: raw[key] for key in raw if key in own}, place, given=given)
        made = self._into(Remote, said, place, given={"name": name, "to": to})
        return made if to is not None else None

    def _told(self, remotes: list[Remote], sensors: list[Sensor]) -> None:
        """What one output writes no other does: it would not know of it. And what it may be told can be told."""
        there = {sensor.name: sensor for sensor in sensors}
        taken: dict[object, str] = {}
        for remote in remotes:
            if (sensor := there.get(remote.sensor)) is None:
                continue  # that has been said
            driver: Any = source.load(sensor.driver)
            places = driver.moves(sensor.config, remote.to) if hasattr(driver, "moves") else ()
            if (other := next((taken[place] for place in places if place in taken), None)) is not None:
                text = f"writes what output.{other} writes; one thing has one output, which may have 'aliases'"
                self.wrong(("output", remote.name), text)
            taken |= dict.fromkeys(places, remote.name)
            ends = zip(("minimum", "maximum"), remote.span or (), strict=False) if hasattr(driver, "check") else ()
            for key, level in ends:
                try:
                    driver.check(remote.to, level)
                except ValueError as error:
                    self.wrong(("output", remote.name, key), f"{error}; correct one of them")

    def _unique_names(self) -> None:
        taken: dict[str, str] = {}
        for kind in TABLES[1:]:
            for name, _ in self._tables(kind):
                if not re.fullmatch(NAME, name) or "." in name:
                    self.wrong((kind, name), "a name is a lower-case letter, then letters, digits or _")
                elif name in AGENTS:
                    text = f"'{name}' is what the agent's own channels begin with; choose another name"
                    self.wrong((kind, name), text)
                elif name in taken:
                    self.wrong((kind, name), f"the name is already taken by {taken[name]}; choose another")
                taken.setdefault(name, f"{kind}.{name}")

    def _unique_pins(self, board: BoardTable, inputs: list[Input], outputs: list[Output]) -> None:
        taken: dict[str, str] = {}
        for known in self._buses(board):
            taken |= dict.fromkeys(known.lines, f"the bus {known.text}")
        lines_here = [("output", line.name, line.pin) for line in outputs]
        lines_here += [("input", line.name, line.pin) for line in inputs]
        for kind, name, pin in lines_here:
            if pin in taken:
                self.wrong((kind, name, "pin"), f"{pin} is already taken by {taken[pin]}")
            taken.setdefault(pin, f"{kind}.{name}")

    def _buses(self, board: BoardTable) -> list[bus.Bus]:
        there: dict[int, bus.Bus] = {}
        for index, text in enumerate(board.buses):
            try:
                there[index] = bus.named(text)
            except ValueError as error:
                self.wrong(("board", "buses", index), str(error))
        for at, problem in bus.clashes(there.values()):
            self.wrong(("board", "buses", [*there][at]), problem)
        return [*there.values()]

    def _pulses(self, board: BoardTable, outputs: list[Output]) -> None:
        """With gpiod it is the kernel that makes them, on a few lines."""
        for output in outputs:
            if output.kind == "pwm" and board.driver == "gpiod" and output.pin not in KERNEL_PWM:
                lines = f"{', '.join(KERNEL_PWM[:-1])} or {KERNEL_PWM[-1]}"
                text = f'{output.pin} has no pulses; take {lines}, or set [board] driver = "lgpio" (in software)'
                self.wrong(("output", output.name, "pin"), text)

    def _interlocked(self, outputs: list[Output]) -> list[Output]:
        """The outputs with interlocks that hold both ways, whichever of the two named the other."""
        there = {name for name, _ in self._tables("output")}
        partners: dict[str, set[str]] = {output.name: set() for output in outputs}
        waits = {output.name: output.interlock_wait_s for output in outputs}
        for output in outputs:
            for index, other in enumerate(output.interlock):
                place = ("output", output.name, "interlock", index)
                if other == output.name:
                    self.wrong(place, "an output cannot be interlocked with itself")
                elif other not in there:
                    self.wrong(place, f"there is no output '{other}'; {suggest(other, sorted(there - {output.name}))}")
                elif _in_a_device(self._document.data["output"][other]):
                    self.wrong(place, f"'{other}' lives in a device, and only lines of the board keep apart")
                elif other in partners:
                    partners[output.name].add(other)
                    partners[other].add(output.name)
                    waits[other] = max(waits[other], output.interlock_wait_s)
        self._not_both_on(outputs, partners)
        for output in outputs:
            if waits[output.name] and output.safe == "on" and partners[output.name]:
                text = 'contradicts interlock_wait: an output that must go on does not wait; set safe = "off"'
                self.wrong(("output", output.name, "safe"), text)
        return [
            replace(output, interlock=tuple(sorted(partners[output.name])), interlock_wait_s=waits[output.name])
            if partners[output.name] else output  # one that has none, or none that is right: that has been said
            for output in outputs
        ]

    def _not_both_on(self, outputs: list[Output], partners: dict[str, set[str]]) -> None:
        """No guard is asked at start and at the end: there the configuration keeps interlocked outputs apart.

        An output that keeps its level at the end may be on then.
        """
        for key, may_be_on in (("initial", {"on"}), ("safe", {"on", "keep"})):
            seen: dict[str, str] = {}
            for output in outputs:
                level = getattr(output, key)
                for other in sorted(partners[output.name] & seen.keys()):
                    if "on" in {level, seen[other]} and {level, seen[other]} <= may_be_on:
                        text = f'output.{other} has "{seen[other]}"; they are interlocked: set one to "off"'
                        self.wrong(("output", output.name, key), text)
                        break
                seen[output.name] = level

    def _world(self, board: BoardTable) -> World | None:
        if board.driver != "simulated":
            return None
        inputs = frozenset(name for name, _ in self._tables("input"))
        sensors = frozenset(
            name
            for name, raw in self._tables("sensor")
            if isinstance(raw, Mapping) and raw.get("driver") == "simulated"
        )
        if board.scenario is None:
            return World.empty()
        try:
            document = load_file(board.scenario)
        except ConfigError as error:
            self._problems.extend(error.problems)
            return World.empty()
        return World(read_scenario(document, self._problems, lines=inputs, sensors=sensors))

    def _sensor(self, name: str, raw: Any, world: World | None) -> Sensor | None:
        place: Place = ("sensor", name)
        if not isinstance(raw, Mapping):
            return self._into(SensorHead, raw, place)  # type: ignore[no-any-return]  # it says what is wrong
        driver_name = raw.get("driver")
        if not isinstance(driver_name, str) or driver_name not in source.names():
            if "driver" in raw:
                self.wrong((*place, "driver"), source.unknown(driver_name))
            else:
                self.wrong(place, f"'driver' is missing; it is one of {', '.join(source.names())}")
            return None
        driver = source.load(driver_name)
        given = {"name": name, "world": world}
        given = {key: value for key, value in given.items() if key in {f.name for f in fields(driver.Config)}}
        if "world" in given and world is None:
            self.wrong(
                (*place, "driver"),
                'needs a simulated board; set [board] driver = "simulated"',
            )
            return None
        own = {key for key, field_name in keys(driver.Config).items() if field_name not in given}
        shared = keys(SensorHead)
        tables = {key: value for key, value in raw.items() if isinstance(value, Mapping) and key not in own}
        head = self._into(SensorHead, {key: raw[key] for key in raw if key in shared}, place)
        for key in raw.keys() - own - shared.keys() - tables.keys():
            self.wrong((*place, key), f"unknown key; {suggest(key, sorted({*own, *shared}))}")
        config = self._into(driver.Config, {key: raw[key] for key in raw if key in own}, place, given=given)
        if head is None or config is None:
            return None
        return Sensor(
            name=name, driver=driver_name, config=config,
            fields=tuple(self._fields(name, driver.fields(config), head, tables)),
        )  # fmt: skip

    def _fields(
        self, name: str, given: tuple[source.Field, ...], head: Options, tables: dict[str, Any]
    ) -> Iterator[SensorField]:
        for key in tables.keys() - {item.name for item in given}:
            there = [item.name for item in given if item.name]
            self.wrong(("sensor", name, key), f"unknown key; {suggest(key, there)}")
        for item in given:
            place: Place = ("sensor", name, item.name) if item.name else ("sensor", name)
            special = self._into(Options, tables.get(item.name, {}), place) or Options()
            own = item.label or item.name.replace("_", " ")
            label = f"{head.label} {own}".strip() if head.label else item.label
            composed = tuple(f"{alias} {own}" if item.name else alias for alias in head.aliases)
            try:
                options = special.over(replace(Options.of(head), label=label))
            except ValueError as error:  # what each says is right, but not both together
                key, _, text = str(error).partition(": ")
                self.wrong((*place, key), text)
                continue
            options = replace(options, aliases=(*composed, *special.aliases))
            self._foreign(item, special if item.name else head, place)
            options = options.fitting(item.type).over_defaults(item.defaults.fitting(item.type))
            digits = options.digits if options.digits is not None else item.digits
            yield SensorField(
                field=item,
                options=options,
                channel=_channel(f"{name}.{item.name}" if item.name else name, item, options, digits),
            )

    def _foreign(self, item: source.Field, said: Options, place: Place) -> None:
        """What is said of one value must go with it; what is said of a whole sensor holds where it can."""
        for option in foreign(item.type):
            if getattr(said, option) is not None:
                kinds = "a number" if option in NUMERIC else "a number or text"
                text = f"the value is {item.type}, and only {kinds} can have this; leave it out"
                self.wrong((*place, option.removesuffix("_s")), text)

    def _unique_devices(self, sensors: list[Sensor]) -> None:
        """A port has one reader, unless it is a bus that its driver shares between sensors: they agree on its settings.

        Such a driver's Config says `shared: ClassVar[bool] = True`, and in `PORT` which keys are the port's.
        """
        taken: dict[Path, Sensor] = {}
        for sensor in sensors:
            device = getattr(sensor.config, "device", None)
            if not isinstance(device, Path):
                continue
            port = device.resolve()  # /dev/serial/by-id/… and /dev/ttyUSB0 may be one
            first = taken.setdefault(port, sensor)
            if first is sensor:
                continue
            if first.driver != sensor.driver or not getattr(sensor.config, "shared", False):
                text = f"{device} is already taken by sensor.{first.name}; a port has one reader"
                self.wrong(("sensor", sensor.name, "device"), text)
                continue
            for key in sensor.config.PORT:
                ours, theirs = getattr(sensor.config, key), getattr(first.config, key)
                if ours != theirs:
                    text = f"{ours} here, but sensor.{first.name} has {theirs} on the same {device}; give both the same"
                    self.wrong(("sensor", sensor.name, key), text)


def _in_a_device(output: object) -> bool:
    return isinstance(output, Mapping) and "sensor" in output


def _channel(name: str, item: source.Field, options: Options, digits: int | None) -> Channel:
    if digits is None and item.type == "number":
        digits = units.digits(item.unit)
    return Channel(
        name=name, kind="sensor", type=item.type, unit=item.unit, cls=options.cls or item.cls,
        label=options.label, aliases=options.aliases, digits=digits,
    )  # fmt: skip
