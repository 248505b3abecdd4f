"""A house under attack: a whole node in its own process, a board with outputs, and what attackers could see of it.

`besieged` stands on a private Prosody, where attackers are clients. `captured` stands on a server that is the attacker
itself. Both judge at the end that the node lives, remembers the owner, and has told nobody its password. What moved is
read from the simulated board's trace, as probes on its pins saw it, never from what the node says.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import pytest_asyncio
from tests.integration.hostile import Hostile, Peer, Script
from tests.integration.running import AGENT, HARDWARE, NODE, SCENARIO, WHOLE, Running, Way, running, until, write
from tests.integration.running import BOARD as LAMP_AND_DOOR

from knoop.audit import tail
from knoop.state_tables import AuditLine
from knoop_bench.certificates import Authority
from knoop_bench.prosody import Options, Prosody
from knoop_bench.seen import Seen
from knoop_bench.witness import Witness

PASSWORD = "the-password-of-the-node"  # looked for in all that anybody got
ANYBODYS = "secret"
PEOPLE = {
    "anna@localhost": '{ role = "owner", name = "Anna" }',
    "bram@localhost": '{ role = "operator", only = ["lamp"] }',
    "vera@localhost": '"viewer"',
}
STRANGERS = ("mallory", "mallory2")
BOARD = f"""{LAMP_AND_DOOR}
[output.pump]
label = "Pump"
pin = "GPIO23"

[output.lock]
label = "Lock"
pin = "GPIO5"
confirm = true

[sensor.air]
driver = "simulated"
label = "Air"
every = "500ms"
"""
AIR = "[sensor.air]\ntemperature = 12\n"
GROWTH_MB = 32  # what a node may need beside what it needs when it is online; a stanza is at most 0.25 MB
SETTLED_S = 20.0
UNAVAILABLE = "{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable"
PEP = (
    "<identity category='account' type='registered'/><identity category='pubsub' type='pep'/>"
    "<feature var='http://jabber.org/protocol/pubsub#publish-options'/>"
    "<feature var='http://jabber.org/protocol/pubsub#multi-items'/>"
)

_numbers = itertools.count(1)


class Siege:
    """A node that runs, seen from outside. `folder` holds its node.toml, state and logs."""

    def __init__(self, folder: Path, node: Running, *, growth_mb: float, hw: Running | None = None) -> None:
        self.folder, self.node, self.hw = folder, node, hw
        self.jid = f"{NODE}@localhost"
        self._growth_mb = growth_mb
        self._usual_mb = {process.pid: _peak_mb(process.pid) for process in self.processes}

    @property
    def processes(self) -> list[Running]:
        """The node, or its two halves."""
        return [self.node] if self.hw is None else [self.node, self.hw]

    # What is asserted on ----------------------------------------------------------------------------------------------

    @property
    def moves(self) -> list[tuple[str, bool]]:
        """Every transition of any output's line, (channel, level), in order, since the board was opened."""
        trace = self.folder / "board.jsonl"
        lines = [json.loads(line) for line in trace.read_text("utf-8").splitlines()] if trace.exists() else []
        return [(line["channel"], line["level"]) for line in lines]

    def audit(self) -> list[AuditLine]:
        """The audit log, oldest first, as it is on the disk."""
        return tail(self.folder / "state/knoop/state.db", 0)

    def audited(self, who: str) -> list[AuditLine]:
        """The lines of one address, bare or full."""
        return [line for line in self.audit() if who in {line.who, line.who.partition("/")[0]}]

    async def settled(self) -> None:
        """Return when the node has answered an owner, and so has taken what was on its way to it before."""
        raise NotImplementedError

    async def unmoved(self, *, since: int = 0) -> None:
        """When all that is on its way was taken, no output has moved since there were so many `moves`."""
        await self.settled()
        assert self.moves[since:] == []

    @property
    def grown_mb(self) -> float:
        """How much more memory the node has needed at its worst since it came online (VmHWM, proc(5)).

        Of two halves that which grew more; one that was started anew counts from nothing.
        """
        return max(_peak_mb(process.pid) - self._usual_mb.get(process.pid, 0) for process in self.processes)

    def well(self) -> None:
        """The node lives, nothing in it broke, it did not swell, and its log says no password."""
        for process in self.processes:
            assert process.code is None, f"it ended with {process.code}:\n{process.log}"
            for trouble in ("Traceback", "incident", PASSWORD):
                assert trouble not in process.log, process.log
        assert self.grown_mb < self._growth_mb, f"{self.grown_mb:.1f} MB more than when it came online"


class House(Siege):
    """A node on a private Prosody; people and attackers are clients of it."""

    def __init__(self, folder: Path, node: Running, server: Prosody, **more: Any) -> None:
        super().__init__(folder, node, **more)
        self.server = server
        self.visitors: list[Witness] = []  # everybody who ever was there
        self._here: list[Witness] = []

    @property
    def socket(self) -> Path:
        """Where the two halves meet."""
        return self.folder / "knoop/board.sock"

    @asynccontextmanager
    async def account(self) -> AsyncIterator[Witness]:
        """Another client of the node's own account, as its owner would look at roster, nodes and rooms."""
        server = self.server
        async with Witness(self.jid, PASSWORD, port=server.tls_port, ca_file=server.ca_file, notify=()) as witness:
            yield witness

    @asynccontextmanager
    async def visit(self, user: str, *, resource: str = "", **more: Any) -> AsyncIterator[Witness]:
        """A client of this account; one with rights has seen the node present. What it got is kept for the end."""
        resident = f"{user}@localhost" in PEOPLE
        more.setdefault("friends", [self.jid] if resident else [])
        jid = self.server.jid(user) + (f"/{resource}" if resource else "")
        witness = Witness(jid, ANYBODYS, port=self.server.tls_port, ca_file=self.server.ca_file, **more)
        async with witness:
            self.visitors.append(witness)
            if self.jid in more["friends"]:
                await witness.wait(self.present)
            self._here.append(witness)
            try:
                yield witness
            finally:
                self._here.remove(witness)

    def present(self, seen: Seen) -> bool:
        """Whether this is the node's presence."""
        return seen.kind == "presence" and seen.sender.startswith(f"{self.jid}/") and not seen.type

    async def device(self, owner: Witness) -> str:
        """The full address that the node has now, which its people see and strangers are not told."""
        return (await owner.wait(self.present)).sender

    async def asks(self, person: Witness, text: str, answer: str = "") -> str:
        """Say something and wait for the answer that begins so."""
        after = person.mark
        person.say(self.jid, text)
        seen = await person.wait(
            lambda seen: seen.type == "chat" and seen.sender_bare == self.jid and bool(seen.body)
            and seen.body.startswith(answer), SETTLED_S, after=after,
        )
        return seen.body

    async def settled(self) -> None:
        """Who is there has got through to the server, and an owner who comes then is answered."""
        for visitor in self._here:
            await visitor.ping()
        async with self.visit("anna", resource=f"settled{next(_numbers)}") as anna:
            await self.asks(anna, "about", "Knoop ")
            await self.asks(anna, "about", "Knoop ")  # what was said by others meanwhile has had its turn by now

    def learned(self, attacker: Witness, *, via: str = "") -> list[Seen]:
        """What this client got from the node itself, or from it as the occupant `via` of a room.

        What the server says for every account is left out: answers and errors from the bare address, and the error of
        a device that is not there.
        """
        return [seen for seen in attacker.seen if _from_node(seen, self.jid) or (via and seen.sender == via)]

    def well(self) -> None:
        """As for every node; and nobody got its password."""
        super().well()
        for visitor in self.visitors:
            for seen in visitor.seen:
                assert PASSWORD not in ET.tostring(seen.xml, "unicode"), f"{visitor.jid} got {seen}"


class Captive(Siege):
    """A node whose server is the attacker. `peer` is its connection now; what the node sent is `got`."""

    def __init__(self, folder: Path, node: Running, server: Hostile, **more: Any) -> None:
        super().__init__(folder, node, **more)
        self.server = server

    @property
    def peer(self) -> Peer:
        """The connection that the node opened last."""
        return self.server.peers[-1]

    @property
    def got(self) -> bytes:
        """All that the node ever sent in all its connections, as plaintext."""
        return self.server.got

    async def again(self, logins: int) -> None:
        """Wait until the node has logged in so often in all."""
        await self.node.online(times=logins)

    async def hears(self, pattern: bytes, *, after: int = 0) -> re.Match[bytes]:
        """Wait for what the node says behind so many bytes of `got`."""
        found: list[re.Match[bytes]] = []

        def there() -> bool:
            found.extend(re.finditer(pattern, self.got[after:], re.DOTALL))
            return bool(found)

        await until(there, lambda: f"{pattern!r} is not in {self.got[after:]!r}\n{self.node.log}", SETTLED_S)
        return found[0]

    async def asks(self, text: str, answer: bytes, *, sender: str = "anna@localhost/phone") -> None:
        """Let the owner say something, as an honest server would bring it, and wait for the answer."""
        after = len(self.got)
        await self.peer.say(
            f"<message from='{sender}' to='{self.jid}' type='chat' id='asked{next(_numbers)}'><body>{text}</body>"
            "</message>"
        )
        await self.hears(rb"<message[^>]*\bto=[\"']" + re.escape(sender.encode()) + rb".*?<body>" + answer, after=after)

    async def settled(self) -> None:
        """The node has answered its owner."""
        await self.asks("about", rb"Knoop ")

    def well(self) -> None:
        """As for every node; and it never said its password."""
        super().well()
        assert PASSWORD.encode() not in self.got


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _from_node(seen: Seen, jid: str) -> bool:
    if seen.sender_bare != jid:
        return False
    if seen.type == "error" or seen.kind == "iq":
        if seen.sender == jid:
            return False  # its server speaks for it
        errors = [child.tag for error in seen.xml.iterfind("{jabber:client}error") for child in error]
        return not (seen.type == "error" and errors == [UNAVAILABLE])
    return True


@asynccontextmanager
async def besieged(
    folder: Path, authority: Authority, *, people: Mapping[str, str] = PEOPLE, users: Sequence[str] = (),
    board: str = BOARD, scenario: str = SCENARIO + AIR, more: str = "", options: Options | None = None,
    growth_mb: float = GROWTH_MB, halves: bool = False,
) -> AsyncIterator[House]:
    """A node and its Prosody, with accounts for `people`, STRANGERS and `users` (all with password ANYBODYS).

    `more` is appended to node.toml. `halves`: as two processes, which meet at `House.socket`. At the end the node must
    be `well`.
    """
    names = [jid.partition("@")[0] for jid in people if not jid.startswith("*")]
    accounts = dict.fromkeys([*names, *(jid.partition("@")[0] for jid in PEOPLE), *STRANGERS, *users], ANYBODYS)
    async with Prosody(
        folder / "prosody", {**accounts, NODE: PASSWORD}, authority=authority, options=options
    ) as server:
        write(folder, Way.to(server), jid=server.jid(NODE), password=PASSWORD, people=people, board=board,
              scenario=scenario, more=more, resource="")
        async with AsyncExitStack() as stack:
            hw = await stack.enter_async_context(running(folder, command=HARDWARE)) if halves else None
            node = await stack.enter_async_context(running(folder, command=AGENT if halves else WHOLE))
            await node.online()
            house = House(folder, node, server, growth_mb=growth_mb, hw=hw)
            yield house
            house.well()


async def serve(peer: Peer) -> None:
    """What an honest server does behind a login: answer each request, so that the node goes on. Until it hangs up."""
    while True:
        asked = await peer.hears(rb"(?s)<iq\b([^>]*?)(?:/>|>(.*?)</iq>)")
        name = re.search(rb"\bid=[\"']([^\"']+)", asked[1])
        if name is None or not re.search(rb"\btype=[\"'][gs]et", asked[1]):
            continue
        what, child = asked[2] or b"", ""
        if b"jabber:iq:roster" in what:
            child = "<query xmlns='jabber:iq:roster'/>"
        elif b"disco#info" in what:
            child = f"<query xmlns='http://jabber.org/protocol/disco#info'>{PEP}</query>"
        await peer.say(f"<iq type='result' id='{name[1].decode()}'>{child}</iq>")


async def honest(peer: Peer) -> None:
    """Log the node in and serve it: the attack is what the test lets `Captive.peer` say then."""
    await peer.log_in()
    await serve(peer)


@asynccontextmanager
async def captured(
    folder: Path, authority: Authority, *, script: Script = honest, people: Mapping[str, str] = PEOPLE,
    board: str = BOARD, scenario: str = SCENARIO + AIR, more: str = "", growth_mb: float = GROWTH_MB,
) -> AsyncIterator[Captive]:
    """A node that is online at a server that plays `script`, by direct TLS with a certificate that is in order."""
    folder.mkdir(exist_ok=True)
    async with Hostile(authority.issue(), script, direct=True, password=PASSWORD) as server:
        write(folder, Way(server.port, authority.ca_file), jid=f"{NODE}@localhost", password=PASSWORD, people=people,
              board=board, scenario=scenario, more=more, resource="")
        async with running(folder) as node:
            await node.online()
            house = Captive(folder, node, server, growth_mb=growth_mb)
            yield house
            house.well()


def visitor(user: str, *, scope: Literal["function", "module"] = "function", **how: Any) -> Any:
    """A fixture for files that share one `house`: `anna = visitor("anna")` is her client, on the file's loop."""

    @pytest_asyncio.fixture(scope=scope, loop_scope="module")
    async def visiting(house: House) -> AsyncIterator[Witness]:
        async with house.visit(user, **how) as witness:
            yield witness

    return visiting
