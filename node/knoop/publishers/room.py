"""Alarms as lines in a room (XEP-0045): done when the room reflected the line to us, so everybody in it has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from knoop.publishers import Voice
from knoop.record import Record
from knoop.xmpp.rooms import Room
from knoop.xmpp.session import Session


class RoomSink:
    """One joined room; `settings` of `open` is its `Room`."""

    at_once = 1  # a room that slows us down must not hear the first lines again

    def __init__(self, room: Room, voice: Voice) -> None:
        self._room = room
        self._voice = voice

    async def send(self, records: Sequence[Record]) -> None:
        """One line a record, in order. Raises LinkError or Refusal."""
        for record in records:
            await self._room.say(self._voice.sentence(record, ""), record.identity)


@asynccontextmanager
async def open(  # noqa: A001 -- the contract's name
    target: str, *, session: Session, voice: Voice, settings: object  # noqa: ARG001 -- the room has its session
) -> AsyncIterator[RoomSink]:
    """The room is joined by the agent, which also hears what is said in it."""
    assert isinstance(settings, Room)
    yield RoomSink(settings, voice)
