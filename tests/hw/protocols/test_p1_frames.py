"""Telegrams out of a stream that was cut, spoiled or mixed: only those that arrived whole, and those at once."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw.protocols.p1_frames import LONGEST, Frames, SealedFrames, intact
from knoop_hw.sensors.p1 import unsealer

DATA = Path(__file__).parents[2] / "data/p1"
RAW = {path.stem: path.read_bytes() for path in sorted(DATA.glob("*.txt"))}
FIVE = ("dsmr40", "dsmr42-kaifa", "dsmr50-two-mbus", "fluvius-13-months", "kamstrup-omnia")  # one of each maker
SEALED = (DATA / "sealed/smarty-made.bin").read_bytes()
KEY = bytes.fromhex("AA" * 16)


def whole(raw: bytes) -> bytes:
    """A recorded telegram as Frames gives it."""
    return raw[: raw.index(b"!") + 1]


def bit_by_bit(data: bytes) -> int:
    """CRC-16/ARC as the standard has it (DSMR 5.0.2 §5.2.12)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def sealed() -> SealedFrames:
    return SealedFrames(unsealer(KEY))


[CLEAR] = sealed().feed(SEALED)


def test_the_oracle_is_crc16_arc():
    assert bit_by_bit(b"123456789") == 0xBB3D  # the check value of the CRC catalogue


@given(st.binary(max_size=300), st.integers(0, 0xFFFF))
def test_the_division_is_that_crc(data, other):
    crc = bit_by_bit(data)
    assert intact(data, crc)
    assert intact(data, other) == (other == crc)


@pytest.mark.parametrize("name", RAW)
def test_a_recorded_telegram(name):
    frames = Frames()
    assert frames.feed(RAW[name] * 2) == [whole(RAW[name])] * 2
    assert frames.spoiled == 0


@pytest.mark.parametrize("name", RAW)
def test_a_byte_spoiled_anywhere_never_gives_another_telegram(name):
    """Every position, each with a few other bytes: those that mean something to the framing, and flipped bits."""
    raw, right = RAW[name], [whole(RAW[name])]
    spoiled = bytearray(raw)
    for position, byte in enumerate(raw):
        for other in {*b"/!\r0(", 0xFF, byte ^ 1, byte ^ 0x20} - {byte}:
            spoiled[position] = other
            assert Frames().feed(spoiled) in (right, []), (position, other)
        spoiled[position] = byte


def test_a_byte_spoiled_anywhere_in_a_sealed_one():
    spoiled = bytearray(SEALED)
    for position, byte in enumerate(SEALED):
        for other in {0x00, 0xFF, 0xDB, byte ^ 1, byte ^ 0x80} - {byte}:
            spoiled[position] = other
            assert sealed().feed(spoiled + SEALED)[-1:] == [CLEAR], (position, other)  # the next one at once
            assert sealed().feed(spoiled) == [], (position, other)
        spoiled[position] = byte


@given(st.sampled_from(FIVE), st.data())
def test_several_bytes_spoiled_cost_that_telegram_only(name, data):
    raw = RAW[name]
    spoiled = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    telegrams = Frames().feed(bytes(spoiled) + raw + raw)
    assert telegrams[-2:] == [whole(raw)] * 2
    assert set(telegrams) == {whole(raw)}


@pytest.mark.parametrize("name", FIVE)
def test_a_cut_at_every_offset_loses_that_telegram_only(name):
    raw, right = RAW[name], [whole(RAW[name])]
    for cut in range(len(raw) - 3):
        assert Frames().feed(raw[:cut] + raw) == right, cut  # unplugged, and plugged in again
        assert Frames().feed(raw[cut + 1 :] + raw) == right, cut  # the reader came late
        assert Frames().feed(raw[:cut] + raw[cut + 1 :] + raw)[-1:] == right, cut  # a byte was lost


def test_a_cut_at_every_offset_of_a_sealed_one():
    for cut in range(len(SEALED)):
        for stream in (SEALED[:cut] + SEALED, SEALED[cut + 1 :] + SEALED):
            assert sealed().feed(stream) == [CLEAR], cut


@pytest.mark.parametrize("kind", ["bytes", "bits"])
@pytest.mark.parametrize("name", [*FIVE, "sealed"])
def test_noise_of_one_percent(name, kind):
    """Nothing but what was sent comes out, and what follows the noise comes out at once."""
    raw = SEALED if name == "sealed" else RAW[name]
    right = CLEAR if name == "sealed" else whole(raw)
    frames = sealed() if name == "sealed" else Frames()
    dice = random.Random(name + kind)
    for _ in range(100):
        noisy = bytearray(raw)
        for position in range(len(raw)):
            if dice.random() < 0.01:
                noisy[position] = noisy[position] ^ 1 << dice.randrange(8) if kind == "bits" else dice.randrange(256)
        assert frames.feed(bytes(noisy)) in ([], [right])
        assert frames.feed(raw)[-1:] == [right]
    assert frames.spoiled > 0


@given(st.binary(max_size=300).filter(lambda noise: b"!" not in noise), st.sampled_from(FIVE))
def test_noise_between_telegrams_invalid_utf8_included(noise, name):
    raw = RAW[name]
    assert len(Frames().feed(noise + raw + b"\xff\xfe\x80" + noise + raw)) == 2


@given(st.lists(st.sampled_from(sorted(RAW)), min_size=1, max_size=4), st.integers(1, 200))
def test_chunks_of_any_size_make_the_same_telegrams(names, size):
    stream = b"".join(RAW[name] for name in names)
    frames = Frames()
    found = [t for start in range(0, len(stream), size) for t in frames.feed(stream[start : start + size])]
    assert found == [whole(RAW[name]) for name in names]
    assert frames.spoiled == 0


@given(st.binary(max_size=60), st.integers(1, 600))
def test_chunks_of_any_size_of_sealed_ones(noise, size):
    stream, frames = noise + SEALED + noise + SEALED + SEALED, sealed()
    assert [t for at in range(0, len(stream), size) for t in frames.feed(stream[at : at + size])] == [CLEAR] * 3


@given(st.sets(st.integers(1, 880), max_size=6))
def test_two_meters_on_one_line(cuts):
    """Their bytes come in turns: what both spoiled is nobody's."""
    one, other = RAW["dsmr50"], RAW["dsmr42-kaifa"]
    edges = [0, *sorted(cuts), 900]
    mixed = b"".join(one[a:b] + other[a:b] for a, b in pairwise(edges))
    found = Frames().feed(mixed + one)
    assert set(found) <= {whole(one), whole(other)}
    assert found[-1] == whole(one)


ENDLESS = (b"/KFM5noise without an end " * 40, b"!" * 999, b"/Abc5\r\n!FFFF\r\n" * 70, b"/Abc5\r\n" * 120, bytes(999))


@pytest.mark.parametrize("garbage", ENDLESS)
def test_endless_garbage_costs_bounded_memory_and_the_next_telegram_is_read(garbage):
    frames = Frames()
    for _ in range(100):
        assert frames.feed(garbage) == []
        assert len(frames._buffer) <= LONGEST
    assert len(frames.feed(RAW["dsmr50"])) == 1


@pytest.mark.parametrize("garbage", [b"\xdb" * 999, SEALED[:18] * 60, bytes(999)], ids=["db", "beginnings", "zeros"])
def test_endless_garbage_between_sealed_ones(garbage):
    frames = sealed()
    for _ in range(30):
        assert frames.feed(garbage) == []
        assert len(frames._buffer) <= LONGEST + len(garbage)
        assert len(frames._begun) <= LONGEST
    assert frames.feed(SEALED) == [CLEAR]


def test_another_key_opens_nothing():
    frames = SealedFrames(unsealer(bytes(16)))
    assert frames.feed(SEALED + SEALED) == []
    assert frames.spoiled == 2


def test_a_telegram_without_crc_is_refused_where_one_belongs():
    """A meter of DSMR 4 whose CRC was cut off must not pass for one of DSMR 2."""
    bare = whole(RAW["dsmr50"]) + b"\r\n"
    assert Frames().feed(bare + bare) == []
    assert len(Frames(crc=False).feed(bare)) == 1


def test_a_crc_without_its_leading_zero():
    assert b"!B9F\r" in RAW["warmtelink"]
    assert Frames().feed(RAW["warmtelink"].replace(b"!B9F", b"!0B9F")) == [whole(RAW["warmtelink"])]
