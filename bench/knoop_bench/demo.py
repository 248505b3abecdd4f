"""`make demo`: a private server and a real node; a chat with it at a terminal, else the tour."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from knoop.errors import LinkError
from knoop_bench.errors import BenchError
from knoop_bench.stage import EXAMPLE, NODE, OWNER, ROOT, Stage, stage

LIMIT_S = 120.0  # a tour takes 40 s; a machine three times slower still finishes, a hanging one does not hang us

INTRODUCTION = f"""\
Knoop: a node named “{NODE}” with a simulated board, the real readings of this machine and a recorded smart meter on a
serial port, at a private XMPP server on loopback that ends with this demo. What happens on the board is written in
{EXAMPLE.relative_to(ROOT)}/scenario.toml, the node's configuration in {EXAMPLE.relative_to(ROOT)}/node.toml.
"""


async def run(folder: Path) -> int:
    """Set the stage and play. Returns the exit code: 0 only when everything was observed."""
    print(INTRODUCTION, flush=True)
    started = time.monotonic()
    async with stage(folder) as made:
        print(f"Server on 127.0.0.1: direct TLS {made.server.tls_port}, STARTTLS {made.server.starttls_port}; "
              f"meter on {made.meter.device}; set in {time.monotonic() - started:.1f} s.\n"
              f"To look with a client of your own: accounts in {made.folder.name}/accounts.txt, "
              f"CA in {made.server.ca_file.relative_to(made.folder.parent)}.\n"
              f"The node's log: {made.folder.name}/node.log; how it is: {made.folder.name}/run/status.json.",
              flush=True)
        if sys.stdin.isatty() and sys.stdout.isatty():
            return await _chat(made)
        return await _tour(made, started)


async def _tour(made: Stage, started: float) -> int:
    from knoop_bench.tour import STEPS, tour  # noqa: PLC0415 -- the chat needs none of it

    async with asyncio.timeout(LIMIT_S):
        missing = await tour(made)
    took = time.monotonic() - started
    if missing:
        print(f"\n{missing} of {len(STEPS)} observations are missing. The node's log ends with:")
        print(made.node.log_tail())
        return 1
    print(f"\nAll {len(STEPS)} observations were made, in {took:.0f} s.")
    return 0


async def _chat(made: Stage) -> int:
    from knoop.terminal import converse  # noqa: PLC0415 -- the tour does without the node's own client
    from knoop.xmpp import compat  # noqa: PLC0415
    from knoop.xmpp.account import Account  # noqa: PLC0415

    account = Account(
        jid=compat.jid(made.jid(OWNER)), password=made.server.password(OWNER), host="127.0.0.1",
        port=made.server.tls_port, ca_file=made.server.ca_file,
    )
    return await converse(account, compat.jid(made.jid(NODE)))


async def _until_told(folder: Path) -> int:
    """Like `run`, but SIGTERM ends it as orderly as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None, "this runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(folder)


def main() -> int:
    """The exit code: 0 all observed, 1 something missing or failed, 130 Ctrl-C."""
    try:
        return asyncio.run(_until_told(ROOT / ".demo"))
    except (BenchError, LinkError) as error:
        print(f"demo: {error}", file=sys.stderr)
    except TimeoutError:
        print(f"demo: not finished within {LIMIT_S:g} s", file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        with contextlib.suppress(BrokenPipeError):
            print("\ndemo: ended; server, node and their files are gone", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
