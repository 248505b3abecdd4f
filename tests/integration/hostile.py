"""A server that does as it pleases: what it says is scripted, what a client sends it is kept.

It speaks just enough XMPP to bring a client to the point of an attack; with the right password on its side it can
also complete a real SCRAM login (RFC 5802), which is what a server that turned hostile later can do.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from knoop_bench.certificates import Certificate
from knoop_bench.ports import LOOPBACK, free_ports

STREAMS = "http://etherx.jabber.org/streams"
HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' from='localhost' id='x'"
    " version='1.0'>"
)
STARTTLS = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
TLS_RECORD = 0x16
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"


def mechanisms(*names: str) -> str:
    offered = "".join(f"<mechanism>{name}</mechanism>" for name in names)
    return f"<stream:features><mechanisms xmlns='{SASL}'>{offered}</mechanisms></stream:features>"


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode("ascii")


class Peer:
    """One connection, from the server's side. `got` is all that the client sent, as plaintext."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Hostile) -> None:
        self.got = b""
        self._reader, self._writer, self._server = reader, writer, server
        self._read = 0

    async def say(self, text: str | bytes) -> None:
        """Write; a client that hung up meanwhile is what a test waits for."""
        with suppress(ConnectionError):
            self._writer.write(text.encode() if isinstance(text, str) else text)
            await self._writer.drain()

    async def hears(self, pattern: bytes) -> re.Match[bytes]:
        """Wait for the next match behind the one before. Raises EOFError when the client hung up."""
        while (found := re.compile(pattern).search(self.got, self._read)) is None:
            await self.more()
        self._read = found.end()
        return found

    @property
    def ended(self) -> bool:
        """Whether either side hung up."""
        return self._writer.is_closing() or self._reader.at_eof()

    def hang_up(self) -> None:
        """End the connection, as a network does."""
        self._writer.transport.abort()

    def back(self, found: re.Match[bytes]) -> None:
        """Let what was heard be heard again."""
        self._read = found.start()

    async def more(self) -> None:
        data = await self._reader.read(65536)
        if not data:
            raise EOFError
        if not self.got and data[0] == TLS_RECORD:
            raise EOFError  # a client that tries TLS at a plain port is hung up on, as servers do
        self.got += data
        self._server.got += data

    async def gone(self) -> None:
        """Take all that the client still sends, until it hangs up."""
        with suppress(EOFError, ConnectionError):
            while b"</stream:stream>" not in self.got:
                await self.more()

    async def stream(self, features: str) -> None:
        await self.hears(rb"<stream:stream[^>]*>")
        await self.say(HEADER + features)

    async def secure(self) -> None:
        """Do the server's half of STARTTLS."""
        await self.stream(STARTTLS)
        await self.hears(rb"<starttls[^>]*>")
        await self.say(PROCEED)
        await self.handshake()

    async def handshake(self) -> None:
        await self._writer.start_tls(self._server.context)
        self._server.handshakes += 1

    async def scram(self, *, iterations: int = 4096, forged: bool = False) -> None:
        """The server's half of a SCRAM-SHA-1 login; `forged` ends it with a signature of somebody else."""
        auth = await self.hears(rb"<auth[^>]*>([^<]*)</auth>")
        bare = base64.b64decode(auth[1]).split(b",", 2)[2]
        nonce = dict(part.split(b"=", 1) for part in bare.split(b","))[b"r"] + b"server"
        first = b"r=" + nonce + b",s=" + base64.b64encode(b"salt") + b",i=%d" % iterations
        await self.say(f"<challenge xmlns='{SASL}'>{encoded(first)}</challenge>")
        response = await self.hears(rb"<response[^>]*>([^<]*)</response>|<abort")
        if response[1] is None:
            await self.say(f"<failure xmlns='{SASL}'><aborted/></failure>")
            return
        final = base64.b64decode(response[1]).rpartition(b",p=")[0]
        salted = hashlib.pbkdf2_hmac("sha1", self._server.password.encode(), b"salt", iterations)
        key = hmac.digest(b"somebody" if forged else salted, b"Server Key", "sha1")
        signature = hmac.digest(key, b",".join((bare, first, final)), "sha1")
        await self.say(f"<success xmlns='{SASL}'>{encoded(b'v=' + base64.b64encode(signature))}</success>")

    async def log_in(self) -> None:
        """A whole, honest login on an encrypted stream: SCRAM, bind, and an answer for the client's first question."""
        await self.stream(mechanisms("SCRAM-SHA-1"))
        await self.scram()
        await self.bind()

    async def bind(self) -> None:
        """The end of a login."""
        await self.stream(BIND)
        iq = await self.hears(rb"<iq[^>]* id=[\"']([^\"']+)[\"'][^>]*>.*?</iq>")
        await self.say(
            f"<iq type='result' id='{iq[1].decode()}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            "<jid>greenhouse@localhost/knoop</jid></bind></iq>"
        )


Script = Callable[[Peer], Awaitable[None]]


class Hostile:
    """`async with Hostile(certificate, script) as server:` plays `script` to everybody who connects.

    `direct` says that TLS comes first. `got` is what all clients together sent as plaintext, `knocks` how often a
    client began TLS, `handshakes` how often it went through with it, `peers` every connection, the last one last.
    """

    def __init__(self, certificate: Certificate, script: Script, *, direct: bool, password: str = "secret") -> None:
        self.got = b""
        self.handshakes = self.knocks = 0
        self.password = password
        self.port = free_ports(1)[0]
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate.file, certificate.key_file)
        self.context.sni_callback = self._knock
        self._script, self._direct = script, direct
        self._server: asyncio.Server | None = None
        self.peers: list[Peer] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        tls = self.context if self._direct else None
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, ssl=tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _knock(self, *_: object) -> None:
        self.knocks += 1

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._play(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, self)
        self.peers.append(peer)
        self.handshakes += self._direct
        try:
            await self._script(peer)
            await peer.gone()
        except (EOFError, OSError):
            pass  # the client hung up, or refused our certificate
        finally:
            writer.transport.abort()
