"""Events and alarms as sentences to a person: done when the server answered a ping sent behind them.

Stanzas of one stream are processed in order (RFC 6120 §10.1), so the pong proves that the server accepted every
message before it; a stream-management acknowledgement would not (XEP-0198 counts, it does not name). Accepted is not
received: of alarms a note is kept until a client of theirs says that it has them (`unreceived`, docs/adr/0026).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from knoop.publishers import Voice
from knoop.record import Record
from knoop.xmpp.outbound import message
from knoop.xmpp.session import Session


class Chat:
    """One person's chat, addressed to the bare JID so that the server chooses the device or keeps it."""

    at_once = 10  # about 3 kB

    def __init__(self, session: Session, person: str, voice: Voice, lang: str) -> None:
        self._session = session
        self._person = person
        self._voice = voice
        self._lang = lang

    async def send(self, records: Sequence[Record]) -> None:
        """One sentence a record that the person may still hear, in order, then the ping. Raises LinkError."""
        alarms = 0
        for record in records:
            if not self._voice.may_hear(self._person, record):
                continue
            text = self._voice.personal(self._person, record, self._lang)
            if record.cls == "alarm":
                alarms += 1
                self._voice.note(self._person, record, text)
            self._session.send(message(self._person, text, record.identity, receipt=record.cls == "alarm"))
        await self._session.ping()
        if alarms:  # noted meanwhile; not before, so that a disk that hangs holds no alarm up
            await self._voice.kept()


@asynccontextmanager
async def open(target: str, *, session: Session, voice: Voice, settings: object) -> AsyncIterator[Chat]:  # noqa: A001
    """`settings` is the person's language, '' for the node's."""
    yield Chat(session, target, voice, str(settings or ""))
