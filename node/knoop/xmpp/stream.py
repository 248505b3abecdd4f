"""slixmpp's client behind the guard: what a peer sends reaches the parser bounded and a handler only when proven.

Messages and presences never reach slixmpp's own handlers: they go to our callbacks as plain XML. Requests (IQ get and
set) are heard only from those whom `admits` names; anybody else is answered as if nobody were here. `on_request` is
asked first: what it takes (True) it answers itself, the rest is slixmpp's (disco, version, ping). What `hears` does not
want goes nowhere and is not answered.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

from slixmpp import ClientXMPP
from slixmpp.stanza import Iq, Message, Presence

from knoop import __version__
from knoop.xmpp import compat, dial, guard
from knoop.xmpp.guard import MAX_DEPTH, SASL, SLICE, TLS, ByteGuard, GuardError
from knoop.xmpp.where import Server

log = logging.getLogger(__name__)

FLUSH_AT_ONCE = 16 * 1024  # bytes of an unfinished stanza; a chat message has about 500
FLUSH_LATER_S = 0.1
FAILURES_TOLD = 20  # of handlers, by kind and connection: what a stranger can cause must not fill the log

OF_PEOPLE = frozenset({  # what they may ask of slixmpp
    "{http://jabber.org/protocol/disco#info}query", "{http://jabber.org/protocol/disco#items}query",
    "{jabber:iq:version}query", "{urn:xmpp:ping}ping",
})  # fmt: skip

SCRAM = {f"SCRAM-SHA-{bits}{plus}" for bits in ("1", "256", "512") for plus in ("", "-PLUS")}
BEHIND = 10  # stanzas; slixmpp asks for an acknowledgement of every fifth, so up to 4 are nothing
UNTAKEN = 1000  # stanzas kept until a server acknowledges them, which one that is broken never does


class Stream(ClientXMPP):
    """One connection's stream. `on_breach` is called once, with the reason, when the guard ends it."""

    def __init__(
        self,
        jid: str,
        password: str,
        *,
        ssl_context: ssl.SSLContext,
        on_message: Callable[[ET.Element], None],
        on_presence: Callable[[ET.Element], None],
        on_breach: Callable[[GuardError], None],
        admits: Callable[[str], bool],
        on_request: Callable[[ET.Element], bool] = lambda _iq: False,
        features: tuple[str, ...] = (),
        hears: Callable[[ET.Element, bool], bool] = lambda _stanza, _behind: True,
    ) -> None:
        super().__init__(
            jid, password, ssl_context=ssl_context, plugin_config={"feature_mechanisms": {"use_mechs": SCRAM}}
        )
        self.goes_to: Server | None = None  # where `connect` goes
        self.stream_error = ""  # the condition that the server ended the stream with (RFC 6120 §4.9.3)
        self._bytes = ByteGuard()
        self._tls_promised = False
        self._breached = False
        self._heard_at_once = 0
        self._failures: Counter[str] = Counter()
        self._flushing: asyncio.TimerHandle | None = None
        self._left_out: ET.Element | None = None
        self._negotiating: asyncio.Task[Any] | None = None
        self._on_message = on_message
        self._on_presence = on_presence
        self._on_breach = on_breach
        self._admits = admits
        self._on_request = on_request
        self._hears = hears
        # COMPAT(slixmpp 1.17): the defaults accept every stranger's subscription; None answers nobody by itself.
        self.roster.auto_authorize = None  # type: ignore[assignment]  # its own documentation allows it
        self.roster.auto_subscribe = False
        self.whitespace_keepalive = False  # our pings keep the connection open and prove it, too
        for plugin, config in (
            ("xep_0030", {}),
            ("xep_0092", {"software_name": "Knoop", "version": __version__, "os": ""}),
            ("xep_0115", {"caps_node": "urn:knoop:1"}),
            # COMPAT(slixmpp 1.17): resumption reorders and loses queues silently, so only acknowledgements are used.
            ("xep_0198", {"allow_resume": False}),
            ("xep_0199", {"keepalive": False}),
        ):
            self.register_plugin(plugin, config)
        # COMPAT(slixmpp 1.17): without bound, and for a resumption that we do not use. Remove when it is bounded.
        self.plugin["xep_0198"].unacked_queue = deque(maxlen=UNTAKEN)
        disco: Any = self.plugin["xep_0030"]
        disco.del_identity(category="client", itype="bot", node=None, jid=None)
        disco.add_identity(category="client", itype="bot", name="Knoop")
        for feature in features:
            disco.add_feature(feature)
        self.add_filter("in", self._admit)  # behind stream management's, which counts every stanza

    @property
    def encrypted(self) -> bool:
        """Whether TLS protects the stream now."""
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    @property
    def behind(self) -> bool:
        """Whether our server has not taken all that we sent (XEP-0198 §4): it limits us, or the network does.

        What was heard in the same read counts as well: it is not answered yet.
        """
        return len(self.plugin["xep_0198"].unacked_queue) + self._heard_at_once >= BEHIND

    async def _connect_loop(self) -> asyncio.Future[Any] | None:
        """One try at `goes_to`, at its addresses at once; which servers there are is decided by `Session.open`.

        COMPAT(slixmpp 1.17): its own loop asks for names once, for 1 s each; waits at an address that is silent for
        as long as the kernel does (127 s) and 60 s for TLS; and never leaves a server that takes the connection and no
        login. Remove when connect() takes a socket, or bounds each try and tells one server's failure from the next.
        """
        assert self.goes_to is not None
        try:
            sock = await dial.connect(self.goes_to.addresses, self.goes_to.port)
            self.event_when_connected = "connected"
            await self.loop.create_connection(
                lambda: self, sock=sock, ssl=self.get_ssl_context() if self.goes_to.direct else None,
                server_hostname=self.default_domain if self.goes_to.direct else None,
            )  # fmt: skip
        except OSError as error:
            self.event("connection_failed", error)
        return None

    def _handle_stream_error(self, error: Any) -> None:
        """COMPAT(slixmpp 1.17): it goes wherever a see-other-host says; we go to the next server of our own list."""
        self.stream_error = str(error["condition"])

    def data_received(self, data: bytes | str) -> None:
        """Feed the parser in slices, each judged first."""
        assert isinstance(data, bytes)
        self._heard_at_once = 0
        with self._breaking():
            self._no_plaintext()
            for start in range(0, len(data), SLICE):
                if self._breached or self.parser is None:
                    return
                piece = data[start : start + SLICE]
                self._bytes.admit(piece)
                self._parse(piece)
            if self._bytes.open_bytes <= FLUSH_AT_ONCE:
                self._flush()
            elif self._flushing is None:
                self._flushing = self.loop.call_later(FLUSH_LATER_S, self._flush)

    def _parse(self, piece: bytes) -> None:
        super().data_received(piece)
        self._bytes.depth(self.xml_depth)
        if self._bytes.excess:
            self._prune()

    def _flush(self) -> None:
        """Parse what expat holds back: since 2.6 it waits for twice the bytes of a token that came in pieces.

        A stanza whose last tag arrived in three reads would lie there until the next one came. Where a token grows
        large (FLUSH_AT_ONCE) this is done ten times a second at most, so that tiny pieces of it cost no quadratic time.
        COMPAT(slixmpp 1.17): remove when its data_received flushes. Before Python 3.11.9 expat never waits.
        """
        self._flushing = None
        flush = getattr(self.parser, "flush", None)
        if flush is None or self._breached:
            return
        with self._breaking():
            try:
                flush()
            except (ET.ParseError, ValueError):
                raise GuardError(compat.MALFORMED) from None
            self._parse(b"")

    def init_parser(self) -> None:
        super().init_parser()
        self.parser = compat.Parser()
        self._bytes = ByteGuard(lenient=self.authenticated)

    def incoming_filter(self, xml: ET.Element) -> ET.Element:
        """Judge a whole top-level element by what has been proven so far."""
        self._no_plaintext()
        if not self._may_handle(xml):
            if self.authenticated:
                raise GuardError("the server negotiates what is settled")
            raise GuardError(f"{xml.tag} came before TLS and login were proven", "early")
        if not self.authenticated:
            self._negotiated(xml)
        elif not guard.counts(xml):
            raise GuardError("the server acknowledges without a number")
        if guard.too_deep(xml):
            self._bytes.depth(MAX_DEPTH + 1)
        excess = self._bytes.stanza_done()
        if excess:
            self._failures[excess] += 1
            if self._failures[excess] <= FAILURES_TOLD:
                log.warning("left out, from %.200s: %s", xml.get("from", "the server"), excess)
        if excess or not self._heard(xml):
            xml = self._left_out = ET.Element(xml.tag)  # stream management still counts it
        return xml

    def _heard(self, xml: ET.Element) -> bool:
        """Whether it goes to a handler at all; behind the login only what belongs there does."""
        if not self.authenticated:
            return True
        if xml.tag not in guard.STANZAS:
            return xml.tag in guard.BEHIND_LOGIN
        try:
            heard = self._hears(xml, self.behind)
            self._heard_at_once += heard
            return heard
        except Exception as error:  # noqa: BLE001 -- one bad stanza must not end the stream
            self.exception(error)
            return False

    def _may_handle(self, xml: ET.Element) -> bool:
        bound = self.session_bind_event.is_set()
        return guard.may_handle(xml.tag, tls=self.encrypted, logged_in=self.authenticated, bound=bound)

    def _negotiated(self, xml: ET.Element) -> None:
        """Judge what decides on TLS and login. Raises GuardError."""
        mechanisms: Any = self.plugin["feature_mechanisms"]
        if xml.tag == f"{{{TLS}}}proceed":
            self._tls_promised = True
        elif xml.tag == f"{{{TLS}}}failure":
            raise GuardError("the server does not begin TLS", "plaintext")
        elif xml.tag == f"{{{SASL}}}challenge":
            compat.judge_challenge(mechanisms.mech, xml.text or "")
        elif xml.tag == f"{{{SASL}}}success":
            compat.judge_success(mechanisms.mech, xml.text or "")
        elif xml.tag == f"{{{SASL}}}failure" and mechanisms.mech is None:
            raise GuardError("the server refuses a login that nobody tried", "early")

    def no_more_tries(self) -> None:
        """Let the login end with the mechanism that failed: the others know no other password.

        COMPAT(slixmpp 1.17): it tries one after another, and whoever counts failures locks the account the sooner.
        Call it within "failed_auth"; "failed_all_auth" follows. Remove when it tells a wrong password from a mechanism.
        """
        mechanisms: Any = self.plugin["feature_mechanisms"]
        mechanisms.mech_list = set()

    async def describe(self) -> None:
        """Say in every presence from now on what we can do, as a hash (XEP-0115)."""
        caps: Any = self.plugin["xep_0115"]
        await caps.update_caps(self.boundjid, broadcast=False)

    async def _handle_stream_features(self, features: Any) -> bool | None:
        self._negotiating = asyncio.current_task()
        if not self.encrypted and features.xml.find(f"{{{TLS}}}starttls") is None:
            self.event("failed_all_auth")
            return True
        return await super()._handle_stream_features(features)

    def end_tasks(self) -> None:
        """COMPAT(slixmpp 1.17): two of its tasks outlive a stream: the one that sends waits on its queue for ever, and
        the one that binds 120 s for an answer. Remove when abort() ends them.
        """
        for task in (self._run_out_filters, self._negotiating):
            if task is not None:
                task.cancel()

    def exception(self, exception: BaseException) -> None:
        """A handler failed: the log gets the kind and place, never what a peer wrote."""
        kind = type(exception).__name__
        self._failures[kind] += 1
        if self._failures[kind] <= FAILURES_TOLD:
            log.error("a stanza handler failed: %s", kind, exc_info=log.isEnabledFor(logging.DEBUG))

    def _no_plaintext(self) -> None:
        """After `proceed` only TLS may come: what an attacker appended to it was never encrypted."""
        if self._tls_promised and not self.encrypted:
            raise GuardError("plaintext follows the promise of TLS", "plaintext")

    def _prune(self) -> None:
        """Forget what was built so far of a stanza that will be left out."""
        element = self.xml_root
        for _ in range(2 * MAX_DEPTH):
            if element is None or not len(element):
                return
            del element[:-1]
            element = element[-1]

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """End the stream for whatever is raised inside.

        COMPAT(slixmpp 1.17): handlers that run at once (`instream`) raise into the transport, which asyncio then closes
        with a traceback in the log. Remove the second half when _spawn_event contains them.
        """
        try:
            yield
        except GuardError as error:
            self._breach(error)
        except Exception as error:  # noqa: BLE001 -- what came is no stream that we can go on with
            self.exception(error)
            self._breach(GuardError("a handler failed at what the server sent"))

    def _breach(self, error: GuardError) -> None:
        if not self._breached:
            self._breached = True
            self._on_breach(error)
            self.abort()

    def _admit(self, stanza: Any) -> Any:
        if stanza.xml is self._left_out:
            return None
        if isinstance(stanza, Message | Presence):
            handle = self._on_message if isinstance(stanza, Message) else self._on_presence
            try:
                handle(stanza.xml)
            except Exception as error:  # noqa: BLE001 -- one bad stanza must not end the stream
                self.exception(error)
            return None
        if not isinstance(stanza, Iq) or stanza["type"] not in {"get", "set"}:
            return stanza
        sender = stanza.xml.get("from", "")
        try:
            admitted = self._admits(sender)
            if admitted and self._on_request(stanza.xml):
                return None
        except Exception as error:  # noqa: BLE001 -- one bad request must not end the stream
            self.exception(error)
            admitted = False
        known = compat.known(sender) and compat.known(stanza.xml.get("to", ""))
        if admitted and known and self._for_library(stanza.xml, sender):
            return stanza
        # What a server answers for a resource that is not there (RFC 6121 §8.5.3.2.3): a stranger learns nothing.
        reply = stanza.reply()
        reply["error"]["condition"] = "service-unavailable"
        reply["error"]["type"] = "cancel"
        self.send(reply)  # Iq.send fails at addresses that slixmpp does not know, which would end the stream
        return None

    def _for_library(self, iq: ET.Element, sender: str) -> bool:
        """Whether slixmpp may answer: anybody's service discovery, version and ping; our own account's all.

        It has handlers for more, as roster pushes (CVE-2015-8688, CVE-2016-9928), and its refusal of others' cannot be
        written: the number in it is none of XML's.
        """
        ours = {"", self.boundjid.bare, self.boundjid.full}
        return sender in ours or all(child.tag in OF_PEOPLE for child in iq)
