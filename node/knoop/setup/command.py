"""`knoop setup`: what lies on the card becomes the machine's; each start asks whether it changed.

The order is what makes it survive a power cut: first all that is to be kept is on the disk, then the card's secrets are
written over, then it is noted that this card was taken. Cut anywhere before, the next start does all of it again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from knoop.errors import StoreError, Usage
from knoop.setup import claimed, moved
from knoop.setup.machine import BOOT, ERRORS, SWEPT, SYSTEMCTL, Machine
from knoop_hw import places
from knoop_hw.errors import ConfigError

EX_IOERR, EX_CONFIG = 74, 78
DIGEST = "card.json"


def setup(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code. Raises LinkError where an account's server cannot be reached."""
    machine = Machine(boot=arguments.boot, root=arguments.root)
    if not machine.live and machine.boot == BOOT:
        raise Usage("--root is for another machine: name its card as well, with --boot")
    if machine.live and os.geteuid() != 0:
        raise StoreError("/etc: only root sets up a machine; other folders can be named with --root and --boot")
    if machine.live and not places.IMAGE.is_dir():  # any other system has its own ways with what lies there
        raise StoreError("this is not Knoop's own image; --root and --boot name folders to set up, and knoop init asks")
    if arguments.account:
        from knoop.setup import account  # noqa: PLC0415 -- each start of the machine waits for this module

        return account.make(machine)
    if arguments.claim:
        import asyncio  # noqa: PLC0415 -- as above

        from knoop_hw.clock import SystemClock  # noqa: PLC0415 -- as above

        asyncio.run(claimed.keep(machine, clock=SystemClock()))
        return 0
    return taken(machine)


def taken(machine: Machine) -> int:
    """Take over what is on the card, if that is news; returns the exit code."""
    try:
        machine.take_away(SWEPT)
        machine.wiping()
        claimed.begun(machine)
        found = machine.card()
        if not found:
            if machine.node.exists() or machine.pending.exists():
                machine.say(f"there is no {moved.NAME} on {machine.boot}; everything stays as it is")
            else:
                from knoop.setup import told  # noqa: PLC0415 -- what only a card that changed needs

                _left(machine, told.missing())
            return 0
        noted = machine.remembered(DIGEST)
        if _digest(found, machine) == noted.get("digest"):
            if noted.get("names") and not machine.pending.exists():
                machine.take_away(ERRORS)  # what was wrong is as it was before that
            _swept(machine)
            return 0
        from knoop.setup import carrying, plan, told  # noqa: PLC0415 -- what only a card that changed needs

        wanted = plan.made(found, machine)
        again = carrying.out(wanted, machine)
        machine.remember(DIGEST, {"digest": _digest(machine.card(), machine), "names": wanted.node is not None})
    except ConfigError as error:
        from knoop.setup import told  # noqa: PLC0415 -- as below

        _left(machine, told.mistakes(error.problems, found.get(moved.NAME, b""), running=machine.node.exists()))
        return EX_CONFIG
    except OSError as error:
        where = error.filename or machine.boot
        _left(machine, f"{moved.NAME} could not be taken over: {where}: {error.strerror or error}.\n"
                       "The node tries again at its next start.\n")
        return EX_IOERR
    except Exception:  # whatever a file can do to us, its owner hears of it
        machine.tell(f"{moved.NAME} could not be taken over: this is a mistake of Knoop's.\nThe log says more.\n")
        raise
    if wanted.node is None and not (machine.node.exists() or machine.pending.exists()):
        _left(machine, told.nothing(hostname=wanted.hostname))
    else:
        machine.take_away(ERRORS)
    _swept(machine)
    machine.say(*wanted.notes, "the card's files are taken over")
    if again:
        machine.say("the buses are others now, which takes a restart")
        machine.call(SYSTEMCTL, "--no-block", "reboot")
    return 0


def _digest(found: Mapping[str, bytes], machine: Machine) -> str:
    whole = {**found, **machine.authorities()}
    return moved.digest(*(part for name in sorted(whole) for part in (name.encode(), whole[name])))


def _swept(machine: Machine) -> None:
    """Write over what is free on the card; a card that refuses that keeps nothing else from being as it should be."""
    try:
        machine.sweep()
    except OSError as error:
        from knoop.setup import told  # noqa: PLC0415 -- as above

        _left(machine, told.unswept(f"{error.filename or machine.boot}: {error.strerror or error}"))


def _left(machine: Machine, text: str) -> None:
    """Have it on the card, on every screen, and in the journal."""
    machine.say(text)
    machine.tell(text)
