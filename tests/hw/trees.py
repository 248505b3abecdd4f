"""Folders that look like a kernel's: a Raspberry Pi with much on it, as the kernel's ABI documents describe the files.

Values are those of the documents' examples, of Debian's device trees (linux-image 6.1, bcm2837-rpi-3-b.dtb) and of
pinctrl-bcm2835.c's format; what a real one showed is said where it is used.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from knoop_hw.chips import Chip, Line

CABLE = "usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"
MODEM = "usb-u-blox_AG_-_www.u-blox.com_u-blox_7_-_GPS_GNSS_Receiver-if00"


def put(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Write them all."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


def link(root: Path, name: str, target: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(target)


def cells(*numbers: int) -> bytes:
    """A property of 32-bit numbers, big-endian (Devicetree specification 0.4, 2.2.4)."""
    return struct.pack(f">{len(numbers)}I", *numbers)


def tree(root: Path, properties: Mapping[str, str | bytes]) -> None:
    """Properties of the device tree; texts end with a zero."""
    put(root / "proc/device-tree", {
        name: value if isinstance(value, bytes) else f"{value}\0".encode() for name, value in properties.items()
    })  # fmt: skip


def a_pi(root: Path) -> Path:
    """A Raspberry Pi 3B with I²C, a 1-Wire thermometer, a P1 cable, a camera and a board of sensors."""
    tree(root, {
        "model": "Raspberry Pi 3 Model B Rev 1.2",
        "aliases/i2c1": "/soc/i2c@7e804000", "aliases/i2c_arm": "/soc/i2c@7e804000",
        "aliases/serial0": "/soc/serial@7e201000",
        "soc/gpio@7e200000/i2c1_pins/phandle": cells(9), "soc/gpio@7e200000/i2c1_pins/brcm,pins": cells(2, 3),
        "soc/gpio@7e200000/uart0_pins/phandle": cells(10), "soc/gpio@7e200000/uart0_pins/brcm,pins": cells(14, 15),
        "soc/gpio@7e200000/spi0_pins/phandle": cells(11), "soc/gpio@7e200000/spi0_pins/brcm,pins": cells(9, 10, 11),
        "soc/gpio@7e200000/w1_pins/phandle": cells(12), "soc/gpio@7e200000/w1_pins/brcm,pins": cells(4),
        "soc/gpio@7e200000/emmc_pins/phandle": cells(13), "soc/gpio@7e200000/emmc_pins/brcm,pins": cells(48, 49),
        "soc/i2c@7e804000/pinctrl-0": cells(9), "soc/i2c@7e804000/status": "okay",
        "soc/serial@7e201000/pinctrl-0": cells(10),
        "soc/spi@7e204000/pinctrl-0": cells(11), "soc/spi@7e204000/status": "disabled",
        "soc/mmc@7e202000/pinctrl-0": cells(13),
        "onewire@4/pinctrl-0": cells(12),
    })  # fmt: skip
    put(root, {
        "proc/sys/kernel/osrelease": "6.1.0-56-arm64\n",
        "dev/i2c-1": "", "dev/ttyUSB0": "", "dev/ttyACM0": "", "dev/ttyAMA0": "", "dev/ttyS9": "",
        "sys/bus/i2c/devices/i2c-1/name": "bcm2835 (i2c@7e804000)\n",
        "sys/bus/i2c/devices/1-0076/name": "bme280\n",
        "sys/bus/i2c/devices/1-0068/name": "ds3231\n",
        "sys/bus/w1/devices/w1_bus_master1/w1_master_slaves": "28-0316b0d6cdff\n",
        "sys/bus/w1/devices/28-0316b0d6cdff/id": b"\x28",
        "sys/class/pwm/pwmchip0/npwm": "2\n",
        "sys/class/tty/console/active": "tty1\n",
        "sys/class/tty/ttyAMA0/type": "32\n", "sys/class/tty/ttyAMA0/device/uevent": "",
        "sys/class/tty/ttyS9/type": "0\n", "sys/class/tty/ttyS9/device/uevent": "",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n", "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/bus/media/devices/media0/model": "bcm2835-codec\n",
        "sys/bus/media/devices/media1/model": "unicam\n",
        "sys/class/video4linux/v4l-subdev0/name": "imx219 10-0010\n",
        "sys/class/video4linux/video10/name": "bcm2835-codec-decode\n", "sys/class/video4linux/video10/index": "0\n",
        "sys/class/video4linux/video0/name": "HD Webcam: HD Webcam\n", "sys/class/video4linux/video0/index": "0\n",
        "sys/class/video4linux/video1/name": "HD Webcam: HD Webcam\n", "sys/class/video4linux/video1/index": "1\n",
    })  # fmt: skip
    link(root, "sys/bus/i2c/devices/1-0076/driver", "../../../../bus/i2c/drivers/bmp280")
    link(root, "sys/class/video4linux/video0/device/driver", "../../../../bus/usb/drivers/uvcvideo")
    link(root, "sys/class/video4linux/video1/device/driver", "../../../../bus/usb/drivers/uvcvideo")
    link(root, f"dev/serial/by-id/{CABLE}", "../../ttyUSB0")
    link(root, f"dev/serial/by-id/{MODEM}", "../../ttyACM0")
    link(root, "dev/serial0", "ttyAMA0")
    iio(root, 0, "i2c/1-0076", {
        "name": "bme280", "in_temp_input": "21440", "in_pressure_input": "101.325",
        "in_humidityrelative_input": "48300",
    }, chip="bme280")  # fmt: skip
    iio(root, 1, "i2c/1-0048", {
        "name": "ads1115", "in_voltage0_raw": "1000", "in_voltage0_scale": "0.125", "in_voltage1_raw": "20",
        "in_voltage_offset": "-10", "in_voltage_scale": "2",
    }, chip="ads1115")  # fmt: skip
    hwmon(root, 0, "w1/28-0316b0d6cdff", {"name": "w1_slave_temp", "temp1_input": "19875"})
    hwmon(root, 1, "i2c/1-0044", {
        "name": "sht4x", "temp1_input": "20125", "humidity1_input": "51200", "update_interval": "2000",
    }, chip="sht4x")  # fmt: skip
    hwmon(root, 2, "platform/rp1_adc", {
        "name": "rp1_adc", "in1_input": "5012", "in1_label": "5 V", "temp1_input": "40000",
    })  # fmt: skip
    hwmon(root, 3, "thermal/thermal_zone0", {"name": "cpu_thermal", "temp1_input": "48312"})
    return root


def iio(root: Path, number: int, parent: str, files: Mapping[str, str], *, chip: str = "") -> Path:
    """An IIO device as drivers/base/core.c shows one: a folder below its parent, `bus/address`, and a link to it."""
    return _shown(root, f"iio:device{number}", parent, files, chip=chip, where="sys/bus/iio/devices")


def hwmon(root: Path, number: int, parent: str, files: Mapping[str, str], *, chip: str = "") -> Path:
    """A hwmon device: of a class, so that it has a folder of that name in between, and a link `device` back."""
    place = _shown(root, f"hwmon/hwmon{number}", parent, files, chip=chip, where="sys/class")
    link(root, str(place.relative_to(root) / "device"), "../..")
    return place


def _shown(root: Path, name: str, parent: str, files: Mapping[str, str], *, chip: str, where: str) -> Path:
    bus, _, address = parent.partition("/")
    above = f"sys/devices/platform/soc/{address}"
    put(root, {f"{above}/{name}/{file}": f"{content}\n" for file, content in files.items()})
    if chip:
        put(root, {f"{above}/name": f"{chip}\n"})
    if not (root / above / "subsystem").is_symlink():
        (root / f"sys/bus/{bus}").mkdir(parents=True, exist_ok=True)
        link(root, f"{above}/subsystem", f"{'../' * 4}bus/{bus}")
    link(root, f"{where}/{name}", f"{'../' * f'{where}/{name}'.count('/')}{above}/{name}")
    return root / above / name


def gone(root: Path, place: Path) -> None:
    """The device that `iio` or `hwmon` made is no more."""
    for shown in (*(root / "sys/bus/iio/devices").glob("*"), *(root / "sys/class/hwmon").glob("*")):
        if shown.resolve() == place:
            shown.unlink()
    shutil.rmtree(place)


NAMES = {0: "ID_SDA", 1: "ID_SCL", 2: "SDA1", 3: "SCL1", 4: "GPIO_GCLK", 14: "TXD1", 15: "RXD1"}


def a_pis_chips() -> list[tuple[Chip, tuple[Line, ...]]]:
    """What its kernel says of the lines: GPIO17 is an output of another program's."""
    lines = tuple(
        Line(number=number, name=NAMES.get(number, f"GPIO{number}"), used=number in {4, 17},
             consumer={4: "onewire@4", 17: "fan"}.get(number, ""), direction="output" if number == 17 else "input")
        for number in range(54)
    )  # fmt: skip
    other = tuple(Line(number=number) for number in range(8))
    return [
        (Chip(path="/dev/gpiochip0", label="pinctrl-bcm2835", size=54), lines),
        (Chip(path="/dev/gpiochip1", label="raspberrypi-exp-gpio", size=8), other),
    ]
