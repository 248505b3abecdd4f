"""Measuring a running node from beside it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

TIMEOUT_S = 60.0


async def bench(config: Path) -> Mapping[str, float]:
    """Measure in a process of its own, so that its memory and CPU are the benchmark's alone. Raises OSError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "knoop", "bench", "--quick", "--json", "--config", str(config),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise OSError(f"knoop bench ended with exit code {process.returncode}")
    figures = json.loads(out)
    return {
        "stanzas_per_s": figures["stanzas_per_s"], "cpu_us_per_reading": figures["cpu_us_per_reading"],
        "pss_mb": figures["pss_mb"], "ping_ms": figures["ping_ms_p50"],
    }
