"""A whole node behind a stream whose other end is any bytes: what must never happen is judged after each of them.

Real: stream, guard, session, conversation, forms, room, verbs, board, both databases. Made up: the transport, the time
(every input has five minutes of it), the answers to our own requests, and names of forms that can be guessed. One
input is two bytes of how (`HOW`, `SLICES`), then what comes behind the stream's header.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from xml.etree import ElementTree as ET

from slixmpp.stanza import Iq
from tests.fuzz.material import JOINED, NICK, NODE, OUTPUTS, ROOM

from knoop import commands, config
from knoop.agent import Agent
from knoop.board import BoardClient, once
from knoop.jid import Jid
from knoop.state import State
from knoop.store import Store
from knoop.words import SWITCH, fold, words
from knoop.xmpp import compat, openforms
from knoop.xmpp.fresh import Seen
from knoop.xmpp.roster import Requests
from knoop.xmpp.session import Session
from knoop_hw.board import Board
from knoop_hw.clock import FakeClock
from knoop_hw.link import pair
from knoop_hw.messages import Set

PASSWORD = "correct horse battery staple"
NOBODY = "q7w2x9k4m1z8v3b6n5@hidden.example"  # the only owner of the node where everybody is a stranger
# By its first byte an input goes to a node that knows its sender, to one that does not, late, before TLS or the login.
HOW = (*("known",) * 5, *("stranger",) * 3, *("late",) * 2, "plain", "login")
SLICES = (*(0,) * 12, 1, 17, 64, 1000)  # bytes a read; 0: all at once
HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    b"version='1.0' id='1' from='example.org'>"
)
CONFIG = """
[node]
name = "greenhouse"
[xmpp]
jid = "node@example.org/knoop"
[board]
driver = "simulated"
[input.door]
pin = "GPIO17"
[output.lamp]
label = "Hall light"
aliases = ["ganglamp"]
pin = "GPIO27"
[output.heating]
aliases = ["kachel"]
pin = "GPIO22"
[output.pump]
kind = "pwm"
aliases = ["pomp"]
pin = "GPIO18"
[output.gate]
pin = "GPIO23"
confirm = true
[alert.door_open]
when = "door == on"
[room."garden@rooms.example.org"]
commands = true
[people]
"""
KNOWN = """
"anna@example.org" = "owner"
"bram@example.org" = { role = "operator", only = ["lamp"] }
"cleo@example.org" = "viewer"
"""
PASSES_S = 300.0  # between two inputs, so that each is heard as if it were the first
LIFE = 2000  # inputs of one node; then another, and how much the former one kept is judged
USED_TO = 50  # inputs until caches are full
KEPT_MOST = 60_000  # Python objects that these may leave behind: its queues, ids and answers are bounded
AUTH = re.compile(rb"<auth [^>]*mechanism=[\"']([^\"']*)")
SCRAM = frozenset(f"SCRAM-SHA-{bits}{plus}".encode() for bits in ("1", "256", "512") for plus in ("", "-PLUS"))
WAITS = frozenset({"FakeClock.sleep", "Event.wait", "Timer._wait"})  # what for ever waits again and again
ENDS_WITHIN = 400  # turns of the clock until everything that an input began has ended

LOST = "a stanza handler failed: L"  # LinkError and LoginRefused, of whoever writes at that moment

# What makes a stanza late, somebody's quotation, a correction or unreadable.
NOT_NOW = (
    "delay}delay", "jabber:x:delay}x", "forward:0}forwarded", "carbons:2}sent", "carbons:2}received", "mam:1}result",
    "mam:2}result", "apply-to", "}encrypted", "jabber:x:encrypted}x", "}openpgp", "}replace",
)  # fmt: skip


class Finding(AssertionError):
    """What must not happen did."""


class Time(FakeClock):
    """Time that moves only here, in one leap."""

    async def leap(self, seconds: float) -> None:
        """Let `seconds` pass and wake everybody whose time came."""
        self._move(self.boottime_ns() + int(seconds * 1e9))
        due = [one for one in self._sleepers if one[0] <= self.boottime_ns()]
        self._sleepers = sorted(one for one in self._sleepers if one[0] > self.boottime_ns())
        for _, _, future in due:
            if not future.done():
                future.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)


class Wire:
    """The transport; what is written to it stays here."""

    def __init__(self, *, encrypted: bool = True) -> None:
        self.encrypted = encrypted
        self.said: list[bytes] = []
        self.closed = False

    def get_extra_info(self, name, default=None):
        return object() if name == "ssl_object" and self.encrypted else default

    def write(self, data):
        self.said.append(bytes(data))

    def close(self):
        self.closed = True

    abort = close


class Watched:
    """The board's end of the link to the agent: notes what it is asked to do."""

    def __init__(self, link, wishes: list[Set]) -> None:
        self._link, self._wishes = link, wishes
        self.send, self.close = link.send, link.close

    async def receive(self):
        message = await self._link.receive()
        if isinstance(message, Set):
            self._wishes.append(message)
        return message


class Errors(logging.Handler):
    """What is logged as an error: of a peer's making, each is a finding."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record):
        self.said.append(self.format(record))


class House:
    """One node. `feed` gives it one input and raises Finding."""

    def __init__(self, agent: Agent, board: Board, clock: Time, wishes: list[Set], errors: Errors) -> None:
        self.agent, self.board, self.clock, self.wishes, self.errors = agent, board, clock, wishes, errors
        self.tasks: set[asyncio.Task] = set()  # all that it has
        self.began: list[asyncio.Task] = []  # what this input began
        self.people = {str(person.jid) for person in agent.house.access.everyone()}
        self.fed = 0
        self._names = 0
        self.access = None
        self.stale = False  # something of the first state is not so any more
        self.broken = False
        self._staying: asyncio.Task[None] | None = None

    async def log_in(self) -> None:
        """Be logged in, and in the room."""
        agent = self.agent
        self.session = session = self.new_session()
        stream = self.stream = session._stream
        stream._session_started = stream.authenticated = True
        stream.requested_jid = stream.boundjid = stream.boundjid.__class__(NODE)
        session._started.set_result(None)
        agent.presence.session, agent.presence._requests, agent.presence.up = session, Requests(session), True
        agent.presence.on_link = agent._linked(True)
        self._open_wire()
        self.room = agent.presence._rooms[Jid(*ROOM.split("@"))]
        await self._enter()
        self.access = agent.house.access
        self.began.clear()

    async def _enter(self) -> None:
        """Be in the room, also after one that we were thrown out of."""
        if self._staying is not None:
            self._staying.cancel()
            await asyncio.wait({self._staying})
            self._open_wire()
        agent, self.room._failures, self.room._conflicts, self.room._destroyed = self.agent, 0, 0, False
        self._staying = asyncio.ensure_future(
            self.room.stay(self.session, outbox=agent.router.outbox, voice=agent.presence._voice)
        )
        self._staying.add_done_callback(lambda done: done.cancelled() or done.exception())
        await self._turns()
        self.stream.data_received(JOINED.encode())
        await self._turns()
        if self.room._room is None or not self.room._room.shows_jids:
            self.broken = True  # the next one is made anew
        else:
            self.occupants = dict(self.room._room.occupants)

    async def mend(self) -> None:
        """Have the same rights, and be in the room, as at first."""
        if self.agent.house.access is not self.access:
            await self.agent.house.state.run(lambda db: db.execute("DELETE FROM granted"))
            await self.agent.house.rights_changed()
            self.access = self.agent.house.access
        if self.room._room is None or not self.room._room.joined:
            await self._enter()
        self.stale = False

    def new_session(self) -> Session:
        """A session that nobody has logged in yet, whose stream writes to whatever transport it has."""
        link = self.agent._link
        session = Session(link._account, clock=self.clock, context=CONTEXT, **link._parts)
        stream = session._stream
        stream.send = lambda data, use_filters=True: self._send(stream, data)
        stream.start_tls = _no_tls
        stream.disconnect = lambda *_args, **_more: (stream.transport.close(), _done())[1]
        stream._on_breach = lambda _reason: None
        return session

    def _open_wire(self) -> None:
        self.wire = self.stream.transport = Wire()
        self.stream._breached = self.stream._tls_promised = False
        self.stream.authenticated = True
        self.stream._failures.clear()
        if self.stream._flushing is not None:
            self.stream._flushing.cancel()
            self.stream._flushing = None
        self.stream.init_parser()
        self.stream.data_received(HEADER)

    def _send(self, stream, data) -> None:
        stream.transport.said.append(str(data).encode("utf-8", "strict"))
        if isinstance(data, Iq) and data["type"] in {"get", "set"} and stream is self.stream:
            answer = data.reply()
            answer["id"] = data["id"]
            asyncio.get_running_loop().call_soon(stream.recv_stanza, answer)

    def name(self) -> str:
        """A form's id: the first one is s1."""
        self._names += 1
        return f"s{self._names}"

    async def feed(self, data: bytes, *, size: int, late: bool) -> None:
        """Give it these bytes, `size` a read; everything that follows has ended when this returns."""
        await self._forget(late=late)
        before = self._levels()
        if self.fed == USED_TO:
            gc.collect()
            self._objects = len(gc.get_objects())
        for number, piece in enumerate(_pieces(data, size)):
            if self.wire.closed:
                break
            self.stream.data_received(piece)
            if number % 50 == 0:  # a turn for others between two reads
                await asyncio.sleep(0)
        await self._ended()
        self.fed += 1
        self._judge(data, before, late=late)

    async def _forget(self, *, late: bool) -> None:
        """What a person would have forgotten since the input before, and what is only this fuzzer's."""
        agent = self.agent
        self._open_wire()
        self.wishes.clear()
        self.errors.said.clear()
        agent.conversation._seen, self._names = Seen(), 0
        agent.conversation._choices._pending.clear()
        agent.forms._open = openforms.OpenForms()
        agent.forms._answers.clear()
        agent.execution._budgets._left.clear()
        for budgets in agent.house.admission._buckets.values():
            budgets._left.clear()
        room = self.room._room
        room.occupants.clear()
        room.occupants.update(self.occupants)
        room.shows_jids = True
        await self.clock.leap(PASSES_S)
        fresh, now_ns = self.session.fresh, self.clock.boottime_ns()
        fresh._pings.clear()
        fresh.tick(now_ns)
        if not late:
            fresh.ping("now", now_ns)
            fresh.pong("now", now_ns)
        await self._turns()
        self.began.clear()
        self.wire.said.clear()

    async def _turns(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def _ended(self) -> None:
        for turn in range(ENDS_WITHIN):
            await asyncio.sleep(0)
            busy = {task for task in self.began if not task.done()}
            if not busy:
                return
            if turn > 8:
                done, _ = await asyncio.wait(busy, timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    await self.clock.leap(1)
                    self.session.fresh.tick(self.clock.boottime_ns())
        raise Finding(f"what it began does not end: {busy}")

    def _levels(self) -> dict[str, object]:
        return {name: reading.value for name, reading in self.board.latest.items() if name in OUTPUTS}

    def keeps(self) -> None:
        """Judge what is left of all that it was fed."""
        gc.collect()
        kept = len(gc.get_objects()) - self._objects
        if kept > KEPT_MOST:
            raise Finding(f"after {self.fed} inputs {kept} objects are left")

    # What must be true ------------------------------------------------------------------------------------------------

    def _judge(self, data: bytes, before: dict[str, object], *, late: bool) -> None:
        agent = self.agent
        lost = self.session._lost.done()  # a server that begins another login has ended this one
        if failed := [line for line in self.errors.said if not (lost and LOST in line)]:
            raise Finding(f"an error: {failed[0]}")
        for task in self.began:
            if not task.cancelled() and task.exception() is not None:
                raise Finding(f"a task failed: {task.exception()!r}") from task.exception()
        for wish in self.wishes:
            if late:
                raise Finding(f"late, and yet asked the board for {wish}")
            if wish.by not in self.people and agent.house.access is self.access:
                raise Finding(f"{wish.by} has no rights, and the board was asked for {wish}")
            if why := _unasked(wish, data):
                raise Finding(f"{why}: the board was asked for {wish}")
        if not self.wishes and self._levels() != before:
            raise Finding(f"an output moved by itself: {before} {self._levels()}")
        for said in self.wire.said:
            self._said(said)
        joined = self.room._room is not None and self.room._room.joined
        self.stale = agent.house.access is not self.access or not joined
        self.broken = lost

    def _said(self, said: bytes) -> None:
        """To strangers nothing but what a server says for a resource that is not there."""
        try:
            stanza = ET.fromstring(b"<s xmlns:stream='s' xmlns='jabber:client'>" + said + b"</s>")
        except ET.ParseError as error:
            if said.startswith(b"<stream") or said == b"</stream:stream>":
                return
            raise Finding(f"wrote what is no XML ({error}): {said!r}") from None
        for one in stanza:
            to = one.get("to", "")
            bare = to.partition("/")[0].casefold()
            ours = bare in self.people or bare in {"example.org", "node@example.org"}
            if not to or ours or self.agent.house.access is not self.access:
                continue
            if bare == ROOM and not (one.tag.endswith("message") and self.people == {NOBODY}):
                continue
            kinds = {child.tag.rpartition("}")[2] for error in one if error.tag.endswith("error") for child in error}
            if one.tag.endswith("iq") and one.get("type") == "error" and kinds == {"service-unavailable"}:
                continue
            raise Finding(f"a stranger heard {said!r}")


def _unasked(wish: Set, data: bytes) -> str:
    """Why nobody who may asked for this in so many words; '' where somebody did. Knows nothing of our parser."""
    if wish.channel not in OUTPUTS or wish.channel == "gate":
        return "nobody has its code" if wish.channel == "gate" else "no such output"
    ways, bodies = [], []
    for stanza in _stanzas(data):
        sender = stanza.get("from", "")
        tags = {child.tag for child in stanza}
        if any(tag.endswith(NOT_NOW) for tag in tags):
            continue
        own = _bare(sender) == wish.by
        if stanza.tag == "{jabber:client}message" and stanza.get("type", "normal") in {"chat", "normal"} and own:
            ways.append("chat")
            bodies += ["".join(body.itertext()) for body in stanza.findall("{jabber:client}body")]
        elif stanza.tag == "{jabber:client}message" and stanza.get("type") == "groupchat" and _bare(sender) == ROOM:
            texts = ["".join(body.itertext()) for body in stanza.findall("{jabber:client}body")]
            if any(NICK in fold(text) for text in texts):
                ways.append("room")
                bodies += texts
        elif stanza.tag == "{jabber:client}iq" and stanza.get("type") == "set" and own:
            command = stanza.find("{http://jabber.org/protocol/commands}command")
            if command is not None and command.get("node") == "set" and command.get("sessionid"):
                return ""
    if not ways:
        return "no live stanza of theirs asks for anything"
    if len(bodies) > 1:
        return ""  # perhaps an answer to our question
    said = words(fold(bodies[0])) if bodies else []
    if not any({*name} <= {*said} for name in OUTPUTS[wish.channel]):
        return "its name was not said"
    if isinstance(wish.value, bool):
        levels = any(SWITCH.get(word, not wish.value) is wish.value for word in said) or {*said} & {"0", "1"}
        return "" if levels else "no such level was said"
    return "" if any(any(map(str.isdecimal, word)) for word in said) or {*said} & {*SWITCH} else "no number was said"


def _bare(address: str) -> str:
    with suppress(ValueError):
        return str(compat.jid(address).bare)
    return ""


def _stanzas(data: bytes) -> list[ET.Element]:
    """The whole stanzas at the front of a stream, by a parser of its own."""
    parser, depth, found = ET.XMLPullParser(("start", "end")), 0, []
    with suppress(ET.ParseError):
        parser.feed(HEADER + data)
        flush = getattr(parser, "flush", None)
        if flush is not None:
            flush()
    with suppress(ET.ParseError):
        for event, element in parser.read_events():
            depth += 1 if event == "start" else -1
            if event == "end" and depth == 1:
                found.append(element)
    return found


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)] if size else [data]


async def _no_tls() -> bool:
    return False


def _done() -> asyncio.Future[None]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


CONTEXT = ssl.create_default_context()


@asynccontextmanager
async def house(folder: Path, people: str, errors: Errors, become: Callable[[House], None]) -> AsyncIterator[House]:
    """A node that is logged in; `become` makes it the one whose tasks begin from now on."""
    (folder / "node.toml").write_text(CONFIG + people, "utf-8")
    loaded = config.load(folder / "node.toml", jid=compat.jid, words=commands.words())
    clock, wishes, tasks = Time(boottime_ns=10**15), [], []
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(folder / "readings.db"))
        state = await stack.enter_async_context(State.open(folder / "state.db"))
        board = await stack.enter_async_context(Board(loaded.hw, clock=clock, state=folder))
        agent_end, board_end = pair()
        agent = Agent(
            loaded, clock=clock, store=store, state=state, board=BoardClient(once(agent_end), clock=clock),
            password=PASSWORD,
        )

        async def measured():
            return {"stanzas_per_s": 1.0, "cpu_us_per_reading": 1.0, "pss_mb": 1.0, "ping_ms": 1.0}

        agent.house.bench = measured
        made = House(agent, board, clock, wishes, errors)
        become(made)
        try:
            tasks.append(asyncio.create_task(board.serve(Watched(board_end, wishes))))
            await agent._restore()
            tasks += [asyncio.create_task(work) for work in (agent._board.listen(agent.router), agent.router.run())]
            await made.log_in()
            yield made
        finally:
            become(made)
            for part in (agent.conversation, agent.forms, agent.history, agent.execution):
                await part.close()
            others = made.tasks - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)


class Inbound:
    """Takes any number of inputs: `feed` is synchronous. A context manager, because it has nodes and folders."""

    def __init__(self, *, life: int = LIFE) -> None:
        self._life = life
        self._runner = asyncio.Runner()
        self._houses: dict[str, tuple[House, AsyncExitStack]] = {}
        self._errors = Errors()
        self._escaped: list[str] = []
        self._now: House | None = None  # whose turn it is

    def __enter__(self) -> Self:
        loop = self._runner.get_loop()
        self._naming, openforms.new_id = openforms.new_id, self._name
        loop.set_task_factory(self._task)
        loop.set_exception_handler(self._escape)
        for name in ("knoop", "knoop_hw", "asyncio"):
            logging.getLogger(name).addHandler(self._errors)
            logging.getLogger(name).propagate = False
            logging.getLogger(name).setLevel(logging.WARNING)
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("knoop", "knoop_hw", "asyncio"):
            logging.getLogger(name).removeHandler(self._errors)
            logging.getLogger(name).propagate = True
        self._runner.run(self._close())
        self._runner.close()
        openforms.new_id = self._naming

    def _task(self, loop, coroutine, **more) -> asyncio.Task:
        task = asyncio.Task(coroutine, loop=loop, **more)
        if (now := self._now) is not None:
            now.tasks.add(task)
            task.add_done_callback(now.tasks.discard)
            if getattr(coroutine, "__qualname__", "") not in WAITS:
                now.began.append(task)
        return task

    def _name(self) -> str:
        return self._now.name()

    def _escape(self, _loop, context) -> None:
        self._escaped.append(str(context))

    def _become(self, now: House | None) -> None:
        self._now = now

    @property
    def wishes(self) -> list[Set]:
        """What the board was asked to do by the last input."""
        return self._now.wishes if self._now is not None else []

    @property
    def said(self) -> list[bytes]:
        """What was written after the last input."""
        return self._now.wire.said if self._now is not None else []

    def feed(self, data: bytes) -> None:
        """One input. Raises Finding."""
        if len(data) < 2 or NOBODY.encode() in data:
            return
        how, size, rest = HOW[data[0] % len(HOW)], SLICES[data[1] % len(SLICES)], data[2:]
        self._runner.run(self._feed(how, size, rest))
        if self._escaped:
            raise Finding(f"escaped into the loop: {self._escaped.pop()}")

    async def _feed(self, how: str, size: int, data: bytes) -> None:
        people = f'"{NOBODY}" = "owner"\n' if how == "stranger" else KNOWN
        made = await self._house(people)
        try:
            if how in {"plain", "login"}:
                await before_login(made, data, size=size, encrypted=how == "login")
            else:
                await made.feed(data, size=size, late=how == "late")
        except BaseException:
            made.broken = True
            raise

    async def _house(self, people: str) -> House:
        made, stack = self._houses.get(people, (None, None))
        if made is not None and made.stale and not made.broken:
            self._become(made)
            await made.mend()
        if made is not None and (made.broken or made.fed >= self._life):
            if made.fed >= self._life:
                made.keeps()
            await stack.aclose()
            made = None
        if made is None:
            stack = AsyncExitStack()
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))
            made = await stack.enter_async_context(house(Path(folder), people, self._errors, self._become))
            self._houses[people] = made, stack
        self._become(made)
        made.began.clear()
        return made

    async def _close(self) -> None:
        while self._houses:
            _, (_, stack) = self._houses.popitem()
            await stack.aclose()
        self._become(None)


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # what is tested here is no disk


async def before_login(made: House, data: bytes, *, size: int, encrypted: bool) -> None:
    """The same bytes on a stream that has proven nothing: no stanza is heard, nothing of ours leaves."""
    heard: list[object] = []
    session = made.new_session()
    stream = session._stream
    stream._on_message = stream._on_presence = heard.append
    stream._on_request = lambda iq: heard.append(iq) or True
    stream._admits = lambda _sender: True
    wire = stream.transport = Wire(encrypted=encrypted)
    stream.init_parser()
    made.errors.said.clear()
    made.began.clear()
    try:
        for number, piece in enumerate(_pieces(HEADER + data, size)):
            if wire.closed:
                break
            stream.data_received(piece)
            if number % 50 == 0:
                await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        said = b"".join(wire.said)
        if heard or session._started.done() or stream.authenticated:
            raise Finding(f"before the login was proven: {heard or 'logged in'}")
        secret = base64.b64encode(f"\0node\0{PASSWORD}".encode())
        begun = AUTH.findall(said)
        if PASSWORD.encode() in said or secret in said or (begun and not encrypted) or not {*begun} <= SCRAM:
            raise Finding(f"a credential left: {said!r}")
        if any(tag in said for tag in (b"<message", b"<presence", b"Server sent")):  # the last is slixmpp's echo
            raise Finding(f"said before the login: {said!r}")
        if made.errors.said:
            raise Finding(f"an error: {made.errors.said[0]}")
    finally:
        if stream._flushing is not None:
            stream._flushing.cancel()
        busy = [task for task in made.began if not task.done()]
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        made.began.clear()
