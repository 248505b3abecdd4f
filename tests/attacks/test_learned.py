"""What strangers and people learn of a node by asking (SECURITY.md, “What others can learn”).

A stranger is compared with themselves at an ordinary account that is online and answers nobody: whatever is the same,
the server says, of anybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.attacks.rig import PEOPLE, House, besieged, visitor

from knoop_bench.errors import NotSeen, Refused
from knoop_bench.seen import PUBSUB
from knoop_bench.witness import NODES, Witness

pytestmark = [pytest.mark.prosody, pytest.mark.asyncio(loop_scope="module")]

INFO, ITEMS = (f"<query xmlns='http://jabber.org/protocol/disco#{what}'/>" for what in ("info", "items"))
VERSION = "<query xmlns='jabber:iq:version'/>"
QUESTIONS = {
    "disco#info": INFO, "disco#items": ITEMS, "version": VERSION,
    "commands": "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>",
    "ping": "<ping xmlns='urn:xmpp:ping'/>", "last activity": "<query xmlns='jabber:iq:last'/>",
    "time": "<time xmlns='urn:xmpp:time'/>", "vcard": "<vCard xmlns='vcard-temp'/>",
    "vcard4": f"<pubsub xmlns='{PUBSUB}'><items node='urn:xmpp:vcard4'/></pubsub>",
    "place": f"<pubsub xmlns='{PUBSUB}'><items node='http://jabber.org/protocol/geoloc'/></pubsub>",
    "omemo": f"<pubsub xmlns='{PUBSUB}'><items node='eu.siacs.conversations.axolotl.devicelist'/></pubsub>",
    "history": "<history xmlns='urn:knoop:1:history' channel='door'/>", "roster": "<query xmlns='jabber:iq:roster'/>",
    "archive": "<query xmlns='urn:xmpp:mam:2'/>", "private": "<query xmlns='jabber:iq:private'><x xmlns='u'/></query>",
    "register": "<query xmlns='jabber:iq:register'/>", "block list": "<blocklist xmlns='urn:xmpp:blocking'/>",
    "carbons": "<enable xmlns='urn:xmpp:carbons:2'/>",
    **{node: f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>" for node in NODES},
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory, authority) -> AsyncIterator[House]:
    people = PEOPLE | {"olga@localhost": '{ role = "operator" }'}
    async with besieged(tmp_path_factory.mktemp("learned"), authority, people=people) as made:
        yield made


mallory = visitor("mallory")
nobody = visitor("mallory2", scope="module", notify=(), resource="mallory2-secret")


async def answer(person: Witness, kind: str, question: str, to: str) -> tuple[str, ...]:
    """What is said, without addresses: a condition, nothing, or the tags and attributes of a result."""
    try:
        result = await person.iq(kind, question, to=to, timeout_s=5.0)
    except Refused as refused:
        return (refused.condition,)
    except NotSeen:
        return ("silence",)
    parts = [part for part in result.iter() if part is not result]
    # The hash of its capabilities (XEP-0115), which its presence says, stands in the answers that slixmpp gives while
    # it looks them up for that.
    shown = [sorted(pair for pair in part.attrib.items() if not pair[1].startswith("urn:knoop:1#")) for part in parts]
    said = [f"{part.tag} {attributes} {part.text or ''}" for part, attributes in zip(parts, shown, strict=True)]
    return tuple(line.replace(to.partition("/")[0], "JID").replace(to.partition("@")[0], "NAME") for line in said)


@pytest.mark.parametrize("what", QUESTIONS)
@pytest.mark.parametrize("kind", ["get", "set"])
async def test_a_stranger_hears_of_a_node_what_they_hear_of_anybody(house, mallory, nobody, what, kind):
    for resource in ("", "/knoop", "/guessed"):
        of_the_node = await answer(mallory, kind, QUESTIONS[what], house.jid + resource)
        of_nobody = await answer(mallory, kind, QUESTIONS[what], nobody.jid + resource)
        assert of_the_node == of_nobody
    assert house.learned(mallory) == []


async def test_what_people_of_each_role_are_told_about_the_software(house):
    """The same to all by disco and version: a bot called Knoop, and which version; nothing of the machine."""
    heard = []
    for user in ("anna", "olga", "vera", "bram"):
        async with house.visit(user, friends=[house.jid]) as person:
            device = await house.device(person)
            heard.append(
                [await answer(person, "get", question, device) for question in (INFO, VERSION, ITEMS)]
            )
    for one in heard:
        assert one == heard[0]
    info, version, items = heard[0]
    [identity] = [line for line in info if "}identity" in line]
    assert "('category', 'client')" in identity
    assert "('type', 'bot')" in identity
    assert "('name', 'Knoop')" in identity
    assert [line.rpartition("}")[2].split()[0] for line in version if line.strip()[-1:] != "]"] == ["name", "version"]
    assert items in {("item-not-found",), ("{http://jabber.org/protocol/disco#items}query [] ",)}


async def test_which_verbs_are_listed_is_a_matter_of_the_role(house):
    listed = {}
    for user in ("anna", "olga", "bram", "vera"):
        async with house.visit(user, friends=[house.jid]) as person:
            found = await person.disco_items(await house.device(person), node="http://jabber.org/protocol/commands")
            listed[user] = {node for _, node in found}
    assert listed["vera"] < listed["olga"] == listed["bram"] < listed["anna"]
    assert listed["vera"].isdisjoint({"set", "allow", "revoke", "log", "who", "bench"})
    assert listed["olga"].isdisjoint({"allow", "revoke", "log", "who", "bench"})


@pytest.mark.parametrize(("user", "words", "hidden"), [
    ("vera", "who", "localhost"), ("vera", "log", "anna"), ("bram", "status", "pump"), ("bram", "read", "door"),
    ("bram", "history pump", "off"), ("bram", "door?", "is closed"),
    ("vera", "allow x@localhost owner", "x@localhost:"),
])  # fmt: skip
async def test_words_tell_no_more_than_the_rights_allow(house, user, words, hidden):
    async with house.visit(user) as person:
        assert hidden not in (await house.asks(person, words)).lower()


async def test_presence_says_how_many_alarms_wait_and_not_which(house):
    async with house.visit("bram") as bram:
        shown = await bram.wait(house.present)
        texts = [part.text for part in shown.xml if part.tag.endswith(("}status", "}show"))]
        assert texts == [], "all is well: nothing to say"
        tags = {part.tag.rpartition("}")[0].removeprefix("{") for part in shown.xml}
        assert tags <= {"http://jabber.org/protocol/caps", "urn:xmpp:delay", "vcard-temp:x:update"}, "or the server's"
