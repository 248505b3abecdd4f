"""What a telegram says: our values against dsmr-parser's."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from knoop_hw.errors import BadReading
from knoop_hw.protocols.p1_frames import Frames
from knoop_hw.protocols.p1_telegram import UNITS, parse

DATA = Path(__file__).parents[2] / "data/p1"
RAW = {path.stem: path.read_bytes() for path in sorted([*DATA.glob("*.txt"), *DATA.glob("old/*.txt")])}
OLD = {path.stem for path in DATA.glob("old/*.txt")}

# Our field → dsmr-parser's name for it.
THEIRS = {
    "power": "CURRENT_ELECTRICITY_USAGE",
    "power_returned": "CURRENT_ELECTRICITY_DELIVERY",
    "energy": "ELECTRICITY_IMPORTED_TOTAL",
    "returned": "ELECTRICITY_EXPORTED_TOTAL",
    "energy_t1": "ELECTRICITY_USED_TARIFF_1",
    "energy_t2": "ELECTRICITY_USED_TARIFF_2",
    "returned_t1": "ELECTRICITY_DELIVERED_TARIFF_1",
    "returned_t2": "ELECTRICITY_DELIVERED_TARIFF_2",
    "tariff": "ELECTRICITY_ACTIVE_TARIFF",
    "power_average": "BELGIUM_CURRENT_AVERAGE_DEMAND",
    "power_peak": "BELGIUM_MAXIMUM_DEMAND_MONTH",
    "failures": "SHORT_POWER_FAILURE_COUNT",
    "long_failures": "LONG_POWER_FAILURE_COUNT",
    "breaker": "ACTUAL_SWITCH_POSITION",
    "limit": "ACTUAL_TRESHOLD_ELECTRICITY",
    "fuse": "FUSE_THRESHOLD_L1",
    "reactive": "CURRENT_REACTIVE_IMPORTED",
    "reactive_returned": "CURRENT_REACTIVE_EXPORTED",
    "reactive_energy": "ELECTRICITY_REACTIVE_IMPORTED_TOTAL",
    "reactive_energy_returned": "ELECTRICITY_REACTIVE_EXPORTED_TOTAL",
    "apparent": "MSN_INSTANTANEOUS_APPARENT_POWER_POSITIVE",
    "apparent_returned": "MSN_INSTANTANEOUS_APPARENT_POWER_NEGATIVE",
    "frequency": "FREQUENCY",
    **{f"voltage_l{n}": f"INSTANTANEOUS_VOLTAGE_L{n}" for n in (1, 2, 3)},
    **{f"current_l{n}": f"INSTANTANEOUS_CURRENT_L{n}" for n in (1, 2, 3)},
    **{f"power_l{n}": f"INSTANTANEOUS_ACTIVE_POWER_L{n}_POSITIVE" for n in (1, 2, 3)},
    **{f"power_returned_l{n}": f"INSTANTANEOUS_ACTIVE_POWER_L{n}_NEGATIVE" for n in (1, 2, 3)},
    **{f"reactive_l{n}": f"INSTANTANEOUS_REACTIVE_POWER_L{n}_POSITIVE" for n in (1, 2, 3)},
    **{f"reactive_returned_l{n}": f"INSTANTANEOUS_REACTIVE_POWER_L{n}_NEGATIVE" for n in (1, 2, 3)},
    **{f"sags_l{n}": f"VOLTAGE_SAG_L{n}_COUNT" for n in (1, 2, 3)},
    **{f"swells_l{n}": f"VOLTAGE_SWELL_L{n}_COUNT" for n in (1, 2, 3)},
}
METERS = {"gas": 3, "water": 7, "heat": 4}
BRUSSELS = ZoneInfo("Europe/Brussels")
# What their list of lines for this meter lacks; and of several breakers they take the last, which is a gas meter's.
LACKING = {
    "dsmr40": {"breaker", "limit"}, "kamstrup-omnia": {"reactive", "reactive_returned"}, "luxembourg-spec": {"breaker"},
}  # fmt: skip


def specification(raw: bytes) -> dict[str, object]:
    """Their list of lines; Luxembourg's in the clear."""
    from dsmr_parser import telegram_specifications as theirs

    starts = {
        b"/FLU": theirs.BELGIUM_FLUVIUS, b"/KFM": theirs.V4, b"/SAG": theirs.EON_HUNGARY, b"/KAM": theirs.SWEDEN,
        b"/EST": theirs.SAGEMCOM_T210_D_R, b"/Lux": theirs.MSN,
    }  # fmt: skip
    return {**starts.get(raw[:4], theirs.V5), "general_global_cipher": False}


def oracle(name: str) -> dict[str, float]:
    """What dsmr-parser reads, under our names and in our units."""
    from dsmr_parser.parsers import TelegramParser
    from dsmr_parser.telegram_specifications import V2_2

    raw = RAW[name]
    telegram = TelegramParser(V2_2 if name in OLD else specification(raw)).parse(raw.decode("ascii"), throw_ex=True)
    values = {}
    for ours, theirs in THEIRS.items():
        found = getattr(telegram, theirs, None)
        if found is not None and found.unit in {"Wh", "W", "varh", "var"}:
            values[ours] = float(found.value / 1000)
        elif found is not None and (found.unit or "").lower() == UNITS[ours].lower():  # 17.0.0 may be A or kVA
            values[ours] = float(found.value)
    for ours, kind in METERS.items():
        for device in getattr(telegram, "MBUS_DEVICES", []):
            reading = getattr(device, "MBUS_METER_READING", None)
            of_kind = hasattr(device, "MBUS_DEVICE_TYPE") and int(device.MBUS_DEVICE_TYPE.value) == kind
            if of_kind and reading is not None and reading.unit is not None and reading.datetime.year > 2000:
                values.setdefault(ours, float(reading.value))
    for theirs in ("HOURLY_GAS_METER_READING", "GAS_METER_READING"):  # DSMR 4, DSMR 2.2
        if hasattr(telegram, theirs):
            values["gas"] = float(getattr(telegram, theirs).value)
    if hasattr(telegram, "BELGIUM_MAXIMUM_DEMAND_13_MONTHS"):
        newest = telegram.P1_MESSAGE_TIMESTAMP.value.astimezone(BRUSSELS)
        for peak in telegram.BELGIUM_MAXIMUM_DEMAND_13_MONTHS:
            ended = peak.datetime.astimezone(BRUSSELS)
            ago = (newest.year - ended.year) * 12 + newest.month - ended.month + 1
            if peak.occurred is not None:
                values[f"power_peak_{ago}"] = float(peak.value)
    return values


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", RAW)
def test_our_values_are_those_of_dsmr_parser(name):
    [telegram] = Frames(crc=name not in OLD).feed(RAW[name])
    ours, theirs, lacking = parse(telegram), oracle(name), LACKING.get(name, set())
    assert {field: value for field, value in ours.items() if field not in lacking} == {
        field: value for field, value in theirs.items() if field not in lacking
    }
    assert lacking <= ours.keys() <= UNITS.keys()


def test_the_breaker_is_the_electricity_meters():
    assert b"0-0:96.3.10(1)" in RAW["luxembourg-spec"]
    assert parse(RAW["luxembourg-spec"])["breaker"] == 1


def test_every_field_is_in_some_telegram():
    assert {name for raw in RAW.values() for name in parse(raw)} == UNITS.keys()


def test_a_meter_that_was_taken_away_does_not_hide_the_next():
    assert parse(RAW["dsmr50-two-mbus"])["gas"] == 246.138


def test_a_meter_that_was_never_heard_has_no_reading():
    assert b"0-2:24.2.1(632525252525S)(00000.000)" in RAW["luxembourg-spec"]
    assert "water" not in parse(RAW["luxembourg-spec"])


def test_heat_is_in_gigajoules():
    assert parse(b"/ISk5\r\n\r\n0-3:24.1.0(012)\r\n0-3:24.2.1(200426223001S)(12.785*GJ)\r\n!") == {"heat": 12.785}


def test_thirteen_months_of_peaks_in_any_order():
    values = parse(RAW["fluvius-13-months"])
    peaks = [values[f"power_peak_{n}"] for n in range(1, 14)]
    assert peaks[:2] == [3.644, 6.507]  # of October and September, as the telegram is of November
    assert peaks[-1] == 3.0  # the first one in it
    newest_first = re.findall(rb"\(\d{12}[SW]\)\(\d{12}[SW]\)\([\d.]+\*kW\)", RAW["fluvius-13-months"])[::-1]
    telegram = re.sub(rb"(98\.1\.0\(13\)).*", rb"\1" + b"".join(newest_first), RAW["fluvius-13-months"])
    assert parse(telegram) == values


def test_a_month_without_a_peak_is_left_out():
    assert b"(230801000000S)(632525252525W)(00.000*kW)" in RAW["fluvius-2023"]
    assert "power_peak_4" not in parse(RAW["fluvius-2023"])


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (b"1-0:1.8.0*255(00052185.782*kWh)", {"energy": 52185.782}),
        (b"1-0:31.7.0.255(001*A)", {"current_l1": 1}),
        (b"1-1:1.7.0(01.622*kW)", {"power": 1.622}),
        (b"1-0:1.7.0(001622*w)", {"power": 1.622}),
        (b"1-0:3.7.0(0001.229*kVAr)", {"reactive": 1.229}),
    ],
)
def test_the_ways_in_which_others_write_it(line, values):
    assert parse(b"/ABC5\r\n\r\n" + line + b"\r\n!") == values


@pytest.mark.parametrize(
    "line",
    [
        b"0-0:96.1.1(00)",
        b"1-0:1.7.0(01.193*kWh)",
        b"1-0:1.7.0(01.193)",
        b"1-0:1.7.0(-1.193*kW)",
        b"1-0:1.7.0(1e3*kW)",
        b"1-0:1.7.0(01,193*kW)",
        b"1-0:1.7.0()",
        b" 1-0:1.7.0(01.193*kW)",
        b"1-0:1.7.0(01.193*kW) ",
        b"1-0:32.7.0(230*%)",
        b"0-1:24.1.0(" + b"9" * 400 + b")",  # more than a float holds was no BadReading, and ended the sensor
        b"1-0:1.7.0(" + b"9" * 400 + b"*kW)",
    ],
)
def test_a_telegram_that_says_nothing(line):
    with pytest.raises(BadReading, match="without a single known value"):
        parse(b"/ISk5\r\n\r\n" + line + b"\r\n!")
