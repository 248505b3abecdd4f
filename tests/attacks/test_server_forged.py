"""A server that is the attacker, behind an honest login: whatever it forges in others' names moves nothing.

What no node can know is that a live message which *its own* server stamps `from` an owner is not theirs: for that the
server is trusted (SECURITY.md). Everything else that a message, request, presence or answer can pretend is tried here.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
from tests.attacks.rig import PEOPLE, UNAVAILABLE, Captive, captured

from knoop_bench.certificates import Authority

OWN = "greenhouse@localhost"
CARBONS = "urn:xmpp:carbons:2"
CLIENT = "{jabber:client}"
BIND = b"urn:ietf:params:xml:ns:xmpp-bind"
FORM = "{jabber:x:data}"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
MALLORY = "mallory@evil.example/x"

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count(1)


class Houses:
    """A node for several tests, and another one before strangers have sent it as much as it hears of them.

    Else what is tried last would not even be looked at (`knoop.xmpp.admission`: 30 messages, 20 requests).
    """

    def __init__(self) -> None:
        self._spent, self._stack, self._present = 0, AsyncExitStack(), None

    async def take(self, folder: Callable[[str], Path], authority: Authority) -> Captive:
        if self._present is None or self._spent > MOST:
            await self._stack.aclose()
            self._present = await self._stack.enter_async_context(captured(folder("captive"), authority))
            self._spent = 0
            await self._present.settled()
        return self._present

    def spend(self, stanza: str) -> None:
        self._spent += 3 if stanza.startswith("<iq") else 2

    async def close(self) -> None:
        await self._stack.aclose()


MOST = 50  # by the measure of `spend`: 25 messages, or 16 requests
HOUSES = Houses()


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def closing() -> AsyncIterator[None]:
    yield
    await HOUSES.close()


@pytest_asyncio.fixture(loop_scope="module")
async def captive(tmp_path_factory, authority) -> Captive:
    return await HOUSES.take(tmp_path_factory.mktemp, authority)


def message(sender: str | None, inside: str = "<body>lamp on</body>", *, kind: str = "chat", tag: str = "") -> str:
    """`sender` None: no `from` at all."""
    stamped = "" if sender is None else f" from='{sender}'"
    return f"<message{tag}{stamped} to='{OWN}' type='{kind}' id='forged{next(_numbers)}'>{inside}</message>"


def command(sender: str | None) -> str:
    stamped = "" if sender is None else f" from='{sender}'"
    return (
        f"<iq{stamped} to='{OWN}/knoop' type='set' id='forged{next(_numbers)}'>"
        "<command xmlns='http://jabber.org/protocol/commands' node='set' action='execute'>"
        "<x xmlns='jabber:x:data' type='submit'><field var='channel'><value>lamp</value></field>"
        "<field var='value'><value>true</value></field></x></command></iq>"
    )


def forwarded() -> str:
    """Anna's command, as somebody quotes it."""
    inner = message("anna@localhost/phone").replace("<message", "<message xmlns='jabber:client'")
    return f"<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>"


async def harmless(captive: Captive, *stanzas: str) -> list[ET.Element]:
    """No output moves, nothing is taken for a person's command, and nobody but the owner, who asks last, is answered.

    Others get at most an error that says no more than a server would of a device that is not there. Returns all that
    the node said meanwhile.
    """
    moves, before, audited = len(captive.moves), len(captive.got), len(captive.audit())
    for stanza in stanzas:
        HOUSES.spend(stanza)
        await captive.peer.say(stanza)
    await captive.unmoved(since=moves)
    said = [*ET.fromstring(b"<x xmlns='jabber:client'>" + captive.got[before:] + b"</x>")]
    for one in said:
        to = one.get("to", OWN).partition("/")[0]
        if to in {"anna@localhost", "localhost", OWN} or (one.tag == f"{CLIENT}presence" and to in PEOPLE):
            continue
        assert (one.tag, one.get("type")) == (f"{CLIENT}iq", "error"), ET.tostring(one)
        assert [child.tag for child in one.find(f"{CLIENT}error")] == [UNAVAILABLE], ET.tostring(one)
    assert not [line for line in captive.audit()[audited:] if line.result == "done"]
    assert captive.node.log.count("connected as") == 1, "it did not even cost the link"
    return said


# Who says it ----------------------------------------------------------------------------------------------------------

NOBODY_WE_KNOW: dict[str, str | None] = {
    "no sender": None, "an empty sender": "", "our own account": OWN, "ourselves": f"{OWN}/knoop",
    "another device of ours": f"{OWN}/phone", "the server": "localhost", "a part of the server": "localhost/anna",
    "anna as the server's resource": "localhost/anna@localhost/phone",
    "anna as somebody's resource": f"{MALLORY}/anna@localhost/phone",
    "anna elsewhere": "anna@evil.example/phone", "our server's name in front": "anna@localhost.evil.example/phone",
    "our server's name behind": "anna@evil.localhost/phone", "two signs": "anna@localhost@evil.example/phone",
    "an escaped sign": "anna\\40localhost@evil.example/phone", "a Cyrillic а": "аnna@localhost/phone",
    "a Cyrillic о": "anna@lоcalhost/phone", "a Greek omicron": "anna@lοcalhost/phone",
    "no name": "@localhost/phone", "no server": "anna@/phone", "only a name": "anna",
    "a space before": " anna@localhost/phone", "a space in it": "an na@localhost/phone",
    "a line break": "anna@localhost&#10;/phone", "a percent sign": "anna%40localhost@evil.example/phone",
    "quotation marks": "&quot;anna@localhost&quot;@evil.example/phone", "very long": "a" * 5000 + "@localhost/phone",
}


@pytest.mark.parametrize("who", NOBODY_WE_KNOW)
async def test_a_forged_sender_is_nobody_in_message_and_form(captive, who):
    sender = NOBODY_WE_KNOW[who]
    await harmless(captive, message(sender), message(sender, kind="normal"), command(sender))


KINDS = ["carbon received", "carbon sent", "archive", "archive of 2013", "forward", "fastened", "private carbon"]
WRAPPED = {
    "carbon received": lambda: f"<received xmlns='{CARBONS}'>{forwarded()}</received>",
    "carbon sent": lambda: f"<sent xmlns='{CARBONS}'>{forwarded()}</sent>",
    "private carbon": lambda: f"<received xmlns='{CARBONS}'>{forwarded()}</received><private xmlns='{CARBONS}'/>",
    "archive": lambda: f"<result xmlns='urn:xmpp:mam:2' queryid='q' id='1'>{forwarded()}</result>",
    "archive of 2013": lambda: f"<result xmlns='urn:xmpp:mam:0' queryid='q' id='1'>{forwarded()}</result>",
    "forward": forwarded,
    "fastened": lambda: f"<apply-to xmlns='urn:xmpp:fasten:0' id='1'><external name='body'/>{forwarded()}</apply-to>",
}
QUOTED_BY = {
    "a stranger": MALLORY, "a neighbour": "mallory@localhost/x", "the owner's account": "anna@localhost",
    "the owner's device": "anna@localhost/phone", "our own account": OWN, "ourselves": f"{OWN}/knoop",
    "the server": "localhost", "nobody": None,
}


async def _quoted(captive: Captive, wrapper: str, by: str) -> None:
    inside, sender = WRAPPED[wrapper](), QUOTED_BY[by]
    stanzas = [message(sender, inside), message(sender, inside, kind="normal")]
    if by != "the owner's device":
        stanzas.append(message(sender, inside + "<body>lamp on</body>"))
    await harmless(captive, *stanzas)


@pytest.mark.parametrize("by", QUOTED_BY)
@pytest.mark.parametrize("wrapper", ["carbon received", "carbon sent", "private carbon"])
async def test_cve_2017_5589_5591_and_cve_2019_16235_a_carbon_of_whomever_moves_nothing(captive, wrapper, by):
    """The family of 2017 (5589 to 5606; slixmpp's is 5591) and Dino's: a carbon was believed whoever sent it."""
    await _quoted(captive, wrapper, by)


@pytest.mark.parametrize("by", QUOTED_BY)
@pytest.mark.parametrize("wrapper", ["archive", "archive of 2013", "carbon received"])
async def test_cve_2020_26547_and_cve_2019_16237_what_an_archive_says_moves_nothing(captive, wrapper, by):
    """Monal's and Dino's: results of an archive, and carbons, of any sender were taken for messages."""
    await _quoted(captive, wrapper, by)


@pytest.mark.parametrize("by", QUOTED_BY)
@pytest.mark.parametrize("wrapper", ["forward", "fastened"])
async def test_a_forward_of_whomever_moves_nothing(captive, wrapper, by):
    await _quoted(captive, wrapper, by)


# What it is -----------------------------------------------------------------------------------------------------------

NO_MESSAGE = {
    "another namespace": message("anna@localhost/phone", tag=" xmlns='jabber:server'"),
    "a component's": message("anna@localhost/phone", tag=" xmlns='jabber:component:accept'"),
    "a body of another namespace": message("anna@localhost/phone", "<body xmlns='urn:x'>lamp on</body>"),
    "only XHTML": message(
        "anna@localhost/phone", "<html xmlns='http://jabber.org/protocol/xhtml-im'>"
        "<body xmlns='http://www.w3.org/1999/xhtml'>lamp on</body></html>"
    ),
    "a message in a message": message("anna@localhost/phone", message("anna@localhost/phone")),
    "a message in a stranger's": message(MALLORY, message("anna@localhost/phone")),
    "a message in a presence": f"<presence from='anna@localhost/phone'>{message('anna@localhost/phone')}</presence>",
    "a presence's text": "<presence from='anna@localhost/phone'><status>lamp on</status></presence>",
    "a subject": message("anna@localhost/phone", "<subject>lamp on</subject>"),
    "an error that quotes it": message("anna@localhost/phone", kind="error"),
    "a headline": message("anna@localhost/phone", kind="headline"),
    "of a room, in nobody's": message("anna@localhost/phone", kind="groupchat"),
    "of no kind there is": message("anna@localhost/phone", kind="command"),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_MESSAGE)
async def test_what_is_no_live_chat_message_of_a_person_moves_nothing(captive, what):
    await harmless(captive, NO_MESSAGE[what])


OCCUPANT = (
    "<presence from='{room}/anna' to='" + OWN + "/knoop'><x xmlns='http://jabber.org/protocol/muc#user'>"
    "<item jid='anna@localhost/phone' affiliation='owner' role='moderator'/><status code='100'/></x></presence>"
)


@pytest.mark.parametrize("room", ["house@rooms.localhost", "house@rooms.evil.example", "anna@localhost", OWN])
async def test_a_room_we_never_entered_that_shows_the_owners_address_moves_nothing(captive, room):
    await harmless(
        captive, OCCUPANT.format(room=room), message(f"{room}/anna", kind="groupchat"),
        *([] if room == "anna@localhost" else [message(f"{room}/anna")]),  # that one is anna's device called anna
        message(f"{room}/anna", "<body>lamp on</body><x xmlns='jabber:x:oob'/>", kind="groupchat"),
    )


EVENT = "http://jabber.org/protocol/pubsub#event"


@pytest.mark.parametrize("sender", [MALLORY, OWN, "anna@localhost", "pubsub.localhost", None])
@pytest.mark.parametrize("kind", ["headline", "normal"])
async def test_a_pubsub_event_of_whomever_moves_nothing(captive, sender, kind):
    """Commands in items, and tales about our own nodes: published to, emptied, deleted, opened."""
    item = f"<item id='1'><set xmlns='urn:knoop:1' channel='lamp'>true</set>{message('anna@localhost/phone')}</item>"
    node = "urn:knoop:1:events"
    events = (
        f"<items node='{node}'>{item}</items>", f"<items node='{node}'><retract id='1'/></items>",
        f"<purge node='{node}'/>", f"<delete node='{node}'/>", f"<configuration node='{node}'/>",
        f"<subscription node='{node}' jid='mallory@evil.example' subscription='subscribed'/>",
    )
    told = (message(sender, f"<event xmlns='{EVENT}'>{event}</event>", kind=kind) for event in events)
    await harmless(captive, *told)


# The roster -----------------------------------------------------------------------------------------------------------


def push(sender: str | None, subscription: str = "both") -> str:
    stamped = "" if sender is None else f" from='{sender}'"
    return (
        f"<iq{stamped} to='{OWN}/knoop' type='set' id='push{next(_numbers)}'><query xmlns='jabber:iq:roster'>"
        f"<item jid='mallory@evil.example' subscription='{subscription}' name='anna'/></query></iq>"
    )


OTHERS = [MALLORY, "mallory@localhost", "anna@localhost/phone", "anna@localhost", "vera@localhost/x"]


@pytest.mark.parametrize("sender", OTHERS)
async def test_cve_2015_8688_cve_2016_9928_and_cve_2019_16236_a_roster_push_of_others_is_refused(captive, sender):
    """Gajim's, MCabber's and Dino's: who sent one became a contact, with what contacts may."""
    said = await harmless(
        captive, push(sender), "<presence from='mallory@evil.example' type='subscribe'/>", message(MALLORY),
        command(MALLORY),
    )
    assert not [one for one in said if one.tag == f"{CLIENT}presence" and one.get("to") not in PEOPLE]
    assert not [one for one in said if one.get("type") == "result" and one.get("id", "").startswith("push")]


@pytest.mark.parametrize("sender", [None, OWN, "localhost"])
async def test_a_roster_push_of_our_own_server_gives_nobody_a_right(captive, sender):
    """It may keep a roster as it likes; rights are not kept there."""
    said = await harmless(
        captive, push(sender), "<presence from='mallory@evil.example' type='subscribe'/>",
        "<presence from='mallory@evil.example/x'/>", message(MALLORY), command(MALLORY), push(sender, "remove"),
    )
    assert not [one for one in said if one.tag == f"{CLIENT}presence" and one.get("to") not in PEOPLE]
    assert [line.result for line in captive.audited(MALLORY)][-1] == "refused: stranger"


# Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", [None, OWN, "localhost", MALLORY, "anna@localhost/phone"])
@pytest.mark.parametrize("kind", ["result", "error"])
async def test_answers_to_what_nobody_asked_are_nothing(captive, sender, kind):
    stamped = "" if sender is None else f" from='{sender}'"
    inside = "<query xmlns='jabber:iq:roster'><item jid='mallory@evil.example' subscription='both'/></query>"
    answers = (f"<iq type='{kind}' id='{name}'{stamped}>{inside}</iq>" for name in ("", "1", "forged", "x" * 1000))
    await harmless(captive, *answers)


async def test_a_stranger_with_an_address_that_the_library_does_not_know_does_not_end_the_link(captive):
    """A phone called 📱 is enough, and its owner needs no rights: the answer to one request could not be addressed."""
    for sender in ("mallory@localhost/📱", "mallory@localhost/\u0600", "mallory@@localhost/x", "anna@localhost/📱"):
        await harmless(
            captive, f"<iq from='{sender}' to='{OWN}/knoop' type='get' id='odd1'><ping xmlns='urn:xmpp:ping'/></iq>",
            f"<iq from='{sender}' to='{OWN}/knoop' type='set' id='odd2'><query xmlns='jabber:iq:version'/></iq>",
        )


async def test_cve_2019_1000021_a_node_is_never_open_to_every_contact(tmp_path, authority):
    """slixmpp's XEP-0223 before 1.4.2 named an option that no server knew, so that all contacts could read.

    Every node of ours is made for those on a list, by the option's own name, before the first item goes to it.
    """
    async with captured(tmp_path, authority) as fresh:
        await fresh.hears(rb"<publish node=[\"']urn:knoop:1:state.*?</iq>")
        said = b"<iq " + fresh.got.rpartition(BIND)[2].partition(b"<iq ")[2]
        asked = [*ET.fromstring(b"<x xmlns='jabber:client'>" + said + b"</x>")]
    models, made = [], set()
    for one in asked:
        options = [option for option in one.iter(f"{FORM}field") if option.get("var") == "pubsub#access_model"]
        models += [option.findtext(f"{FORM}value") for option in options]
        made |= {node.get("node") for node in one.iter(f"{PUBSUB}create")}
        for node in one.iter(f"{PUBSUB}publish"):
            assert node.get("node") in made, "an item would have made the node with the server's own options"
    assert models == ["whitelist"] * len(made)
    assert len(made) >= 3


async def test_after_all_this_the_owner_is_still_heard(captive):
    """Without this, the tests before it would prove nothing."""
    moves = len(captive.moves)
    await captive.asks("lamp on", rb"Lamp is on")
    await captive.asks("lamp off", rb"Lamp is off")
    assert captive.moves[moves:] == [("lamp", True), ("lamp", False)]
