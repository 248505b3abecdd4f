"""Serial cables on USB of a real kernel: from a meter to a person's client, pulled out and plugged in again."""

from __future__ import annotations

import itertools
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.board import usb
from tests.board.guest import Guest
from tests.board.node import COMMANDS, Node, later
from tests.board.test_node import BOARD
from tests.integration.conftest import account, prosody, witness  # noqa: F401 -- fixtures
from tests.integration.running import Way

from knoop_bench.witness import EVENTS, READINGS, Witness

P1 = Path(__file__).parents[1] / "data" / "p1"
FIRST, SECOND = ((P1 / name).read_bytes() for name in ("dsmr50.txt", "dsmr42-kaifa.txt"))
TEMPERATURE = b"T=19.5\r\n"
EVERY_S = 0.5  # the meter and the Arduino

UNPLUGGED = "{} was unplugged; plug it in again; it is tried again"

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def udev(guest: Guest) -> Iterator[None]:
    """Names by id."""
    daemon = usb.udev(guest)
    yield
    daemon.signal(signal.SIGTERM)
    daemon.wait()


@pytest.fixture
def cable(guest: Guest, udev: None) -> Iterator[Callable[[str], usb.Cable]]:
    """`cable("METER")`: a cable with a serial number of its own, pulled out after the test."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(closing(usb.Cable(guest, f"{name}{next(_numbers)}")))


CABLES = """
[sensor.meter]
driver = "p1"
device = "{meter}"
fields = ["power", "energy_t1"]

[sensor.arduino]
driver = "lines"
device = "{arduino}"

[sensor.arduino.values]
temperature = {{ pattern = 'T=(-?\\d+\\.\\d)', unit = "°C" }}

[output.fan]
label = "Fan"
sensor = "arduino"
write = "F{{value}}\\n"

[output.dimmer]
label = "Dimmer"
sensor = "arduino"
write = "B{{value}}\\n"
kind = "number"
minimum = 0
maximum = 255
"""


@dataclass(slots=True)
class House:
    """A node on the emulated board, its owner, and what is on its cables."""

    node: Node
    jid: str
    owner: Witness
    meter: usb.Cable
    arduino: usb.Cable

    def told(self, channel: str, *, after: int = 0) -> list[tuple[str | None, str]]:
        """Value and quality of every reading of a channel that came as an item, from a mark of the owner's on."""
        return [
            (reading.text, reading.get("quality") or "ok")
            for seen in self.owner.seen[after:]
            for item in seen.items
            if item.node in {READINGS, EVENTS} and item.payload is not None
            for reading in item.payload
            if reading.get("channel") == channel
        ]

    async def hears(self, channel: str, value: str | None, quality: str = "ok", *, after: int = 0) -> None:
        """Wait for an item after which the channel has this value."""
        await self.owner.wait(lambda _: self.told(channel, after=after)[-1:] == [(value, quality)], 60)

    async def plug(self, cable: usb.Cable, node: str, says: bytes) -> None:
        """Plug a cable in, with something at its other end that says this; `node` is what the kernel must call it."""
        cable.repeat(says, EVERY_S)
        await later(cable.plug)
        assert (await later(cable.node)).startswith(node)

    async def asks(self, text: str, answer: str) -> None:
        """Say it and wait for an answer that begins so."""
        after = self.owner.mark
        self.owner.say(self.jid, text)
        await self.owner.wait(
            lambda seen: seen.sender_bare == self.jid and seen.body.startswith(answer), 30, after=after
        )

    async def logged(self, sensor: str) -> list[str]:
        """What the hardware half said of a sensor."""
        return re.findall(rf"WARNING .* sensor\.{sensor}: (.*)", await later(self.node.log, "hw"))


@pytest.fixture
async def house(guest, lines, cable, prosody, account, witness, tmp_path) -> AsyncIterator[House]:  # noqa: F811, PLR0917 -- fixtures
    device, anna = account("greenhouse"), account("anna")
    owner = await witness(anna, friends=[device.jid])
    meter, arduino = cable("METER"), cable("ARDUINO")
    node = Node(guest, f"/root/serial{next(_numbers)}", tmp_path)
    board = BOARD + CABLES.format(meter=meter.device, arduino=arduino.device)
    node.write(Way.to(prosody), device, people={anna.jid: '"owner"'}, board=board)
    yield House(node, device.jid, owner, meter, arduino)
    await later(node.close)


async def test_a_meter_read_pulled_out_and_plugged_in_again(house, guest, lines, report):
    meter, arduino = house.meter, house.arduino
    await house.plug(meter, "/dev/ttyUSB0", FIRST)
    await house.plug(arduino, "/dev/ttyUSB1", TEMPERATURE)
    await later(house.node.start, "hw")
    await later(house.node.start, "node")
    await house.hears("meter.power", "0.244")
    await house.hears("meter.energy_t1", "4.426")
    await house.hears("arduino.temperature", "19.5")

    holder = await later(usb.hold, guest, "/dev/ttyUSB0")  # so that the kernel does not give this number again
    pulled = time.monotonic()
    await later(meter.pull)
    await house.hears("meter.power", None, "error")
    report("from a cable pulled out to an item on the host", f"{(time.monotonic() - pulled) * 1000:.0f} ms")
    await house.asks("lamp on", "Lamp is on")
    lines.drive(5, True)
    await house.hears("door", "true")
    await house.plug(meter, "/dev/ttyUSB2", SECOND)
    await house.hears("meter.power", "2.027")
    await house.hears("meter.energy_t1", "1581.123")
    holder.signal(signal.SIGKILL)
    await later(holder.wait)
    assert await house.logged("meter") == [UNPLUGGED.format(meter.device), "is back"]
    assert {quality for _, quality in house.told("arduino.temperature")} == {"ok"}


async def test_outputs_of_a_device_that_is_pulled_out_and_plugged_in_again(house, guest):
    """What the device hears, and nothing else (docs/adr/0018-outputs-in-devices.md)."""
    arduino, node = house.arduino, house.node
    await house.plug(arduino, "", TEMPERATURE)
    await later(node.start, "hw")
    await later(node.start, "node")
    await house.hears("arduino.temperature", "19.5")
    await house.asks("fan on", "Fan is on")
    await house.asks("dimmer 128", "Dimmer is 128")
    heard = b"F0\nF1\nB128\n"
    await later(arduino.hears, lambda said: said == heard)

    await later(arduino.pull)
    await house.hears("arduino.temperature", None, "error")
    await house.asks("fan on", "Fan stays as it is: its device is away. Try again when it is back.")
    await house.plug(arduino, "", TEMPERATURE)
    await house.hears("arduino.temperature", "19.5")
    heard += b"F0\n"  # it may have started anew
    await later(arduino.hears, lambda said: said == heard)
    assert await house.logged("arduino") == [UNPLUGGED.format(arduino.device), "is back"]

    await house.asks("fan on", "Fan is on")
    await later(node.stop, "hw", signal.SIGKILL)
    code, said = await later(guest.run, *COMMANDS["hw"], "--safe", half="hw", cwd=node.folder)
    assert code == 0, said
    heard += b"F1\nF0\n"
    await later(arduino.hears, lambda said: said == heard)

    after = house.owner.mark
    await later(node.start, "hw")
    await house.hears("arduino.temperature", "19.5", after=after)
    await house.asks("fan on", "Fan is on")
    assert await later(node.stop, "hw") == 0
    heard += b"F0\nF1\nF0\n"
    await later(arduino.hears, lambda said: said == heard)


def test_probe_lists_a_cable_under_the_name_that_stays(guest, cable):
    meter = cable("METER").plug()
    node = meter.node().removeprefix("/dev/")
    code, log = guest.run("knoop", "probe", "--json", half="node", within_s=120)
    assert code == 0, log
    (port,) = (port for port in json.loads(log)["serial"] if port["kind"] == "usb")
    assert (port["device"], port["node"], port["usable"]) == (meter.device, node, True)
    code, proposed = guest.run("knoop", "probe", "--toml", half="node", within_s=120)
    assert code == 0, proposed
    assert f'device = "{meter.device}"' in proposed
