"""Commands that are not said here and now: late in every way we know, repeated, corrected, quoted, from an archive."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.etree import ElementTree as ET

import pytest
from tests.attacks.rig import ANYBODYS, GROWTH_MB, NODE, PASSWORD, House, besieged
from tests.integration import inprocess
from tests.integration.running import Way, write

from knoop.xmpp.fresh import DEAD_AFTER_S, LATE_AFTER_S, PING_EVERY_S
from knoop_bench.prosody import Prosody
from knoop_bench.proxy import Proxy
from knoop_bench.seen import Seen
from knoop_bench.witness import Witness
from knoop_hw.clock import SystemClock

pytestmark = pytest.mark.prosody

EXPIRED = "That arrived late, so I did nothing. Please say it again."
FROM_NOTHING_MB = 60 + GROWTH_MB  # a node that was started anew is measured with all that a start takes
STOPPED_S = LATE_AFTER_S + 1.5  # its own clock ticks once a second


@pytest.fixture
async def house(tmp_path, authority):
    async with besieged(tmp_path, authority, growth_mb=FROM_NOTHING_MB) as made:
        yield made


async def logged_in_again(house: House, anna: Witness, *, after: int, logins: int) -> None:
    await house.node.online(times=logins + 1)
    await anna.wait(house.present, 20, after=after)


def told(seen: Seen) -> bool:
    return seen.body == EXPIRED


# Late -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_what_was_said_while_the_node_was_away_never_acts(house, anna, how):
    """The server keeps it, and says it at the next login."""
    after, logins = anna.mark, house.node.log.count("connected as")
    await house.node.stop(how)
    moved = len(house.moves)
    anna.say(house.jid, "lamp on")
    anna.say(house.jid, "pump on")
    await anna.ping()
    house.node.start()
    await logged_in_again(house, anna, after=after, logins=logins)
    await anna.wait(told, after=after)
    await house.unmoved(since=moved)
    assert {line.result for line in house.audited(anna.full_jid)} == {"ignored: delayed"}


async def test_what_was_said_while_the_node_stood_still_never_acts(house, anna):
    """SIGSTOP, a swapping machine, a suspended one: what waited in its socket has no stamp, a form's page neither."""
    node = await house.device(anna)
    session = (await form(anna, node))[0].get("sessionid")
    after = anna.mark
    house.node.tell(signal.SIGSTOP)
    try:
        anna.say(house.jid, "lamp on")
        anna.send_raw(page(node, session, {"output": "lamp", "value": "1"}, name="late"))
        await anna.ping()
        await asyncio.sleep(STOPPED_S)
    finally:
        house.node.tell(signal.SIGCONT)
    await anna.wait(told, after=after)
    answer = await anna.wait(lambda seen: seen.kind == "iq" and seen.id == "late", after=after)
    assert "That arrived late" in ET.tostring(answer.xml, "unicode")
    await house.unmoved()
    await house.asks(anna, "lamp on", "Lamp is on.")  # and then it hears again


async def test_what_a_server_held_for_a_connection_that_broke_never_acts(house, anna):
    """XEP-0198: what was not acknowledged on the old connection comes on the next one, or not at all."""
    async with behind_a_wire(house, anna) as wire:
        after, logins = anna.mark, house.node.log.count("connected as")
        wire.stall("down")
        for stanza_id in ("one", "two"):
            anna.say(house.jid, "lamp on", id=stanza_id)
        await anna.ping()
        await wire.cut()
        await wire.restore()
        wire.resume()
        await logged_in_again(house, anna, after=after, logins=logins)
        moved = len(house.moves)
        await house.unmoved(since=moved)
        assert ("lamp", True) not in house.moves
        assert {line.result for line in house.audited(anna.full_jid)} <= {"ignored: delayed"}, "where it comes at all"


@asynccontextmanager
async def behind_a_wire(house: House, anna: Witness) -> AsyncIterator[Proxy]:
    """The same node, whose connection can be stalled and cut."""
    async with Proxy(house.server.tls_port) as wire:
        file = house.folder / "node.toml"
        text = file.read_text("utf-8")
        assert f"port = {house.server.tls_port}" in text
        file.write_text(text.replace(f"port = {house.server.tls_port}", f"port = {wire.port}"), "utf-8")
        after, logins = anna.mark, house.node.log.count("connected as")
        await house.node.stop()
        house.node.start()
        await logged_in_again(house, anna, after=after, logins=logins)
        yield wire


RATE = 10.0  # a node whose time runs faster: a delay of 20 s is 2 s of the test's


class Fast(SystemClock):
    """RATE seconds a second. RTT and everything that is not the clock's are as they were: RATE times as slow."""

    def __init__(self) -> None:
        super().__init__()
        self._began = super().boottime_ns(), super().time_ns()

    def boottime_ns(self) -> int:
        began = self._began[0]
        return began + round((super().boottime_ns() - began) * RATE)

    def time_ns(self) -> int:
        return self._began[1] + self.boottime_ns() - self._began[0]

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / RATE)


WORST_S = PING_EVERY_S + LATE_AFTER_S + 1 + 2  # a tick, and what two busy cores make of 100 ms of real time


async def test_what_a_wire_delayed_for_20_s_never_acts(tmp_path, authority, monkeypatch):
    """The connection stalls between two pings, with the command already on its way, and goes on: nothing has a stamp.

    Stalls of several lengths, begun at whatever moment between two pings; `delays` are those that acted.
    """
    monkeypatch.setattr(inprocess, "SystemClock", Fast)
    accounts = {"anna": ANYBODYS, NODE: PASSWORD}
    delays, refused = [], []
    async with Prosody(tmp_path / "prosody", accounts, authority=authority) as server, Proxy(server.tls_port) as wire:
        jid = server.jid(NODE)
        file = write(tmp_path, Way(wire.port, server.ca_file), jid=jid, password=PASSWORD)
        login = {"port": server.tls_port, "ca_file": server.ca_file, "friends": [jid]}
        async with (
            inprocess.node(file, password=PASSWORD) as node, Witness(server.jid("anna"), ANYBODYS, **login) as anna,
        ):  # fmt: skip
            await anna.wait(lambda seen: seen.kind == "presence" and seen.sender.startswith(f"{jid}/"))
            for stall_s in (9.0, 21.0, 14.0, 24.0):
                assert stall_s < PING_EVERY_S + DEAD_AFTER_S, "the link is to live"
                level, after = node.level, anna.mark
                wire.stall("down")
                anna.say(jid, f"lamp {'off' if level else 'on'}")
                await anna.ping()
                began_ns = node.agent.house.clock.boottime_ns()
                await asyncio.sleep(stall_s / RATE)
                delay_s = (node.agent.house.clock.boottime_ns() - began_ns) / 1e9
                wire.resume()
                answer = await anna.wait(lambda seen: seen.sender.startswith(jid) and bool(seen.body), after=after)
                assert told(answer) == (node.level == level), answer
                (refused if told(answer) else delays).append(delay_s)
                await fresh_again(node, anna, jid)
    print(f"acted after {max(delays, default=0):.1f} s at most, refused from {min(refused):.1f} s on")
    assert max(delays, default=0) < WORST_S <= 20
    assert len(refused) >= 2


async def fresh_again(node: inprocess.Node, anna: Witness, jid: str) -> None:
    """Return when a prompt command is taken as one again."""
    async with asyncio.timeout(20):
        while True:
            after = anna.mark
            anna.say(jid, "lamp off")
            answer = await anna.wait(lambda seen: seen.sender.startswith(jid) and bool(seen.body), after=after)
            if not told(answer):
                assert not node.level
                return
            await asyncio.sleep(0.1)


# Again ----------------------------------------------------------------------------------------------------------------


async def test_a_stanza_that_comes_again_acts_once_also_after_a_kill(house, anna):
    """Whoever can repeat a stanza, a server or somebody in the person's account, has it done once."""
    for _ in range(3):
        anna.say(house.jid, "lamp on", id="once")
    await house.asks(anna, "lamp off", "Lamp is off.")
    anna.say(house.jid, "lamp on", id="once")
    await house.unmoved(since=2)
    after, logins = anna.mark, house.node.log.count("connected as")
    await house.node.stop(signal.SIGKILL)
    house.node.start()
    await logged_in_again(house, anna, after=after, logins=logins)
    moved = len(house.moves)
    anna.say(house.jid, "lamp on", id="once")
    async with house.visit("anna", resource="tablet") as tablet:
        tablet.say(house.jid, "lamp on", id="once")
        await tablet.ping()
        await house.unmoved(since=moved)
    assert [line.action for line in house.audit()].count("lamp on") == 1


async def test_a_form_that_is_submitted_again_acts_once(house, anna):
    node = await house.device(anna)
    session = (await form(anna, node))[0].get("sessionid")
    for _ in range(3):
        anna.send_raw(page(node, session, {"output": "lamp", "value": "1"}, name="same"))
    await house.asks(anna, "lamp off", "Lamp is off.")
    anna.send_raw(page(node, session, {"output": "lamp", "value": "1"}, name="same"))
    anna.send_raw(page(node, session, {"output": "lamp", "value": "1"}, name="other"))
    await house.settled()
    assert house.moves in ([("lamp", True), ("lamp", False)], [("lamp", True)]), "the form may be done last"
    assert [line.action for line in house.audit()].count("set lamp on") == 1


# Neither live nor said ------------------------------------------------------------------------------------------------

INNER = "<message xmlns='jabber:client' type='chat' from='{me}' to='{to}'><body>lamp on</body></message>"
QUOTED = f"<forwarded xmlns='urn:xmpp:forward:0'>{INNER}</forwarded>"
BODY = "<body>lamp on</body>"
NEVER = {
    "stamped": f"type='chat'>{BODY}<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>",
    "stamped of old": f"type='chat'>{BODY}<x xmlns='jabber:x:delay' stamp='20261122T10:00:00'/>",
    "corrected": f"type='chat'>{BODY}<replace xmlns='urn:xmpp:message-correct:0' id='x'/>",
    "a carbon": f"type='chat'><received xmlns='urn:xmpp:carbons:2'>{QUOTED}</received>",
    "a sent carbon": f"type='chat'><sent xmlns='urn:xmpp:carbons:2'>{QUOTED}</sent>",
    "an archive": f"type='chat'><result xmlns='urn:xmpp:mam:2' id='a' queryid='q'>{QUOTED}</result>",
    "an older archive": f"type='chat'><result xmlns='urn:xmpp:mam:1' id='a' queryid='q'>{QUOTED}</result>",
    "a forward": f"type='chat'>{QUOTED}",
    "a forward with a body": f"type='chat'>{BODY}{QUOTED}",
    "fastened": f"type='chat'>{BODY}<apply-to xmlns='urn:xmpp:fasten:0' id='x'/>",
    "a headline": f"type='headline'>{BODY}",
    "groupchat": f"type='groupchat'>{BODY}",
    "an error": f"type='error'>{BODY}<error type='cancel'><undefined-condition "
                "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
    "a new type": f"type='command'>{BODY}",
    "two bodies": f"type='chat'>{BODY}<body xml:lang='nl'>lamp aan</body>",
    "encrypted": f"type='chat'>{BODY}<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
    "a subject": "type='chat'><subject>lamp on</subject>",
    "html": "type='chat'><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
            "lamp on</body></html>",
    "a foreign body": "type='chat'><body xmlns='urn:example'>lamp on</body>",
}  # fmt: skip


async def test_what_is_not_a_live_message_never_acts(house, anna):
    """Not even an owner's: each of these is somebody's quotation, or was said at another time."""
    for to in (house.jid, await house.device(anna)):
        for what in NEVER.values():
            anna.send_raw(f"<message to='{to}' {what.format(me=anna.full_jid, to=to)}</message>")
    await house.unmoved()
    done = {line.result for line in house.audit()} - {"done"}
    assert done == {"ignored: delayed", "ignored: corrected", "ignored: encrypted"}


async def test_what_was_expired_or_corrected_is_answered(house, anna):
    """Who asked in earnest is to know that it was not done."""
    for what, answer in (
        ("stamped", EXPIRED), ("corrected", "I do not act on corrections."), ("encrypted", "I cannot read encrypted"),
    ):  # fmt: skip
        after = anna.mark
        anna.send_raw(f"<message to='{house.jid}' {NEVER[what]}</message>")
        await anna.wait(lambda seen, answer=answer: seen.body.startswith(answer), after=after)
    await house.unmoved()


# Forms as XML ---------------------------------------------------------------------------------------------------------


def page(node: str, session: str, values: dict[str, str], *, name: str) -> str:
    fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    return (
        f"<iq type='set' id='{name}' to='{node}'><command xmlns='http://jabber.org/protocol/commands' node='set' "
        f"sessionid='{session}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></command></iq>"
    )


async def form(person: Witness, node: str) -> ET.Element:
    """The form of `set`, opened."""
    return await person.iq("set", "<command xmlns='http://jabber.org/protocol/commands' node='set'/>", to=node)
