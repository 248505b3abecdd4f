"""The kernel's thermal zones: what the processor, and on some boards more, measure of themselves.

Source: the kernel's Documentation/ABI/testing/sysfs-class-thermal: `type`, and `temp` in thousandths of °C. Shared
by the driver `system`, the probe and the doctor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from knoop_hw.errors import BadReading
from knoop_hw.kernel.attributes import number
from knoop_hw.kernel.buses import in_order, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """`name` is its type, `cpu-thermal`; several may have one."""

    name: str
    path: Path

    def temperature(self) -> float:
        """In °C. Raises OSError, also for a zone that is switched off, and BadReading."""
        return float(number(self.path / "temp")) / 1000

    def known(self) -> float | None:
        """The temperature, None where there is none just now."""
        try:
            return self.temperature()
        except (OSError, BadReading):
            return None


def zones(root: Path = Path("/")) -> tuple[Zone, ...]:
    """All that can tell a temperature, below `root`; never fails."""
    there = in_order(file.parent for file in (root / "sys/class/thermal").glob("thermal_zone*/temp"))
    return tuple(Zone(name=text_of(zone / "type") or zone.name, path=zone) for zone in there)


def of_the_processor(root: Path = Path("/")) -> Zone | None:
    """The zone whose type names the CPU, else the first; None where there is none."""
    there = zones(root)
    return next((zone for zone in there if "cpu" in zone.name or "x86_pkg" in zone.name), next(iter(there), None))
