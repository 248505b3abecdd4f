"""Who may do what, when, and by which stanza: on a running node, seen from people's clients and the board's pins."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
from tests.integration.running import BOARD as DOOR_AND_LAMP
from tests.integration.running import NODE, TICKING, Running, Way, running, until, write

from knoop_bench import schema
from knoop_bench.errors import NotSeen, Refused
from knoop_bench.prosody import Prosody
from knoop_bench.seen import PUBSUB, Item, Seen
from knoop_bench.witness import ABOUT, EVENTS, NODES, READINGS, STATE, Witness

pytestmark = pytest.mark.prosody

OWN = "http://jabber.org/protocol/pubsub#owner"
FORM = "{jabber:x:data}"
LATE = "That arrived late, so I did nothing. Please say it again."
PASSWORD = "secret"
GRANTED = ("bram", "guest", "kees")

PEOPLE = {
    "anna@localhost": '{ role = "owner", name = "Anna" }',
    "bert@localhost": '"owner"',
    "vera@localhost": '"viewer"',
    "olga@localhost": '{ role = "operator", only = ["lamp"] }',
    "dirk@localhost": '{ role = "operator", lang = "nl" }',
}
BOARD = f"""{DOOR_AND_LAMP}
[output.pump]
label = "Pump"
pin = "GPIO23"

[sensor.air]
driver = "simulated"
label = "Air"
every = "500ms"
"""
AIR = "[sensor.air]\ntemperature = 12\n"


@dataclass(frozen=True, slots=True)
class House:
    """A running node and the way to its server."""

    server: Prosody
    node: Running

    @property
    def jid(self) -> str:
        return self.server.jid(NODE)

    @asynccontextmanager
    async def visit(self, user: str, **more: Any) -> AsyncIterator[Witness]:
        """A person's client; one with rights has seen the node present."""
        resident = f"{user}@localhost" in PEOPLE
        more.setdefault("friends", [self.jid] if resident else [])
        witness = Witness(
            self.server.jid(user), PASSWORD, port=self.server.tls_port, ca_file=self.server.ca_file, **more
        )
        async with witness:
            if resident:
                await witness.wait(self.present)
            yield witness

    def present(self, seen: Seen) -> bool:
        return seen.kind == "presence" and seen.sender.startswith(f"{self.jid}/") and not seen.type


@asynccontextmanager
async def house(folder: Path, authority, *, starttls: bool = False, **more: Any) -> AsyncIterator[House]:
    """A server and a node of the test's own."""
    users = [NODE, "mallory", "аnna", *GRANTED, *(jid.partition("@")[0] for jid in PEOPLE)]
    async with Prosody(folder / "prosody", dict.fromkeys(users, PASSWORD), authority=authority) as server:
        write(folder, Way.to(server, starttls=starttls), jid=server.jid(NODE), password=PASSWORD,
              **{"people": PEOPLE, "board": BOARD, "scenario": TICKING + AIR, **more})
        async with running(folder) as node:
            await node.online()
            yield House(server, node)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory, authority) -> AsyncIterator[House]:
    """One node for all tests that leave it as they found it."""
    async with house(tmp_path_factory.mktemp("home"), authority) as made:
        yield made
        assert "Traceback" not in made.node.log
        assert "incident" not in made.node.log


@pytest.fixture
async def anna(home: House) -> AsyncIterator[Witness]:
    async with home.visit("anna") as witness:
        yield witness


@pytest.fixture
async def mallory(home: House) -> AsyncIterator[Witness]:
    async with home.visit("mallory") as witness:
        yield witness


async def hears(person: Witness, node: str, body: str | Callable[[str], bool], *, after: int = 0) -> str:
    """Wait for what the node says in chat."""
    fits = body if callable(body) else lambda text: text == body
    seen = await person.wait(
        lambda seen: seen.type == "chat" and seen.sender_bare == node and bool(seen.body) and fits(seen.body),
        after=after,
    )
    return seen.body


async def asks(person: Witness, node: str, text: str, answer: str | Callable[[str], bool]) -> str:
    after = person.mark
    person.say(node, text)
    return await hears(person, node, answer, after=after)


def lines(start: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(start)


async def lamp_is(anna: Witness, home: House, level: bool) -> int:
    """Bring the lamp to a level; returns how often it has moved so far."""
    word = "on" if level else "off"
    await asks(anna, home.jid, f"lamp {word}", f"Lamp is {word}.")
    return len(home.node.moves())


async def settled(anna: Witness, home: House) -> None:
    """All that the node got before this has been answered: Anna's requests are answered in order, this is the last."""
    await asks(anna, home.jid, "about", lines("Knoop "))


def child(parent: ET.Element | None, channel: str) -> ET.Element | None:
    return next((one for one in parent if one.get("channel") == channel), None) if parent is not None else None


# Strangers ------------------------------------------------------------------------------------------------------------


async def test_a_stranger_gets_silence(home, anna, mallory):
    before = await lamp_is(anna, home, False)
    after = mallory.mark
    for to in (home.jid, f"{home.jid}/knoop"):
        for text in ("lamp on", "help", "status", "?"):
            mallory.say(to, text)
        mallory.say(to, "lamp on", type="normal")
    mallory.send_raw(f"<presence to='{home.jid}' type='subscribe'/>")
    mallory.send_raw(f"<presence to='{home.jid}/knoop'/>")
    mallory.send_raw(f"<presence to='{home.jid}' type='probe'/>")
    await mallory.ping()
    await asks(anna, home.jid, "log 50", lambda text: text.count("refused: stranger") >= 10)
    await mallory.ping()
    # Prosody itself answers request and probe from the bare address; the node's own stanzas have a resource.
    answers = {str(seen) for seen in mallory.seen[after:] if seen.sender_bare == home.jid and seen.type != "error"}
    assert answers <= {f"presence {refusal} from {home.jid}" for refusal in ("unavailable", "unsubscribed")}
    assert len(home.node.moves()) == before


async def test_what_a_stranger_writes_forges_no_line_of_the_log(home, anna, mallory):
    """Newlines, C1 controls and bidi marks pass in bodies."""
    text = "lamp on\n12:00 anna@localhost: lamp on → done\u009b31m\u202eno\u200b\u2028"
    mallory.say(home.jid, text)
    await mallory.ping()
    log = await asks(anna, home.jid, "log 1", lambda body: "forges" in body or "refused: stranger" in body)
    assert log.splitlines() == [log]
    assert r"lamp on\n12:00 anna@localhost" in log
    for character in "\u009b\u202e\u2028":
        assert character not in log + home.node.log


@pytest.mark.parametrize(
    "question",
    ["<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>",
     "<query xmlns='jabber:iq:version'/>", "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:last'/>",
     "<history xmlns='urn:knoop:1:history' channel='door'/>",
     "<command xmlns='http://jabber.org/protocol/commands' node='set' action='execute'/>"],
    ids=["disco#info", "disco#items", "version", "ping", "last", "history", "command"],
)
@pytest.mark.parametrize("kind", ["get", "set"])
async def test_a_stranger_is_answered_as_if_nobody_were_here(home, mallory, question, kind):
    with pytest.raises(Refused) as there:
        await mallory.iq(kind, question, to=f"{home.jid}/knoop")
    with pytest.raises(Refused) as nowhere:
        await mallory.iq(kind, question, to=f"{home.jid}/nobody")
    assert there.value.condition == nowhere.value.condition == "service-unavailable"


@pytest.mark.parametrize("node", NODES)
async def test_a_stranger_can_neither_read_nor_subscribe(home, mallory, node):
    with pytest.raises(Refused):
        await mallory.pep_items(home.jid, node)
    with pytest.raises(Refused):
        await mallory.iq(
            "set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='{node}' jid='{mallory.jid}'/></pubsub>", to=home.jid
        )
    with pytest.raises(Refused):
        await mallory.iq(
            "set", f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='x'><x xmlns='u'/></item></publish>"
            "</pubsub>", to=home.jid
        )


async def test_a_look_alike_is_a_stranger_and_another_spelling_is_not(home, anna):
    """Rights belong to prepared addresses: Cyrillic а is another letter, a capital is the same one."""
    before = await lamp_is(anna, home, False)
    async with home.visit("аnna") as other:
        after = other.mark
        other.say(home.jid, "lamp on")
        await other.ping()
        await asks(anna, home.jid, "log 1", lambda text: "xn--" in text or "refused: stranger" in text)
        assert not [seen for seen in other.seen[after:] if seen.sender_bare == home.jid]
    assert len(home.node.moves()) == before
    async with Witness(
        "ANNA@LOCALHOST", PASSWORD, port=home.server.tls_port, ca_file=home.server.ca_file, friends=[home.jid]
    ) as capital:
        after = capital.mark
        capital.say(home.jid.upper(), "lamp on")
        await hears(capital, home.jid, "Lamp is on.", after=after)
    assert len(home.node.moves()) == before + 1


# Roles ----------------------------------------------------------------------------------------------------------------


async def test_a_viewer_reads_and_cannot_set(home, anna):
    before = await lamp_is(anna, home, False)
    async with home.visit("vera") as vera:
        await asks(vera, home.jid, "lamp?", "Lamp is off.")
        for wish in ("lamp on", "set lamp on", "allow mallory@localhost owner", "revoke anna@localhost", "log"):
            answer = await asks(vera, home.jid, wish, lambda text: "Front door" not in text)
            assert "owner" in answer or "operator" in answer or "not" in answer
        assert {item.node for item in await vera.pep_items(home.jid, STATE)} == {STATE}
    assert len(home.node.moves()) == before


async def test_a_person_with_only_sees_only_that(home, anna):
    await lamp_is(anna, home, False)
    async with home.visit("olga") as olga:
        await asks(olga, home.jid, "lamp on", "Lamp is on.")
        unknown = (await asks(olga, home.jid, "pump on", lines("I do not understand"))).replace("pump", "X")
        for hidden in ("door", "air", "temp"):
            answer = await asks(olga, home.jid, f"{hidden} on", lines("I do not understand"))
            assert answer.replace(hidden, "X") == unknown
        assert "door" not in (await asks(olga, home.jid, "read", lines("Lamp"))).lower()
        assert "1 channel that you may read" in await asks(olga, home.jid, "about", lines("Knoop "))
        assert "pump" not in (await asks(olga, home.jid, "status", lines("🟢 greenhouse"))).lower()
        for node in NODES:
            with pytest.raises(Refused):
                await olga.pep_items(home.jid, node)
        assert olga.items == ()
    assert home.node.moves("pump") == []


async def test_a_dutch_person_is_spoken_to_in_dutch(home, anna):
    await lamp_is(anna, home, False)
    async with home.visit("dirk") as dirk:
        await asks(dirk, home.jid, "lamp aan", "Lamp is aan.")
        await asks(dirk, home.jid, "lamp on", "Lamp is aan.")
        dirk.send_raw(
            f"<message to='{home.jid}' type='chat' id='d1'><body>lamp uit</body>"
            "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/></message>"
        )
        await hears(dirk, home.jid, "Dat kwam te laat aan, dus ik heb niets gedaan. Zeg het nog eens.")
        await asks(dirk, home.jid, "lamp?", "Lamp is aan.")


async def test_allow_and_revoke_take_effect_at_once(home, anna):
    before = await lamp_is(anna, home, False)
    async with home.visit("bram", friends=[home.jid]) as bram:
        with pytest.raises(Refused):
            await bram.pep_items(home.jid, STATE)
        bram.say(home.jid, "lamp on")
        await bram.ping()

        after = bram.mark
        await asks(anna, home.jid, "allow bram@localhost operator", lines("bram@localhost: operator"))
        await bram.wait(home.present, after=after)
        await asks(bram, home.jid, "lamp on", "Lamp is on.")
        assert len(home.node.moves()) == before + 1
        async with asyncio.timeout(20):
            while not await readable(bram, home.jid):
                await bram.ping()
        await bram.wait(lambda seen: any(item.node == EVENTS for item in seen.items), after=after)

        after = bram.mark
        await asks(anna, home.jid, "revoke bram@localhost", "bram@localhost has no rights here any more.")
        async with asyncio.timeout(20):
            while await readable(bram, home.jid):
                await bram.ping()
        await bram.wait(lambda seen: seen.kind == "presence" and seen.type == "unavailable" and
                        seen.sender.startswith(home.jid), after=after)
        after = bram.mark
        bram.say(home.jid, "lamp off")
        await bram.ping()
        with pytest.raises(Refused) as refused:
            await bram.iq("get", "<query xmlns='jabber:iq:version'/>", to=f"{home.jid}/knoop")
        assert refused.value.condition == "service-unavailable"
        await asks(anna, home.jid, "log 3", lambda text: "bram@localhost" in text and "refused: stranger" in text)
        assert [str(seen) for seen in bram.seen[after:] if seen.sender_bare == home.jid and seen.kind != "iq"] == []
        assert len(home.node.moves()) == before + 1


async def readable(person: Witness, jid: str, node: str = STATE) -> bool:
    try:
        return bool(await person.pep_items(jid, node))
    except Refused:
        return False


async def test_rights_that_change_while_the_server_is_still_told_all_arrive(home, anna):
    """Found by test_allow_and_revoke: a change that came while the one before was being told was never told."""
    words = ["allow guest@localhost viewer", "allow kees@localhost viewer"]
    words += ["revoke guest@localhost", "revoke kees@localhost", "allow guest@localhost viewer"] * 2
    for text in words:
        anna.say(home.jid, text)
    await settled(anna, home)
    async with home.visit("guest") as guest, home.visit("kees") as kees, asyncio.timeout(20):
        for node in NODES:
            while not await readable(guest, home.jid, node) or await readable(kees, home.jid, node):
                await guest.ping()
    await asks(anna, home.jid, "revoke guest@localhost", "guest@localhost has no rights here any more.")


async def test_revoke_ends_the_rights_of_somebody_in_node_toml_until_they_are_allowed_again(home, anna):
    async with home.visit("bert") as bert:
        await asks(anna, home.jid, "revoke bert@localhost", "bert@localhost has no rights here any more.")
        try:
            after = bert.mark
            bert.say(home.jid, "allow bert@localhost owner")
            await bert.ping()
            await asks(anna, home.jid, "log 1", lambda text: "bert@localhost" in text and "refused: stranger" in text)
            assert not [seen for seen in bert.seen[after:] if seen.sender_bare == home.jid and seen.type == "chat"]
        finally:
            await asks(anna, home.jid, "allow bert@localhost owner", lines("bert@localhost: owner"))
        bert.send_raw(f"<presence to='{home.jid}' type='subscribe'/>")  # what accepting the node's request does
        await bert.wait(home.present, after=after)
        await asks(bert, home.jid, "lamp?", lines("Lamp is"))


async def test_an_owner_cannot_lock_themselves_out(home, anna):
    await asks(anna, home.jid, "revoke anna@localhost", "Your own rights are for another owner to change.")
    await asks(anna, home.jid, "allow ANNA@LOCALHOST viewer", "Your own rights are for another owner to change.")
    await asks(anna, home.jid, "lamp?", lines("Lamp is"))


# Which stanza counts --------------------------------------------------------------------------------------------------

_numbers = itertools.count(1)

BODY = "<body>lamp on</body>"
DELAYED = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>"
INNER = f"<message xmlns='jabber:client' from='anna@localhost/x' to='greenhouse@localhost' type='chat'>{BODY}</message>"
FORWARDED = f"<forwarded xmlns='urn:xmpp:forward:0'>{INNER}</forwarded>"

NEVER = {
    "delayed": ("chat", BODY + DELAYED, LATE),
    "delayed, the old way": ("chat", BODY + "<x xmlns='jabber:x:delay' stamp='20261122T10:00:00'/>", LATE),
    "corrected": ("chat", BODY + "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>",
                  "I do not act on corrections. Please say it again as a new message."),
    "encrypted": ("chat", BODY + "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
                  lambda text: text.startswith("I cannot read encrypted messages yet.")),
    "forwarded": ("chat", FORWARDED, None),
    "forwarded beside a body": ("chat", BODY + FORWARDED, None),
    "a carbon": ("chat", f"<received xmlns='urn:xmpp:carbons:2'>{FORWARDED}</received>", None),
    "a carbon of one's own": ("chat", f"<sent xmlns='urn:xmpp:carbons:2'>{FORWARDED}</sent>", None),
    "an archive's": ("chat", f"<result xmlns='urn:xmpp:mam:2'>{FORWARDED}</result>", None),
    "a headline": ("headline", BODY, None),
    "a room's": ("groupchat", BODY, None),
    "an error": ("error", BODY, None),
    "of no known type": ("command", BODY, None),
    "in two languages": ("chat", BODY + "<body xml:lang='nl'>lamp uit</body>", None),
    "a subject": ("chat", "<subject>lamp on</subject>", None),
    "in another namespace": ("chat", "<body xmlns='urn:x'>lamp on</body>", None),
}


@pytest.mark.parametrize("which", NEVER)
async def test_only_a_live_chat_message_moves_the_lamp(home, anna, which):
    kind, inside, answer = NEVER[which]
    before = await lamp_is(anna, home, False)
    for to in (home.jid, f"{home.jid}/knoop"):
        after = anna.mark
        anna.send_raw(f"<message to='{to}' type='{kind}' id='n{next(_numbers)}'>{inside}</message>")
        if answer:
            await hears(anna, home.jid, answer, after=after)
        await settled(anna, home)
        if not answer:
            said = [s.body for s in anna.seen[after:] if s.type == "chat" and s.sender_bare == home.jid and s.body]
            assert [text for text in said if not text.startswith(("Knoop ", "Front door"))] == []
    await asks(anna, home.jid, "lamp?", "Lamp is off.")
    assert len(home.node.moves()) == before


async def test_a_message_of_type_normal_counts_as_chat_does(home, anna):
    before = await lamp_is(anna, home, False)
    anna.send_raw(f"<message to='{home.jid}'><body>lamp on</body></message>")
    await hears(anna, home.jid, "Lamp is on.", after=anna.mark)
    assert len(home.node.moves()) == before + 1


async def test_a_forged_sender_is_not_believed(home, anna, mallory):
    before = await lamp_is(anna, home, False)
    mallory.send_raw(f"<message from='{anna.full_jid}' to='{home.jid}' type='chat'>{BODY}</message>")
    with suppress(NotSeen, Refused, ConnectionError):
        await mallory.ping(timeout_s=1.0)  # Prosody rewrites the sender or ends the stream
    await settled(anna, home)
    assert len(home.node.moves()) == before


async def test_a_repeated_stanza_id_acts_once(home, anna):
    await lamp_is(anna, home, False)
    before = len(home.node.moves())
    for text in ("lamp on", "lamp off", "lamp on"):
        anna.say(home.jid, text, id="same")
    await settled(anna, home)
    assert home.node.moves()[before:] == [True]


async def test_what_waited_on_the_server_while_the_node_was_away_is_late(tmp_path, authority):
    """Offline storage stamps it; the events of the meantime on the board's side are not lost by it."""
    async with house(tmp_path, authority) as home, home.visit("anna") as anna:
        await asks(anna, home.jid, "lamp off", "Lamp is off.")
        before, mark = len(home.node.moves()), anna.mark
        assert await home.node.stop() == 0
        await anna.wait(lambda seen: seen.type == "unavailable" and seen.sender_bare == home.jid, after=mark)
        mark = anna.mark
        anna.say(home.jid, "lamp on")
        await anna.ping()
        home.node.start()
        await home.node.online(times=2)
        await hears(anna, home.jid, LATE, after=mark)
        await asks(anna, home.jid, "lamp?", "Lamp is off.")
        assert not any(home.node.moves()[before:]), "the lamp was switched on"


async def test_a_command_that_came_while_the_process_stood_still_is_late(home, anna):
    """No stamp tells it: the node knows that it did not run."""
    before = await lamp_is(anna, home, False)
    after = anna.mark
    os.kill(home.node.pid, signal.SIGSTOP)
    try:
        anna.say(home.jid, "lamp on")
        await anna.ping()
        await asyncio.sleep(7.0)  # the time that passes is the claim: more than LATE_AFTER_S
    finally:
        os.kill(home.node.pid, signal.SIGCONT)
    await hears(anna, home.jid, LATE, after=after)
    assert len(home.node.moves()) == before

    async def again() -> None:
        while await asks(anna, home.jid, "lamp on", lambda text: text in {LATE, "Lamp is on."}) == LATE:
            pass

    async with asyncio.timeout(10):  # until the pong behind it has come
        await again()
    assert len(home.node.moves()) == before + 1


# The other verbs, over the wire ---------------------------------------------------------------------------------------


async def test_watch_tells_changes_to_this_device_until_unwatch(home, anna):
    async with home.visit("vera") as vera, home.visit("vera") as other:
        await asks(vera, home.jid, "watch door for 1h", lines("I tell you what changes for 1 h: "))
        after, elsewhere = vera.mark, other.mark
        await hears(vera, home.jid, lines("Front door is "), after=after)
        await asks(vera, home.jid, "unwatch", "Stopped watching 1 value.")
        await asks(vera, home.jid, "unwatch", "Nothing was being watched.")
        assert not [s for s in other.seen[elsewhere:] if s.body.startswith("Front door") and s.sender_bare == home.jid]


async def test_a_watch_is_one_message_that_changes_where_the_client_shows_corrections(home, anna):
    corrections = "urn:xmpp:message-correct:0"

    def news(seen: Seen) -> bool:
        return seen.sender_bare == home.jid and "this message changes" in seen.body

    def corrected(seen: Seen) -> str:
        replaced = seen.xml.find(f"{{{corrections}}}replace")
        return "" if replaced is None else replaced.get("id", "")

    async with home.visit("vera", features=[corrections]) as vera, home.visit("vera") as other:
        await other.iq("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
        await asks(vera, home.jid, "watch door for 18s", lines("I tell you what changes for 18 s: "))
        after, elsewhere = vera.mark, other.mark
        first = await vera.wait(news, after=after)
        assert not corrected(first)
        second = await vera.wait(lambda seen: news(seen) and bool(corrected(seen)), after=after)
        assert corrected(second) == first.xml.get("id")
        assert second.xml.get("id") != first.xml.get("id")
        await asks(vera, home.jid, "lamp?", lines("Lamp is "))
        anew = await vera.wait(news, after=vera.mark)
        assert not corrected(anew), "the first one is not the last message any more: nobody looks there"
        over = await vera.wait(lambda seen: "The watch is over" in seen.body, 25.0, after=after)
        assert corrected(over) == anew.xml.get("id")
        assert over.body.startswith("Front door is "), "the last values stay"
        await other.ping()
        assert not [s for s in other.seen[elsewhere:] if "this message changes" in str(ET.tostring(s.xml))]


async def test_a_client_is_told_that_it_was_read_and_that_an_answer_takes_a_while(home, anna):
    after = anna.mark
    anna.send_raw(
        f"<message to='{home.jid}' type='chat' id='markable-1'><body>bench</body>"
        "<markable xmlns='urn:xmpp:chat-markers:0'/><request xmlns='urn:xmpp:receipts'/></message>"
    )
    def has(tag: str) -> Callable[[Seen], bool]:
        return lambda seen: seen.sender_bare == home.jid and any(child.tag == tag for child in seen.xml)

    receipt = await anna.wait(has("{urn:xmpp:receipts}received"), after=after)
    composing = await anna.wait(has("{http://jabber.org/protocol/chatstates}composing"), after=after)
    answer = await anna.wait(lambda seen: "MB of memory" in seen.body, 30.0, after=after)
    marker = await anna.wait(has("{urn:xmpp:chat-markers:0}displayed"), after=after)
    assert receipt.number < composing.number < answer.number < marker.number
    await asks(anna, home.jid, "lamp?", lines("Lamp is "))
    assert not [seen for seen in anna.seen[marker.number + 1 :] if has("{urn:xmpp:receipts}received")(seen)]


async def test_history_log_and_who_answer_with_what_happened(home, anna):
    await lamp_is(anna, home, False)
    await lamp_is(anna, home, True)
    history = await asks(anna, home.jid, "history lamp 1h", lines("Lamp, last 1 h: "))
    assert history.splitlines()[-1].endswith(" on")
    assert history.splitlines()[-2].endswith(" off")
    log = await asks(anna, home.jid, "log 2", lambda text: "lamp on" in text)
    assert [line.partition(" ")[2] for line in log.splitlines()] == [
        f"{anna.full_jid}, chat: lamp off → done", f"{anna.full_jid}, chat: lamp on → done"
    ]
    who = await asks(anna, home.jid, "who", lambda text: "Anna (anna@localhost): owner" in text)
    assert "olga@localhost: operator, only" in who


async def test_quiet_is_quiet_and_ends(home, anna):
    async with home.visit("bert") as bert:
        await hears(bert, home.jid, lines("Front door is "), after=bert.mark)
        await asks(bert, home.jid, "quiet 2h", lines("I keep quiet until "))
        try:
            async with asyncio.timeout(10):  # what was on its way comes; then an owner hears it twice and Bert not
                while True:
                    mark, anna_mark = bert.mark, anna.mark
                    for _ in range(2):
                        seen = await anna.wait(lambda s: s.body.startswith("Front door is "), after=anna_mark)
                        anna_mark = seen.number + 1
                    await bert.ping()
                    if not [s for s in bert.seen[mark:] if s.body.startswith("Front door is ")]:
                        break
        finally:
            await asks(bert, home.jid, "quiet off", "I speak up again.")
        await hears(bert, home.jid, lines("Front door is "), after=bert.mark)


# What machines see ----------------------------------------------------------------------------------------------------


async def test_all_four_nodes_carry_what_the_schemas_say(home, anna):
    after = anna.mark
    await lamp_is(anna, home, True)
    for node in (READINGS, EVENTS):
        await anna.wait(lambda seen, node=node: any(item.node == node for item in seen.items), after=after)
    items: list[Item] = [*anna.items]
    for node in NODES:
        items += await anna.pep_items(home.jid, node)
    assert {item.node for item in items} == set(NODES)
    for item in items:
        assert item.payload is not None
        schema.validate(item.payload)
    for item in items:
        if item.node in {READINGS, EVENTS}:
            first = item.payload[0]
            assert item.id == f"{item.payload.get('run')}-{first.get('channel')}-{first.get('seq')}"
        if item.node == EVENTS:
            assert len(item.payload) == 1
    about = next(item for item in items if item.node == ABOUT)
    assert about.id == "current"
    channels = {one.get("name") for one in about.payload if one.tag.endswith("channel")}
    own = {f"alert.{device}_missing" for device in ("door", "lamp", "pump", "air")}
    own |= {"node.storage", "node.dropped", "node.refused", "node.failed", "alert.storage"}
    assert channels == {"door", "lamp", "pump", "air.temperature"} | own
    state = next(item for item in items if item.node == STATE)
    assert state.id == "0"
    assert {one.get("channel") for one in state.payload} == channels


KEPT = 32
OTHERS = 8  # at most, of what is kept, is of other channels or of the next run
DESIGNED = {
    READINGS: {"max_items": "1", "send_last_published_item": "never"},
    EVENTS: {"max_items": str(KEPT), "send_last_published_item": "never"},
    STATE: {"max_items": "16", "send_last_published_item": "on_sub_and_presence"},
    ABOUT: {"max_items": "1", "send_last_published_item": "on_sub_and_presence"},
}


@pytest.mark.parametrize("node", NODES)
async def test_the_nodes_are_configured_as_designed(home, node):
    """Seen with the node's own account from a second device, as its owner would look."""
    async with home.visit(NODE, notify=()) as account:
        owner = await account.iq("get", f"<pubsub xmlns='{OWN}'><configure node='{node}'/></pubsub>")
        fields = {
            field.get("var", "").removeprefix("pubsub#"): field.findtext(f"{FORM}value", "")
            for field in owner.iter(f"{FORM}field")
        }
        members = await account.iq("get", f"<pubsub xmlns='{OWN}'><affiliations node='{node}'/></pubsub>")
    told = {one.get("jid"): one.get("affiliation") for one in members.iter(f"{{{OWN}}}affiliation")}
    assert fields["access_model"] == "whitelist"
    assert fields["persist_items"] in {"1", "true"}
    expected = DESIGNED[node]
    assert fields["send_last_published_item"] == expected["send_last_published_item"]
    assert fields["max_items"] == expected["max_items"]
    assert {jid for jid, affiliation in told.items() if affiliation == "member"} == {
        jid for jid, value in PEOPLE.items() if "only" not in value
    }
    assert {affiliation for jid, affiliation in told.items() if jid not in PEOPLE} <= {"owner"}


# Cuts and restarts ----------------------------------------------------------------------------------------------------


def seqs(witness: Witness, channel: str = "door") -> dict[str, list[int]]:
    """The numbers of a channel's events by run, in the order they came."""
    found: dict[str, list[int]] = {}
    for item in witness.items:
        if item.node == EVENTS and (one := child(item.payload, channel)) is not None:
            found.setdefault(item.payload.get("run", ""), []).append(int(one.get("seq", "0")))
    return found


def whole(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_a_server_with_starttls_only_works(tmp_path, authority):
    async with house(tmp_path, authority, starttls=True) as home, home.visit("anna") as anna:
        assert "(starttls TLS)" in home.node.log
        await asks(anna, home.jid, "lamp on", "Lamp is on.")
        await anna.wait(lambda seen: any(item.node == STATE for item in seen.items))


async def test_a_server_that_restarts_gets_every_event_of_the_meantime_once_and_in_order(tmp_path, authority):
    async with house(tmp_path, authority) as home:
        async with home.visit("anna") as anna:
            await anna.wait(lambda seen: bool(seqs(anna)))
            (run,) = seqs(anna)
            await home.server.stop()
            last = seqs(anna)[run][-1]
        await home.node.says("link down")
        store = tmp_path / "state" / "knoop" / "readings.db"
        await until(lambda: recorded(store, run)[-1] >= last + 4, lambda: str(recorded(store, run)))
        await home.server.start()
        await home.node.online(times=2)
        async with home.visit("anna") as anna, asyncio.timeout(15):
            while (kept := await events_of(anna, home.jid, run))[-1] < last + 4:
                await asyncio.sleep(0.1)
        assert whole(kept), kept
        assert kept[0] <= max(1, kept[-1] - KEPT + OTHERS)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_node_that_restarts_loses_no_event_of_its_board(tmp_path, authority, how):
    """What was read while the server was away is on the disk; the next start sends it, in order and once each."""
    store = tmp_path / "state" / "knoop" / "readings.db"
    async with house(tmp_path, authority) as home:
        async with home.visit("anna") as anna:
            await anna.wait(lambda seen: any(len(numbers) >= 2 for numbers in seqs(anna).values()))
            (run,) = seqs(anna)
        await home.server.kill()
        await home.node.says("link down")
        await until(lambda: len(recorded(store, run)) >= 6, lambda: str(recorded(store, run)))
        await home.node.stop(how)
        on_disk = recorded(store, run)
        assert whole(on_disk), on_disk
        await home.server.start()
        home.node.start()
        await home.node.online(times=2)
        async with home.visit("anna") as anna, asyncio.timeout(20):
            while (kept := await events_of(anna, home.jid, run))[-1:] != on_disk[-1:]:
                await asyncio.sleep(0.1)
        assert kept == on_disk[-len(kept) :]
        assert len(kept) >= min(len(on_disk), KEPT - OTHERS)
        await home.node.stop()


def recorded(store: Path, run: str) -> list[int]:
    """What the disk has of the door's events: the claim is that these, and only these, must arrive."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5)) as database:
        rows = database.execute(
            "SELECT seq FROM reading r JOIN series s ON s.id = r.series WHERE s.run = ? AND s.channel = 'door' "
            "ORDER BY r.id",
            (run,),
        )
        return [seq for (seq,) in rows]


async def events_of(person: Witness, jid: str, run: str) -> list[int]:
    """The numbers of the door's events of a run that the server keeps, in the order they came."""
    try:
        items = await person.pep_items(jid, EVENTS)
    except Refused:
        return []
    mine = [item for item in items if item.payload is not None and item.payload.get("run") == run]
    return [int(one.get("seq", "0")) for item in mine if (one := child(item.payload, "door")) is not None]
