"""What makes a kernel know a chip that cannot say that it is there: I²C and SPI have no such way. Pure.

Source: Raspberry Pi's arch/arm/boot/dts/overlays/README (parameters of `i2c-sensor`, and their addresses); the kernel's
Documentation/i2c/instantiating-devices.rst, method 4 (`new_device`).
"""

from __future__ import annotations

from typing import Literal

# Chips that the overlay `i2c-sensor` knows under the name that their kernel driver has, with the address it takes
# them to be at ("" where the chip has but one, which the README does not say).
_I2C_SENSOR = {
    "adt7410": "0x48", "aht10": "", "bh1750": "0x23", "bme280": "0x76", "bme680": "0x76", "bmp085": "", "bmp180": "",
    "bmp280": "0x76", "bmp380": "0x76", "ccs811": "0x5b", "ds1621": "0x48", "hdc100x": "0x40", "htu21": "",
    "jc42": "0x18", "lm75": "0x4f", "max17040": "", "mpu6050": "0x68", "mpu9250": "0x68", "ms5637": "", "ms5803": "",
    "ms5805": "", "ms5837": "", "ms8607": "", "sgp30": "0x58", "sht3x": "0x44", "sht4x": "0x44", "si7020": "",
    "sps30": "0x69", "tmp102": "0x48", "tsl4531": "", "veml6070": "",
}  # fmt: skip
_OWN = {"ads1015": "ads1015", "ads1115": "ads1115,cha_enable", "apds9960": "apds9960", "dht11": "dht11,gpiopin=4"}
# What is sold under a name that neither the kernel nor the overlay has.
_ALSO = {"am2302": "dht11", "am2303": "dht11", "dht21": "dht11", "dht22": "dht11", "hdc1080": "hdc100x",
         "htu21d": "htu21", "mcp9808": "jc42", "sht30": "sht3x", "sht31": "sht3x", "sht35": "sht3x",
         "sht40": "sht4x", "sht41": "sht4x", "sht45": "sht4x", "si7021": "si7020", "aht20": "aht10"}  # fmt: skip
# No overlay has them, their kernel drivers do (`i2c_device_id` of each): the address that most boards have.
_BY_HAND = {"bh1750": "0x23", "ina219": "0x40", "ina226": "0x40", "scd30": "0x61", "tsl2561": "0x39",
            "mcp3422": "0x68", "mcp3424": "0x68", "tmp105": "0x48", "lm75": "0x48", "sht3x": "0x44"}  # fmt: skip


# Of all of these, those whose kernel driver is one of hwmon's (drivers/hwmon); the others' are iio's (drivers/iio).
_HWMON = frozenset({"adt7410", "aht10", "ds1621", "ina219", "ina226", "jc42", "lm75", "sht3x", "sht4x", "tmp102",
                    "tmp105"})  # fmt: skip
_NEITHER = frozenset({"max17040"})  # a battery's (drivers/power/supply)


def called(chip: str) -> str:
    """The name under which a kernel knows what is sold as `chip`."""
    return _ALSO.get(chip.lower(), chip.lower())


def read_by(chip: str) -> Literal["iio", "hwmon", ""]:
    """Which of our drivers reads what is sold as `chip`; "" where we do not know."""
    chip = called(chip)
    if chip in _NEITHER or chip not in {*_I2C_SENSOR, *_OWN, *_BY_HAND}:
        return ""
    return "hwmon" if chip in _HWMON else "iio"


def address_of(chip: str) -> int | None:
    """Where it is on an I²C bus unless somebody chose another address; None where we do not know."""
    chip = called(chip)
    address = _I2C_SENSOR.get(chip) or _BY_HAND.get(chip)
    return int(address, 16) if address else None


def how(chip: str, *, pi: bool, config_txt: str) -> str:
    """What to do so that the kernel knows `chip`; "" where we do not know."""
    chip = called(chip)
    overlay = f"i2c-sensor,{chip}" if chip in _I2C_SENSOR else _OWN.get(chip, "")
    address = _I2C_SENSOR.get(chip) or _BY_HAND.get(chip, "")
    by_hand = f"`echo {chip} {address} | sudo tee /sys/bus/i2c/devices/i2c-1/new_device`" if address else ""
    if pi and overlay:
        at = f" (add ,addr= where it is not at {address})" if address and chip in _I2C_SENSOR else ""
        return f"put dtoverlay={overlay}{at} into {config_txt} and restart"
    return f"{by_hand} makes it known until the next start" if by_hand else ""
