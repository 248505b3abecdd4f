"""Measuring a running node from beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from knoop.beside import asked

TIMEOUT_S = 60.0


async def bench(config: Path) -> Mapping[str, float]:
    """Measure in a process of its own, so that its memory and CPU are the benchmark's alone. Raises OSError."""
    figures = await asked("bench", "--quick", "--config", str(config), timeout_s=TIMEOUT_S)
    return {
        "stanzas_per_s": figures["stanzas_per_s"], "cpu_us_per_reading": figures["cpu_us_per_reading"],
        "pss_mb": figures["pss_mb"], "ping_ms": figures["ping_ms_p50"],
    }
