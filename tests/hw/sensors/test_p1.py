"""The smart meter on a port: how often it tells, what it says when there is nothing to tell, and whose key it takes."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from knoop_hw import config, decode
from knoop_hw.clock import FakeClock, SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.filters import Delta, Filter, Options
from knoop_hw.protocols.p1_frames import Frames, SealedFrames
from knoop_hw.protocols.p1_telegram import parse
from knoop_hw.sensors import p1
from knoop_hw.sensors.p1 import AAD, FIELDS, Config

DATA = Path(__file__).parents[2] / "data/p1"
RAW = (DATA / "dsmr50.txt").read_bytes()
OLD = (DATA / "old/dsmr22-iskra.txt").read_bytes()
SEALED = (DATA / "sealed/smarty-made.bin").read_bytes()
HALF = len(RAW) // 2
TABLE = '[sensor.meter]\ndriver = "p1"\ndevice = "/dev/x"\n'
FORGED = SEALED[:-1] + b"\0"
OTHER = "bytes of something else; check 'protocol', and that the cable inverts the signal"


def with_power(watts: int, raw: bytes = RAW) -> bytes:
    """That telegram with another power and its CRC."""
    body = raw[: raw.index(b"!") + 1].replace(b"1.7.0(00.244*kW)", b"1.7.0(%02d.%03d*kW)" % divmod(watts, 1000))
    crc = 0
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return body + b"%04X\r\n" % crc


async def until(true):
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "meter.key"
    file.write_text("AA" * 16 + "\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"fields": ("pwer",)}, "did you mean 'power'"),
        ({"fields": ()}, "at least one"),
        ({"fields": ("gas", "gas")}, "once"),
        ({"key_file": Path("/etc/knoop") / ("0aF3" * 8)}, r"^key_file: this is the key itself; put it .* \(chmod 600"),
        ({"key_file": Path("/etc/knoop/key")}, 'only protocol = "luxembourg" has a key'),
    ],
)
def test_what_makes_no_sense_is_refused(keys, text):
    with pytest.raises(ValueError, match=text) as refused:
        Config(name="meter", device=Path("/dev/x"), **keys)
    assert "0aF3" not in str(refused.value)


def test_a_key_in_node_toml_is_refused_with_the_line(tmp_path):
    text = TABLE + 'protocol = "luxembourg"\nkey_file = "' + "0aF3" * 8 + '"\n'
    problems = []
    config.load(decode.parse(text, str(tmp_path / "node.toml")), problems)
    [problem] = map(str, problems)
    assert re.search(r"node.toml:5: sensor.meter.key_file: this is the key itself; put it into a file", problem)
    assert "0aF3" not in problem


def test_what_node_toml_says_goes_before_the_defaults(configured):
    tables = TABLE + 'min_interval = "1min"\n[sensor.meter.power]\ndelta = 0.1\n'
    options = {item.field.name: item.options for item in configured(tables).sensors[0].fields}
    assert (options["power"].delta, options["power"].heartbeat_s) == (Delta(0.1), 300)
    assert (options["gas"].min_interval_s, options["gas"].heartbeat_s) == (60, 300)


def test_luxembourg_has_one_tariff():
    fields = p1.fields(Config(name="meter", device=Path("/dev/x"), protocol="luxembourg"))
    assert [field.name for field in fields] == ["power", "power_returned", "energy", "returned", "gas"]


async def test_a_meter_on_a_port(line, caplog):
    master, device = line
    settings = Config(name="meter", device=device, fields=("power", "gas", "water"), every_s=0)
    async with p1.open(settings, clock=SystemClock()) as meter:
        samples = meter.samples()
        spoiled = RAW.replace(b"00.244", b"00.245")
        os.write(master, b"\xff\xfe noise" + spoiled + spoiled + RAW)
        first = await asyncio.wait_for(anext(samples), 2)
        assert [(s.field, s.value, s.quality) for s in first] == [
            ("power", 0.244, "ok"), ("gas", 0.107, "ok"), ("water", None, "missing"),
        ]  # fmt: skip
        os.write(master, RAW)
        assert (await asyncio.wait_for(anext(samples), 2))[0].value == 0.244
        await samples.aclose()
    assert [record.message for record in caplog.records] == [
        "sensor.meter: a telegram with a wrong CRC was dropped; further ones are only counted"
    ]


@pytest.mark.parametrize(("every_s", "period_s", "told"), [(10, 1, [0, 10, 20]), (10, 10, [0, 1]), (0, 1, [0, 1, 2])])
async def test_the_first_is_told_at_once_and_then_the_newest_at_most_so_often(line, every_s, period_s, told):
    master, device = line
    clock, values = FakeClock(), []
    settings = Config(name="meter", device=device, fields=("power",), every_s=every_s)
    async with p1.open(settings, clock=clock) as meter:

        async def follow():
            async for [sample] in meter.samples():
                values.append(sample.value)

        following = asyncio.create_task(follow())
        for number in range(told[-1] + 1):
            heard = meter._bytes + len(RAW)
            os.write(master, with_power(number))
            await until(lambda heard=heard: meter._bytes == heard)
            await clock.advance(period_s - 0.02 if number % 2 else period_s + 0.02)  # a meter's second is not ours
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert values == [number / 1000 for number in told]


async def test_of_what_waited_the_newest_is_told(line):
    master, device = line
    async with p1.open(Config(name="meter", device=device, fields=("power",)), clock=SystemClock()) as meter:
        waits = RAW[HALF:] + with_power(1) + with_power(2) + with_power(3) + RAW[:HALF]
        os.write(master, waits)
        await until(lambda: len(meter._port._buffer) == len(waits))
        [sample] = await asyncio.wait_for(anext(meter.samples()), 2)
        assert sample.value == 0.003


@pytest.mark.parametrize("cut", [1, 5, HALF, len(RAW) - 6, len(RAW) - 3])
async def test_unplugged_in_the_middle_and_plugged_in_again(line, cut):
    master, device = line
    async with p1.open(Config(name="meter", device=device, fields=("power",)), clock=SystemClock()) as meter:
        os.write(master, RAW[:cut] + with_power(7))
        assert [s.value for s in await asyncio.wait_for(anext(meter.samples()), 2)] == [0.007]
        samples = meter.samples()
        os.write(master, RAW[:cut])
        os.close(master)
        with pytest.raises(DeviceError, match="unplugged"):
            await asyncio.wait_for(anext(samples), 2)


async def test_without_a_crc_the_second_telegram_is_the_first_one_told(line, caplog):
    master, device = line
    fields = ("returned_t1", "power_returned")
    settings = Config(name="meter", device=device, protocol="dsmr2", fields=fields, every_s=0)
    async with p1.open(settings, clock=SystemClock()) as meter:
        samples = meter.samples()
        os.write(master, OLD + OLD)
        assert [s.value for s in await asyncio.wait_for(anext(samples), 2)] == [5174.479, 0.14]
        os.write(master, OLD.replace(b"05174.479", b"95174.479") + OLD.replace(b"0000.14", b"0000.15"))
        assert [s.value for s in await asyncio.wait_for(anext(samples), 2)] == [5174.479, 0.15]
        await samples.aclose()
    assert [record.message for record in caplog.records] == [
        "sensor.meter: a telegram with spoiled lines was dropped; further ones are only counted"
    ]


@pytest.mark.parametrize(
    ("protocol", "sent", "text"),
    [
        ("dsmr4", b"", "; check the cable (its request line must be high) and 'protocol'"),
        ("dsmr4", RAW.replace(b"00.244", b"00.245"), ", but 1 with a wrong CRC; check the cable and 'protocol'"),
        ("dsmr4", bytes(99), f", but 99 {OTHER}"),
        ("dsmr4", SEALED[:60], f", but 60 {OTHER}"),
        ("dsmr4", with_power(0, b"/ABC5\r\n\r\n9-0:1.7.0(00.244*kW)\r\n!"), f", but 38 {OTHER}"),
        ("dsmr2", OLD.replace(b"1.8.1(", b"1.8.1["), ", but 1 with spoiled lines; check the cable and 'protocol'"),
        ("luxembourg", FORGED, ", but 1 with a seal that the key does not fit; check the key and the cable"),
    ],
    ids=["silent", "spoiled", "garbage", "sealed", "unknown", "old", "key"],
)
async def test_a_meter_that_says_nothing_usable(line, key_file, protocol, sent, text):
    master, device = line
    clock = FakeClock()
    key = {"key_file": key_file} if protocol == "luxembourg" else {}
    async with p1.open(Config(name="meter", device=device, protocol=protocol, **key), clock=clock) as meter:
        waiting = asyncio.create_task(anext(meter.samples()))
        os.write(master, sent)
        await until(lambda: meter._bytes == len(sent))
        await clock.advance(30)
        with pytest.raises(DeviceError) as silent:
            await asyncio.wait_for(waiting, 20)
        assert str(silent.value) == f"sensor.meter: no telegram in 30 s{text}"


async def test_a_meter_whose_every_telegram_is_wrong_has_no_line_for_each_time_it_is_opened(line, key_file, caplog):
    """With a wrong key that was one line every 40 s, for ever; that there is no telegram is said by `sense`."""
    master, device = line
    settings = Config(name="meter", device=device, protocol="luxembourg", key_file=key_file)
    async with p1.open(settings, clock=FakeClock()) as meter:
        waiting = asyncio.create_task(anext(meter.samples()))
        os.write(master, FORGED + FORGED)
        await until(lambda: meter._frames.spoiled == 2)
        assert caplog.records == []
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_wrong_parity_is_named(line):
    _, device = line
    clock = FakeClock()
    async with p1.open(Config(name="meter", device=device, protocol="dsmr2"), clock=clock) as meter:
        meter._port.spoiled = 7  # what the kernel marks; a pty has no parity
        waiting = asyncio.create_task(anext(meter.samples()))
        await clock.advance(30)
        with pytest.raises(DeviceError, match="30 s, but 7 bytes with a wrong parity; check the cable"):
            await asyncio.wait_for(waiting, 20)


async def test_garbage_for_ever_is_silence(line):
    """What never stops coming must not keep the meter alive."""
    master, device = line
    clock = FakeClock()
    async with p1.open(Config(name="meter", device=device), clock=clock) as meter:
        waiting = asyncio.create_task(anext(meter.samples()))
        for _ in range(31):
            heard = meter._bytes + 1000
            os.write(master, b"/KFM5 garbage " * 71 + b"!12345")
            await until(lambda heard=heard: meter._bytes >= heard or waiting.done())
            await clock.advance(1)
        with pytest.raises(DeviceError, match="no telegram in 30 s"):
            await asyncio.wait_for(waiting, 20)


async def test_a_sealed_meter(line, key_file):
    master, device = line
    settings = Config(name="meter", device=device, protocol="luxembourg", key_file=key_file)
    async with p1.open(settings, clock=SystemClock()) as meter:
        os.write(master, SEALED[100:] + SEALED[:200] + SEALED)
        samples = await asyncio.wait_for(anext(meter.samples()), 2)
        assert [s.value for s in samples] == [0.286, 0, 6545.766, 0.058, None]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_frame_sealed_and_one_opened_by_others():
    """dlms-cosem seals; dsmr-parser opens the recorded one; node-dsmr-parser's has another authentication key."""
    from dlms_cosem.security import SecurityControlField, encrypt
    from dsmr_parser.parsers import TelegramParser
    from dsmr_parser.telegram_specifications import MSN

    key, clear = bytes(range(16)), (DATA / "luxembourg-spec.txt").read_bytes()
    control = SecurityControlField(security_suite=0, authenticated=True, encrypted=True)
    title, counter = b"SAG\x05\x01\x02\x03\x04", 0x82DB0830
    text = encrypt(
        security_control=control, system_title=title, invocation_counter=counter, key=key, plain_text=clear,
        auth_key=AAD[1:],
    )  # fmt: skip
    body = control.to_bytes() + counter.to_bytes(4, "big") + text
    frame = b"\xdb\x08" + title + b"\x82" + len(body).to_bytes(2, "big") + body
    assert SealedFrames(p1.unsealer(key)).feed(frame) == [clear]

    theirs = TelegramParser(MSN).parse(SEALED.hex(), encryption_key="AA" * 16, throw_ex=True)
    [ours] = SealedFrames(p1.unsealer(b"\xaa" * 16)).feed(SEALED)
    assert parse(ours)["energy"] == float(theirs.ELECTRICITY_IMPORTED_TOTAL.value) / 1000

    aad = b"\x30" + bytes.fromhex("ffeeddccbbaa99887766554433221100")
    other = SealedFrames(p1.unsealer(bytes.fromhex("0123456789abcdef" * 2), aad))
    [ours] = other.feed((DATA / "sealed/smarty-spec.bin").read_bytes())
    assert parse(ours) == parse(clear)


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (lambda file: file.chmod(0o640), r"can be read by others \(mode 640\); run: chmod 600 /"),
        (lambda file: file.unlink(), "does not exist; put the key into it, mode 600$"),
        (lambda file: file.write_text("AA" * 15), "holds no key; it is 32 hexadecimal digits, from the grid operator$"),
        (lambda file: file.write_bytes(b"\xff" * 32), "holds no key"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read"),
    ],
    ids=["mode", "absent", "short", "binary", "folder"],
)
def test_a_key_that_is_none(key_file, prepare, text):
    prepare(key_file)
    settings = Config(name="meter", device=Path("/dev/x"), protocol="luxembourg", key_file=key_file)
    with pytest.raises(DeviceError, match=f"^sensor.meter: .*{text}") as refused:
        p1.read_key(settings)
    assert "AAAA" not in str(refused.value)


def test_systemd_s_credential_goes_before_the_file(tmp_path, monkeypatch):
    settings = Config(name="meter", device=Path("/dev/x"), protocol="luxembourg")
    with pytest.raises(DeviceError, match=r"no key: name a file in 'key_file', or give the cred.* 'sensor.meter.key'"):
        p1.read_key(settings)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "sensor.meter.key").write_text("ab" * 16)
    (tmp_path / "sensor.meter.key").chmod(0o440)
    assert p1.read_key(settings) == b"\xab" * 16


def test_cryptography_is_loaded_for_a_key_only_and_without_ssl():
    program = (
        "import sys; sys.modules['ssl'] = None\n"
        "from knoop_hw.sensors import p1\n"
        "assert not [name for name in sys.modules if name.startswith('cryptography')]\n"
        "from knoop_hw.protocols.p1_frames import SealedFrames\n"
        "print(len(SealedFrames(p1.unsealer(b'\\xaa' * 16)).feed(open(sys.argv[1], 'rb').read())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, DATA / "sealed/smarty-made.bin"], check=True, capture_output=True, text=True
    )
    assert done.stdout == "1\n"


def a_day(seed: int = 5):
    """A model house every 10 s: 150 W always, a refrigerator, meals, an evening; a watt and half a volt of noise."""
    dice = random.Random(seed)
    energy, gas = 4000.0, 900.0
    for step in range(8640):
        hour = step / 360
        watts = 150 + (90 if step % 270 < 90 else 0) + (1800 if hour % 6 < 0.3 and hour > 5 else 0)
        watts += 350 if 17 < hour < 23 else 0
        watts += dice.choice((-1, 0, 0, 1)) + (dice.randrange(-15, 16) if watts > 1000 else 0)
        energy += watts / 360_000
        gas += 0.12 if step % 30 == 0 and 6 < hour < 22 else 0
        yield step * 10, {
            "power": watts / 1000, "power_returned": 0.0, "energy_t1": round(energy, 3), "energy_t2": 3500.0,
            "returned_t1": 0.0, "returned_t2": 0.0, "tariff": 2.0 if 7 < hour < 23 else 1.0, "gas": round(gas, 3),
        }  # fmt: skip


def test_a_day_with_and_without_the_defaults():
    """The numbers of docs/adr/0021-smart-meters.md."""
    day = list(a_day())
    told = {}
    for name in p1.STANDARD:
        passing = Filter(FIELDS[name].defaults)
        told[name] = sum(passing.feed(values[name], "ok", at_s * 10**9) is not None for at_s, values in day)
    assert told.keys() == set(p1.STANDARD)
    assert told.pop("power") < 900
    assert told.pop("tariff") <= 24 + 2
    assert set(told.values()) == {288}
    bare = Filter(Options())
    assert sum(bare.feed(values["power"], "ok", at_s * 10**9) is not None for at_s, values in day) == len(day)


def test_defaults_name_only_what_the_filters_know():
    assert all(field.defaults.delta or field.defaults.min_interval_s for field in FIELDS.values())
    assert all(field.defaults.heartbeat_s for field in FIELDS.values())


def test_the_recorded_old_one_is_framed_as_it_is_told():
    assert [parse(t)["gas"] for t in Frames(crc=False).feed(OLD)] == [13032.85]
