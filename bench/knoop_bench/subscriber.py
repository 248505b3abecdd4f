"""A subscriber that loses nothing: an account that reads a node's items, comes back after each cut, and closes gaps.

It knows the node by docs/wire.md only, shares no code with it, and is its judge: see `Ledger` for what is lost, what
is a repeat or an inversion.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Final, Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from knoop_bench.errors import BenchError, LoginFailed, NotSeen, Refused
from knoop_bench.ledger import Ledger, Reading, Verdict, timestamp
from knoop_bench.seen import PUBSUB, PUBSUB_EVENT, Seen
from knoop_bench.witness import EVENTS, READINGS, STATE, Witness

HISTORY: Final = "urn:knoop:1:history"
RSM: Final = "http://jabber.org/protocol/rsm"
PAGE = 100
PING_EVERY_S = 3.0
PING_S = 5.0  # a server that is stopped or a link that swallows is left after so long
AGAIN_S = 0.2  # between attempts to log in or to subscribe; a restarted server takes about a second
TOO_SOON_S = 0.5  # after `resource-constraint`
ANSWER_S = 15.0
ENOUGH_S = 120.0


class Subscriber:
    """`async with Subscriber(make, "greenhouse@localhost") as sub:` is subscribed as soon as the node lets it in.

    `make` builds a Witness that is not entered yet, for each login a new one; with `notify=()`, or items come twice.
    `service` is the pub-sub service's JID, '' for the node's own account. History is asked for where the node's
    presence comes from; before there is one, at `node_full`.
    `since`: the first history asked for begins there; None is all that the node has.

    Entering waits for the first login and raises LoginFailed when there is none in `login_s`; from then on it comes
    back by itself for as long as it takes.
    """

    def __init__(
        self, make: Callable[[], Witness], node: str, *, service: str = "", node_full: str = "",
        nodes: Sequence[str] = (EVENTS, READINGS), since: datetime | None = None, login_s: float = 30.0,
    ) -> None:
        self.node = node
        self.ledger = Ledger()
        self.logins = 0
        self._make = make
        self._full = node_full
        self._target = service or node
        self._suffix = f"/{node}" if service else ""
        self._nodes = tuple(nodes)
        self._since = since
        self._login_s = login_s
        self._cursor = ""
        self._witness: Witness | None = None
        self._online, self._subscribed = asyncio.Event(), asyncio.Event()
        self._missing: set[str] = set()  # nodes that this login has no subscription of yet
        self._trouble = "it never tried"
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Log in."""
        self._keeping = asyncio.create_task(self._keep())
        try:
            async with asyncio.timeout(self._login_s):
                await self._online.wait()
        except TimeoutError:
            await self._end()
            raise LoginFailed(f"no login within {self._login_s:g} s: {self._trouble}") from None
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Log out."""
        await self._end()

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Each reading once, in the order of first arrival."""
        self._take()
        return self.ledger.readings

    @property
    def full_jid(self) -> str:
        """The node's full JID by its last presence, '' before."""
        self._take()
        return self._full

    @property
    def subscribed(self) -> bool:
        """Whether it is online and has its subscriptions."""
        return self._subscribed.is_set()

    def verdict(self) -> Verdict:
        """What it knows by now; ask after `close_gaps`, or what is on its way counts as lost."""
        self._take()
        return self.ledger.verdict()

    async def ready(self, *, within_s: float = 30.0) -> None:
        """Return when it is subscribed; raises NotSeen."""
        try:
            async with asyncio.timeout(within_s):
                await self._subscribed.wait()
        except TimeoutError:
            raise NotSeen(f"{self.node}: no subscription within {within_s:g} s: {self._trouble}") from None

    async def until(self, true: Callable[[Verdict], bool], *, within_s: float = ENOUGH_S) -> Verdict:
        """The first verdict that is so, looked at a few times a second; raises NotSeen with the last one."""
        verdict = self.verdict()
        try:
            async with asyncio.timeout(within_s):
                while not true(verdict):
                    await asyncio.sleep(AGAIN_S)
                    verdict = self.verdict()
        except TimeoutError:
            raise NotSeen(f"not within {within_s:g} s; by then: {verdict}") from None
        return verdict

    async def close_gaps(self, *, within_s: float = ENOUGH_S) -> int:
        """Ask for all that may be missing; returns how many readings history brought first. Raises NotSeen.

        First what the node's history got since the last time, of every run; then the present state, which says
        what must exist; then what is missing within runs. It waits for a login and for the node where it must.
        """
        brought = 0
        try:
            async with asyncio.timeout(within_s):
                await self._pong()
                brought += await self._news()
                await self._state()
                for run, channel, first, last in [*self.ledger.gaps()]:
                    where = {"run": run, "channel": channel, "from": str(first), "to": str(last)}
                    brought += (await self._walk(where))[0]
        except TimeoutError:
            raise NotSeen(f"{self.node}: gaps not closed within {within_s:g} s: {self._trouble}") from None
        return brought

    # Asking -----------------------------------------------------------------------------------------------------------

    async def _news(self) -> int:
        """All that history got since the last time, or since `since`."""
        if self._cursor:
            try:
                brought, self._cursor = await self._walk({}, self._cursor)
            except Refused:  # its store was replaced: begin again
                self._cursor = ""
            else:
                return brought
        brought, self._cursor = await self._walk({"from": timestamp(self._since)} if self._since else {})
        return brought

    async def _walk(self, where: dict[str, str], after: str = "") -> tuple[int, str]:
        """Every page of one question; how many readings were new, and the last cursor.

        A channel that the node has no more is no error; a cursor that it does not know raises Refused.
        """
        brought = 0
        while True:
            try:
                page = await self.page(where, after)
            except Refused as refusal:
                if refusal.condition == "item-not-found" and not after:
                    return brought, ""
                raise
            if page is None:
                continue
            now_s = asyncio.get_running_loop().time()
            for element in page.iterfind(f"{{{READINGS}}}readings"):
                brought += self.ledger.enter(element, way="history", at_s=now_s)
            after = page.findtext(f"{{{RSM}}}set/{{{RSM}}}last", after)
            if page.get("complete") == "true":
                return brought, after

    async def page(self, where: dict[str, str], after: str = "", *, most: int = PAGE) -> ET.Element | None:
        """One `history` element; None when there is to be another attempt. Raises Refused where that is no use."""
        attributes = "".join(f" {name}={quoteattr(value)}" for name, value in where.items())
        if not self._full:
            self._trouble = "the node's presence has not come"
            await asyncio.sleep(AGAIN_S)
            return None
        request = ET.fromstring(f"<history xmlns='{HISTORY}'{attributes}/>")  # noqa: S314 -- our own text
        rsm = ET.SubElement(request, f"{{{RSM}}}set")
        ET.SubElement(rsm, f"{{{RSM}}}max").text = str(most)
        if after:
            ET.SubElement(rsm, f"{{{RSM}}}after").text = after
        try:
            answer = await self._ask("get", request, to=self._full)
        except Refused as refusal:
            self._trouble = str(refusal)
            if refusal.condition in {"item-not-found", "bad-request", "feature-not-implemented", "forbidden"}:
                raise
            # `service-unavailable`: the node is not there, or we are strangers to it; the others say "wait".
            await asyncio.sleep(TOO_SOON_S)
            return None
        except (NotSeen, ConnectionError) as error:
            self._trouble = str(error)
            await asyncio.sleep(AGAIN_S)
            return None
        page = answer.find(f"{{{HISTORY}}}history")
        if page is None:
            raise NotSeen(f"{self._full} answered without a history element")
        return page

    async def _state(self) -> None:
        """What must exist by now."""
        with suppress(Refused, NotSeen, ConnectionError):  # where there is no state yet, nothing must
            request = f"<pubsub xmlns='{PUBSUB}'><items node={quoteattr(STATE + self._suffix)}/></pubsub>"
            answer = await self._ask("get", ET.fromstring(request), to=self._target)  # noqa: S314 -- our own text
            for item in answer.iter(f"{{{PUBSUB}}}item"):
                for payload in item:
                    self.ledger.note(payload)

    async def _pong(self) -> None:
        """What our server sent us before is in the ledger when this returns."""
        while True:
            try:
                await self._ask("get", ET.Element("{urn:xmpp:ping}ping"), to="")
            except (Refused, NotSeen, ConnectionError) as error:
                self._trouble = str(error)
                await asyncio.sleep(AGAIN_S)
            else:
                break
        self._take()

    async def _ask(self, kind: str, payload: ET.Element, *, to: str) -> ET.Element:
        """One request on the login there is or will be; raises NotSeen at once when that ends."""
        await self._online.wait()
        witness = self._witness
        if witness is None:
            raise NotSeen("the login ended")
        asking = asyncio.ensure_future(witness.iq(kind, payload, to=to, timeout_s=ANSWER_S))
        gone = asyncio.ensure_future(witness.gone())
        try:
            await asyncio.wait({asking, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise NotSeen("the login ended")
            return asking.result()
        finally:
            for task in (asking, gone):
                task.cancel()
            await asyncio.gather(asking, gone, return_exceptions=True)

    # Staying ----------------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Be online for as long as this lives."""
        while True:
            try:
                async with self._make() as witness:
                    self._witness, self._missing = witness, set(self._nodes)
                    self.logins += 1
                    self._online.set()
                    try:
                        await self._stay(witness)
                    finally:
                        self._take()
                        self._online.clear()
                        self._subscribed.clear()
                        self._witness = None
            except (BenchError, OSError) as error:
                self._trouble = str(error)
            await asyncio.sleep(AGAIN_S)

    async def _stay(self, witness: Witness) -> None:
        """Subscribe to what is missing, take what comes, and return when the link is gone or says nothing."""
        loop = asyncio.get_running_loop()
        witness.send_raw(f"<presence to={quoteattr(self.node)} type='subscribe'/>")
        gone = asyncio.ensure_future(witness.gone())
        pinged_s = loop.time()
        try:
            while not gone.done():
                self._take()
                for node in sorted(self._missing):
                    await self._subscribe(witness, node)
                if loop.time() - pinged_s >= PING_EVERY_S:
                    await witness.ping(timeout_s=PING_S)
                    pinged_s = loop.time()
                await asyncio.wait({gone}, timeout=AGAIN_S)
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    async def _subscribe(self, witness: Witness, node: str) -> None:
        wish = f"<subscribe node={quoteattr(node + self._suffix)} jid={quoteattr(witness.jid)}/>"
        try:
            await witness.iq("set", f"<pubsub xmlns='{PUBSUB}'>{wish}</pubsub>", to=self._target, timeout_s=PING_S)
        except Refused as refusal:  # the node is not there yet, or does not let us in yet
            self._trouble = str(refusal)
        else:
            self._missing.discard(node)
            if not self._missing:
                self._subscribed.set()

    def _take(self) -> None:
        """Enter all that came, and forget it."""
        if self._witness is None:
            return
        came, self._witness.seen[:] = [*self._witness.seen], []
        for seen in came:
            if seen.kind == "presence" and seen.sender_bare == self.node and not seen.type:
                self._full = seen.sender
            if seen.kind == "message" and seen.sender_bare == self._target:
                self._enter(seen)

    def _enter(self, seen: Seen) -> None:
        for item in seen.items:
            if item.payload is not None and item.node in {node + self._suffix for node in self._nodes}:
                self.ledger.enter(item.payload, way="push", at_s=seen.at_s)
        deleted = seen.xml.find(f"{{{PUBSUB_EVENT}}}event/{{{PUBSUB_EVENT}}}delete")
        if deleted is not None:  # made anew, it has no subscribers (docs/wire.md)
            self._missing |= {node for node in self._nodes if node + self._suffix == deleted.get("node")}
            if self._missing:
                self._subscribed.clear()

    async def _end(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
