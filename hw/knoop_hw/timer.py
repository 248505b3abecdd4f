"""Something that is due at a boottime, and waiting no longer than that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from knoop_hw.clock import Clock
from knoop_hw.life import end

T = TypeVar("T")


class Timer:
    """Calls `fire` once when boottime reaches the instant last given to `at`.

    Only the last instant counts. `fire` runs in the event loop and may call `at` again.
    """

    def __init__(self, fire: Callable[[], None], *, clock: Clock) -> None:
        self._fire, self._clock = fire, clock
        self._due_ns: int | None = None
        self._task: asyncio.Task[None] | None = None

    def at(self, due_ns: int | None) -> None:
        """Be due at this boottime instead of any earlier wish; None: never."""
        if due_ns == self._due_ns and self._task is not None:
            return
        self._due_ns = due_ns
        if self._task is not None:
            self._task.cancel()
        self._task = None if due_ns is None else asyncio.create_task(self._wait(due_ns))

    async def _wait(self, due_ns: int) -> None:
        while (left_ns := due_ns - self._clock.boottime_ns()) > 0:
            await self._clock.sleep(left_ns / 1e9)
        self._task = self._due_ns = None
        self._fire()

    def close(self) -> None:
        """Never fire again; closing twice is fine."""
        self.at(None)


async def within(work: Coroutine[Any, Any, T], seconds: float, *, clock: Clock) -> T:
    """What `work` returns, if it does so within `seconds` of the clock.

    Otherwise cancels it, raises TimeoutError.
    """
    doing = asyncio.create_task(work)
    patience = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({doing, patience}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise TimeoutError(f"nothing within {seconds:g} s")
    finally:
        await end((doing, patience))
