"""Which of the kernel's sensors node.toml means, and what is said when it is none or several."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.hw.trees import gone, hwmon, iio, link, put, tree

from knoop_hw.errors import DeviceError
from knoop_hw.kernel import overlays
from knoop_hw.kernel import sensors as kernel_sensors
from knoop_hw.kernel.sensors import devices, reference
from knoop_hw.life import end
from knoop_hw.sensing import sense

AIR = {"in_temp_input": "21000"}


def found(root: Path, wanted: str, *fields: str, kind: kernel_sensors.Kind = "iio") -> str:
    asked = kernel_sensors.checked(kind, wanted, fields or ("temperature",))
    return str(kernel_sensors._found(kind, wanted, asked, root)[0])


def refused(root: Path, wanted: str, *fields: str, kind: kernel_sensors.Kind = "iio") -> str:
    with pytest.raises(DeviceError) as caught:
        found(root, wanted, *fields, kind=kind)
    return str(caught.value)


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    tree(tmp_path, {"model": "Raspberry Pi 4 Model B Rev 1.4"})
    return tmp_path


# ── found ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wanted", ["bme280", "BME280", " bme280 ", "1-0076", "cellar", "Cellar"])
def test_a_device_is_called_by_its_name_its_label_or_its_address(tmp_path, wanted):
    iio(tmp_path, 0, "i2c/1-0048", {"name": "ads1115", "in_voltage0_raw": "1"})
    iio(tmp_path, 1, "i2c/1-0076", {"name": "bme280", "label": "cellar", **AIR})
    assert found(tmp_path, wanted) == "bme280 (1-0076)"


def test_and_by_what_its_bus_calls_it(tmp_path):
    """Before 6.1 some drivers gave the address for a name (drivers/iio/humidity/hdc100x.c: `dev_name`)."""
    iio(tmp_path, 0, "i2c/1-0040", {"name": "1-0040", **AIR}, chip="hdc1080")
    assert found(tmp_path, "hdc1080") == found(tmp_path, "1-0040") == "1-0040 (1-0040)"


def test_a_name_with_the_line_in_it_is_found_without(tmp_path):
    """drivers/iio/humidity/dht11.c: `pdev->name`, of the node dht11@4."""
    iio(tmp_path, 0, "platform/dht11@4", {"name": "dht11@4", **AIR})
    assert found(tmp_path, "dht11") == found(tmp_path, "dht11@4") == "dht11@4 (dht11@4)"


def test_of_two_devices_of_one_chip_the_fields_tell_which(tmp_path):
    """drivers/iio/imu/st_lsm6dsx: an accelerometer and a gyroscope at one address."""
    iio(tmp_path, 0, "i2c/1-006a", {"name": "lsm6ds3_gyro", "in_anglvel_x_raw": "1"}, chip="lsm6ds3")
    iio(tmp_path, 1, "i2c/1-006a", {"name": "lsm6ds3_accel", "in_accel_x_raw": "1"}, chip="lsm6ds3")
    assert found(tmp_path, "1-006a", "accel_x") == "lsm6ds3_accel (1-006a)"
    assert found(tmp_path, "lsm6ds3", "anglvel_x") == "lsm6ds3_gyro (1-006a)"
    assert refused(tmp_path, "lsm6ds3", "accel_x", "anglvel_x") == (
        "2 iio devices are 'lsm6ds3'; say which: device = \"lsm6ds3_gyro\" or device = \"lsm6ds3_accel\""
    )


def test_two_of_a_kind_are_told_apart_by_their_addresses(tmp_path):
    for number, address in enumerate(("1-0076", "1-0077")):
        iio(tmp_path, number, f"i2c/{address}", {"name": "bme280", **AIR})
    assert refused(tmp_path, "bme280") == (
        "2 iio devices are 'bme280'; say which: device = \"1-0076\" or device = \"1-0077\""
    )
    assert found(tmp_path, "1-0077") == "bme280 (1-0077)"
    assert [reference(device, devices("iio", tmp_path)) for device in devices("iio", tmp_path)] == ["1-0076", "1-0077"]


def test_the_probe_refers_to_every_device_as_the_driver_finds_it(tmp_path):
    iio(tmp_path, 0, "i2c/1-0076", {"name": "bme280", "label": "in", **AIR}, chip="bme280")
    iio(tmp_path, 1, "i2c/1-0077", {"name": "bme280", "label": "out", **AIR}, chip="bme280")
    iio(tmp_path, 2, "spi/spi0.0", {"name": "max31865", **AIR})
    put(tmp_path, {"sys/bus/iio/devices/iio:device3/name": "twin\n", "sys/bus/iio/devices/iio:device4/name": "twin\n",
                   "sys/bus/iio/devices/iio:device5/in_temp_input": "1\n"})  # fmt: skip
    there = devices("iio", tmp_path)
    assert [reference(device, there) for device in there] == ["in", "out", "max31865", "", "", ""]
    for device in there[:3]:
        assert found(tmp_path, reference(device, there)) == str(device)


# ── not found ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_there_is_instead_is_said(tmp_path):
    iio(tmp_path, 0, "i2c/1-0048", {"name": "ads1115"})
    assert refused(tmp_path, "xyz1") == "there is no iio device 'xyz1'; there is ads1115 (1-0048)"
    assert refused(tmp_path, "xyz1", kind="hwmon") == "there is no hwmon device 'xyz1'; there are none at all"


def test_on_knoops_own_image_it_is_a_bus_of_the_cards_file(pi):
    put(pi, {"usr/share/knoop-image/packages": ""})
    said = 'add "i2c:bme280" to [board] buses in knoop.toml on the card and start again; there are none at all'
    assert refused(pi, "bme280") == f"there is no iio device 'bme280'; {said}"
    assert "config.txt" not in refused(pi, "DHT22")


def test_on_a_raspberry_pi_what_makes_the_chip_known_is_said(pi):
    assert refused(pi, "bme280") == (
        "there is no iio device 'bme280'; put dtoverlay=i2c-sensor,bme280 (add ,addr= where it is not at 0x76) into "
        "/boot/firmware/config.txt and restart; there are none at all"
    )
    assert "put dtoverlay=dht11,gpiopin=4 into /boot/firmware" in refused(pi, "DHT22")
    assert "dtoverlay=ads1115,cha_enable" in refused(pi, "ads1115", "voltage0")


def test_elsewhere_and_for_what_has_no_overlay_it_is_told_by_hand(pi, tmp_path_factory):
    by_hand = "`echo ina219 0x40 | sudo tee /sys/bus/i2c/devices/i2c-1/new_device` makes it known until the next start"
    assert by_hand in refused(pi, "ina219", "voltage0", kind="hwmon")
    assert "`echo bme280 0x76 | sudo tee" in refused(tmp_path_factory.mktemp("pc"), "bme280")


def test_another_chip_at_its_address_is_offered_and_not_driven_out(pi, tmp_path_factory):
    """A BMP280 is often sold as a BME280; `new_device` at the same address can only fail."""
    for root in (pi, tmp_path_factory.mktemp("pc")):
        iio(root, 0, "i2c/1-0076", {"name": "bmp280", **AIR})
        assert refused(root, "bme280") == (
            "there is no iio device 'bme280'; at its address is bmp280 (1-0076): if that is it, device = \"bmp280\"; "
            "there is bmp280 (1-0076)"
        )
    hwmon(pi, 0, "i2c/1-0023", {"name": "sht3x", "temp1_input": "1"})
    other = 'at its address is sht3x (1-0023): if that is it, driver = "hwmon", device = "sht3x"'
    assert other in refused(pi, "bh1750")


@pytest.mark.parametrize("chip", [*overlays._I2C_SENSOR, *overlays._OWN, *overlays._BY_HAND, *overlays._ALSO])
def test_every_chip_that_can_be_made_known_has_a_driver_that_reads_it(chip):
    assert overlays.read_by(chip) or overlays.called(chip) == "max17040"


def test_who_asks_the_wrong_half_of_the_kernel_is_told_the_right_one(tmp_path):
    hwmon(tmp_path, 0, "i2c/1-0044", {"name": "sht4x", "temp1_input": "1"})
    assert 'the kernel has it as hwmon: driver = "hwmon"' in refused(tmp_path, "sht4x")
    iio(tmp_path, 0, "i2c/1-0076", {"name": "bme280", **AIR})
    assert 'the kernel has it as iio: driver = "iio"' in refused(tmp_path, "bme280", kind="hwmon")


def test_who_names_what_the_shop_calls_it_is_told_what_the_kernel_does(tmp_path):
    hwmon(tmp_path, 0, "i2c/1-0018", {"name": "jc42", "temp1_input": "1"})
    assert 'the kernel calls it device = "jc42"' in refused(tmp_path, "MCP9808", kind="hwmon")


def test_a_chip_that_is_declared_and_has_no_driver_is_told_of(pi):
    put(pi, {"sys/bus/i2c/devices/1-0076/name": "bme280\n", "sys/bus/spi/devices/spi0.0/modalias": "spi:max31865\n"})
    assert "it is known at 1-0076 and has no driver: `sudo modprobe i2c:bme280`" in refused(pi, "bme280")
    assert "it is known at spi0.0 and has no driver: `sudo modprobe spi:max31865`" in refused(pi, "max31865")
    link(pi, "sys/bus/i2c/devices/1-0076/driver", "../../drivers/bmp280")
    assert "modprobe" not in refused(pi, "bme280")


def test_every_chip_that_is_sold_under_another_name_can_be_had(pi):
    for sold in overlays._ALSO:
        assert overlays.how(sold, pi=True, config_txt="config.txt").startswith("put dtoverlay=")


# ── kept alive ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_unplugged_and_plugged_in_again_it_goes_on_by_itself(tmp_path, configured, clock, caplog):
    """What the log says is a line when it goes and one when it is back; its number may change meanwhile."""
    chip = {"name": "bme280", "in_temp_input": "21000", "in_humidityrelative_input": "50000"}
    place = iio(tmp_path, 0, "i2c/1-0076", chip)
    (sensor,) = configured(f"""
        [sensor.air]
        driver = "iio"
        device = "bme280"
        fields = ["temperature", "humidity"]
        every = "10s"
        root = "{tmp_path}"
    """).sensors
    said: list[tuple[str, object, str]] = []
    keeping = asyncio.create_task(sense(sensor, clock=clock, report=lambda *told: said.append(told[:3])))

    async def until(*wanted: tuple[str, object, str]) -> None:
        async with asyncio.timeout(10):
            while said[-len(wanted):] != [*wanted]:
                await clock.advance(1)
                while any(thread.name == "knoop-poll" for thread in threading.enumerate()):  # else it is stuck
                    await asyncio.sleep(0.001)

    await until(("air.temperature", 21.0, "ok"), ("air.humidity", 50.0, "ok"))
    gone(tmp_path, place)
    iio(tmp_path, 0, "i2c/1-0048", {"name": "ads1115", "in_temp_input": "99000"})
    await until(("air.temperature", None, "missing"), ("air.humidity", None, "missing"))
    iio(tmp_path, 1, "i2c/1-0076", {**chip, "in_temp_input": "22000"})
    await until(("air.temperature", 22.0, "ok"), ("air.humidity", 50.0, "ok"))
    await end([keeping])
    assert ("air.temperature", None, "error") in said, "it was open when it went"
    assert 99.0 not in {value for _, value, _ in said}
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "sensor.air: bme280 (1-0076) is gone, look at its wires; it is tried again", "sensor.air: is back",
    ]  # fmt: skip
