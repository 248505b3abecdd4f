"""The smart meter: our values against dsmr-parser's, spoiled bytes, and a real pty."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.clock import FakeClock, SystemClock
from knoop_hw.errors import BadReading, DeviceError
from knoop_hw.sensors import p1
from knoop_hw.sensors.p1 import FIELDS, Config, Frames, crc16, parse

DATA = Path(__file__).parents[2] / "data/p1"
TELEGRAMS = {path.stem: path.read_bytes() for path in sorted(DATA.glob("*.txt"))}
# DSMR 2.2: no CRC, the gas reading on two lines; from the tests of github.com/ndokter/dsmr_parser (MIT).
OLD = (
    b"/ISk5\\2MT382-1004\r\n\r\n0-0:96.1.1(00000000000000)\r\n1-0:1.8.1(00001.001*kWh)\r\n"
    b"1-0:1.8.2(00001.001*kWh)\r\n1-0:2.8.1(00001.001*kWh)\r\n1-0:2.8.2(00001.001*kWh)\r\n0-0:96.14.0(0001)\r\n"
    b"1-0:1.7.0(0001.01*kW)\r\n1-0:2.7.0(0000.00*kW)\r\n0-0:17.0.0(0999.00*kW)\r\n0-0:96.3.10(1)\r\n"
    b"0-0:96.13.1()\r\n0-0:96.13.0()\r\n0-1:24.1.0(3)\r\n0-1:96.1.0(000000000000)\r\n"
    b"0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n(00001.001)\r\n0-1:24.4.0(1)\r\n!\r\n"
)

# Our field → dsmr-parser's name for it.
THEIRS = {
    "power": "CURRENT_ELECTRICITY_USAGE",
    "power_returned": "CURRENT_ELECTRICITY_DELIVERY",
    "energy_t1": "ELECTRICITY_USED_TARIFF_1",
    "energy_t2": "ELECTRICITY_USED_TARIFF_2",
    "returned_t1": "ELECTRICITY_DELIVERED_TARIFF_1",
    "returned_t2": "ELECTRICITY_DELIVERED_TARIFF_2",
    "tariff": "ELECTRICITY_ACTIVE_TARIFF",
    "power_average": "BELGIUM_CURRENT_AVERAGE_DEMAND",
    "power_peak": "BELGIUM_MAXIMUM_DEMAND_MONTH",
    "failures": "SHORT_POWER_FAILURE_COUNT",
    "long_failures": "LONG_POWER_FAILURE_COUNT",
    **{f"voltage_l{n}": f"INSTANTANEOUS_VOLTAGE_L{n}" for n in (1, 2, 3)},
    **{f"current_l{n}": f"INSTANTANEOUS_CURRENT_L{n}" for n in (1, 2, 3)},
    **{f"power_l{n}": f"INSTANTANEOUS_ACTIVE_POWER_L{n}_POSITIVE" for n in (1, 2, 3)},
    **{f"power_returned_l{n}": f"INSTANTANEOUS_ACTIVE_POWER_L{n}_NEGATIVE" for n in (1, 2, 3)},
    **{f"sags_l{n}": f"VOLTAGE_SAG_L{n}_COUNT" for n in (1, 2, 3)},
    **{f"swells_l{n}": f"VOLTAGE_SWELL_L{n}_COUNT" for n in (1, 2, 3)},
}
METERS = {"gas": 3, "water": 7}


def oracle(raw: bytes) -> dict[str, float]:
    """What dsmr-parser reads, under our names."""
    from dsmr_parser import telegram_specifications as specifications
    from dsmr_parser.parsers import TelegramParser

    by_start = {b"/FLU": specifications.BELGIUM_FLUVIUS, b"/KFM": specifications.V4}
    specification = specifications.V2_2 if raw == OLD else by_start.get(raw[:4], specifications.V5)
    telegram = TelegramParser(specification).parse(raw.decode("ascii"), throw_ex=True)
    values = {}
    for ours, theirs in THEIRS.items():
        found = getattr(telegram, theirs, None)
        if found is not None:
            values[ours] = float(found.value)
    for ours, kind in METERS.items():
        for device in getattr(telegram, "MBUS_DEVICES", []):
            reading = getattr(device, "MBUS_METER_READING", None)
            of_kind = hasattr(device, "MBUS_DEVICE_TYPE") and int(device.MBUS_DEVICE_TYPE.value) == kind
            if of_kind and reading is not None and reading.unit is not None:
                values.setdefault(ours, float(reading.value))
    for theirs in ("HOURLY_GAS_METER_READING", "GAS_METER_READING"):  # DSMR 4, DSMR 2.2
        if hasattr(telegram, theirs):
            values["gas"] = float(getattr(telegram, theirs).value)
    return values


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [*TELEGRAMS, "dsmr22"])
def test_our_values_are_those_of_dsmr_parser(name):
    raw = TELEGRAMS.get(name, OLD)
    [telegram] = Frames(crc=name != "dsmr22").feed(raw)
    ours = parse(telegram)
    assert ours == oracle(raw)
    assert len(ours) >= 8
    assert ours.keys() <= FIELDS.keys()


def test_every_field_is_in_some_telegram_but_heat():
    seen = {name for raw in TELEGRAMS.values() for name in parse(raw)}
    assert seen == FIELDS.keys() - {"heat"}


def test_a_meter_that_was_taken_away_does_not_hide_the_next():
    assert parse(TELEGRAMS["dsmr50-two-mbus"])["gas"] == 246.138


def test_heat_is_in_gigajoules():
    assert parse(b"/ISk5\r\n\r\n0-3:24.1.0(012)\r\n0-3:24.2.1(200426223001S)(12.785*GJ)\r\n!") == {"heat": 12.785}


def test_the_crc_is_crc16_arc():
    assert crc16(b"123456789") == 0xBB3D  # the check value of the CRC catalogue


@pytest.mark.parametrize("name", TELEGRAMS)
def test_a_byte_spoiled_anywhere_never_gives_a_wrong_reading(name):
    """Every position, each with a few other bytes: those that mean something to the framing, and flipped bits."""
    raw = TELEGRAMS[name]
    right = parse(raw)
    for position in range(len(raw)):
        for byte in {*b"/!\r\n0(*)", 0x00, 0xFF, raw[position] ^ 1, raw[position] ^ 0x20} - {raw[position]}:
            spoiled = raw[:position] + bytes([byte]) + raw[position + 1 :]
            assert all(parse(telegram) == right for telegram in Frames().feed(spoiled)), (position, byte)


@given(st.sampled_from(sorted(TELEGRAMS)), st.data())
def test_several_bytes_spoiled_cost_that_telegram_only(name, data):
    raw = TELEGRAMS[name]
    right = parse(raw)
    spoiled = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    frames = Frames()
    telegrams = frames.feed(bytes(spoiled) + raw + raw)
    assert [parse(telegram) for telegram in telegrams][-2:] == [right, right]
    assert all(parse(telegram) == right for telegram in telegrams)


@pytest.mark.parametrize("name", TELEGRAMS)
def test_a_cut_at_every_offset_loses_that_telegram_only(name):
    raw = TELEGRAMS[name]
    for cut in range(len(raw) - 3):
        for stream in (raw[:cut] + raw, raw[cut + 1 :] + raw):
            telegrams = Frames().feed(stream)
            assert telegrams[-1:] == [raw[: raw.index(b"!") + 1]], cut
            assert len(telegrams) == 1, cut


@given(st.binary(max_size=300).filter(lambda noise: b"!" not in noise), st.sampled_from(sorted(TELEGRAMS)))
def test_noise_between_telegrams_invalid_utf8_included(noise, name):
    raw = TELEGRAMS[name]
    frames = Frames()
    assert len(frames.feed(noise + raw + b"\xff\xfe\x80" + noise + raw)) == 2


@given(st.lists(st.sampled_from(sorted(TELEGRAMS)), min_size=1, max_size=4), st.integers(1, 200))
def test_chunks_of_any_size_make_the_same_telegrams(names, size):
    stream = b"".join(TELEGRAMS[name] for name in names)
    frames = Frames()
    found = [t for start in range(0, len(stream), size) for t in frames.feed(stream[start : start + size])]
    assert found == Frames().feed(stream)
    assert len(found) == len(names)
    assert frames.spoiled == 0


def test_endless_noise_costs_bounded_memory_and_the_next_telegram_is_read():
    frames = Frames()
    for _ in range(1000):
        assert frames.feed(b"/KFM5noise without an end " * 40) == []
    assert len(frames._buffer) <= p1.LONGEST
    assert len(frames.feed(TELEGRAMS["dsmr50"])) == 1


def test_a_telegram_without_crc_is_refused_where_one_belongs():
    """A meter of DSMR 4 whose CRC was cut off must not pass for one of DSMR 2."""
    raw = TELEGRAMS["dsmr50"]
    bare = raw[: raw.index(b"!") + 1] + b"\r\n"
    assert Frames().feed(bare + bare) == []
    assert len(Frames(crc=False).feed(bare)) == 1


def test_a_telegram_that_says_nothing():
    with pytest.raises(BadReading, match="without a single known value"):
        parse(b"/ISk5\r\n\r\n0-0:96.1.1(00)\r\n!")


@pytest.mark.parametrize(
    ("fields", "text"), [(("pwer",), "did you mean 'power'"), ((), "at least one"), (("gas", "gas"), "once")]
)
def test_fields_are_checked(fields, text):
    with pytest.raises(ValueError, match=text):
        Config(name="meter", device=Path("/dev/x"), fields=fields)


async def test_a_meter_on_a_port(line, caplog):
    master, device = line
    config = Config(name="meter", device=device, fields=("power", "gas", "water"))
    async with p1.open(config, clock=SystemClock()) as meter:
        samples = meter.samples()
        raw = TELEGRAMS["dsmr50"]
        spoiled = raw.replace(b"00.244", b"00.245")
        os.write(master, b"\xff\xfe noise" + spoiled + spoiled + raw)
        first = await asyncio.wait_for(anext(samples), 2)
        assert [(s.field, s.value, s.quality) for s in first] == [
            ("power", 0.244, "ok"), ("gas", 0.107, "ok"), ("water", None, "missing"),
        ]  # fmt: skip
        os.write(master, raw)
        assert (await asyncio.wait_for(anext(samples), 2))[0].value == 0.244
        await samples.aclose()
    assert [record.message for record in caplog.records] == [
        "sensor.meter: a telegram with a wrong CRC was dropped; further ones are only counted"
    ]


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"", r"^sensor.meter: no telegram in 30 s; check the cable \(its request line must be high\) and 'protocol'$"),
        (
            TELEGRAMS["dsmr50"].replace(b"00.244", b"00.245"),
            r"^sensor.meter: no telegram in 30 s, but 1 with a wrong CRC; check the cable and 'protocol'$",
        ),
    ],
    ids=["silent", "spoiled"],
)
async def test_a_meter_that_says_nothing_usable(line, sent, text):
    master, device = line
    clock = FakeClock()
    async with p1.open(Config(name="meter", device=device), clock=clock) as meter:
        waiting = asyncio.create_task(anext(meter.samples()))
        if sent:
            os.write(master, sent)
            async with asyncio.timeout(2):
                while not meter._spoiled:
                    await asyncio.sleep(0.001)
        await clock.advance(30)
        with pytest.raises(DeviceError, match=text):
            await asyncio.wait_for(waiting, 1)
