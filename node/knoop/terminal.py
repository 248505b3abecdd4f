"""`knoop chat`: a prompt with what the node says above it; without a terminal, lines in and sentences out."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from knoop.jid import Jid
from knoop.xmpp.account import Account
from knoop.xmpp.console import Console
from knoop_hw.clock import SystemClock
from knoop_hw.logs import printable

ANSWER_TIMEOUT_S = 20.0
EX_UNANSWERED = 1


async def converse(account: Account, node: Jid) -> int:
    """Talk until the end of input. Returns the exit code: 1 when a line got no answer. Raises LinkError."""
    if sys.stdin.isatty():
        return await _interactive(account, node)
    async with Console(account, node, clock=SystemClock(), on_text=_say) as console:
        # A file of our own: at exit the interpreter needs the lock of sys.stdin, which a reader that waits holds.
        source = open(  # noqa: SIM115, ASYNC230 -- nothing is opened or closed; and closing would wait for that lock
            sys.stdin.fileno(), encoding=sys.stdin.encoding, errors="replace", closefd=False
        )
        unanswered = 0
        while line := await console.session.or_lost(_line(source)):
            if line.strip():
                _say(f"> {line.strip()}")
                console.say(line.strip())
                unanswered += not await console.answered(ANSWER_TIMEOUT_S)
    return EX_UNANSWERED if unanswered else 0


def _line(source: TextIO) -> asyncio.Future[str]:
    """The next line of a file or pipe, "" at its end; Ctrl-C need not wait for it.

    A read that waits cannot be cancelled, and the loop's executor keeps the program from ending until it returns:
    so it happens in a daemon thread. The loop itself could read a pipe, but no regular file (epoll_ctl(2), EPERM).
    """
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def tell(result: str | OSError) -> None:
        if line.done():
            return
        if isinstance(result, OSError):
            line.set_exception(result)
        else:
            line.set_result(result)

    def read() -> None:
        try:
            result: str | OSError = source.readline()
        except OSError as error:
            result = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=read, daemon=True, name="stdin").start()
    return line


def _say(text: str) -> None:
    """Print what the node said, with nothing in it that could steer this terminal; its line ends stay."""
    print("\n".join(printable(line) for line in text.split("\n")), flush=True)  # noqa: T201 -- the terminal is this module's output


async def _interactive(account: Account, node: Jid, show: Callable[[str], None] = _say) -> int:
    from prompt_toolkit import PromptSession  # noqa: PLC0415 -- only a person at a terminal needs it
    from prompt_toolkit.patch_stdout import patch_stdout  # noqa: PLC0415

    prompt: PromptSession[str] = PromptSession()
    with patch_stdout():
        async with Console(account, node, clock=SystemClock(), on_text=show) as console:
            show(f"You are {account.jid.bare}, talking with {node}. Try: help, status. Ctrl-D ends.")
            while True:
                asking = asyncio.ensure_future(prompt.prompt_async(f"{account.jid.local}> "))
                try:
                    line = await console.session.or_lost(asking)
                except (EOFError, KeyboardInterrupt):
                    return 0
                if line.strip():
                    console.say(line.strip())
