"""The hardware half as a process: from its start to its end (docs/adr/0012)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from knoop_hw.board import Board
from knoop_hw.clock import Clock, SystemClock
from knoop_hw.left import Left
from knoop_hw.life import at_a_terminal, end, in_time, lock, refusing
from knoop_hw.notify import notify, reloading
from knoop_hw.sock import Listener
from knoop_hw.tables import Config
from knoop_hw.timer import within

log = logging.getLogger(__name__)

FEED_S = 1.0  # the watchdog's food comes from the loop: one that hangs is noticed
DRAIN_S = 2.0  # an agent that lives has stored everything after 1 s (its group commit); a stop must not take longer


async def serve(
    config: Config, *, load: Callable[[], Config], socket: Path, passed: int | None, state: Path
) -> int:
    """Open the board and be there for an agent until SIGTERM or SIGINT. Returns the exit code 0.

    `passed`: a listening socket of systemd's, instead of one at `socket`. SIGHUP takes over what `load` returns (it
    raises ConfigError), or stops a half that a terminal started. SIGUSR2 says that new code is installed. Raises
    DeviceError.
    """
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    stop, again, upgraded = asyncio.Event(), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        loop.add_signal_handler(signal.SIGHUP, stop.set if at_a_terminal() else again.set)
    loop.add_signal_handler(signal.SIGUSR2, upgraded.set)
    code = _code()
    with ExitStack() as stack:
        taken = f"{state} is in use by another knoop-hw; stop it, or give this one another folder with --state"
        stack.enter_context(lock(state / "lock", taken=taken))
        listener = Listener(socket, passed=passed)
        stack.callback(listener.close)
        async with Board(config, clock=clock, state=state) as board:
            half = _Half(board, config, clock=clock, load=load, again=again, upgraded=upgraded, code=code)
            accepting = asyncio.create_task(listener.accept(board.serve, clock=clock))
            works: tuple[Coroutine[Any, Any, object], ...] = (stop.wait(), half.follow(), half.upgrade(), half.feed())
            tasks = [asyncio.create_task(work) for work in works]
            notify("READY=1\nSTATUS=open")
            log.info("the board is open: %d channels, run %s, at %s", len(board.channels), board.run, socket)
            try:
                await asyncio.wait([accepting, *tasks], return_when=asyncio.FIRST_COMPLETED)
                for task in (accepting, *tasks):
                    if task.done():
                        task.result()
            finally:
                board.release()  # outputs first, before anything that may have to wait
                notify("STOPPING=1")
                await end(tasks)
                await board.released()
                await half.drain()
                await end([accepting])
    return 0


class _Half:
    """What an open board does besides serving: another configuration, new code, the watchdog, its end."""

    def __init__(
        self, board: Board, config: Config, *, clock: Clock, load: Callable[[], Config],
        again: asyncio.Event, upgraded: asyncio.Event, code: str,
    ) -> None:  # fmt: skip
        self._board, self._config, self._clock, self._load = board, config, clock, load
        self._again, self._upgraded, self._code = again, upgraded, code

    async def follow(self) -> None:
        """At each SIGHUP be what the file says then, wholly or not at all. Raises NotAsBefore."""
        while True:
            await self._again.wait()
            self._again.clear()
            reloading()
            with refusing(_not_taken):
                config = await in_time(self._load)
                if config == self._config:
                    log.info("reload: nothing changed")
                else:
                    await self._board.reload(config)
                    self._config = config
                    log.info("reload: the new configuration is taken")
            notify("READY=1")

    async def upgrade(self) -> None:
        """Return when new code is installed and nothing would notice a restart; stay until the next boot otherwise."""
        while True:
            await self._upgraded.wait()
            self._upgraded.clear()
            try:
                code = _code()
            except OSError as error:
                log.warning("upgrade: %s: %s; staying, tell me when all is installed", error.filename, error.strerror)
                continue
            if code == self._code:
                log.info("upgrade: the hardware half's code is as it was; staying")
            elif moved := self._board.moved_by_a_restart():
                log.warning(
                    "upgrade: a restart would move %s; the new code is used from the next start on", ", ".join(moved)
                )
                notify("STATUS=open; new code waits for the next start")
            else:
                log.info("upgrade: leaving, so that the new code is started")
                return

    async def feed(self) -> None:
        """Tell systemd that the loop goes round."""
        while True:
            notify("WATCHDOG=1")
            await self._clock.sleep(FEED_S)

    async def drain(self) -> None:
        """Let the agent store what it has not, for a bounded time."""
        try:
            await within(self._board.drain(), DRAIN_S, clock=self._clock)
        except TimeoutError:
            log.warning("the agent has not said within %g s that the last readings are safe; they may be lost", DRAIN_S)
        except Exception:  # the outputs are safe; what is left to close is closed all the same
            log.exception("the end")


async def make_safe(file: Path, *, load: Callable[[], Config], state: Path) -> int:
    """`knoop-hw --safe`: what this half does at its end, after it could not. Returns 0, or 74 when a line failed.

    What it had open counts, whatever `file` says by now. Raises ConfigError when nobody knows that, nor can `load` say
    it; DeviceError where this half is running.
    """
    clock = SystemClock()
    with lock(state / "lock", taken=f"{state} is in use by a knoop-hw that is running; stop it, then all is safe"):
        config = Left(state, boot_id=clock.boot_id).recall(file) or load()
        failed = await Board(config, clock=clock).to_safe()
    for error in failed:
        log.error("%s", error)
    return 74 if failed else 0


def _not_taken(*problems: str) -> None:
    for problem in problems:
        log.error("%s", problem)
    log.error("reload: the new configuration is not taken; the old one stays")


def _code() -> str:
    """What this half is made of, as it is on disk now."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
