"""One login: from a TCP connection to a bound, proven stream, and what can be asked of it until it ends."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ClassVar, Literal, Self, TypeVar
from xml.etree import ElementTree as ET

from slixmpp.exceptions import IqError, IqTimeout

from knoop.errors import LinkError, LoginRefused, Refusal, Untrusted
from knoop.jid import Jid
from knoop.xmpp import compat, failures
from knoop.xmpp.account import Account
from knoop.xmpp.fresh import DEAD_AFTER_S, PING_EVERY_S, TICK_EVERY_S, Freshness
from knoop.xmpp.guard import GuardError
from knoop.xmpp.lastsaid import LastSaid
from knoop.xmpp.stream import Stream
from knoop.xmpp.ways import Ways
from knoop.xmpp.where import Server
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")
LOGIN_TIMEOUT_S = 30.0  # names, TCP, TLS, SCRAM and bind together, at all servers; a phone network's worst takes 8 s
SERVER_S = 12.0  # of that for one server where there is another to try
GOODBYE_S = 1.0
IQ_TIMEOUT_S = 20.0  # the ping finds a dead link no later; slixmpp's 120 s would hold a row that long


class Session:
    """A proven login. Create with `Session.open`; every wait in it ends with LinkError when the link ends.

    `on_sign` is called with each refused login and sign of an attack, also of a try that another server made good.
    """

    STREAM: ClassVar[type[Stream]] = Stream

    def __init__(
        self,
        account: Account,
        *,
        clock: Clock,
        context: ssl.SSLContext,
        on_message: Callable[[ET.Element, bool], None],
        on_presence: Callable[[ET.Element], None],
        admits: Callable[[str], bool],
        on_request: Callable[[ET.Element, bool], bool] = lambda _iq, _late: False,
        on_sign: Callable[[LinkError], None] = lambda _error: None,
        **stream: Any,
    ) -> None:
        compat.harden()
        self.account = account
        self.fresh = Freshness(clock.boottime_ns())
        self.mode: Literal["direct", "starttls"] = "direct"
        self._clock = clock
        self._on_message, self._on_sign = on_message, on_sign
        self._failure: LinkError | None = None
        self._hung = self._spoke = False
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lost.add_done_callback(lambda future: future.exception())  # nobody may be waiting: not a warning
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = LastSaid(compat.jid)
        self._stream = self.STREAM(
            str(account.jid), account.password, ssl_context=context,
            on_message=self._message, on_presence=on_presence, on_breach=self._breach, admits=admits,
            on_request=lambda iq: on_request(iq, self.fresh.late(clock.boottime_ns())), **stream,
        )
        for name, handler in (
            ("session_start", self._session_start),
            ("ssl_cert", self._certificate),
            ("ssl_invalid_chain", self._connection_failed),
            ("connection_failed", self._connection_failed),
            ("failed_auth", self._refused),
            ("failed_all_auth", self._no_login),
            ("disconnected", self._disconnected),
        ):
            self._stream.add_event_handler(name, handler)

    @classmethod
    async def open(cls, account: Account, *, ways: Ways | None = None, **parts: Any) -> Self:
        """Log in at the first of the account's servers that lets us; `ways` remembers from login to login.

        Raises Unreachable, Untrusted or LoginRefused, each with what to do; takes ≤ LOGIN_TIMEOUT_S.
        """
        ways = ways or Ways(account.jid.domain, host=account.host, port=account.port)
        until_s = asyncio.get_running_loop().time() + LOGIN_TIMEOUT_S
        failed: LinkError | None = None
        spoken: set[tuple[str, int]] = set()
        try:
            async with asyncio.timeout_at(until_s):
                servers = await ways.servers()
        except TimeoutError:
            servers = []
        for left, server in zip(range(len(servers) - 1, -1, -1), servers, strict=True):
            now_s = asyncio.get_running_loop().time()
            if now_s >= until_s or (server.host, server.port) in spoken:
                continue  # where one way of TLS stood, the other says nothing new
            session = cls(account, **parts)
            try:
                await session._login(server, min(until_s, now_s + SERVER_S) if left else until_s)
            except BaseException as error:
                await session.close()
                if isinstance(error, LoginRefused) or not isinstance(error, LinkError):
                    raise  # another server has the same accounts, and would lock this one the sooner
                if session._spoke:
                    spoken.add((server.host, server.port))
                ways.failed(server, hung=session._hung)
                failed = failed if isinstance(failed, Untrusted) else error
            else:
                if failed and server.host != servers[0].host:
                    log.warning("%s; logged in at %s instead", failed, server.host)
                ways.worked(server)
                return session
        nowhere = f"no address is known for {account.host or account.jid.domain}"
        raise failed or failures.unreachable(account.where, nowhere)

    async def _login(self, server: Server, until_s: float) -> None:
        self._stream.goes_to = server
        self._stream.connect()
        try:
            async with asyncio.timeout_at(until_s):
                await self.or_lost(self._started)
                await self._begin()
        except TimeoutError:
            self._hung = True
            raise self._failure or failures.unreachable(self.account.where, "it does not finish the login") from None

    async def _begin(self) -> None:
        await self._stream.describe()
        self._spawn(self._watch())

    @property
    def jid(self) -> Jid:
        """Our full JID as the server bound it."""
        return compat.jid(str(self._stream.boundjid))

    def new_id(self) -> str:
        """An id for a stanza that no other stanza of ours has."""
        return str(self._stream.new_id())

    async def lost(self) -> None:
        """Raise LinkError when the link ends; never returns."""
        await asyncio.shield(self._lost)

    async def or_lost(self, waited: asyncio.Future[T]) -> T:
        """The result of `waited`, or LinkError when the link ends first."""
        waited.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever waits may be gone by then
        either: set[asyncio.Future[Any]] = {waited, self._lost}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if waited.done():
            return waited.result()
        waited.cancel()
        raise self._lost.exception() or LinkError("the link ended")

    async def close(self) -> None:
        """Say good-bye within GOODBYE_S to a server that let us in; closing twice is fine."""
        for task in self._tasks:
            task.cancel()
        self._stream.cancel_connection_attempt()
        try:
            if self._started.done() and self._stream.is_connected():
                with suppress(asyncio.TimeoutError):
                    # `wait` counts twice: until all is written, and until the server says good-bye as well.
                    goodbye = self._stream.disconnect(wait=GOODBYE_S / 2, ignore_send_queue=False)
                    await asyncio.wait_for(goodbye, GOODBYE_S)
        finally:  # also when whoever says good-bye is told to stop
            self._stream.abort()
            self._end(LinkError("we closed the link"))
            self._stream.end_tasks()

    def send(self, stanza: ET.Element) -> None:
        """Write one stanza in order. Raises LinkError when the link has ended."""
        if self._lost.done():
            raise self._lost.exception() or LinkError("the link ended")
        stream: Any = self._stream
        kind = stanza.tag.rpartition("}")[2]
        maker = {"message": stream.Message, "presence": stream.Presence, "iq": stream.Iq}[kind]
        stream.send(maker(xml=stanza))  # not its own send(): see Stream._admit
        if kind == "message":
            self._last.note(stanza)

    def last_message(self, person: Jid) -> str:
        """The id of the last message with a text that any device of this person got from this session, or ''."""
        return self._last.to(person)

    async def iq(
        self, kind: Literal["get", "set"], child: ET.Element, *, to: str = "", timeout_s: float = IQ_TIMEOUT_S
    ) -> ET.Element:
        """Ask and return the result stanza. Raises Refusal with the XMPP condition, or LinkError."""
        if self._lost.done():
            raise self._lost.exception() or LinkError("the link ended")
        request: Any = self._stream.make_iq(itype=kind, ito=to or None)
        request.append(child)
        if not compat.known(to):
            raise Refusal("jid-malformed", f"{to} has a name that slixmpp does not know")
        try:
            answer: Any = await self.or_lost(asyncio.ensure_future(request.send(timeout=timeout_s)))
        except IqError as error:
            name = child.tag.rpartition("}")[2]
            raise Refusal(error.condition, f"{to or 'the server'} refused '{name}': {error.condition}") from None
        except IqTimeout:
            raise LinkError(f"{to or 'the server'} did not answer within {timeout_s:g} s") from None
        return answer.xml

    async def ping(self) -> float:
        """Seconds until our server answered (XEP-0199); all that was sent before has then reached it."""
        request: Any = self._stream.make_iq_get(ito=self._stream.boundjid.host)
        request.append(ET.Element("{urn:xmpp:ping}ping"))
        started_ns = self._clock.boottime_ns()
        self.fresh.ping(request["id"], started_ns)
        try:
            await self.or_lost(asyncio.ensure_future(request.send(timeout=DEAD_AFTER_S)))
        except IqError:
            pass  # an error answer is an answer: the stream is alive and in order
        except IqTimeout:
            raise LinkError(f"no answer to a ping within {DEAD_AFTER_S:g} s") from None
        if self.fresh.pong(request["id"], self._clock.boottime_ns()):
            self._spawn(self._ping_or_end())
        return (self._clock.boottime_ns() - started_ns) / 1e9

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        """Ping every PING_EVERY_S, at once after a stall, and end the link when one stays unanswered."""
        pinged_ns = self._clock.boottime_ns()
        while True:
            await self._clock.sleep(TICK_EVERY_S)
            now_ns = self._clock.boottime_ns()
            stalled = self.fresh.tick(now_ns)
            if stalled or now_ns - pinged_ns >= PING_EVERY_S * 1e9:
                pinged_ns = now_ns
                self._spawn(self._ping_or_end())

    async def _ping_or_end(self) -> None:
        try:
            await self.ping()
        except LinkError as error:
            self._end(error)
            self._stream.abort()

    def _message(self, message: ET.Element) -> None:
        self._on_message(message, self.fresh.late(self._clock.boottime_ns()))

    def _session_start(self, _: Any) -> None:
        self.mode = "starttls" if "starttls" in self._stream.features else "direct"
        if not self._started.done():
            self._started.set_result(None)

    def _end(self, error: LinkError) -> None:
        if not self._lost.done():
            self._lost.set_exception(error)
            if error.sign or isinstance(error, LoginRefused):
                self._on_sign(error)
        self._stream.cancel_connection_attempt()

    def _breach(self, error: GuardError) -> None:
        log.warning("%s broke the rules of the stream: %s", self.account.where, error)
        self._end(failures.breach(self.account.where, str(error), error.sign))

    def _certificate(self, pem: str) -> None:
        self._spoke = True
        wanted = self.account.fingerprint.replace(":", "").lower()
        if self.account.fingerprint and hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() != wanted:
            self._end(failures.not_pinned(self.account.where))
            self._stream.abort()

    def _connection_failed(self, error: Any) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            self._spoke = True
            self._end(failures.untrusted(self.account.where, error.verify_code))
            self._stream.abort()
            return
        if isinstance(error, ssl.SSLError):
            self._end(failures.handshake(self.account.where, error.reason))
            return
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error) or "it hung up"
        self._end(failures.unreachable(self.account.where, reason))

    def _disconnected(self, why: Any) -> None:
        if isinstance(why, ssl.SSLCertVerificationError) or getattr(why, "reason", "") in failures.OLD_TLS:
            self._connection_failed(why)  # how a failed STARTTLS handshake arrives
        why = self._stream.stream_error or str(why or "") or "it hung up"
        self._end(self._failure or failures.unreachable(self.account.where, why))

    def _no_login(self, _: Any) -> None:
        make = failures.no_safe_login if self._stream.encrypted else failures.no_tls
        self._end(self._failure or make(self.account.where))

    def _refused(self, failure: Any) -> None:
        condition = str(failure["condition"])
        self._failure = failures.refused(
            self.account.where, self.account.jid, condition, iterations=compat.SCRAM_ITERATIONS
        )
        if condition != "invalid-mechanism":  # the only one by which no password was judged
            self._stream.no_more_tries()
