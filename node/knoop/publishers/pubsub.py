"""Readings, events and alarms as pub-sub items (XEP-0060, XEP-0163): done when the server answered every item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from knoop import payload
from knoop.publishers import Voice
from knoop.record import Record
from knoop.xmpp import nodes
from knoop.xmpp.session import Session


class PubSub:
    """Telemetry in batches to the readings node; each event and alarm as an item of its own to the events node."""

    at_once = 25  # about 3 kB as one item of telemetry, 7 kB as events

    def __init__(self, session: Session, service: str) -> None:
        self._session = session
        self._service = service

    async def send(self, records: Sequence[Record]) -> None:
        """Publish in order; written at once, answered together. Raises LinkError or Refusal."""
        items = []
        for batch in payload.batches(records):
            node = nodes.READINGS if batch[0].cls == "telemetry" else nodes.EVENTS
            name = nodes.placed(node, self._service, self._session.jid).name
            items.append((name, batch[0].identity, payload.readings(batch)))
        await asyncio.gather(
            *(nodes.publish(self._session, name, identity, element, service=self._service)
              for name, identity, element in items)
        )


@asynccontextmanager
async def open(  # noqa: A001 -- the contract's name
    target: str, *, session: Session, voice: Voice, settings: object  # noqa: ARG001 -- machines need no voice
) -> AsyncIterator[PubSub]:
    """`target` is a service's JID, '' for PEP. The agent has configured the nodes."""
    yield PubSub(session, target)
