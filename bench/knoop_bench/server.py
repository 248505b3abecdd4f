"""What private servers share: a folder of their own, a lock on it, one process that is gone when its user is."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import ssl
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from knoop_bench.certificates import Authority, Certificate, Variant
from knoop_bench.errors import ServerFailed
from knoop_bench.ports import LOOPBACK, free_ports

START_S = 20.0  # a Raspberry Pi 3 with a slow card takes a few seconds
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # servers are not in everybody's
_POLL_S = 0.02
_LOG_LINES = 25


class Server(ABC):
    """`async with …(folder, {"anna": "secret"}) as server:` `anna@localhost` can log in.

    `folder` is made, and removed at the end unless `keep`; one left behind by a killed run is used again, one
    with anything else in it is refused. `authority` signs the certificate; without it one is made. The server
    listens for direct TLS on `tls_port` and STARTTLS on `starttls_port`, on 127.0.0.1, and has PEP, a pub-sub
    service at `pubsub.HOST`, rooms at `rooms.HOST`, uploads at `upload.HOST`, carbons, archives and blocking;
    no federation, no registration.

    It dies with its user, however that ends. Raises ServerFailed.
    """

    NAME: ClassVar[str]
    STOP_S: ClassVar[float] = 5.0
    PROGRAMS: ClassVar[Mapping[str, str]]  # program → the Debian package that has it

    def __init__(
        self, folder: Path, accounts: Mapping[str, str] | None = None, *, host: str = "localhost",
        certificate: Variant = "good", authority: Authority | None = None, keep: bool = False,
    ) -> None:
        self.folder = folder.resolve()
        self.host = host
        self.log_file = self.folder / "server.log"
        self.tls_port, self.starttls_port, self.https_port = free_ports(3)
        self._accounts = dict(accounts or {})
        self._variant = certificate
        self._authority = authority
        self._keep = keep
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._certificate_der = b""

    @abstractmethod
    def add_account(self, user: str, password: str) -> str:
        """Make or change an account, also while the server runs; returns its bare JID."""

    @abstractmethod
    def _configure(self, certificate: Certificate) -> None:
        """Write what the server reads into the new `folder`, accounts where they are files."""

    @abstractmethod
    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The command that serves in the foreground, and what is in its environment beside HOME and PATH."""

    async def __aenter__(self) -> Self:
        """Prepare the folder and serve; nothing is left when this fails or is cancelled."""
        self._require()
        self._claim()
        try:
            self._prepare()
            await self.start()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and, unless told to keep it, remove the folder."""
        await self._leave()

    @property
    def ca_file(self) -> Path:
        """The certificate that clients should trust."""
        assert self._authority is not None, "the server was not entered"
        return self._authority.ca_file

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def jid(self, user: str) -> str:
        """The bare JID of `user` on this server."""
        return f"{user}@{self.host}"

    def room(self, name: str) -> str:
        """The JID of the room `name`."""
        return f"{name}@rooms.{self.host}"

    @property
    def pubsub(self) -> str:
        """The JID of the pub-sub service."""
        return f"pubsub.{self.host}"

    def password(self, user: str) -> str:
        """The password of an account of this server; raises KeyError when there is none."""
        return self._accounts[user]

    async def start(self) -> None:
        """Serve; returns when both ports answer a stream header. Does nothing while it runs."""
        if self.pid is None:
            self._spawn()
            await self._answering()

    async def stop(self) -> None:
        """Let the server say goodbye to its clients and end; kill it when that takes longer than `STOP_S`."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the server as a power cut does; its data stay."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop, if it runs, and serve again: same ports, same data."""
        await self.stop()
        await self.start()

    def log_tail(self, lines: int = _LOG_LINES) -> str:
        """The last lines of what the server logged or printed."""
        files = (file for file in (self._console, self.log_file) if file.exists())
        said = [file.read_text("utf-8", "replace") for file in files]
        return "\n".join("".join(said).splitlines()[-lines:])

    @property
    def _console(self) -> Path:
        return self.folder / "console.txt"

    @property
    def _mark(self) -> Path:
        return self.folder / f".knoop-private-{self.NAME.lower()}"

    def _claim(self) -> None:
        if self.folder.is_dir() and any(self.folder.iterdir()) and not self._mark.exists():
            raise ServerFailed(f"{self.folder} holds something else: name a folder that is empty or new")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = self._mark.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            self._lock = None
            raise ServerFailed(f"{self.folder} is in use by another run: end that, or name another") from None

    def _prepare(self) -> None:
        for left in self.folder.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left != self._mark:
                left.unlink()
        certificates = self.folder / "certs"
        certificates.mkdir(mode=0o700)
        (self.folder / "data").mkdir(mode=0o700)
        self._authority = self._authority or Authority(certificates)
        certificate = self._authority.issue(self._variant, host=self.host)
        self._certificate_der = ssl.PEM_cert_to_DER_cert(certificate.file.read_text("ascii"))
        self._configure(certificate)

    def _spawn(self) -> None:
        command, environment = self._command()
        with self._console.open("ab") as console:
            # setpriv ties the server's life to ours, also when we are killed.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                cwd=self.folder, env={"PATH": PATH, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", **environment},
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True,  # Ctrl-C is for us; the server ends when we say so
            )

    async def _answering(self) -> None:
        try:
            async with asyncio.timeout(START_S):
                # One loop serves all ports once everything is loaded: an answer means rooms and uploads too.
                while not (await self._answers(self.starttls_port) and await self._answers(self.tls_port)):
                    if self.pid is None:
                        raise self._failed(f"{self.NAME} ended while starting")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise self._failed(f"{self.NAME} does not answer after {START_S:.0f} s") from None

    async def _answers(self, port: int) -> bool:
        context: ssl.SSLContext | None = None
        if port == self.tls_port:  # its certificate may be wrong on purpose; is it ours?
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context)
        except OSError:
            return False
        try:
            writer.write(
                f"<stream:stream to='{self.host}' version='1.0' xmlns='jabber:client'"
                " xmlns:stream='http://etherx.jabber.org/streams'>".encode()
            )
            features = await reader.readuntil(b"</stream:features>")
            tls = writer.get_extra_info("ssl_object")
        except (OSError, EOFError):
            return False
        else:
            if tls is None:
                return b"<starttls" in features
            return bool(tls.getpeercert(binary_form=True) == self._certificate_der)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        try:
            if process.poll() is None:
                process.send_signal(how)
                async with asyncio.timeout(self.STOP_S):
                    await _ended(process)
        except TimeoutError:
            pass
        finally:  # also when cancelled while waiting
            if process.poll() is None:
                process.kill()
            process.wait()
            self._process = None

    async def _leave(self) -> None:
        try:
            await self.stop()
        finally:
            if not self._keep:
                shutil.rmtree(self.folder, ignore_errors=True)
            if self._lock:
                self._lock.close()
                self._lock = None

    def _failed(self, what: str) -> ServerFailed:
        return ServerFailed(f"{what}; the end of its log:\n{self.log_tail() or '(it logged nothing)'}")

    def _require(self) -> None:
        for program, package in {**self.PROGRAMS, "setpriv": "util-linux"}.items():
            if shutil.which(program, path=PATH) is None:
                raise ServerFailed(
                    f"{program} is not installed: run `bench/debian-packages {package}`, which installs it"
                    " without starting a system server"
                )


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Return when `process` has ended, without polling for it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    handle = os.pidfd_open(process.pid)
    loop.add_reader(handle, ended.cancel)
    try:
        await asyncio.wait((ended,))
    finally:
        loop.remove_reader(handle)
        os.close(handle)
