"""What docs/hardware.md shows as said: by `knoop probe` on a made-up Pi that has all ten things, and by a node in chat.

The configurations are the page's own. The values come from the drivers' own code where it needs no device: a kernel's
files, a recorded telegram, the meter's bytes. `python -m tests.test_docs --write` writes both anew.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pynmea2
from tests.hw.sensors import test_onewire
from tests.hw.trees import CABLE, MODEM, cells, hwmon, iio, link, put, tree
from tests.node.house import ANNA, GreenHouse

from knoop.alerts import Alerts
from knoop.state import State
from knoop.store import Store
from knoop_hw import config, decode, found, probe, source
from knoop_hw.chips import Chip, Line
from knoop_hw.clock import SystemClock
from knoop_hw.model import Value
from knoop_hw.protocols import p1_telegram
from knoop_hw.protocols.nmea_epochs import Epochs, Sentences
from knoop_hw.protocols.values import Said, read

PAGE = Path(__file__).parents[1] / "docs" / "hardware.md"
TELEGRAM = Path(__file__).parent / "data/p1/dsmr50.txt"
SENTENCES = Path(__file__).parent / "data/nmea/bt451-car.txt"
S = 1_000_000_000
ADAPTER, ARDUINO = "usb-1a86_USB_Serial-if00-port0", "usb-Arduino__www.arduino.cc__0043_85439303033351D0A1B2-if00"
THERMOMETER = "28-0316a2794aff"

Readings = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`asked` of `knoop probe`; `read`: what the channels of this configuration read then; `said` by a person.

    `@name=value what happens` is no message: the channel changes, and the node speaks up.
    """

    asked: str
    read: Callable[[config.Config], Readings]
    said: tuple[str, ...]


# ── a Pi with all of it ───────────────────────────────────────────────────────────────────────────────────────────────


def a_pi(root: Path) -> Path:
    """Its files, as the kernel's drivers write them; tests/hw/trees.py says where that is from."""
    tree(root, {
        "model": "Raspberry Pi 4 Model B Rev 1.4",
        "aliases/i2c1": "/soc/i2c@7e804000", "aliases/serial0": "/soc/serial@7e201000",
        "soc/gpio@7e200000/i2c1_pins/phandle": cells(9), "soc/gpio@7e200000/i2c1_pins/brcm,pins": cells(2, 3),
        "soc/gpio@7e200000/uart0_pins/phandle": cells(10), "soc/gpio@7e200000/uart0_pins/brcm,pins": cells(14, 15),
        "soc/gpio@7e200000/w1_pins/phandle": cells(12), "soc/gpio@7e200000/w1_pins/brcm,pins": cells(4),
        "soc/i2c@7e804000/pinctrl-0": cells(9), "soc/i2c@7e804000/status": "okay",
        "soc/serial@7e201000/pinctrl-0": cells(10), "soc/serial@7e201000/status": "okay",
        "onewire@4/pinctrl-0": cells(12), "onewire@4/status": "okay",
    })  # fmt: skip
    put(root, {
        "proc/sys/kernel/osrelease": "6.12.47+rpt-rpi-v8\n", "dev/i2c-1": "",
        "sys/bus/i2c/devices/i2c-1/name": "bcm2835 (i2c@7e804000)\n", "sys/bus/i2c/devices/1-0076/name": "bme280\n",
        "sys/bus/w1/devices/w1_bus_master1/w1_master_slaves": f"{THERMOMETER}\n",
        "sys/class/tty/console/active": "tty1\n",
        "sys/class/tty/ttyAMA0/type": "32\n", "sys/class/tty/ttyAMA0/device/uevent": "", "dev/ttyAMA0": "",
    })  # fmt: skip
    link(root, "sys/bus/i2c/devices/1-0076/driver", "../../../../bus/i2c/drivers/bmp280")
    link(root, "dev/serial0", "ttyAMA0")
    for name, device in ((CABLE, "ttyUSB0"), (ADAPTER, "ttyUSB1"), (MODEM, "ttyACM0"), (ARDUINO, "ttyACM1")):
        put(root, {f"dev/{device}": ""})
        link(root, f"dev/serial/by-id/{name}", f"../../{device}")
    files = {"name": "bme280", "in_temp_input": "21440", "in_pressure_input": "101.325"}
    iio(root, 0, "i2c/1-0076", {**files, "in_humidityrelative_input": "48300"}, chip="bme280")
    test_onewire.plug(root, THERMOMETER)
    link(root, f"sys/bus/w1/devices/{THERMOMETER}/driver", "../../drivers/w1_slave_driver")
    hwmon(root, 0, f"w1/{THERMOMETER}", {"name": "w1_slave_temp", "temp1_input": "19875"})
    return root


def chips() -> list[tuple[Chip, tuple[Line, ...]]]:
    """Its lines: all free but 1-Wire's."""
    lines = tuple(
        Line(number=number, name=f"GPIO{number}", used=number == 4, consumer="onewire@4" if number == 4 else "",
             direction="input")
        for number in range(54)
    )  # fmt: skip
    return [(Chip(path="/dev/gpiochip0", label="pinctrl-bcm2711", size=54), lines)]


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def fixed(**values: Value) -> Callable[[config.Config], Readings]:
    """What a hand, rain or a wish made of them."""
    return lambda _: {name.replace("__", "."): value for name, value in values.items()}


def of_files(loaded: config.Config) -> Readings:
    """What the drivers read on the made-up Pi."""
    return asyncio.run(_first_samples(loaded))


async def _first_samples(loaded: config.Config) -> Readings:
    taken: dict[str, Value] = {}
    with TemporaryDirectory() as folder:
        root = a_pi(Path(folder))
        for sensor in loaded.sensors:
            driver = source.load(sensor.driver)
            async with driver.open(replace(sensor.config, root=root), clock=SystemClock()) as opened:
                samples = opened.samples()
                taken |= {_channel(sensor.name, sample.field): sample.value for sample in await anext(samples)}
                await samples.aclose()
    return taken


def of_a_telegram(loaded: config.Config) -> Readings:
    """What a meter of DSMR 5 sent once."""
    values = p1_telegram.parse(TELEGRAM.read_bytes())
    sensor = loaded.sensors[0]
    return {item.channel.name: values.get(item.field.name) for item in sensor.fields}


def of_sentences(loaded: config.Config) -> Readings:
    """What a receiver in a car said last."""
    sentences, epochs = Sentences(), Epochs(pynmea2.parse)
    ended = [epochs.feed(sentence, at * S) for at, sentence in enumerate(sentences.feed(SENTENCES.read_bytes()))]
    values = next(epoch for epoch in reversed(ended) if epoch is not None).values
    return {item.channel.name: values.get(item.field.name) for item in loaded.sensors[0].fields}


def of_registers(**words: tuple[int, int]) -> Callable[[config.Config], Readings]:
    """What these registers say."""

    def values(loaded: config.Config) -> Readings:
        sensor = loaded.sensors[0]
        return {f"{sensor.name}.{name}": sensor.config.registers[name].value(pair) for name, pair in words.items()}

    return values


def of_a_line(line: str, **outputs: Value) -> Callable[[config.Config], Readings]:
    """What an Arduino said."""

    def values(loaded: config.Config) -> Readings:
        sensor = loaded.sensors[0]
        found = read(sensor.config.values, Said(line))
        return {f"{sensor.name}.{name}": value for name, value in found.items()} | outputs

    return values


def _channel(sensor: str, field: str) -> str:
    return f"{sensor}.{field}" if field else sensor


THINGS: Mapping[str, Shown] = {
    "door": Shown(
        asked="GPIO17", read=fixed(door=False),
        said=("is the front door open?", "@door=True somebody opens it", "door", "history door 24h"),
    ),
    "pir": Shown(
        asked="GPIO27", read=fixed(hall=False),
        said=("@hall=True somebody comes", "is there motion in the hall?", "@hall=False … and is gone",
              "history hall 24h"),
    ),
    "relay": Shown(asked="GPIO5", read=fixed(pump=False), said=("pump on for 10min", "pump", "pump off")),
    "thermometer": Shown(asked="w1", read=of_files, said=("boiler?", "watch boiler for 2h")),
    "air": Shown(asked="i2c sensors", read=of_files, said=("air", "how humid is the air?")),
    "rain": Shown(asked="GPIO23", read=fixed(rain=12.573, rain__rate=3.4), said=("rain", "rain rate")),
    "meter": Shown(asked="serial", read=of_a_telegram, said=("meter", "power?", "gas")),
    "gps": Shown(
        asked="serial", read=of_sentences, said=("car", "car speed?"),
    ),
    "rs485": Shown(
        asked="serial", read=of_registers(voltage=(0x4366, 0x3334), power=(0x4270, 0), energy=(0x43A1, 0x2666)),
        said=("grid", "voltage?"),
    ),
    "arduino": Shown(
        asked="serial", read=of_a_line("T=21.5 H=47", dimmer=0.0),
        said=("attic", "dimmer 128", "dimmer 300"),
    ),
}  # fmt: skip


# ── said ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def machine() -> found.Found:
    """What the probe finds on it."""
    with TemporaryDirectory() as folder:
        return found.machine(a_pi(Path(folder)), look=chips)


def probed(page: str, name: str) -> str:
    """What `knoop probe` says there; of serial ports the one that this thing's configuration names."""
    what = THINGS[name].asked.split()
    text = probe.as_text(probe.narrowed(machine(), what), what)
    if what[0].startswith("GPIO") and name != "door":  # which has shown the rest
        text = f"{text.partition('Not looked at')[0]}…"
    if what == ["serial"]:
        device = loaded(page, name).sensors[0].config.device.name
        text = "\n".join(_only(text.splitlines(), device))
    return f"```\n$ knoop probe {' '.join(what)}\n{text}\n```"


def _only(lines: list[str], device: str) -> Iterator[str]:
    """Head lines, and the port's row with what belongs to it."""
    inside = True
    for line in lines:
        if re.match(r"  \S", line):
            inside = device in line
        if inside or not line.startswith("  "):
            yield line


def loaded(page: str, name: str) -> config.Config:
    """The configuration that stands before the chat of this thing."""
    before = page.partition(f"<!-- generated: chat {name} ")[0]
    block = re.findall(r"^```toml\n(.*?)^```$", before, re.DOTALL | re.MULTILINE)[-1]
    problems: list[object] = []
    made = config.load(decode.parse(block, PAGE.name), problems)  # type: ignore[arg-type]
    assert not problems, problems
    return made


def chatted(page: str, name: str) -> str:
    """What the node answers."""
    return "```\n" + "\n".join(asyncio.run(_conversation(loaded(page, name), THINGS[name]))) + "\n```"


async def _conversation(made: config.Config, shown: Shown) -> list[str]:
    channels = {channel.name: channel for channel in made.channels()}
    with TemporaryDirectory() as folder:
        values = await asyncio.to_thread(shown.read, made)
        async with Store.open(Path(folder) / "readings.db") as store, State.open(Path(folder) / "state.db") as state:
            house = GreenHouse(store, state, channels=channels, alerts=Alerts(()))
            house.board.levels |= {output.name: False for output in (*made.outputs, *made.remotes)}
            for channel, value in values.items():
                await house.report(channel, value)
            return [line for text in shown.said async for line in _said(house, text)]


async def _said(house: GreenHouse, text: str):
    await house.clock.advance(20)
    if text.startswith("@"):
        await house.clock.advance(280)
        change, _, happens = text[1:].partition(" ")
        channel, _, value = change.partition("=")
        yield f"({happens})"
        yield "  " + house.voice().event(await house.report(channel, value == "True"), house.alerts)
        return
    yield f"> {text}"
    for line in (await house.ask(ANNA, text)).splitlines():
        yield f"  {line}"
