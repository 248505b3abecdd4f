"""What drivers do for each telegram and sample, without a device: `make bench` times it, `make test` runs each once.

The figures are for comparing two commits on one machine. What the way from a device to a reading costs beside this:
`knoop bench --drivers`.
"""

import itertools
import struct
from pathlib import Path

import pytest
from pynmea2 import parse as pynmea2_parse

from knoop_bench import stand_ins
from knoop_hw.filters import Delta, Filter, Options
from knoop_hw.kernel import hwmon_abi, iio_abi
from knoop_hw.protocols import p1_telegram, registers
from knoop_hw.protocols.nmea_epochs import Epochs, Sentences
from knoop_hw.protocols.p1_frames import Frames
from knoop_hw.protocols.values import Said, Value, read
from knoop_hw.rtu import Codec
from knoop_hw.sensors import onewire
from knoop_hw.sensors.lines import Lines

TELEGRAM = (Path(__file__).parents[1] / "data" / "p1" / "dsmr50.txt").read_bytes()
CHUNK = 62  # bytes that an FTDI adapter has for us at a time
REGISTERS = {
    name: registers.Register(at=at, table="input", type="float32", unit="V")
    for name, at in (("a", 0), ("b", 2), ("c", 4))
}  # fmt: skip
THREE = {"T": 21.4, "H": 48.3, "P": 1013.2}
SAID = {
    "pattern": (b"T=21.4 H=48.3 P=1013.2\r\n", {name: Value(pattern=rf"{name}=(\d+\.\d+)") for name in THREE}),
    "json": (b'{"bme": {"T": 21.4, "H": 48.3, "P": 1013.2}}\r\n', {name: Value(json=f"bme.{name}") for name in THREE}),
    "column": (b"21.4,48.3,1013.2\r\n", {name: Value(column=number) for number, name in enumerate(THREE, 1)}),
}
OPTIONS = {
    "none": Options(),
    "delta and heartbeat": Options(delta=Delta(2, relative=True), heartbeat_s=300),
    "every one": Options(
        valid=(-40.0, 85.0), median=5, clamp=(0.0, 50.0), delta=Delta(0.1), min_interval_s=10, heartbeat_s=300,
        offset=0.5, multiply=1.01, stale_s=3600,
    ),
}  # fmt: skip


def test_a_telegram_from_bytes_to_values(benchmark):
    chunks = [TELEGRAM[at : at + CHUNK] for at in range(0, len(TELEGRAM), CHUNK)]
    frames = Frames()

    def work():
        [telegram] = [telegram for chunk in chunks for telegram in frames.feed(chunk)]
        return p1_telegram.parse(telegram)

    assert benchmark(work)["power"] == 0.244


def test_a_telegram_that_nobody_asked_for_is_only_checked(benchmark):
    frames = Frames()
    assert len(benchmark(lambda: frames.feed(TELEGRAM))) == 1


def test_an_epoch_of_a_receiver(benchmark):
    sentences, epochs = Sentences(), Epochs(pynmea2_parse)
    moments = itertools.cycle(stand_ins.epoch(second) for second in range(60))

    def work():
        return [epoch for sentence in sentences.feed(next(moments)) if (epoch := epochs.feed(sentence, 0))]

    work()  # an epoch ends where the next one begins, and the first is left out
    work()
    [epoch] = benchmark(work)
    assert epoch.values["latitude"] == pytest.approx(47.2853, abs=0.02)


@pytest.mark.parametrize("way", SAID)
def test_a_line_with_three_values(benchmark, way):
    line, values = SAID[way]
    lines = Lines(partial=False)

    def work():
        [whole] = lines.feed(line)
        return read(values, Said(whole.decode("utf-8")))

    assert benchmark(work) == THREE


def test_a_modbus_answer_of_three_values(benchmark):
    codec = Codec()
    request = codec.read(1, "input", 0, 6)
    heard = stand_ins.answer(request.frame)
    block = registers.Block(table="input", at=0, count=6, names=tuple(REGISTERS))

    def work():
        return registers.values(block, REGISTERS, list(codec.answer(request, heard).registers))

    assert benchmark(work) == {"a": 230.2, "b": 230.2, "c": 230.2}


@pytest.mark.parametrize("files", [
    {"in_temp_input": "21440", "in_humidityrelative_input": "48300", "in_pressure_input": "101.32"},
    {"in_temp_raw": "2144", "in_temp_scale": "10", "in_temp_offset": "0", "in_voltage0_raw": "312",
     "in_voltage_scale": "0.125000000", "in_illuminance_raw": "100", "in_illuminance_scale": "0.5"},
], ids=["processed", "raw"])
def test_three_values_of_an_iio_device(benchmark, tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n", "ascii")
    channels = iio_abi.channels(tmp_path)
    found = benchmark(lambda: [channel.read() for channel in channels])
    assert len(found) == 3
    assert 21.44 in found


def test_two_values_of_a_hwmon_device(benchmark, tmp_path):
    for name, text in {"temp1_input": "20125", "humidity1_input": "51200"}.items():
        (tmp_path / name).write_text(f"{text}\n", "ascii")
    channels = hwmon_abi.channels(tmp_path)
    assert sorted(benchmark(lambda: [channel.read() for channel in channels])) == [20.125, 51.2]


def test_what_a_thermometer_says(benchmark):
    text = stand_ins.w1_slave()
    assert benchmark(lambda: onewire.answer("28-0316a2794aff", text)) == (21.812, True)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_sample_through_its_filter(benchmark, name):
    passing, seconds = Filter(OPTIONS[name]), itertools.count()

    def work():
        second = next(seconds)
        passing.feed(20 + second % 10 / 10, "ok", second * 1_000_000_000)
        return passing.due_ns

    work()
    due_ns = benchmark(work)
    assert (due_ns is None) is (name == "none")


def test_the_stand_in_for_a_unit_keeps_its_silence_when_it_is_not_meant():
    assert not stand_ins.answer(bytes(8))
    assert struct.unpack(">f", stand_ins.answer(bytes.fromhex("01040000000271cb"))[3:7])[0] == pytest.approx(230.2)
