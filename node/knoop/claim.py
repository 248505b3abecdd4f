"""`knoop claim`: how to become the owner of this node, shown to whoever is at the machine; also while it runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from knoop import claims, ownership, qr
from knoop.access import Access, Person, Role
from knoop.claimfiles import PICTURE, TEXT
from knoop.claiming import Claims
from knoop.config import Config
from knoop.errors import NodeError, StoreError
from knoop.files import hand_over
from knoop.jid import Jid
from knoop.state import State
from knoop.wall import RELEASED_NS
from knoop.xmpp import compat
from knoop_hw import places
from knoop_hw.clock import Clock, SystemClock

MADE = ("state.db", "state.db-wal", "state.db-shm", PICTURE, TEXT)
TIMELESS = "this machine does not know what time it is, so that no code could end; wait for its clock and try again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A code that makes somebody an owner of `node`; `first` while there is none."""

    node: Jid
    code: str
    first: bool

    @property
    def link(self) -> str:
        """The same to open with a chat app."""
        return claims.link(self.node, self.code)


def claim(arguments: argparse.Namespace, config: Config) -> int:
    """Show a code. Raises NodeError where there is an owner and no other is wanted, StoreError."""
    if arguments.state and not arguments.state.is_dir():
        raise NodeError(f"{arguments.state}: no such folder; --state names the one that `knoop run` remembers in")
    folder = arguments.state or places.state_of(config.file, "knoop")
    shown = asyncio.run(offered(config, folder, again=arguments.again, clock=SystemClock()))
    if arguments.png:
        _keep(arguments.png, qr.png(shown.link))
    if arguments.json:
        told = {"ok": True, "code": shown.code, "uri": shown.link, "jid": str(shown.node), "first": shown.first}
        print(json.dumps(told))  # noqa: T201 -- a command's output
    else:
        print("\n".join(said(shown)))  # noqa: T201 -- as above
        if arguments.png:
            print(f"\nThe picture is {arguments.png} (mode 600); delete it afterwards.")  # noqa: T201 -- as above
    return 0


async def offered(config: Config, folder: Path, *, again: bool, clock: Clock) -> Shown:
    """The code of a node without owner; for `again` another one, of a node with owners too."""
    node = config.jid.bare
    async with State.open(folder / "state.db") as state:
        if state.unreadable:
            raise StoreError(f"{folder / 'state.db'}: cannot be read, so whose this node is is not known; see dmesg")
        access = Access(config.people).with_grants(
            Person(jid=compat.jid(grant.jid), role=Role.parse(grant.role), only=grant.only)
            for grant in await state.grants()
        )
        first, offers = not ownership.owned(access), Claims(state)
        if first:
            if again:
                await offers.withdraw(ownership.OWNERS)
            code = await ownership.current(offers, folder, node)
        else:
            if not again:
                raise NodeError(f"{config.node.name} has an owner: {', '.join(_owners(access))}. If nobody can reach "
                                "them any more: knoop claim --again. If that was a former node of this machine: "
                                "knoop purge")
            if clock.time_ns() <= RELEASED_NS:
                raise NodeError(TIMELESS)
            until_ns = clock.time_ns() + round(claims.CONSOLE_S * 1e9)
            code = await offers.make(replace(ownership.OWNERS, by=claims.CONSOLE, until_ns=until_ns))
        await state.audit(at_ns=clock.time_ns(), who=claims.CONSOLE, action="knoop claim" + " --again" * again,
                          result="done: shown", via=claims.CONSOLE, encrypted=False)
    hand_over([folder / name for name in MADE], folder)
    return Shown(node=node, code=code, first=first)


def said(shown: Shown) -> list[str]:
    """What to do with it, for a person; with colours where a terminal shows it."""
    begin = f"{shown.node} has no owner yet." if shown.first else f"This makes one more owner of {shown.node}."
    until = "It works once." if shown.first else "It works once, within an hour, and all owners are told."
    return [
        f"{begin} While it runs, send it this from your chat app:", "", f"  {claims.WORD} {shown.code}", "",
        "or open this with it:", "", f"  {shown.link}", "",
        qr.drawn(shown.link, coloured=sys.stdout.isatty()), "",
        f"{until} No answer? See that its log says “connected”, and send it again.",
    ]


def _owners(access: Access) -> Iterable[str]:
    return (str(person.jid) for person in access.everyone() if person.role is Role.OWNER)


def _keep(file: Path, content: bytes) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:  # noqa: PTH123 -- its mode
        os.fchmod(opened.fileno(), 0o600)
        opened.write(content)
