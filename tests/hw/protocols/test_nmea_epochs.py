"""From bytes to epochs: recorded receivers, whole, cut, spoiled, and with what their makers add."""

from __future__ import annotations

import random
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from pynmea2 import parse

from knoop_hw.protocols.nmea_epochs import LONGEST, Epochs, Sentences, intact

DATA = Path(__file__).parents[2] / "data/nmea"
EVERY = sorted(DATA.glob("*.txt"))
CAR, STILL = (DATA / "bt451-car.txt").read_bytes(), (DATA / "bu353s4-still.txt").read_bytes()
RTK = (DATA / "trimble-rtk.txt").read_bytes()


def summed(body: str) -> str:
    """A sentence with its checksum."""
    return f"${body}*{reduce(xor, body.encode(), 0):02X}"


def told(data: bytes, *, parser=parse, at_once: int = 64, every_ns: int = 0):
    """The epochs of a stream that arrives in pieces."""
    sentences, epochs, found = Sentences(), Epochs(parser), []
    for start in range(0, len(data), at_once):
        for number, sentence in enumerate(sentences.feed(data[start : start + at_once])):
            found.append(epochs.feed(sentence, number * every_ns))
    return [epoch for epoch in found if epoch is not None]


def second(time: str, *, gga="1,08,1.0,20.0,M,,M,,", rmc="A", mode="A", place="5200.0000,N,00500.0000,E", **more: str):
    """One epoch, as `told` takes it."""
    lines = [summed(f"GPGGA,{time},{place},{gga}")] if gga else []
    knots, course = more.get("speed", "10.0"), more.get("course", "90.0")
    lines += [summed(f"GPRMC,{time},{rmc},{more.get('other', place)},{knots},{course},010126,,,{mode}")] if rmc else []
    lines += [summed(f"GPGSA,A,{dimension},,,,,,,,,,,,,1.5,1.0,1.1") for dimension in more.get("gsa", "")]
    return "".join(f"{line}\r\n" for line in lines).encode()


def test_a_car():
    epochs = told(CAR)
    assert [epoch.values["fix"] for epoch in epochs] == ["none"] * 3 + ["3d"] * 12
    assert all(epoch.values.keys() == {"fix", "satellites"} for epoch in epochs[:3])
    assert epochs[-1].values == {
        "latitude": 55.7803292, "longitude": 23.578434, "altitude": 127.1, "speed": 59.26, "course": 221.54,
        "fix": "3d", "satellites": 9, "hdop": 1.26,
    }  # fmt: skip
    assert not any(epoch.estimated for epoch in epochs)


@pytest.mark.parametrize(
    ("name", "fixes", "place"),
    [
        ("bu353-loses-fix", ["3d"] * 8 + ["none"] * 9, (55.686615, 37.621545)),
        ("beidou-gns", ["none"] * 2 + ["3d"], (31.2479817, 121.5874033)),
        ("trimble-rtk", ["dgps"] * 9 + ["rtk"] * 3, (41.5750301, -93.7505978)),
        ("bu353s4-still", ["3d"] * 23, (-37.784795, 175.3149017)),
        ("telit-cold", ["none"] * 36 + ["3d"] * 11, (50.84021, 4.347)),
    ],
)
def test_other_receivers(name, fixes, place):
    epochs = told((DATA / f"{name}.txt").read_bytes())
    assert [epoch.values["fix"] for epoch in epochs] == fixes
    placed = [epoch.values for epoch in epochs if epoch.values["fix"] != "none"]
    assert (placed[-1]["latitude"], placed[-1]["longitude"]) == pytest.approx(place, abs=2e-4)
    assert all(("latitude" in epoch.values) == (epoch.values["fix"] != "none") for epoch in epochs)


@pytest.mark.parametrize("at_once", [1, 7, 1000, 10**6])
def test_it_does_not_matter_how_the_bytes_come(at_once):
    assert told(RTK, at_once=at_once) == told(RTK)


def test_cut_anywhere_the_rest_is_told_as_before():
    raw = RTK[: RTK.index(b"\n", 1200) + 1]
    whole = told(raw)
    for cut in range(len(raw)):
        rest = told(raw[cut:], at_once=10**6)
        assert rest == whole[len(whole) - len(rest) :]
        assert len(rest) >= raw[cut:].count(b"GGA") - 2


def test_a_byte_spoiled_anywhere_costs_its_epoch_and_says_nothing_wrong():
    """One between two epochs may belong to either, one in front of the first to none."""
    raw = RTK[: RTK.index(b"\n", 800) + 1]
    whole, chance = told(raw), random.Random(1)
    for at in range(len(raw)):
        for byte in {raw[at] ^ 1 << chance.randrange(7), chance.randrange(256), 0xFF} - {raw[at]}:
            found = told(raw[:at] + bytes([byte]) + raw[at + 1 :], at_once=10**6)
            assert len(found) >= len(whole) - 2
            for epoch in found:
                assert epoch.values in [known.values for known in whole] or _carries(epoch, whole)


def _carries(epoch, whole) -> bool:
    """Whether all that counts is as it was; how many satellites there are holds on from the epoch before."""
    return any(
        {**known.values, "satellites": 0, "hdop": 0} == {**epoch.values, "satellites": 0, "hdop": 0} for known in whole
    )


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_never_a_place(seed):
    """One byte in a hundred has a flipped bit or is another one; what gets through is true to the last digit."""
    chance, count = random.Random(seed), 0
    places = {(epoch.values["latitude"], epoch.values["longitude"]) for epoch in told(STILL + STILL)}
    for rate in (0.01, 0.001):
        noisy = bytearray(STILL)
        for at in range(len(noisy)):
            if chance.random() < rate:
                noisy[at] = noisy[at] ^ 1 << chance.randrange(8) if seed % 2 else chance.randrange(256)
        found = told(bytes(noisy), at_once=10**6)
        count += len(found)
        assert {(e.values["latitude"], e.values["longitude"]) for e in found if "latitude" in e.values} <= places
        assert {e.values["fix"] for e in found} <= {"3d"}
    assert count > 0


def test_what_receivers_say_besides_costs_nothing():
    beside = [
        "!AIVDM,1,1,,A,15RTgt0PAso;90TKcjM8h6g208CQ,0*4A", summed("PUBX,00,x"), summed("PSRFEPE,053229.438,V"),
        summed("GPXYZ,1,2"), summed("GPTXT,01,01,02,u-blox ag"), summed("GPGSV,1,1,00"), "u-blox ag - www", "",
        summed("GPGLL,5200.0,N,00500.0,E,120000,A"), summed("P"), summed("GPRMC"),
    ]  # fmt: skip
    lines = STILL.split(b"\r\n")
    mixed = b"\r\n".join(part for line in lines for part in (line, *(text.encode() for text in beside)))
    assert told(mixed) == told(STILL)


def test_without_a_checksum_it_is_no_sentence():
    bare = b"".join(line.partition(b"*")[0] + b"\r\n" for line in STILL.split(b"\r\n"))
    sentences = Sentences()
    assert set(sentences.feed(bare)) == {None}
    assert (sentences.intact, sentences.spoiled, sentences.unsummed > 50) == (0, 0, True)


@pytest.mark.parametrize(
    "line", [b"", b"$", b"*", b"$*", b"$*00", b"GPGGA,1*00", b"$A*41*41", b"$A*4", b"$A*411", b"$\xff*FF", b"$A*0x41"]
)
def test_what_is_no_sentence(line):
    assert intact(line) is None


def test_a_line_without_an_end_is_bounded():
    sentences = Sentences()
    for _ in range(100):
        sentences.feed(b"$" + b"x" * LONGEST)
    assert len(sentences._rest) <= LONGEST
    line = summed("GPGSV,1,1,00")
    assert sentences.feed(f"\r\n{line}\r\n".encode()) == [None, line]
    sentences.reset()
    assert (sentences.intact, sentences.spoiled) == (0, 0)


@pytest.mark.parametrize("void", [{"rmc": "V"}, {"gga": "0,00,,,M,,M,,"}, {"rmc": "V", "gga": ""}])
def test_void_is_no_place_whoever_says_so(void):
    [before, epoch] = told(second("120000") + second("120001") + second("120002", **void) + second("120003"))
    assert before.values.keys() > {"latitude", "longitude"}
    assert epoch.values.keys() == {"fix", "satellites"}
    assert epoch.values["fix"] == "none"


@pytest.mark.parametrize(
    ("gga", "rmc", "mode", "gsa", "fix"),
    [
        ("1,08,1.0,20.0,M,,M,,", "A", "A", "", "gps"), ("1,08,1.0,20.0,M,,M,,", "A", "A", "2", "2d"),
        ("1,08,1.0,20.0,M,,M,,", "A", "A", "13", "3d"), ("3,08,1.0,20.0,M,,M,,", "A", "", "3", "3d"),
        ("2,08,1.0,20.0,M,,M,,", "A", "D", "3", "dgps"), ("4,08,1.0,20.0,M,,M,,", "A", "R", "3", "rtk"),
        ("5,08,1.0,20.0,M,,M,,", "A", "F", "3", "float"), ("", "A", "D", "", "dgps"), ("", "A", "", "", "gps"),
        ("1,08,1.0,20.0,M,,M,,", "", "", "", "gps"), ("6,08,1.0,20.0,M,,M,,", "A", "E", "", "estimated"),
        ("7,08,1.0,20.0,M,,M,,", "V", "M", "", "manual"), ("8,08,1.0,20.0,M,,M,,", "V", "S", "", "simulated"),
        ("8,08,1.0,20.0,M,,M,,", "V", "", "", "none"), ("0,00,,,M,,M,,", "A", "A", "", "none"),
    ],
)  # fmt: skip
def test_what_a_fix_is_called(gga, rmc, mode, gsa, fix):
    [epoch] = told(second("120000") + second("120001", gga=gga, rmc=rmc, mode=mode, gsa=gsa) + second("120002"))
    assert epoch.values["fix"] == fix
    assert ("latitude" in epoch.values) == (fix not in {"none", "manual", "simulated"})
    assert ("altitude" in epoch.values) == (fix not in {"none", "manual", "simulated", "2d"} and bool(gga))
    assert epoch.estimated == (fix == "estimated")


@pytest.mark.parametrize(
    "place",
    [
        "5260.0000,N,00500.0000,E", "9100.0000,N,00500.0000,E", "5200.0000,X,00500.0000,E", "5200.0000,N,18100.0000,E",
        ",,,", "0,N,0,E", "nan,N,nan,E", "52°00.0,N,00500.0000,E", "5200.0000,N,00500.0000,",
        "-5200.0000,N,00500.0000,E",
    ],
)  # fmt: skip
def test_a_place_that_is_none_is_not_told(place):
    good = [second(f"12000{number}") for number in range(5)]
    known = told(b"".join([*good[:3], second("120003", place=place), second("120004")]))
    assert len(told(b"".join(good))) == 3
    assert [epoch.values["latitude"] for epoch in known] == [52.0]


def test_two_places_at_once_are_believed_neither():
    there = second("120001", other="5200.1000,N,00500.0000,E")
    assert told(second("120000") + there + second("120002")) == []
    close = second("120001", other="5200.0010,N,00500.0000,E")  # three decimals instead of four
    assert len(told(second("120000") + close + second("120002"))) == 1


@pytest.mark.parametrize("text", ["nan", "inf", "1e3", "1_0", "", " ", "-5", "99999", "x"])
def test_a_number_that_is_none_is_missing(text):
    values = told(second("120000") + second("120001", speed=text) + second("120002"))[-1].values
    assert "speed" not in values
    assert values["latitude"] == 52.0


def test_who_stands_still_has_no_course():
    values = told(second("120000") + second("120001", speed="1.0") + second("120002", speed="1.2") + second("120003"))
    assert [epoch.values.get("course") for epoch in values] == [None, 90]


def test_what_comes_seldom_holds_on_for_ten_seconds():
    """And the place, for which there was a second sentence, is believed from one after five."""
    sentences, epochs = Sentences(), Epochs(parse)
    said = []
    for number in range(15):
        more = {"gsa": "3"} if number < 2 else {"gga": ""}
        data = second(f"1200{number:02}", **more)
        said += [epochs.feed(sentence, number * 10**9) for sentence in sentences.feed(data)]
    values = [epoch.values for epoch in said if epoch is not None]
    assert [value["fix"] for value in values] == ["3d"] * 6 + ["gps"] * 2
    assert [value.get("satellites") for value in values] == [8] * 6 + [None] * 2
    assert all(value["latitude"] == 52 for value in values)


def test_whatever_the_library_does_costs_no_more_than_the_epoch():
    calls = iter(range(1000))

    def failing(sentence):
        if next(calls) == 12:
            raise RecursionError
        return parse(sentence)

    assert 0 < len(told(STILL)) - len(told(STILL, parser=failing)) <= 2


def test_the_recordings_are_named_with_their_source():
    readme = (DATA / "README.md").read_text("utf-8")
    assert all(file.name in readme for file in EVERY)
