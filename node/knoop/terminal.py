"""`knoop chat`: a prompt with what the node says above it; without a terminal, lines in and sentences out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from knoop.jid import Jid
from knoop.logs import printable
from knoop.xmpp.console import Console
from knoop.xmpp.session import Account
from knoop_hw.clock import SystemClock

ANSWER_TIMEOUT_S = 20.0
EX_UNANSWERED = 1


async def converse(account: Account, node: Jid) -> int:
    """Talk until the end of input. Returns the exit code: 1 when a line got no answer. Raises LinkError."""
    if sys.stdin.isatty():
        return await _interactive(account, node)
    async with Console(account, node, clock=SystemClock(), on_text=_say) as console:
        loop = asyncio.get_running_loop()
        unanswered = 0
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            if line.strip():
                _say(f"> {line.strip()}")
                console.say(line.strip())
                unanswered += not await console.answered(ANSWER_TIMEOUT_S)
    return EX_UNANSWERED if unanswered else 0


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
