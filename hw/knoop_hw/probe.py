"""What was found, said: as text for a terminal, as data for scripts, as sections for node.toml. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from knoop_hw import proposed
from knoop_hw.found import GPIO, LEVELS, Found, Line, levels_unseen
from knoop_hw.kernel.buses import Bus
from knoop_hw.kernel.functions import CONFIG_TXT
from knoop_hw.kernel.ports import SerialPort
from knoop_hw.kernel.sensed import Camera, Measured, Sensed
from knoop_hw.pins import line_of

WIDTH = 80
SECTIONS = ("lines", "i2c", "spi", "w1", "pwm", "serial", "sensors", "cameras")  # what can be asked for, and line names
BUSES = {"i2c": "I²C", "spi": "SPI", "w1": "1-Wire", "pwm": "PWM"}
# How a Raspberry Pi comes to have it (raspberrypi.com, "config.txt" and its overlays' README).
_ENABLE = {
    "i2c": "dtparam=i2c_arm=on", "spi": "dtparam=spi=on", "w1": "dtoverlay=w1-gpio (takes GPIO4)",
    "pwm": "dtoverlay=pwm-2chan (takes GPIO18 and GPIO19)",
}  # fmt: skip
# And how on Knoop's own image (docs/configuration.md).
_BY_CARD = {"pwm": 'an output with kind = "pwm"'} | {
    kind: f'"{bus}" in [board] buses' for kind, bus in (("i2c", "i2c"), ("spi", "spi"), ("w1", "w1:GPIO4"))
}


def checked(what: str) -> str:
    """A section, or a line as `GPIO17`. Raises ValueError."""
    if what in SECTIONS:
        return what
    try:
        return line_of(what.upper())
    except ValueError:
        raise ValueError(f"'{what}' is neither a line such as GPIO17 nor one of {', '.join(SECTIONS)}") from None


def narrowed(found: Found, what: Sequence[str]) -> Found:
    """Only what is asked for; all of it when nothing is."""
    if not what:
        return found
    lines = found.lines if "lines" in what else tuple(line for line in found.lines if line.name in what)
    devices = {"serial", *BUSES} & {*what}
    about = {GPIO: _lines_asked(what), LEVELS: lines}
    unseen = (missed for missed in found.unseen if about.get(missed.what, devices))
    own = [] if "lines" in what else [line.name for line in lines]
    return replace(
        found, chips=found.chips if "lines" in what else (), lines=lines,
        buses=tuple(bus for bus in found.buses if bus.kind in what),
        serial=found.serial if "serial" in what else (), sensors=found.sensors if "sensors" in what else (),
        cameras=found.cameras if "cameras" in what else (),
        unseen=tuple(levels_unseen(*own) if own and missed.what == LEVELS else missed for missed in unseen),
    )  # fmt: skip


def _lines_asked(what: Iterable[str]) -> list[str]:
    return [name for name in what if name == "lines" or name not in SECTIONS]


def absent(found: Found, what: Iterable[str]) -> list[str]:
    """Which of what is asked for there is not."""
    there = {bus.kind for bus in found.buses} | {line.name for line in found.lines}
    there |= {name for name in ("serial", "sensors", "cameras") if getattr(found, name)}
    there |= {"lines"} if found.chips or found.lines else set()
    return [name for name in what if name not in there]


def as_data(found: Found, missing: Sequence[str] = ()) -> dict[str, Any]:
    """For JSON. The keys are those of the dataclasses in `found`, and stay; `node_toml` is text."""
    plain: dict[str, Any] = asdict(found)
    for port in plain["serial"]:
        port["device"] = str(port["device"])
    return {"ok": not missing, **plain, "absent": [*missing], "node_toml": as_toml(found)}


def as_text(found: Found, what: Sequence[str] = (), *, verbose: bool = False) -> str:
    """All of it for a person, at most 80 columns wide where names allow. `what`: as it was narrowed."""
    sections = (
        _lines(found, what, verbose=verbose), _buses(found, what),
        _section("Serial ports", map(_port, found.serial), asked="serial" in what),
        _section("Sensors that the kernel knows", map(_sensor, found.sensors), asked="sensors" in what),
        _section("Cameras", map(_camera, found.cameras), asked="cameras" in what),
        _unseen(found),
    )  # fmt: skip
    parts = [[found.board or "This machine does not say what it is."], *map(list, sections)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _lines(found: Found, what: Sequence[str], *, verbose: bool) -> Iterator[str]:
    if found.lines:
        chip = next((str(chip) for chip in found.chips if chip.name == found.chip), "")
        header = any(line.position for line in found.lines)
        yield f"Lines{' of the 40-pin header' if header else ''}{f': {chip}' if chip else ''}"
        if all(line.state == "unknown" for line in found.lines) and not (verbose or what):
            yield from _functions_only(found.lines)
        else:
            for line in found.lines:
                called = line.called if line.called not in {"", line.name} else ""
                position = f"{f'BOARD{line.position}' if line.position else '':<9}" if header else ""
                yield f"  {line.name:<7}{position}{_said_of(line):<36}{called}".rstrip()
    missing = [name for name in _lines_asked(what) if name not in {"lines", *(line.name for line in found.lines)}]
    if missing and not any(missed.what == GPIO for missed in found.unseen):
        yield from () if found.lines else ("Lines",)
        yield from (f"  {name:<7}no chip of this machine has such a line" for name in missing)
    if others := [chip for chip in found.chips if chip.name != found.chip and not chip.closed]:
        yield "Other GPIO chips" if found.chip else "GPIO chips, and which of them has the lines is not clear"
        for other in others:
            yield _row(other.name, ", ".join(filter(None, (other.label, f"{other.size} lines"))))
    elif not found.chips and not found.lines and (not what or "lines" in what):
        yield from ("GPIO lines", '  none: there is no /dev/gpiochip*; to try without: [board] driver = "simulated"')


def _functions_only(lines: Sequence[Line]) -> Iterator[str]:
    by_function: dict[str, list[str]] = {}
    for line in lines:
        if line.function:
            by_function.setdefault(line.function, []).append(line.name)
    for function, names in by_function.items():
        yield f"  {' '.join(names):<29} {function}"
    yield f"  {'the others':<29} nothing of the board's; who uses them is not known"


def _said_of(line: Line) -> str:
    level = "" if line.level is None else "high" if line.level else "low"
    if line.function:
        said = line.function
    elif line.state == "used":
        said = f"used by {line.consumer or 'the kernel'}"
    else:
        said = "free" if line.state == "free" else "not looked at"
    return ", ".join(filter(None, (said, line.direction, level)))


def _buses(found: Found, what: Sequence[str]) -> Iterator[str]:
    asked = [kind for kind in BUSES if not what or kind in what]
    pi = "raspberry pi" in found.board.lower()
    there = {bus.kind for bus in found.buses}
    if asked and (found.buses or pi or what):
        yield "Buses"
    for bus in found.buses:
        yield _row(bus.name, _bus(bus))
        for device in bus.devices:
            driver = f", driver {device.driver}" if device.driver else ", no driver of the kernel's"
            yield f"    {device.address:<15} {device.name}{driver}"
    missing = [kind for kind in asked if kind not in there]
    if missing and pi and not what:
        yield _row("none", f"{', '.join(BUSES[kind] for kind in missing)}; how to have one: knoop probe {missing[0]}")
    for kind in missing if what else ():
        remedy = f"; for one: {_ENABLE[kind]} in {CONFIG_TXT}, then restart" if pi else ""
        if found.by_card:
            remedy = f"; for one: {_BY_CARD[kind]} in knoop.toml on the card, then restart"
        yield _row(BUSES[kind], f"none{remedy}")


def _bus(bus: Bus) -> str:
    parts = [BUSES[bus.kind], bus.label or "", bus.device]
    if bus.kind == "pwm":
        parts.append(f"{bus.channels} channel{'s' * (bus.channels != 1)}")
    elif bus.kind != "w1" and not bus.device:
        parts.append("no program may use it" if bus.kind == "spi" else "not for programs yet: sudo modprobe i2c-dev")
    elif not bus.devices and bus.kind == "w1":
        parts.append("nothing on it")
    return ", ".join(filter(None, parts))


def _section(title: str, rows: Iterable[str], *, asked: bool) -> Iterator[str]:
    there = [*rows]
    if there or asked:
        yield title
        yield from there or ["  none"]


def _port(port: SerialPort) -> str:
    said = [port.node if port.node != port.device.name else "", "this board's own" if port.kind == "board" else ""]
    said += ["perhaps a smart meter's P1 cable" if port.perhaps_meter else ""]
    said += ["a GPS receiver, it seems" if port.perhaps_gps else ""]
    said += ["the kernel writes its messages there (console= in cmdline.txt)" if port.console else ""]
    said += ["USB" if port.kind == "usb" and not (port.perhaps_meter or port.perhaps_gps) else ""]
    return _row(str(port.device), "; ".join(filter(None, said)))


def _sensor(sensor: Sensed) -> str:
    kind = "" if sensor.kind == "thermal" else f" ({sensor.kind})"
    where = "" if sensor.address in {"", sensor.name} else f"{sensor.address}: "
    return _row(f"{sensor.name}{kind}", where + (", ".join(map(_measured, sensor.channels)) or "no channels"))


def _measured(item: Measured) -> str:
    """By the name that it has in node.toml, where it can have one."""
    value = "" if item.value is None else f"{item.value:.6g}"
    label = f"({item.label})" if item.label else ""
    return " ".join(filter(None, (item.field or item.name, label, value, item.unit)))


def _camera(camera: Camera) -> str:
    return _row(camera.name, f"{camera.device}, for programs that know {camera.by}")


def _unseen(found: Found) -> Iterator[str]:
    if found.unseen:
        yield "Not looked at"
    for missed in found.unseen:
        yield textwrap.fill(f"{missed.what}: {missed.why}", WIDTH, initial_indent="  ", subsequent_indent="  ",
                            break_long_words=False, break_on_hyphens=False)  # fmt: skip
        yield textwrap.fill(missed.remedy, WIDTH, initial_indent="    → ", subsequent_indent="      ",
                            break_long_words=False, break_on_hyphens=False)  # fmt: skip


def _row(name: str, said: str) -> str:
    first = f"  {name:<17} " if len(name) <= 17 else f"  {name}\n{'':<20}"
    wrapped = textwrap.wrap(said, WIDTH - 20, break_long_words=False, break_on_hyphens=False)
    return first + f"\n{'':<20}".join(wrapped)


def as_toml(found: Found) -> str:
    """Sections of node.toml for what was found; what needs a choice is behind a #."""
    parts = [part for part in (_board(found), _machine(), *proposed.sensors(found), *_lines_to_use(found)) if part]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _board(found: Found) -> list[str]:
    taken = {line.name: line.function.partition(" ")[0] for line in found.lines if line.function}
    buses = [bus for bus, kind, line in (("i2c", "I²C", "GPIO2"), ("spi", "SPI", "GPIO10")) if taken.get(line) == kind]
    buses += [f"w1:{line}" for line, kind in taken.items() if kind == "1-Wire"]
    if not buses:
        return []
    return ["[board]", f"buses = {json.dumps(buses)}   # nothing else may use their lines"]


def _machine() -> list[str]:
    return ["[sensor.machine]", 'driver = "system"   # load, memory, disk, uptime, temperature', 'every = "1min"']


def _lines_to_use(found: Found) -> Iterator[list[str]]:
    free = [line.name for line in found.lines
            if line.state != "used" and not line.function and line.position not in {27, 28}]  # a HAT's EEPROM
    free.sort(key=lambda name: name == "GPIO4")  # where 1-Wire is put first
    if len(free) < 2:
        return
    known = all(line.state != "unknown" for line in found.lines)
    said = "Free lines" if known else "Lines that no function of the board has"
    yield textwrap.wrap(f"{said}: {' '.join(free)}", WIDTH - 4, initial_indent="# ", subsequent_indent="# ")
    door, lamp = sorted(free, key=lambda name: name not in {"GPIO17", "GPIO27"})[:2]  # those of most tutorials
    yield ["# A contact between a line and ground; which line is yours?", "#[input.door]", f'#pin = "{door}"']
    yield ["# Something to switch; which line for which relay: docs/outputs.md", "#[output.lamp]", f'#pin = "{lamp}"']
