"""An observer: an ordinary XMPP client that sees a node from the outside and believes nothing else.

It shares no code with the node. It stands on slixmpp for the stream and reads stanzas itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream import XMLStream

from knoop_bench.errors import LoginFailed, NotSeen, Refused
from knoop_bench.ports import LOOPBACK
from knoop_bench.seen import CLIENT, PUBSUB, Item, Seen, items_in

READINGS, EVENTS, STATE, ABOUT = (f"urn:knoop:1:{node}" for node in ("readings", "events", "state", "about"))
NODES = (READINGS, EVENTS, STATE, ABOUT)

_DISCO_INFO, _DISCO_ITEMS = (f"http://jabber.org/protocol/disco#{what}" for what in ("info", "items"))
_SCRAM = {"SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}
_LAST_SHOWN = 25


class Witness:
    """`async with Witness("anna@localhost", password, port=…, ca_file=…) as anna:` is online inside.

    `friends` are bare JIDs whose presence it asks for and whose requests it accepts, nobody else's. `notify`
    are PEP nodes it announces interest in before its first presence, so that it is sent their last items.
    `receipts` answers XEP-0184 requests. `features` are announced besides, served or
    not. A JID without a resource gets one from the server.

    `seen` is everything that came since login, in order. Raises LoginFailed on entering.
    """

    def __init__(
        self, jid: str, password: str, *, port: int, ca_file: Path, host: str = LOOPBACK,
        direct_tls: bool = True, friends: Sequence[str] = (), notify: Sequence[str] = NODES,
        receipts: bool = False, features: Sequence[str] = (), login_s: float = 15.0,
    ) -> None:
        self.jid = slixmpp.JID(jid).bare
        self.seen: list[Seen] = []
        self._address = (jid, password, host, port)
        self._ca_file = ca_file
        self._direct_tls = direct_tls
        self._friends = frozenset(slixmpp.JID(friend).bare for friend in friends)
        self._notify = tuple(notify)
        self._receipts = receipts
        self._features = tuple(features)
        self._login_s = login_s
        self._arrivals: set[asyncio.Event] = set()
        self._client: Any = None
        self._gone = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Log in, say what it is interested in, go online, ask its friends for their presence."""
        jid, password, host, port = self._address
        context = ssl.create_default_context(cafile=str(self._ca_file))
        client: Any = slixmpp.ClientXMPP(
            jid, password, ssl_context=context, plugin_config={"feature_mechanisms": {"use_mechs": _SCRAM}},
        )
        self._client = client
        client.enable_direct_tls, client.enable_starttls = self._direct_tls, not self._direct_tls
        client.enable_plaintext = client.whitespace_keepalive = False
        client.auto_authorize = client.auto_subscribe = None  # decided below, by name
        for plugin in ("xep_0030", "xep_0115", "xep_0199", *(("xep_0184",) if self._receipts else ())):
            client.register_plugin(plugin)
        client.add_event_handler("presence_subscribe", self._answer_subscription)
        client.add_event_handler("disconnected", lambda _: self._gone.set())
        try:
            await self._log_in(host, port)
            client.add_filter("in", self._record)
            await self._go_online()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye and close."""
        await self._close()

    @property
    def full_jid(self) -> str:
        """The full JID of this session."""
        return str(self._client.boundjid.full)

    @property
    def mark(self) -> int:
        """Where the log ends now: `wait(…, after=mark)` looks only at what comes later."""
        return len(self.seen)

    @property
    def items(self) -> tuple[Item, ...]:
        """Every pub-sub item that was pushed to this client, in order."""
        return tuple(item for seen in self.seen for item in seen.items)

    async def wait(self, wanted: Callable[[Seen], bool], timeout_s: float = 10.0, *, after: int = 0) -> Seen:
        """The first stanza from `after` on that is `wanted`, now or within `timeout_s`; raises NotSeen."""
        arrival = asyncio.Event()
        self._arrivals.add(arrival)
        looked_at = after
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    arrival.clear()
                    while looked_at < len(self.seen):
                        looked_at += 1
                        if wanted(self.seen[looked_at - 1]):
                            return self.seen[looked_at - 1]
                    await arrival.wait()
        except TimeoutError:
            came = "\n".join(f"  {seen}" for seen in self.seen[after:][-_LAST_SHOWN:]) or "  nothing"
            raise NotSeen(f"{self.jid} did not see it within {timeout_s:g} s; what came:\n{came}") from None
        finally:
            self._arrivals.discard(arrival)

    async def gone(self) -> None:
        """Return when the stream has ended."""
        await self._gone.wait()

    async def none(self, unwanted: Callable[[Seen], bool], for_s: float, *, after: int = 0) -> None:
        """Return after `for_s` without anything `unwanted` from `after` on; raises NotSeen when it comes."""
        try:
            seen = await self.wait(unwanted, for_s, after=after)
        except NotSeen:
            return
        raise NotSeen(f"{self.jid} saw what must not come: {seen}")

    def say(self, to: str, text: str, *, id: str = "", type: str = "chat") -> str:  # noqa: A002 -- XMPP's own words
        """Send a message; returns its stanza id."""
        stanza_id = id or str(self._client.new_id())
        self.send_raw(
            f"<message to={quoteattr(to)} type={quoteattr(type)} id={quoteattr(stanza_id)}>"
            f"<body>{escape(text)}</body></message>"
        )
        return stanza_id

    def send_raw(self, xml: str) -> None:
        """Put bytes of one's own making on the stream; raises ConnectionError when there is none."""
        if not self._client.is_connected():
            raise ConnectionError(f"{self.jid} is not connected")
        self._client.send_raw(xml)

    async def iq(
        self, type: str, payload: str | ET.Element, *, to: str = "", timeout_s: float = 10.0  # noqa: A002
    ) -> ET.Element:
        """Send a request (`get` or `set`) and return the whole answer; raises Refused or NotSeen."""
        request = self._client.make_iq(itype=type, ito=to or None)
        request.append(ET.fromstring(payload) if isinstance(payload, str) else payload)  # noqa: S314 -- our own text
        try:
            answer = await request.send(timeout=timeout_s)
        except IqError as error:
            condition = str(error.condition)
            raise Refused(condition, f"{to or self.jid} answered {condition} {error.text}".rstrip()) from None
        except IqTimeout:
            raise NotSeen(f"{to or self.jid} did not answer within {timeout_s:g} s") from None
        return answer.xml

    async def ping(self, *, to: str = "", timeout_s: float = 10.0) -> None:
        """Ask for a pong (XEP-0199): what the other side sent before it is in the log when this returns."""
        await self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=to, timeout_s=timeout_s)

    async def pep_items(self, jid: str, node: str, *, newest: int = 0) -> tuple[Item, ...]:
        """The items of a node, of which only the `newest` when that is not 0; raises Refused."""
        limit = f" max_items='{newest}'" if newest else ""
        answer = await self.iq(
            "get", f"<pubsub xmlns='{PUBSUB}'><items node={quoteattr(node)}{limit}/></pubsub>", to=jid,
        )
        items = answer.find(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}items")
        return () if items is None else items_in(items)

    async def disco(self, jid: str, *, node: str = "") -> frozenset[str]:
        """The features an entity announces (XEP-0030)."""
        answer = await self.iq("get", _query(_DISCO_INFO, node), to=jid)
        return frozenset(found.get("var", "") for found in answer.iter(f"{{{_DISCO_INFO}}}feature"))

    async def disco_items(self, jid: str, *, node: str = "") -> tuple[tuple[str, str], ...]:
        """JID and node of the items an entity lists (XEP-0030)."""
        answer = await self.iq("get", _query(_DISCO_ITEMS, node), to=jid)
        listed = answer.iter(f"{{{_DISCO_ITEMS}}}item")
        return tuple((found.get("jid", ""), found.get("node", "")) for found in listed)

    async def join(self, room: str, nick: str, *, timeout_s: float = 10.0) -> Seen:
        """Enter a room and return our own presence in it, which tells what the room is; raises Refused."""
        after, occupant = self.mark, f"{room}/{nick}"
        self.send_raw(
            f"<presence to={quoteattr(occupant)}><x xmlns='http://jabber.org/protocol/muc'>"
            "<history maxstanzas='0'/></x></presence>"
        )
        answer = await self.wait(
            lambda seen: seen.kind == "presence" and seen.sender_bare == room
            and (seen.type == "error" or "110" in seen.statuses), timeout_s, after=after,
        )
        if answer.type == "error":
            reasons = answer.xml.iterfind(f"{{{CLIENT}}}error/*")
            condition = next((reason.tag.rpartition("}")[2] for reason in reasons), "")
            raise Refused(condition, f"{room} does not let {nick} in: {condition}")
        return answer

    async def _log_in(self, host: str, port: int) -> None:
        client = self._client
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def settle(reason: str) -> Callable[[Any], None]:
            return lambda detail: None if outcome.done() else outcome.set_result(reason.format(detail))

        client.add_event_handler("session_start", settle(""))
        client.add_event_handler("connection_failed", settle("no connection: {}"))
        client.add_event_handler("ssl_invalid_chain", settle("the certificate proves nothing: {}"))
        client.add_event_handler("failed_all_auth", settle("the server refused the login"))
        client.add_event_handler("disconnected", settle("the server closed the stream: {}"))
        client.connect(host, port)
        try:
            async with asyncio.timeout(self._login_s):
                reason = await outcome
        except TimeoutError:
            reason = f"no login within {self._login_s:g} s"
        if reason:
            raise LoginFailed(f"{self.jid} at {host}:{port}: {reason}")

    async def _go_online(self) -> None:
        client = self._client
        await client.get_roster()
        disco = client.plugin["xep_0030"]
        for node in self._notify:
            disco.add_feature(f"{node}+notify", jid=client.boundjid)
        for feature in self._features:
            disco.add_feature(feature, jid=client.boundjid)
        await client.plugin["xep_0115"].update_caps(client.boundjid, broadcast=False)
        client.send_presence()
        for friend in sorted(self._friends):
            client.send_presence_subscription(pto=friend, ptype="subscribe")
        await self.ping()

    def _answer_subscription(self, presence: Any) -> None:
        if presence["from"].bare in self._friends:
            self._client.send_presence_subscription(pto=presence["from"].bare, ptype="subscribed")

    def _record(self, stanza: Any) -> Any:
        if stanza.xml.tag.startswith(f"{{{CLIENT}}}"):
            now_s = asyncio.get_running_loop().time()
            self.seen.append(Seen(len(self.seen), now_s, copy.deepcopy(stanza.xml)))
            for arrival in self._arrivals:
                arrival.set()
        return stanza

    async def _close(self) -> None:
        client: XMLStream = self._client
        client.cancel_connection_attempt()
        with contextlib.suppress(Exception):  # closing twice, or after the server has gone, is fine
            await client.disconnect(wait=1.0, ignore_send_queue=True)
        client.abort()
        # COMPAT(slixmpp 1.17): disconnect leaves this task running; drop when a loop closes quietly without.
        await _ended(client._run_out_filters)  # noqa: SLF001


def _query(namespace: str, node: str) -> str:
    return f"<query xmlns='{namespace}'" + (f" node={quoteattr(node)}/>" if node else "/>")


async def _ended(task: asyncio.Future[Any] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
