"""Answers who missed something: pages of the history, one after the other (docs/wire.md).

    request ▶ person? ▶ not too often? ▶ well-formed? ▶ in line ▶ right? ▶ disk ▶ page ▶ pong

The next page goes when the server answered a ping behind the last one: what waits in the socket would make the answer
to our ping late, and with it everything that people ask. A page is as large as the link takes in half a second.
Unknown and not allowed are both `item-not-found`; a stranger does not get this far: see `stream`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from knoop import gaps, payload
from knoop.budgets import Budgets
from knoop.command import House
from knoop.errors import LinkError, StoreError
from knoop.jid import Jid
from knoop.pace import Pace
from knoop.record import Record
from knoop.xmpp import compat
from knoop.xmpp.inbound import DELAY
from knoop.xmpp.outbound import failure, result

if TYPE_CHECKING:
    from knoop.access import Person
    from knoop.execution import Execution
    from knoop.xmpp.session import Session

# What one person may ask: 10,000 readings are 100 pages, which is 20 s; see docs/adr/0027 for what that costs.
BURST = 20
PER_S = 4.0
LONGEST_ID = 1000  # characters; stanzas have ids of 36
IN_LINE = 5  # requests of one person that wait; who asks for the next page when one has come needs 1
IN_LINE_ALL = 20  # half of it for those whose right is only their domain's
DISK_S = 10.0  # before a client gives up
LEAST = 25  # readings a page, about 2 kB: a link whose every answer takes a second brings 25 a second, not 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One well-formed request of somebody with rights."""

    iq: ET.Element
    sender: Jid
    query: gaps.Query


class History:
    """`channels` are the names that there are, `flush` puts on the disk what is held, `session` is the present one."""

    def __init__(
        self, house: House, *, execution: Execution, channels: Callable[[], Iterable[str]],
        flush: Callable[[], Awaitable[None]], session: Callable[[], Session | None],
    ) -> None:  # fmt: skip
        self._house = house
        self._execution = execution
        self._channels = channels
        self._flush = flush
        self._session = session
        self._budgets = Budgets(burst=BURST, per_s=PER_S)
        self._refusals = Budgets(burst=BURST, per_s=PER_S)
        self._line: deque[_Asked] = deque()
        self._working: asyncio.Task[None] | None = None
        self._pace = Pace(payload.BATCH_READINGS, first=LEAST)

    def follow(self, former: History) -> None:
        """Go on counting where another one ended."""
        self._budgets, self._refusals = former._budgets, former._refusals

    def take(self, iq: ET.Element) -> bool:
        """Whether this IQ get or set was about history; then it is answered, at once or soon. Never waits."""
        element = iq.find(f"{{{gaps.HISTORY}}}history")
        if element is None:
            return False
        try:
            sender = compat.jid(iq.get("from", ""))
        except ValueError:
            return False
        if len(iq.get("id", "")) > LONGEST_ID:
            return True  # it would be in the answer
        condition, now_ns = self._enter(iq, element, sender), self._house.clock.boottime_ns()
        if condition and self._refusals.spend(sender.bare, now_ns)[0]:  # answers to a flood would fill the link
            self._write(failure(iq, condition))
        return True

    async def close(self) -> None:
        """Stop answering; who waits hears nothing and asks again."""
        self._line.clear()
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    def _enter(self, iq: ET.Element, element: ET.Element, sender: Jid) -> str:
        """Let a request stand in line; returns the condition where it may not."""
        access = self._house.access
        if access.person(sender) is None:  # our own account and server get this far
            return "item-not-found"
        if not self._budgets.spend(sender.bare, self._house.clock.boottime_ns())[0]:
            return "resource-constraint"
        if iq.get("type") != "get" or sum(child.tag not in DELAY for child in iq) > 1:
            return "bad-request"
        try:
            query = gaps.parse(element)
        except gaps.Unsupported:
            return "feature-not-implemented"
        except LookupError:
            return "item-not-found"
        except ValueError:
            return "bad-request"
        places = IN_LINE_ALL if access.individual(sender) else IN_LINE_ALL // 2
        if len(self._line) >= places or sum(asked.sender.bare == sender.bare for asked in self._line) >= IN_LINE:
            return "resource-constraint"
        self._line.append(_Asked(iq=iq, sender=sender, query=query))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return ""

    async def _work(self) -> None:
        while self._line:
            asked = self._line.popleft()
            count = 0
            try:
                answer, count = await self._answer(asked)
            except LookupError:
                answer = failure(asked.iq, "item-not-found")
            except (StoreError, TimeoutError):  # a disk that fails or hangs may be back soon
                answer = failure(asked.iq, "resource-constraint")
            except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
                self._execution.incident(asked.sender, gaps.HISTORY, error, via="form")
                answer = failure(asked.iq, "internal-server-error")
            self._write(answer)
            await self._arrived(count)

    async def _answer(self, asked: _Asked) -> tuple[ET.Element, int]:
        """A page and how much is on it, by the rights of now. Raises LookupError, StoreError or TimeoutError."""
        query, person = asked.query, self._house.access.person(asked.sender)
        if person is None:
            raise LookupError(asked.sender)
        mine = self._readable(person)
        if query.channel and query.channel not in mine:
            raise LookupError(query.channel)
        async with asyncio.timeout(DISK_S):
            records, complete = await self._read(query, {query.channel} if query.channel else mine, mine)
        person = self._house.access.person(asked.sender)
        if person is None or not mine <= self._readable(person):  # while the disk was busy
            raise LookupError(asked.sender)
        return result(asked.iq, gaps.page(records, complete=complete)), len(records)

    def _readable(self, person: Person) -> frozenset[str]:
        """An alert may be read by whoever may read what it watches."""
        return frozenset(name for name in self._channels() if person.reads(self._house.alerts.watched(name)))

    async def _read(
        self, query: gaps.Query, channels: Collection[str], mine: Collection[str]
    ) -> tuple[Sequence[Record], bool]:
        """The readings of one page, and whether there are no more now."""
        beyond = query.most + 2  # the reading that the cursor stands behind, and the one that says there are more
        records = await self._span(query, channels, beyond)
        if len(records) < beyond:  # the end: what is on its way to the disk belongs to it
            await self._flush()
            last = replace(query, after=gaps.Cursor.at(records[-1])) if records else query
            records = [*records[:-1], *await self._span(last, channels, beyond - max(0, len(records) - 1))]
        if query.after is not None:
            if not await self._known(query.after, mine):
                raise LookupError(query.after)
            records = records[1:] if records and records[0].row == query.after.row else records
        fitting = gaps.fitting(records, most=min(query.most, max(LEAST, self._pace.size)))
        return fitting, len(fitting) == len(records)

    async def _known(self, cursor: gaps.Cursor, mine: Collection[str]) -> bool:
        """Whether the cursor is of this store. Its reading may have been deleted: then there is more after it.

        One that stands behind somebody else's reading is not, or marks could be tried until they fit, and tell of it.
        """
        found = await self._span(gaps.Query(after=cursor), [*self._channels()], 1)
        if not found or found[0].row > cursor.row:
            return bool(found)
        return found[0].channel in mine and gaps.Cursor.at(found[0]) == cursor

    async def _span(self, query: gaps.Query, channels: Collection[str], limit: int) -> list[Record]:
        return await self._house.store.span(
            channels=channels, run=query.run, first=query.first, last=query.last, since_ns=query.since_ns,
            until_ns=query.until_ns, after_row=max(0, query.after.row - 1) if query.after else 0, limit=limit,
        )  # fmt: skip

    async def _arrived(self, count: int) -> None:
        """Return when our server has all that was sent; the next page is as large as that was quick."""
        session = self._session()
        if session is not None:
            with suppress(LinkError):
                self._pace.answered(count, await session.ping())

    def _write(self, stanza: ET.Element) -> None:
        session = self._session()
        if session is not None:
            with suppress(LinkError):  # nobody is there to be answered
                session.send(stanza)
