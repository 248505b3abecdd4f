"""Telegrams without a CRC: what is believed, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from knoop_hw.protocols.p1_frames import Frames
from knoop_hw.protocols.p1_telegram import parse
from knoop_hw.protocols.p1_unchecked import Unchecked

DATA = Path(__file__).parents[2] / "data/p1/old"
RAW = {path.stem: path.read_bytes() for path in sorted(DATA.glob("*.txt"))}
ISKRA = RAW["dsmr22-iskra"][: RAW["dsmr22-iskra"].index(b"!") + 1]
TOTAL, POWER, GAS = b"1.8.1(39837.604*kWh)", b"2.7.0(0000.14*kW)", b"(13032.850)"


class Line:
    """A meter's telegrams at their pace."""

    def __init__(self) -> None:
        self.unchecked, self.at_s = Unchecked(), 0.0

    def says(self, *changes: tuple[bytes, bytes], after_s: float = 10) -> bool:
        self.at_s += after_s
        telegram = ISKRA
        for old, new in changes:
            assert old in ISKRA
            telegram = telegram.replace(old, new)
        return self.unchecked.believes(telegram, int(self.at_s * 1e9))


@pytest.fixture
def line() -> Line:
    line = Line()
    line.says()
    assert line.says()
    return line


@pytest.mark.parametrize("name", RAW)
def test_the_first_one_is_believed_when_the_second_agrees(name):
    [telegram] = Frames(crc=False).feed(RAW[name])
    unchecked = Unchecked()
    assert [unchecked.believes(telegram, n * 10**10) for n in range(3)] == [False, True, True]
    assert unchecked.doubted == 0


def test_counting_power_and_messages_go_on(line):
    assert line.says((TOTAL, b"1.8.1(39837.609*kWh)"), (POWER, b"2.7.0(0003.99*kW)"))
    assert line.says((TOTAL, b"1.8.1(39837.612*kWh)"), (b"96.13.0()", b"96.13.0(3031203631203831)"))
    assert line.says((TOTAL, b"1.8.1(39837.612*kWh)"), (GAS, b"(13034.100)"), (b"250423090000", b"250423100000"))
    assert line.says((TOTAL, b"1.8.1(39877.612*kWh)"), (GAS, b"(13034.100)"), after_s=3600)  # 40 kWh in an hour
    assert line.unchecked.doubted == 0


@pytest.mark.parametrize(
    "change",
    [
        (TOTAL, b"1.8.1(39837.104*kWh)"),  # counts back
        (TOTAL, b"1.8.1(39839.604*kWh)"),  # 2 kWh in 10 s
        (TOTAL, b"1.8.1(3983.604*kWh)"),  # a digit is missing
        (TOTAL, b"1.8.1(398370604*kWh)"),
        (TOTAL, b"1.8.1(39837.604*kVh)"),
        (TOTAL, b"1.8.2(39837.604*kWh)"),
        (TOTAL, b"1.8.1(39837.604*kWh"),
        (TOTAL, b"1.8.1(39837.604*kWh)\xff"),
        (TOTAL + b"\r\n", b""),
        (GAS, b"(13092.850)"),
        (b"24.1.0(3)", b"24.1.0(7)"),
        (b"0-1:24.1.0(3)", b"0-2:24.1.0(3)"),
        (POWER, b"2.7.0(0900.14*kW)"),
        (b"/ISk5", b"/ISk4"),
    ],
)
def test_what_no_meter_does_costs_that_telegram_only(line, change):
    assert not line.says(change)
    assert line.says()
    assert line.unchecked.doubted == 1


def test_another_tariff_is_believed_with_the_second_telegram(line):
    other = (b"96.14.0(0002)", b"96.14.0(0001)")
    assert [line.says(other), line.says(other), line.says(other)] == [False, True, True]
    assert line.unchecked.doubted == 0


def test_a_wrong_number_that_could_be_right_is_outvoted(line):
    assert line.says((TOTAL, b"1.8.1(39837.704*kWh)"))  # the limit of what can be noticed: 0.1 kWh in 10 s
    assert not line.says()
    assert line.says()


def test_another_meter_is_believed_when_it_agrees_with_itself(line):
    other = ((TOTAL, b"1.8.1(00000.604*kWh)"), (b"/ISk5", b"/KMP5"))
    assert not line.says(*other)
    assert line.says(*other)
    assert line.says(*other)


def test_two_meters_in_turns_are_never_believed_for_more_than_one_of_them(line):
    other = (b"/ISk5", b"/KMP5")
    assert [line.says(other), line.says(), line.says(other), line.says()] == [False, True, False, True]


def test_what_parity_notices_never_passes_and_what_it_does_not_is_bounded(line):
    """Frames refuse what is marked 0xFF. Of two flipped bits only digits pass: of power, and the least of totals."""
    right, off = parse(ISKRA), {}
    for position, byte in enumerate(ISKRA[:-1]):
        spoiled = bytearray(ISKRA + b"\r\n")
        spoiled[position] = 0xFF
        assert Frames(crc=False).feed(bytes(spoiled)) == []
        for pair in (0x03, 0x06, 0x0C, 0x18, 0x30, 0x60, 0x41, 0x05, 0x11):
            spoiled[position] = byte ^ pair
            line.at_s += 10
            for telegram in Frames(crc=False).feed(bytes(spoiled)):
                if line.unchecked.believes(telegram, int(line.at_s * 1e9)):
                    for name, value in parse(telegram).items():
                        off[name] = max(off.get(name, 0), abs(value - right[name]))
            assert [line.says(), line.says()][-1]
    passed = {name: most for name, most in off.items() if most}
    assert passed.keys() == {"power", "power_returned", "energy_t1", "energy_t2", "returned_t1", "returned_t2", "gas"}
    assert max(passed.pop("power"), passed.pop("power_returned")) <= 60
    assert passed.pop("gas") <= 40 * 1.01
    assert max(passed.values()) <= 60 * 40 / 3600  # 10 s late, up to 30 s after the last one
