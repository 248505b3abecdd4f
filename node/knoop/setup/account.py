"""The node's account, where the card has an invite: kept until the network is there, and made then.

The password is on the disk before the server hears of it, so that no account is made that nobody can log in to. A power
cut after that is a refusal at the next try: whether the account is ours then, a login says.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from knoop import commands, config, credential, files, invitation, places
from knoop.errors import LoginRefused, RegistrationRefused, StoreError
from knoop.setup import moved, told
from knoop.setup.machine import ERRORS, Machine
from knoop.xmpp import compat
from knoop.xmpp.account import Account
from knoop_hw.clock import SystemClock
from knoop_hw.errors import ConfigError

RECORD = "account.json"  # the invite and the password to be, while there is no account
USED = "invite.json"  # which invite was the last one: a copy of the card's file that somebody kept has it still


def put(machine: Machine, text: str) -> None:
    """Have this node.toml; the one before it is kept beside it. Raises OSError."""
    former = machine.read(machine.node)
    if former and former != text:
        machine.put(machine.previous, former, mode=0o640, shared=True)
    machine.put(machine.node, text, mode=0o640, shared=True)


def expect(machine: Machine, text: str, invite: str) -> None:
    """Keep a configuration until its account is made, with `invite`; '': with the one that is kept. Raises OSError."""
    if invite and _kept(machine)[0] != invite:
        from knoop.xmpp import register  # noqa: PLC0415 -- the machine's start waits for this module

        machine.remember(RECORD, {"invite": invite, "password": register.new_password()})
    machine.put(machine.pending, text, mode=0o640, shared=True)


def used(machine: Machine, invite: str) -> bool:
    """Whether the node's account was made with it."""
    return machine.remembered(USED).get("digest") == moved.digest(invite.encode())


def forget(machine: Machine) -> None:
    """No account is to be made any more. Raises OSError."""
    files.remove(machine.pending)
    files.remove(machine.state / RECORD)


def make(machine: Machine) -> int:
    """Make the account that is waited for; returns the exit code. Raises LinkError: refused, or to be tried again."""
    if not machine.pending.exists():
        forget(machine)
        return 0
    invite, password = _kept(machine)
    if not invite:
        machine.tell(told.refused("the invite that was kept is gone; write one into knoop.toml again"))
        raise StoreError(f"{machine.state / RECORD}: is gone or damaged; write an invite into knoop.toml again")
    try:
        loaded = config.load(machine.pending, jid=compat.jid, words=commands.words())
    except ConfigError as error:  # it was right when it was written: of another version of Knoop, or spoiled
        machine.tell(told.mistakes(error.problems, b"", running=machine.node.exists()))
        raise
    wanted = Account.of(loaded, password)
    from knoop.xmpp import register  # noqa: PLC0415 -- as above

    try:
        asyncio.run(register.register(wanted, token=invitation.parse(invite).token, clock=SystemClock()))
    except RegistrationRefused as refused:
        if not _ours(wanted):
            machine.tell(told.refused(str(refused)))
            raise
    try:
        credential.store(places.PASSWORD_CREDENTIAL, wanted.password, root=machine.root)
        put(machine, machine.read(machine.pending))
        machine.remember(USED, {"digest": moved.digest(invite.encode())})
        forget(machine)
    except OSError as error:
        machine.tell(told.unkept(f"{error.filename}: {error.strerror}"))
        raise
    with suppress(OSError):  # else nobody would start the node; the next start of the machine tries again
        machine.take_away(ERRORS)
    machine.say(f"made the account {wanted.jid}")
    return 0


def _kept(machine: Machine) -> tuple[str, str]:
    """The invite and the password to be, both '' where they are gone or damaged."""
    there = machine.remembered(RECORD)
    invite, password = there.get("invite"), there.get("password")
    if not (isinstance(invite, str) and isinstance(password, str) and password and password.isprintable()):
        return "", ""
    try:
        invitation.parse(invite)
    except ValueError:
        return "", ""
    return invite, password


def _ours(account: Account) -> bool:
    """Whether the account exists and has this password: then it was we who made it. Raises LinkError."""
    from knoop.init import interview  # noqa: PLC0415 -- as above

    try:
        asyncio.run(interview.login(replace(account, jid=account.jid.bare)))
    except LoginRefused:
        return False
    return True
