"""Readings, events and alarms as pub-sub items (XEP-0060, XEP-0163): done when the server answered every item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from knoop import payload
from knoop.errors import Refusal
from knoop.publishers import Partly, Voice
from knoop.record import Record
from knoop.xmpp import nodes
from knoop.xmpp.session import Session


class PubSub:
    """Telemetry in batches to the readings node; each event and alarm as an item of its own to the events node."""

    at_once = 25  # about 3 kB as one item of telemetry, 7 kB as events

    def __init__(self, session: Session, service: str) -> None:
        self._session = session
        self._service = service

    async def send(self, records: Sequence[Record]) -> Partly | None:
        """Publish in order; written at once, answered together. Raises LinkError or Refusal.

        Of several items the first ones may be taken and another refused: these are not sent again with it.
        """
        batches = [*payload.batches(records)]
        answers = await asyncio.gather(*map(self._publish, batches), return_exceptions=True)
        taken: list[Record] = []
        for batch, answer in zip(batches, answers, strict=True):
            if isinstance(answer, Refusal) and taken:
                return Partly(records=taken)
            if isinstance(answer, BaseException):
                raise answer
            taken += batch
        return None

    async def _publish(self, batch: Sequence[Record]) -> None:
        node = nodes.READINGS if batch[0].cls == "telemetry" else nodes.EVENTS
        name = nodes.placed(node, self._service, self._session.jid).name
        item = payload.readings(batch)
        await nodes.publish(self._session, name, batch[0].identity, item, service=self._service)


@asynccontextmanager
async def open(  # noqa: A001 -- the contract's name
    target: str, *, session: Session, voice: Voice, settings: object  # noqa: ARG001 -- machines need no voice
) -> AsyncIterator[PubSub]:
    """`target` is a service's JID, '' for PEP. The agent has configured the nodes."""
    yield PubSub(session, target)
