"""`board.sock`: the Board protocol over a Unix stream, one line of JSON a message, between two processes.

The two directions live apart. An end that can no longer write still reads what the other wrote before it died: with
asyncio's own streams the failed write takes the unread readings along.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from pathlib import Path

from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError
from knoop_hw.life import Held, end, lock
from knoop_hw.link import Link, LinkClosed, NotTheProtocol
from knoop_hw.messages import MAX_LINE, Message, decode, encode

log = logging.getLogger(__name__)

MODE = 0o660  # the agent's user comes in by the group of the socket's folder
CHUNK = 16 * 1024  # bytes at a time: 1,300 beats, which cost 8 ms; then it is the others' turn
BACKLOG = 8  # of connections that wait; there is one agent
RETRY_S = 1.0  # before the next accept, when this process may open no more files


class _Turn:
    """Let everybody else have their turn: what is at hand is read without waiting, and a peer may never stop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SocketLink:
    """One end, over a connected socket, which it owns. `peer`: who is at the other end, for the log.

    The loop watches the socket from the first `receive` on, not anew for each message: that is a fifth less time and
    CPU. It stops while much waits to be taken, so that a peer can neither fill the memory nor take all the turns.
    """

    def __init__(self, sock: socket.socket, *, peer: str) -> None:
        sock.setblocking(False)
        self._sock, self._peer = sock, peer
        self._left = bytearray()
        self._one_at_a_time = asyncio.Lock()
        self._closed = self._mute = self._deaf = False
        self._writing = self._watched = False
        self._arrived = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Hand over one message. Waits while the other end is behind; ValueError when it does not fit a line."""
        line = encode(message)
        async with self._one_at_a_time:
            if self._closed or self._mute:
                raise LinkClosed("the link is closed")
            self._writing = True
            try:
                await self._write(line)
            except OSError:
                self._mute = True
                raise LinkClosed(f"{self._peer} hung up") from None
            except asyncio.CancelledError:
                self._mute = True
                with suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)  # perhaps half a line: the other hangs up, and we begin anew
                raise
            finally:
                self._writing = False
                if self._closed:
                    self._sock.close()

    async def _write(self, line: bytes) -> None:
        with suppress(BlockingIOError):
            line = line[self._sock.send(line) :]
        if line:
            await asyncio.get_running_loop().sock_sendall(self._sock, line)

    async def receive(self) -> Message:
        """The next message; those sent before a close still arrive. Raises LinkClosed, or NotTheProtocol for nonsense.

        Half a line at the end is the other one's death, and no message.
        """
        searched = 0
        while (end := self._left.find(b"\n", searched)) < 0:
            searched = len(self._left)
            if searched > MAX_LINE:
                await self._nonsense(f"a line of more than {MAX_LINE} bytes")
            await self._more()
        line = bytes(self._left[: end + 1])
        del self._left[: end + 1]
        try:
            return decode(line)
        except ValueError as error:
            await self._nonsense(str(error))
            raise AssertionError from None  # never reached

    async def _more(self) -> None:
        if self._deaf or self._closed:
            raise LinkClosed(f"{self._peer} hung up")
        self._watch(True)
        self._arrived.clear()
        await self._arrived.wait()

    def _take(self) -> None:
        """There is something to read, once in each turn of the loop."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # reset: what was written before has been read
        self._left += data
        self._deaf = not data
        if self._deaf or len(self._left) >= CHUNK:
            self._watch(False)
        self._arrived.set()

    def _watch(self, wanted: bool) -> None:
        if wanted != self._watched:
            self._watched, loop = wanted, asyncio.get_running_loop()
            if wanted:
                loop.add_reader(self._sock, self._take)
            else:
                loop.remove_reader(self._sock)

    async def _nonsense(self, what: str) -> None:
        await self.close()
        self._left.clear()
        raise NotTheProtocol(f"{self._peer} sent what is not the Board protocol ({what}); hanging up")

    async def close(self) -> None:
        """Hang up; who waits on either direction is woken. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            self._watch(False)
            self._arrived.set()
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            if not self._writing:  # else the descriptor goes with the one who waits on it
                self._sock.close()


def connect(path: Path, *, peer: str) -> SocketLink:
    """A connection to who listens at `path`, at once or not: a full queue is an error, too. Raises OSError.

    COMPAT(asyncio, Python 3.13): sock_connect takes the EAGAIN of a full queue (unix(7)) for a connection under way.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return SocketLink(sock, peer=peer)


class Listener:
    """The hardware half's end, where agents come in: bound here, or `passed` on by systemd, which then owns it."""

    def __init__(self, path: Path, *, passed: int | None = None) -> None:
        """Raises DeviceError when another process listens there, or when it cannot be bound."""
        self._path = path
        self._held: Held | None = None  # the lock beside a socket that we bound
        self._sock = self._bind() if passed is None else _passed(passed)
        self._sock.setblocking(False)

    def _bind(self) -> socket.socket:
        path = self._path
        taken = f"{path} is another knoop-hw's, which is running; stop it, or give this one another --socket"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._held = lock(path.with_name(f"{path.name}.lock"), taken=taken)
            _remove_stale(path)
            before = os.umask(0o777 & ~MODE)  # never wider than it is to be, not even for a moment
            try:
                sock.bind(str(path))
            finally:
                os.umask(before)
            sock.listen(BACKLOG)
        except BaseException as error:
            sock.close()
            self._release()
            if isinstance(error, OSError) and not isinstance(error, DeviceError):
                why = error.strerror or str(error)
                text = f"{error.filename or path}: {why}; make its folder one that user id {os.geteuid()} may write to"
                raise DeviceError(f"{text}, or choose another --socket") from None
            raise
        return sock

    async def accept(self, serve: Callable[[Link], Awaitable[None]], *, clock: Clock) -> None:
        """Let `serve` speak with everyone who comes in, until cancelled; it hangs up on the one before."""
        loop, tasks, failing = asyncio.get_running_loop(), set[asyncio.Task[None]](), False
        try:
            while True:
                try:
                    sock, _ = await loop.sock_accept(self._sock)
                    failing = False
                except OSError as error:
                    if error.errno != errno.ECONNABORTED and not failing:
                        log.error("%s: %s; trying again every %g s", self._path, error.strerror, RETRY_S)
                        failing = True
                    await clock.sleep(RETRY_S)
                    continue
                task = asyncio.create_task(_told(serve, SocketLink(sock, peer="the agent")))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await _Turn()
        finally:
            await end(tasks)

    def close(self) -> None:
        """Let nobody in any more; what we bound is removed. Closing twice is fine."""
        self._sock.close()
        if self._held is not None:
            with suppress(OSError):  # its folder may have gone, too
                self._path.unlink()
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


async def _told(serve: Callable[[Link], Awaitable[None]], link: SocketLink) -> None:
    try:
        await serve(link)
    except Exception:
        log.exception("a connection ended by a mistake of Knoop's")
    finally:
        await link.close()


def _remove_stale(path: Path) -> None:
    """The socket of a process that died: whoever asks holds the lock, so nobody has it."""
    if path.exists() or path.is_symlink():
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise DeviceError(f"{path} exists and is no socket; remove it, or choose another --socket")
        path.unlink()


def _passed(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        sock.close()
        raise DeviceError("systemd passed a socket that is no Unix stream; the .socket unit wants ListenStream=/a/path")
    return sock
