"""DS18B20s as sysfs shows them: what is a reading, what is none, and what one that fails does to the others."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw import decode
from knoop_hw.clock import FakeClock, SystemClock
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.sensors import onewire
from knoop_hw.source import Stuck

FLOW, BACK, OLD = "28-000006b67845", "28-0316a2794aff", "10-000802b4ab0e"

# As people's boards showed them: friendlyelec.com forum t=393 (63 01 …, and ff … with the former answer's memory below
# it), raspberrypi.stackexchange.com 65828 (power-up), bikealive.nl/id-1-wire.html (a copy that has ff in byte 6).
GOOD = "63 01 4b 46 7f ff 0d 10 15 : crc=15 YES\n63 01 4b 46 7f ff 0d 10 15 t=22187\n"
PULLED = "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n63 01 4b 46 7f ff 0d 10 15 t=-62\n"
POWER_UP = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"
COPY = "2c 01 ff ff 7f ff ff ff 61 : crc=61 YES\n2c 01 ff ff 7f ff ff ff 61 t=18750\n"
# As w1_therm.c writes them: the data wire at ground, and the answers of newer kernels to what older ones call NO.
GROUND = "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n"
NOTHING = ""


def crc(data):
    """Maxim's application note 27: x⁸ + x⁵ + x⁴ + 1, the low bit first."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x8C if value & 1 else 0)
    return value


def says(sixteenths, byte6=None, config=0x7F):
    """What the kernel shows of a DS18B20 that measured so many sixteenths of a degree; `byte6` is a copy's constant."""
    low, high = sixteenths.to_bytes(2, "little", signed=True)
    memory = bytes([low, high, 0x4B, 0x46, config, 0xFF, 0x10 - (low & 0x0F) if byte6 is None else byte6, 0x10])
    shown = f"{(memory + bytes([crc(memory)])).hex(' ')} "
    millidegrees = int(sixteenths * 1000 / 16)  # C divides towards zero
    return f"{shown}: crc={crc(memory):02x} YES\n{shown}t={millidegrees}\n"


def believed(*answers, address=FLOW, before=None):
    """The reading after these answers, one for each time the sensor is asked."""
    belief, waiting = onewire.Believed(), list(answers)
    if before is not None:
        belief.of(address, lambda: says(before * 16))
    value = belief.of(address, lambda: waiting.pop(0))
    assert waiting == []  # it is asked no more than needed
    return value


class TestReadings:
    @pytest.mark.parametrize(("text", "celsius"), [(GOOD, 22.187), (COPY, 18.75)])
    def test_what_boards_showed(self, text, celsius):
        assert onewire.answer(FLOW, text)[0] == celsius

    def test_an_answer_cut_anywhere_is_no_reading(self):
        """Cut in its last number it was 2 °C instead of 22."""
        for size in range(len(GOOD)):
            with pytest.raises(BadReading):
                onewire.answer(FLOW, GOOD[:size])

    @given(st.integers(-55 * 16, 125 * 16))
    def test_every_temperature_but_one_is_a_reading_of_every_make(self, sixteenths):
        for byte6 in (None, 0x0C, 0xFF):
            if sixteenths != 85 * 16 or byte6 is None:
                assert believed(says(sixteenths, byte6)) == pytest.approx(sixteenths / 16, abs=0.001)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            (PULLED, "CRC"), (GROUND, "at ground"), (NOTHING, "no answer"), ("-5\n", "not understood"),
            (says(0x07FF), "127.937 °C"), (says(-55 * 16 - 1), "-55.062 °C"), (GOOD[:50], "not understood"),
        ],
    )  # fmt: skip
    def test_what_is_no_reading(self, text, why):
        with pytest.raises(BadReading, match=f"^{FLOW}: .*{why}"):
            believed(text)

    @given(st.integers(-55 * 16, 125 * 16), st.integers(0, 71))
    def test_no_flipped_bit_is_a_reading(self, sixteenths, bit):
        """The kernel computes the CRC of what came; a file that was itself spoiled is another matter."""
        memory = bytearray.fromhex(says(sixteenths).partition(":")[0])
        memory[bit // 8] ^= 1 << bit % 8
        right = crc(memory[:8]) == memory[8]
        shown = f"{memory.hex(' ')} : crc={crc(memory[:8]):02x} {'YES' if right else 'NO'}\n{GOOD.splitlines()[1]}\n"
        with pytest.raises(BadReading):
            believed(shown)


class TestPowerUp:
    def test_after_a_power_cut_it_is_asked_again(self):
        assert believed(POWER_UP, GOOD, before=21) == 22.187

    def test_one_whose_power_fails_has_no_reading(self):
        with pytest.raises(BadReading, match="before it has measured"):
            believed(POWER_UP, POWER_UP, before=21)
        with pytest.raises(BadReading, match="before it has measured"):
            believed(POWER_UP, POWER_UP)

    def test_a_real_85_of_the_maker_is_believed_at_once(self):
        assert believed(says(85 * 16)) == 85

    def test_one_of_the_maker_is_not_believed_beside_85_either(self):
        """It has shown that its memory tells; that of a copy never does."""
        with pytest.raises(BadReading, match="before it has measured"):
            believed(POWER_UP, POWER_UP, before=82)

    def test_one_of_9_bits_is_judged_by_what_it_said_before(self):
        """What its memory has in byte 6 then is in no datasheet."""
        belief = onewire.Believed()
        belief.of(FLOW, lambda: says(84 * 16 + 8, 0x08, config=0x1F))
        assert belief.of(FLOW, lambda: says(85 * 16, 0x0C, config=0x1F)) == 85

    def test_a_copy_may_come_to_85_and_stay_there(self):
        belief = onewire.Believed()
        belief.of(FLOW, lambda: says(81 * 16, 0x0C))
        assert [belief.of(FLOW, lambda: says(85 * 16, 0x0C)) for _ in range(5)] == [85] * 5

    def test_a_copy_that_begins_at_85_is_refused_until_it_moves(self):
        belief = onewire.Believed()
        with pytest.raises(BadReading):
            belief.of(FLOW, lambda: says(85 * 16, 0x0C))
        assert belief.of(FLOW, lambda: says(85 * 16 + 1, 0x0C)) == 85.062
        assert belief.of(FLOW, lambda: says(85 * 16, 0x0C)) == 85

    def test_what_was_before_a_failure_proves_nothing(self):
        belief = onewire.Believed()
        belief.of(FLOW, lambda: says(84 * 16, 0x0C))
        with pytest.raises(BadReading):
            belief.of(FLOW, lambda: PULLED)
        with pytest.raises(BadReading, match="85 °C"):
            belief.of(FLOW, lambda: POWER_UP)

    def test_a_ds18s20_proves_nothing_by_its_memory(self):
        """Its byte 6 is a part of the temperature (w1_DS18S20_convert_temp): 0x0c at 85 °C, measured or not."""
        memory = bytes([0xAA, 0, 0x4B, 0x46, 0xFF, 0xFF, 0x10, 0x10])
        text = f"{memory.hex(' ')} {crc(memory):02x} "
        with pytest.raises(BadReading, match="before it has measured"):
            believed(*[f"{text}: crc={crc(memory):02x} YES\n{text}t=85000\n"] * 2, address=OLD)


@pytest.fixture
def bus(tmp_path):
    """Two sensors on w1_bus_master1, as a Raspberry Pi shows them: the devices of a bus are links."""
    for address, text in ((FLOW, GOOD), (BACK, COPY)):
        plug(tmp_path, address, text)
    return tmp_path


def plug(root: Path, address: str, text: str = GOOD) -> Path:
    device = root / "sys/devices/w1_bus_master1" / address
    device.mkdir(parents=True, exist_ok=True)
    link = root / "sys/bus/w1/devices" / address
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(f"../../../devices/w1_bus_master1/{address}")
    (device / "w1_slave").write_text(text)
    return device / "w1_slave"


def pull(root: Path, address: str) -> None:
    (root / "sys/bus/w1/devices" / address).unlink()
    (root / "sys/devices/w1_bus_master1" / address / "w1_slave").unlink()


def both(root, **more):
    return onewire.Config(sensors={"flow": FLOW, "back": BACK}, root=root, every_s=1, **more)


async def rounds(config, *, clock=None):
    async with onewire.open(config, clock=clock or SystemClock()) as opened:
        samples = opened.samples()
        taken = await asyncio.wait_for(anext(samples), 5)
        await samples.aclose()
        return {sample.field: (sample.value, sample.quality) for sample in taken}


class TestBus:
    async def test_one_sensor_has_the_name_of_its_table(self, bus):
        config = onewire.Config(address=FLOW, root=bus)
        assert [(field.name, field.unit) for field in onewire.fields(config)] == [("", "°C")]
        assert await rounds(config) == {"": (22.187, "ok")}

    async def test_several_have_names_of_their_own(self, bus):
        assert await rounds(both(bus)) == {"flow": (22.187, "ok"), "back": (18.75, "ok")}

    async def test_all_measure_at_once_where_we_may_ask_for_it(self, bus):
        trigger = bus / "sys/devices/w1_bus_master1/therm_bulk_read"
        trigger.write_text("0\n")
        assert len(await rounds(both(bus))) == 2
        assert trigger.read_text() == "trigger\n"  # the kernel wants these eight bytes

    async def test_else_each_measures_when_it_is_read(self, bus):
        trigger = bus / "sys/devices/w1_bus_master1/therm_bulk_read"
        trigger.mkdir()  # not for us; root, who runs tests in a container, may write any file
        assert await rounds(both(bus)) == {"flow": (22.187, "ok"), "back": (18.75, "ok")}

    async def test_two_tables_on_a_bus_wait_for_each_other(self, bus):
        """While the one has all of them measure, the other would read nothing."""
        (bus / "sys/devices/w1_bus_master1/therm_bulk_read").write_text("0\n")
        slow = bus / "sys/devices/w1_bus_master1" / FLOW / "w1_slave"
        slow.unlink()
        os.mkfifo(slow)
        first = asyncio.create_task(rounds(onewire.Config(address=FLOW, root=bus)))
        held = await asyncio.to_thread(os.open, slow, os.O_WRONLY)  # the first one reads
        second = asyncio.create_task(rounds(onewire.Config(address=BACK, root=bus)))
        await asyncio.sleep(0.05)
        assert not second.done()
        os.write(held, GOOD.encode())
        os.close(held)
        assert await first == {"": (22.187, "ok")}
        assert await second == {"": (18.75, "ok")}

    async def test_one_that_fails_is_an_error_and_the_other_goes_on(self, bus):
        plug(bus, BACK, PULLED)
        assert await rounds(both(bus)) == {"flow": (22.187, "ok"), "back": (None, "error")}
        pull(bus, BACK)
        assert await rounds(both(bus)) == {"flow": (22.187, "ok"), "back": (None, "error")}
        plug(bus, BACK, COPY)
        assert await rounds(both(bus)) == {"flow": (22.187, "ok"), "back": (18.75, "ok")}

    async def test_a_bus_at_ground_is_no_zero_degrees(self, bus):
        for address in (FLOW, BACK):
            plug(bus, address, GROUND)
        with pytest.raises(BadReading, match="at ground; nor has any other"):
            await rounds(both(bus))

    async def test_where_there_are_others_they_are_named(self, bus):
        said = f"^28-ffffffffffff: not on a 1-Wire bus, where there are {FLOW}, {BACK}; correct the address"
        with pytest.raises(DeviceError, match=said):
            async with onewire.open(onewire.Config(address="28-ffffffffffff", root=bus), clock=SystemClock()):
                pass

    async def test_one_that_is_not_there_says_what_to_look_at(self, tmp_path):
        with pytest.raises(DeviceError, match=f"{FLOW}: not on a 1-Wire bus; is 1-Wire on"):
            await rounds(onewire.Config(address=FLOW, root=tmp_path))

    async def test_a_stuck_bus_is_told_and_left_alone(self, bus):
        clock = FakeClock()
        stuck = bus / "sys/devices/w1_bus_master1" / FLOW / "w1_slave"
        stuck.unlink()
        os.mkfifo(stuck)
        async with onewire.open(onewire.Config(address=FLOW, root=bus), clock=clock) as opened:
            taking = asyncio.ensure_future(anext(opened.samples()))
            await clock.advance(13)
            with pytest.raises(Stuck) as told:
                await taking
            assert not told.value.returned.done()
            end = threading.Thread(target=stuck.write_text, args=(GOOD,))
            end.start()
            await asyncio.wait_for(asyncio.wait({told.value.returned}), 5)
            end.join()


def wrong(text):
    problems = []
    raw = decode.parse(text, "node.toml")
    decode.into(onewire.Config, raw.data, document=raw, path=(), problems=problems)
    return [str(problem).removeprefix("node.toml:") for problem in problems]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "give 'address'"), (f'address = "{FLOW}"\nsensors = {{ a = "{BACK}" }}', "give 'address'"),
        ('address = "26-000006b67845"', "1: address: expected an address such as"),
        (f'sensors = {{ A = "{FLOW}" }}', "'A' is no name; take lower-case letters"),
        (f'sensors = {{ a = "{FLOW}", b = "{FLOW.upper()}" }}', "two of them have one address"),
    ],
)
def test_what_a_table_may_not_say(text, why):
    assert why in wrong(text)[0]


def test_the_channels_of_a_table(configured):
    made = configured(
        f'[sensor.boiler]\ndriver = "onewire"\naddress = "{FLOW}"\n'
        f'[sensor.floor]\ndriver = "onewire"\nsensors = {{ flow = "{FLOW}", back = "{BACK}" }}\n'
        '[sensor.floor.back]\noffset = -0.5\n'
    )
    assert [(c.name, c.unit, c.digits) for c in made.channels()] == [
        ("boiler", "°C", 1), ("floor.flow", "°C", 1), ("floor.back", "°C", 1),
    ]


def test_an_address_may_be_typed_in_capitals():
    assert wrong(f'address = "{FLOW.upper()}"') == []
