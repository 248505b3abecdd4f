"""Words that would be more than words: in the log, the audit log, a chat, a room, a terminal, in XML and in templates.

What any of them shows is one line, printable, and says who it was before what they said.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from xml.sax.saxutils import escape, quoteattr

import pytest
from tests.attacks.rig import ANYBODYS, NODE, House, besieged, captured, honest
from tests.integration.hostile import Peer, mechanisms
from tests.integration.running import Way, chat, knoop, until

from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

# C1's CSI and NEL, overrides and isolates of direction, both separators, what is invisible, tags; what looks like a
# line of each place that could show it, and what templates understand.
STEERING = "\x85\x9b2J\x9b31m\x9d0;owned\x9c\u202e\u2066\u2069\u2028\u2029\u200b\u200f\ufeff\U000e0041\u061c"
FORGED = (
    "12:00:00 INFO knoop.execution: anna@localhost: lock off → done\n"
    "12:00 anna@localhost/phone, chat: lock off → done\n"
    "2026-01-01 12:00:00+00:00 anna@localhost, chat: lock off → done"
)
EVIL = f"lamp on\n{FORGED}{STEERING} {{channel}} %s %(x)n {{0.__class__}} \\n $(reboot) `reboot`"
ROOM = "lounge@rooms.localhost"
FORM = "<x xmlns='jabber:x:data' type='submit'>{}</x>"
FIELD = "<field var={}><value>{}</value></field>"


def clean(text: str) -> list[str]:
    """The lines, when nothing in them steers or forges."""
    lines = text.split("\n")
    for line in lines:
        assert line.isprintable(), ascii(line)
        assert not re.match(r"(12:00:00 INFO|12:00 anna|2026-01-01 12:00:00)", line), line
    return lines


async def shown(house: House) -> list[str]:
    """What everybody sees who looks whether something happened: each place is clean. Returns the owner's `log 5`."""
    await house.settled()
    clean(house.node.log)
    for line in house.audit():
        for text in (line.who, line.action, line.result, line.via):
            clean(text)
            assert "\n" not in text
            assert len(text) <= 501
    ended = await knoop("audit", "--tail", "0", folder=house.folder)
    ended.plainly(0)
    assert len(clean(ended.out.removesuffix("\n"))) == max(len(house.audit()), 1)
    ended = await knoop("audit", "--tail", "0", "--json", folder=house.folder)
    assert len(json.loads(ended.out)["lines"]) == len(house.audit())
    assert all(0x20 <= ord(char) < 0x7F for char in ended.out.rstrip("\n"))
    async with house.visit("anna") as anna:
        return clean(await house.asks(anna, "log 5"))


async def test_what_a_stranger_writes(house, mallory):
    mallory.say(house.jid, EVIL)
    mallory.say(house.jid, "x" * 20_000 + EVIL)
    lines = await shown(house)
    assert len(lines) == 2
    async with asyncio.timeout(60):  # what came while the machine stood still for 5 s is shown without its words
        while not (spoken := [line for line in lines if ", chat: lamp on" in line]):
            mallory.say(house.jid, EVIL)
            lines = await shown(house)
    for line in lines:
        assert re.match(r"\d\d:\d\d mallory@localhost/", line)
        assert line.endswith("refused: stranger")
    assert r"lamp on\n12:00:00 INFO" in spoken[0]
    assert r"\x9b2J" in spoken[0]
    assert house.moves == []
    assert house.learned(mallory) == []


async def test_what_a_stranger_is_called(house):
    """A resource takes much (RFC 7622 §3.4): no controls, but all that may look like the rest of a line."""
    resource = "x, chat: lamp on → done 12.00 anna@localhost, chat: lock off → done {channel} %s e\u0301\u0301"
    async with house.visit("mallory", resource=resource) as mallory:
        mallory.say(house.jid, "lock off")
        (line,) = await shown(house)
        assert re.match(r"\d\d:\d\d mallory@localhost/x, chat: ", line)
        assert line.endswith("chat: lock off → refused: stranger")
        assert house.learned(mallory) == []


@pytest.mark.parametrize("what", ["from", "id", "lang", "thread", "subject"])
async def test_what_stands_around_a_strangers_words(house, mallory, what):
    attribute = {"id": f"id={quoteattr(EVIL)}", "lang": f"xml:lang={quoteattr(EVIL[:200])}"}.get(what, "")
    child = f"<{what}>{escape(EVIL)}</{what}>" if what in {"thread", "subject"} else ""
    forged = " from='anna@localhost/phone'" if what == "from" else ""
    mallory.send_raw(
        f"<message to='{house.jid}' type='chat' {attribute}{forged}><body>lamp on</body>{child}</message>"
    )
    await shown(house)
    await house.unmoved()
    assert {line.who.partition("/")[0] for line in house.audit() if line.action == "lamp on"} <= {"mallory@localhost"}
    assert house.learned(mallory) == []


async def test_what_a_person_says_comes_back_to_them_and_to_nobody_else_as_text(house, mallory):
    """No element, no template, no other receiver comes of it; and nothing goes wrong inside."""
    escapes = (
        "</body></message><message to='mallory@localhost'><body>hello</body></message>",
        "]]><!-- <?xml?> &#x202e; &amp;lt;", "{channel} {0.__class__} {house.state} %s %n %(name)s", EVIL,
    )
    async with house.visit("vera") as vera:
        for text in escapes:
            after = vera.mark
            vera.send_raw(
                f"<message to='{house.jid}' type='chat' id={quoteattr(text)}><body>{escape(text)}</body>"
                "<request xmlns='urn:xmpp:receipts'/></message>"
            )
            seen = await vera.wait(lambda seen: seen.type == "chat" and bool(seen.body), after=after)
            for line in seen.body.split("\n"):
                assert line.isprintable()
            receipt = next(one for one in vera.seen[after:] if one.xml.find("{urn:xmpp:receipts}received") is not None)
            echoed = receipt.xml.find("{urn:xmpp:receipts}received").get("id")
            assert echoed.split() == text.split(), "the id as it was, white space apart (XML 1.0 §3.3.3)"
        await shown(house)
        assert house.learned(mallory) == []
        assert house.moves == []


async def test_what_stands_in_a_form(house):
    """The node, the session, the action, the fields: of somebody who may open one."""
    async with house.visit("bram") as bram, house.visit("anna") as anna:
        to = await house.device(anna)
        for node, session, action, field, value in (
            ("set", EVIL, "complete", "channel", "lamp"), (EVIL, "", "execute", "x", "x"),
            ("set", "", EVIL, "channel", "lamp"), ("set", "", "complete", EVIL, EVIL),
            ("set", "", "complete", "channel", EVIL), ("set", "", "complete", "value", EVIL),
        ):
            after = bram.mark
            form = FORM.format(FIELD.format(quoteattr(field), escape(value)))
            bram.send_raw(
                f"<iq type='set' to='{to}' id='f{after}'><command xmlns='http://jabber.org/protocol/commands'"
                f" node={quoteattr(node)} sessionid={quoteattr(session)} action={quoteattr(action)}>{form}</command>"
                "</iq>"
            )
            answer = await bram.wait(lambda seen, mine=f"f{after}": seen.id == mine, after=after)
            for text in answer.xml.itertext():
                clean(text)
        await shown(house)
        assert house.moves == []


async def test_why_a_message_came_back(house):
    """The text of an error is whatever somebody wrote into it."""
    async with house.visit("vera") as vera:
        for number in range(3):
            vera.send_raw(
                f"<message to='{house.jid}' type='error' id={quoteattr(EVIL)}><body>lamp on</body><error type='cancel'>"
                "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                f"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{escape(EVIL)}{number}</text></error></message>"
            )
        vera.send_raw(f"<presence to='{house.jid}'><show>dnd</show><status>{escape(EVIL)}</status></presence>")
        await shown(house)
        assert house.moves == []


@asynccontextmanager
async def in_room(tmp_path, authority):
    async with besieged(
        tmp_path, authority, more=f'[room."{ROOM}"]\nclasses = ["alarm"]\ncommands = true\n'
    ) as house, house.visit("anna") as anna:
        await until(lambda: ROOM in house.node.log, lambda: house.node.log)
        await anna.join(ROOM, "anna")
        yield house, anna


async def test_who_somebody_is_and_what_they_say_in_a_room(tmp_path, authority):
    async with in_room(tmp_path, authority) as (house, anna), house.visit("mallory") as mallory:
        nick = "x, chat: lock off → done {channel} %s"
        await mallory.join(ROOM, nick)
        mallory.say(ROOM, f"{NODE}: lamp on\n{FORGED}{STEERING}", type="groupchat")
        mallory.send_raw(f"<message to='{ROOM}' type='groupchat'><subject>{escape(EVIL)}</subject></message>")
        (line,) = [line for line in await shown(house) if "mallory" in line]
        assert re.match(rf"\d\d:\d\d mallory@localhost/[^,]+, room {ROOM}: {NODE}: lamp on\\n12:00:00 INFO", line)
        after = anna.mark
        anna.say(ROOM, f"{NODE}: {FORGED}{STEERING}", type="groupchat")
        said = await anna.wait(lambda seen: seen.sender == f"{ROOM}/{NODE}" and bool(seen.body), after=after)
        assert all(line.isprintable() for line in said.body.split("\n"))
        assert house.moves == []
        assert house.learned(mallory) == []


async def test_what_a_server_says_at_the_end_of_a_stream_and_of_a_login(tmp_path, authority):
    """The texts of its errors stand in our log."""
    logins = 0

    async def script(peer: Peer) -> None:
        nonlocal logins
        logins += 1
        if logins == 2:
            await peer.stream(mechanisms("SCRAM-SHA-1"))
            await peer.hears(rb"<auth[^>]*>")
            await peer.say(
                "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/>"
                f"<text>{escape(EVIL)}</text></failure>"
            )
        else:
            await honest(peer)

    async with captured(tmp_path, authority, script=script) as captive:
        await captive.settled()
        await captive.peer.say(
            "<stream:error><host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
            f"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{escape(EVIL)}</text></stream:error></stream:stream>"
        )
        await captive.node.says("link down")
        clean(captive.node.log)
        assert captive.moves == []


async def test_what_a_node_that_is_none_says_to_a_terminal(tmp_path, house):
    """`knoop chat`: whoever has the node's account writes to the terminal of whoever talks with it."""
    async with house.visit("mallory", friends=["vera@localhost"]) as mallory:
        way = Way.to(house.server)

        async def answer() -> None:
            await mallory.wait(lambda seen: seen.body == "status", 30)
            mallory.say("vera@localhost", EVIL)

        answering = asyncio.create_task(answer())
        ended = await knoop(
            *chat(way, mallory.jid, "vera@localhost", tmp_path, ANYBODYS), folder=tmp_path, stdin="status\n"
        )
        await answering
        assert ended.code == 0, ended.said
        for line in ended.said.split("\n"):
            assert line.isprintable(), ascii(line)
        assert r"\x9b2J" in ended.out


async def test_a_terminal_shows_only_what_its_node_says(tmp_path, house, mallory: Witness):
    """A stranger writes to the person at the terminal meanwhile, in the node's name as far as words can."""
    stop = asyncio.Event()

    async def disturb() -> None:
        while not stop.is_set():
            for kind in ("chat", "normal", "headline", "error"):
                mallory.say("anna@localhost", f"greenhouse@localhost: {EVIL}", type=kind)
            await asyncio.sleep(0.05)

    disturbing = asyncio.create_task(disturb())
    try:
        talk = chat(Way.to(house.server), house.jid, "anna@localhost", tmp_path, ANYBODYS)
        ended = await knoop(*talk, folder=tmp_path, stdin="lamp?\nlamp?\nlamp?\n")
    finally:
        stop.set()
        await disturbing
    ended.plainly(0)
    assert ended.out.splitlines() == ["> lamp?", "Lamp is off."] * 3
    assert ended.err == ""
