"""Several works at once, until one of them fails; and waiting for whichever of several comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from knoop_hw.clock import Clock


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Return when all are done, or raise what the first one raised, after the others were cancelled and have ended.

    Unlike asyncio.TaskGroup, which up to Python 3.12 hides a cancellation behind a failure of the same instant and
    leaves the task counting as cancelled, being told to stop always gets through, and a failure comes as it is.
    """
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def first(*works: Awaitable[Any]) -> None:
    """Return when one of these has ended, however; those among the others that are no tasks yet have been cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    ours = [task for task, work in zip(tasks, works, strict=True) if task is not work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)


async def woken(event: asyncio.Event, clock: Clock, within_s: float) -> bool:
    """Return when `event` is set, or after so many seconds of the clock; whether it is set then."""
    if event.is_set() or within_s <= 0:
        return event.is_set()
    await first(event.wait(), clock.sleep(within_s))
    return event.is_set()
