"""Something that each driver can read on any machine: messages on a pseudo-terminal, files as the kernel has them.

They are made in another process than the driver's, and share no code with the node.
"""

from __future__ import annotations

import asyncio
import os
import pty
import struct
import tty
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from knoop_bench.meter import Meter

# DSMR 5.0, the meter's second telegram after its start, as in dsmr_parser's test data (MIT).
_TELEGRAM = r"""/ISk5\2MT382-1000

1-3:0.2.8(50)
0-0:1.0.0(170102192002W)
0-0:96.1.1(4B384547303034303436333935353037)
1-0:1.8.1(000004.426*kWh)
1-0:1.8.2(000002.399*kWh)
1-0:2.8.1(000002.444*kWh)
1-0:2.8.2(000000.000*kWh)
0-0:96.14.0(0002)
1-0:1.7.0({power}*kW)
1-0:2.7.0(00.000*kW)
0-0:96.7.21(00013)
0-0:96.7.9(00000)
1-0:99.97.0(0)(0-0:96.7.19)
1-0:32.32.0(00000)
1-0:52.32.0(00000)
1-0:72.32.0(00000)
1-0:32.36.0(00000)
1-0:52.36.0(00000)
1-0:72.36.0(00000)
0-0:96.13.0()
1-0:32.7.0(0230.0*V)
1-0:52.7.0(0230.0*V)
1-0:72.7.0(0229.0*V)
1-0:31.7.0(0.48*A)
1-0:51.7.0(0.44*A)
1-0:71.7.0(0.86*A)
1-0:21.7.0(00.070*kW)
1-0:41.7.0(00.032*kW)
1-0:61.7.0(00.142*kW)
1-0:22.7.0(00.000*kW)
1-0:42.7.0(00.000*kW)
1-0:62.7.0(00.000*kW)
0-1:24.1.0(003)
0-1:96.1.0(3232323241424344313233343536373839)
0-1:24.2.1(170102161005W)(00000.107*m3)
!"""
# An epoch as u-blox's receivers say it by default; RMC's and GGA's text is that of their manual's examples.
_SENTENCES = (
    "GNRMC,0835{second:02}.00,A,47{minutes},N,00833.91522,E,{knots},77.52,091202,,,A",
    "GNGGA,0835{second:02}.00,47{minutes},N,00833.91522,E,1,08,1.01,499.6,M,48.0,M,,",
    "GNGSA,A,3,23,29,07,08,09,18,26,28,,,,,1.94,1.18,1.54",
    "GPGSV,3,1,10,23,38,230,44,29,71,156,47,07,29,116,41,08,09,081,36",
    "GPGSV,3,2,10,10,07,189,,05,05,220,,09,34,274,42,18,25,309,44",
    "GPGSV,3,3,10,26,82,187,47,28,43,056,46",
)  # fmt: skip
_LINE = "T={value:.2f};H=48.30;P=1013.2\r\n"
_W1 = "5d 01 4b 46 7f ff 03 10 {crc:02x} : crc={crc:02x} YES\n5d 01 4b 46 7f ff 03 10 {crc:02x} t=21812\n"
_ADDRESS = "28-0316a2794aff"
Opened = Callable[[Path, bool], AbstractAsyncContextManager[str]]
_SLOWLY_S, _EAGERLY_S = 1.0, 0.005  # a meter's and a receiver's second; as fast as 115200 baud let it


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """`about` says what a driver reads here. `opened(folder, eager)` yields the tables of node.toml that read it.

    `eager`: what talks by itself does so without a pause, else once a second. `libraries`: others' packages that the
    driver loads when its sensor is opened, and not before.
    """

    about: str
    opened: Opened
    libraries: frozenset[str] = frozenset()


def crc16(data: bytes, crc: int) -> int:
    """CRC-16 with the reflected polynomial 0xA001: a meter's begins with 0, Modbus's with 0xFFFF."""
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def telegram(power_kw: float) -> bytes:
    """A smart meter's telegram."""
    data = _TELEGRAM.replace("{power}", f"{power_kw:06.3f}").replace("\n", "\r\n").encode("ascii")
    return data + f"{crc16(data, 0):04X}\r\n".encode("ascii")


def epoch(second: int) -> bytes:
    """What a GPS receiver on the move says in a second."""
    made = []
    for sentence in _SENTENCES:
        text = sentence.format(second=second, minutes=f"{17.11399 + second / 100:08.5f}", knots=f"{second / 2 + 3:.3f}")
        check = 0
        for byte in text.encode("ascii"):
            check ^= byte
        made.append(f"${text}*{check:02X}\r\n")
    return "".join(made).encode("ascii")


def line(number: int) -> bytes:
    """What an Arduino says of three values."""
    return _LINE.format(value=21 + number % 10 / 10).encode("ascii")


def w1_slave() -> str:
    """The file of a DS18B20 at 21.8 °C (Documentation/w1/slaves/w1_therm.rst); its CRC is Maxim's, polynomial 0x8C."""
    crc = 0
    for byte in bytes.fromhex("5d014b467fff0310"):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return _W1.format(crc=crc)


def answer(request: bytes) -> bytes:
    """What a Modbus unit says to a request for input registers: as many as asked, all float32 230.2; b"" to others."""
    if len(request) != 8 or request[1] != 4 or crc16(request, 0xFFFF):
        return b""
    count = int.from_bytes(request[4:6], "big")
    body = bytes((request[0], 4, 2 * count)) + (struct.pack(">f", 230.2) * count)[: 2 * count]
    return body + crc16(body, 0xFFFF).to_bytes(2, "little")


def _tables(driver: str, keys: str = "", *, board: str = "") -> str:
    return f'{board}[sensor.it]\ndriver = "{driver}"\n{keys}'


def _talking(driver: str, messages: Iterable[bytes], keys: str) -> Opened:
    @asynccontextmanager
    async def opened(folder: Path, eager: bool) -> AsyncIterator[str]:
        files = []
        for number, message in enumerate(messages):
            files.append(folder / f"message{number}")
            files[-1].write_bytes(message)
        async with Meter(files, every_s=_EAGERLY_S if eager else _SLOWLY_S) as meter:
            yield _tables(driver, f'device = "{meter.device}"\n{keys}')

    return opened


def _files(driver: str, files: Mapping[str, str], keys: str) -> Opened:
    @asynccontextmanager
    async def opened(folder: Path, _eager: bool) -> AsyncIterator[str]:
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text if text.endswith("\n") else f"{text}\n", "utf-8")
        yield _tables(driver, f'root = "{folder}"\n{keys}')

    return opened


def _nothing(tables: str) -> Opened:
    @asynccontextmanager
    async def opened(_folder: Path, _eager: bool) -> AsyncIterator[str]:
        yield tables

    return opened


@asynccontextmanager
async def _unit(_folder: Path, _eager: bool) -> AsyncIterator[str]:
    """An energy meter that answers at once."""
    loop = asyncio.get_running_loop()
    master, slave = pty.openpty()
    tty.setraw(slave)
    heard = bytearray()

    def hear() -> None:
        heard.extend(os.read(master, 256))
        while len(heard) >= 8:  # every request to read has eight bytes
            os.write(master, answer(bytes(heard[:8])))
            del heard[:8]

    loop.add_reader(master, hear)
    try:
        yield _tables("modbus", f'device = "{os.ttyname(slave)}"\n' + "[sensor.it.registers]\n" + "".join(
            f'{name} = {{ at = {at}, table = "input", type = "float32", unit = "{unit}" }}\n'
            for name, at, unit in (("voltage", 0, "V"), ("power", 12, "W"), ("energy", 342, "kWh"))
        ))  # fmt: skip
    finally:
        loop.remove_reader(master)
        os.close(slave)
        os.close(master)


_EACH = '[sensor.it.speed]\ndelta = 0\nmin_interval = "0s"\n'  # or a minute would pass before there are two readings
_VALUES = "[sensor.it.values]\n" + "".join(
    f"{name} = {{ pattern = '{letter}=(\\d+\\.\\d+)', unit = \"{unit}\" }}\n"
    for name, letter, unit in (("temperature", "T", "°C"), ("humidity", "H", "%"), ("pressure", "P", "hPa"))
)
_IIO = {
    f"sys/bus/iio/devices/iio:device0/{name}": text for name, text in {
        "name": "bme280", "in_temp_input": "21440", "in_humidityrelative_input": "48300",
        "in_pressure_input": "101.32",
    }.items()
}  # fmt: skip
_HWMON = {
    f"sys/class/hwmon/hwmon0/{name}": text
    for name, text in {"name": "sht4x", "temp1_input": "20125", "humidity1_input": "51200"}.items()
}

STAND_INS: Mapping[str, StandIn] = {
    "simulated": StandIn(
        about="a made-up sensor of 2 values; the measure of the others",
        opened=_nothing(_tables("simulated", board='[board]\ndriver = "simulated"\n')),
        libraries=frozenset({"gpiozero", "colorzero"}),  # its board's
    ),
    "system": StandIn(about="this machine", opened=_nothing(_tables("system"))),
    "iio": StandIn(
        about="3 files",
        opened=_files("iio", _IIO, 'device = "bme280"\nfields = ["temperature", "humidity", "pressure"]\n'),
    ),
    "hwmon": StandIn(
        about="2 files", opened=_files("hwmon", _HWMON, 'device = "sht4x"\nfields = ["temperature", "humidity"]\n'),
    ),
    "onewire": StandIn(
        about="1 file",
        opened=_files("onewire", {f"sys/bus/w1/devices/{_ADDRESS}/w1_slave": w1_slave()}, f'address = "{_ADDRESS}"\n'),
    ),
    "p1": StandIn(
        about=f"a DSMR 5 telegram of {len(telegram(0))} bytes, 128 bytes at a time",
        opened=_talking("p1", [telegram(0.244), telegram(0.512)], ""),
        libraries=frozenset({"serial"}),
    ),
    "nmea": StandIn(
        about=f"an epoch of {len(_SENTENCES)} sentences, {len(epoch(0))} bytes, 128 bytes at a time",
        opened=_talking("nmea", [epoch(second) for second in range(20)], _EACH),
        libraries=frozenset({"serial", "pynmea2"}),
    ),
    "lines": StandIn(
        about="a line of 3 values by patterns",
        opened=_talking("lines", [line(number) for number in range(10)], _VALUES),
        libraries=frozenset({"serial"}),
    ),
    "modbus": StandIn(
        about="a unit that is asked 3 times for 3 values", opened=_unit, libraries=frozenset({"serial", "pymodbus"}),
    ),
    "command": StandIn(
        about="/bin/echo, and starting it",
        opened=_nothing(_tables("command", 'command = ["/bin/echo", "21.5"]\nunit = "°C"\n')),
    ),
}  # fmt: skip
