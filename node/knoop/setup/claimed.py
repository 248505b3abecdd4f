"""How to become the owner, for whoever has only the card or a screen: `claim.png` there, a code on the console."""

from __future__ import annotations

from knoop import files
from knoop.claimfiles import BY_CARD, HANDED_ON, PICTURE, TEXT
from knoop.setup.machine import Machine
from knoop_hw.clock import Clock

STATE = "var/lib/knoop"  # the agent's, who may not read the card: it may hold secrets
LOOK_S = 5.0  # as often as the node itself looks whether it has an owner


async def keep(machine: Machine, *, clock: Clock) -> None:
    """Have the picture on the card until the node has an owner; a new one is shown on every screen as well.

    It looks by itself: what a path unit of systemd's starts does not hear of what changes meanwhile.
    """
    folder, shown = machine.root / STATE, b""
    while picture := machine.taken(folder / PICTURE):
        if picture != shown:
            try:
                machine.leave(PICTURE, picture)
            except OSError as error:  # a card that takes nothing: the screen is all there is
                machine.say(f"{machine.boot / PICTURE} cannot be written: {error.strerror}")
            machine.show(machine.taken(folder / TEXT).decode("utf-8", "replace"))
            shown = picture
        await clock.sleep(LOOK_S)
    machine.take_away(PICTURE)


def begun(machine: Machine) -> None:
    """What a start does for the claim. What a card cannot do of it keeps nobody from the rest."""
    for step in (tidy, hand_on):
        try:
            step(machine)
        except OSError as error:
            machine.say(f"{error.filename or machine.boot}: {error.strerror}")


def tidy(machine: Machine) -> None:
    """Nobody was there to take the picture away when somebody became the owner."""
    if not machine.taken(machine.root / STATE / PICTURE):
        machine.take_away(PICTURE)


def hand_on(machine: Machine) -> None:
    """Who is to be an owner, as a file on the card says (docs/setup.md)."""
    asked = machine.root / HANDED_ON / BY_CARD
    if path := machine.in_reach(BY_CARD):
        machine.put(asked, path.read_bytes())
    else:
        files.remove(asked)
