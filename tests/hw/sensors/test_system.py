"""The machine's own values, from a made-up /proc and from the real one."""

from __future__ import annotations

import asyncio
import os

import pytest

from knoop_hw.clock import SystemClock
from knoop_hw.errors import BadReading
from knoop_hw.sensors import system


@pytest.fixture
def root(tmp_path):
    """A machine with two thermal zones."""
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "loadavg").write_text("0.42 0.30 0.20 1/234 5678\n")
    (proc / "uptime").write_text("3661.25 7000.00\n")
    (proc / "meminfo").write_text("MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  250 kB\n")
    for number, (kind, temperature) in enumerate([("gpu-thermal", 50_000), ("cpu-thermal", 48_312)]):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{temperature}\n")
    return tmp_path


async def first(config):
    async with system.open(config, clock=SystemClock()) as sensor:
        samples = sensor.samples()
        taken = await asyncio.wait_for(anext(samples), 5)
        await samples.aclose()
        return {sample.field: sample.value for sample in taken}


async def test_what_the_kernel_says(root):
    values = await first(system.Config(root=root, mount=root))
    assert 0 <= values.pop("disk") <= 100
    assert values == {"temperature": 48.312, "load": 0.42, "memory": 75.0, "uptime": 3661.25}


async def test_a_machine_without_a_thermal_zone(tmp_path, root):
    for zone in root.glob("sys/class/thermal/*/temp"):
        zone.unlink()
    config = system.Config(root=root)
    assert [field.name for field in system.fields(config)] == ["load", "memory", "disk", "uptime"]
    assert (await first(config)).keys() == {"load", "memory", "disk", "uptime"}


async def test_this_machine():
    values = await first(system.Config())
    space = os.statvfs("/")
    assert 0 <= values["memory"] <= 100
    assert values["disk"] == pytest.approx(
        100 * (1 - space.f_bavail / (space.f_blocks - space.f_bfree + space.f_bavail)), abs=1
    )
    assert values["uptime"] > 0


async def test_a_kernel_that_says_nonsense(root):
    (root / "proc/meminfo").write_text("nothing\n")
    with pytest.raises(BadReading, match="has no MemTotal"):
        await first(system.Config(root=root))
