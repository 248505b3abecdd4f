"""Asking another process of ours: its memory, its time and whatever becomes of it are its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

LOOKING_S = 30.0  # a Raspberry Pi Zero takes a few seconds, nearly all of them to begin
DYING_S = 1.0  # one that hangs in the disk cannot even be killed
EX_CONFIG = 78  # the configuration is wrong: then there is nothing else to look for
REMEDY = "correct it before the next start, which would end there"


class Found(NamedTuple):
    """What one check of `knoop doctor` saw (`doctor.finding.Finding`): `level` is ok, note or problem."""

    check: str
    level: str
    text: str
    remedy: str


async def asked(*arguments: str, timeout_s: float, fine: Collection[int] = (0,)) -> Any:
    """What `knoop ARGUMENTS --json` says. Raises OSError, TimeoutError where it takes longer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "knoop", *arguments, "--json",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, _ = await process.communicate()
    except BaseException:
        process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(DYING_S):
                await process.wait()
        raise
    if process.returncode not in fine:
        raise OSError(f"knoop {arguments[0]} ended with exit code {process.returncode}")
    return json.loads(out)


async def machine(config: Path) -> list[Found]:
    """What `knoop doctor` finds on this machine. Raises OSError, TimeoutError where something hangs."""
    report = await asked("doctor", "--offline", "--config", str(config), timeout_s=LOOKING_S, fine=(0, 1, EX_CONFIG))
    wrong = [Found("configuration", "problem", text, REMEDY) for text in report.get("problems", ())]
    return [*wrong, *(Found(**finding) for finding in report.get("findings", ()))]
