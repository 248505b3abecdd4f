"""Thermal zones, as Documentation/ABI/testing/sysfs-class-thermal of the kernel has them."""

import pytest
from tests.hw.trees import put

from knoop_hw.errors import BadReading
from knoop_hw.kernel import thermal

ZONES = "sys/class/thermal/thermal_zone"


def test_zones_are_in_the_order_of_their_numbers_and_tell_in_degrees(tmp_path):
    put(tmp_path, {f"{ZONES}{number}/temp": f"{number}500\n" for number in (10, 2)} | {f"{ZONES}2/type": "acpitz\n"})
    assert [(zone.name, zone.temperature()) for zone in thermal.zones(tmp_path)] == [
        ("acpitz", 2.5), ("thermal_zone10", 10.5),
    ]  # fmt: skip


def test_a_zone_without_a_temperature_is_none(tmp_path):
    put(tmp_path, {f"{ZONES}0/type": "cooling\n"})
    assert thermal.zones(tmp_path) == ()
    assert thermal.of_the_processor(tmp_path) is None


@pytest.mark.parametrize(("kinds", "chosen"), [
    (["gpu-thermal", "cpu-thermal"], "cpu-thermal"), (["acpitz", "x86_pkg_temp"], "x86_pkg_temp"),
    (["acpitz", "pch"], "acpitz"),
])  # fmt: skip
def test_the_processors_is_that_which_says_so_or_the_first(tmp_path, kinds, chosen):
    for number, kind in enumerate(kinds):
        put(tmp_path, {f"{ZONES}{number}/type": f"{kind}\n", f"{ZONES}{number}/temp": "40000\n"})
    assert thermal.of_the_processor(tmp_path).name == chosen


@pytest.mark.parametrize("content", ["", "hot\n"])
def test_one_that_is_off_has_no_temperature(tmp_path, content):
    put(tmp_path, {f"{ZONES}0/temp": content})
    (zone,) = thermal.zones(tmp_path)
    assert zone.known() is None
    with pytest.raises(BadReading, match="temp "):
        zone.temperature()
