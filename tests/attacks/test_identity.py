"""Who somebody is: letters that look alike, other spellings, other devices, borrowed names, tricks with domains.

Trust in `from`, homoglyphs, wrapped words. Every attacker has an account of their
own on the node's own server, so nothing but the node stands between them and the outputs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from xml.sax.saxutils import quoteattr

import pytest
import pytest_asyncio
from tests.attacks.rig import ANYBODYS, PEOPLE, House, besieged, visitor

from knoop_bench.errors import LoginFailed, NotSeen, Refused
from knoop_bench.seen import Seen
from knoop_bench.witness import Witness

pytestmark = [pytest.mark.prosody, pytest.mark.asyncio(loop_scope="module")]

# Accounts that a server gives to whoever asks first, and that are taken for Anna's.
ALIKE = {
    "a Cyrillic а": "аnna", "a Greek α": "αnna", "an accent": "ánna", "a dot below": "ạnna", "ɑ": "ɑnna",
    "one n more": "annna", "a dot": "anna.", "a hyphen that is none": "anna‐", "an escaped at": "anna\\40localhost",
    "the wildcard": "*", "two wildcards": "**", "a capital after preparation": "ànna",
}
COMMANDS = ("lamp on", "set lamp on", "allow mallory@localhost owner", "lock on", "revoke vera@localhost")
FORWARDED = (
    "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='anna@localhost' type='chat' "
    "to='greenhouse@localhost'><body>lamp on</body></message></forwarded>"
)
CHAT = "<message to='{to}' type='chat' id='{id}'{extra}><body>lamp on</body>{inside}</message>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory, authority) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("identity")
    people = PEOPLE | {"*@example.net": '"owner"'}
    async with besieged(folder, authority, people=people, users=(*ALIKE.values(), "greenh0use")) as made:
        yield made


mallory = visitor("mallory")
anna = visitor("anna")


def learned(house: House, other: Witness) -> list[Seen]:
    """What the node said to them; that it is not there the server says to whoever asked for its presence."""
    return [seen for seen in house.learned(other) if (seen.kind, seen.type) != ("presence", "unavailable")]


@pytest.mark.parametrize("how", ALIKE)
async def test_a_name_that_looks_like_the_owners_is_a_strangers(house, how):
    before = len(house.moves)
    async with house.visit(ALIKE[how], friends=()) as other:
        for text in COMMANDS:
            other.say(house.jid, text)
        with pytest.raises(Refused):
            await other.iq("get", "<query xmlns='jabber:iq:version'/>", to=house.jid + "/knoop")
        await house.unmoved(since=before)
        assert learned(house, other) == []
        assert {line.result for line in house.audited(other.full_jid)} <= {"refused: stranger"}


async def test_another_spelling_of_the_owner_is_the_owner(house):
    """Equal once prepared: one account, one right; its password is asked like anybody's."""
    before = len(house.moves)
    for spelling in ("ANNA@LOCALHOST", "ａｎｎａ@localhost", "an\u00adna@localhost"):
        witness = Witness(
            spelling, ANYBODYS, port=house.server.tls_port, ca_file=house.server.ca_file, friends=[house.jid]
        )
        try:
            async with witness as anna:
                await house.asks(anna, "lamp on", "Lamp is on.")
                await house.asks(anna, "lamp off", "Lamp is off.")
        except LoginFailed:
            assert spelling != "ANNA@LOCALHOST", "Prosody prepares at least this one"
    assert set(house.moves[before:]) == {("lamp", True), ("lamp", False)}
    with pytest.raises(LoginFailed):
        async with Witness("ANNA@localhost", "guessed", port=house.server.tls_port, ca_file=house.server.ca_file):
            pass


@pytest.mark.parametrize("resource", [
    "anna@localhost", "anna@localhost/phone", "@localhost", "knoop", "a b", "x" * 1000, "'><body>lamp on</body>",
])  # fmt: skip
async def test_a_resource_is_nobody(house, resource):
    before = len(house.moves)
    async with house.visit("mallory", resource=resource) as other:
        other.say(house.jid, "lamp on")
        await house.unmoved(since=before)
        assert learned(house, other) == []


@pytest.mark.parametrize("sender", [
    "anna@localhost", "anna@localhost/phone", "ANNA@LOCALHOST", "localhost", "greenhouse@localhost",
    "greenhouse@localhost/knoop", "anna@example.net", "*@example.net", "",
])  # fmt: skip
async def test_a_forged_sender_is_not_believed(house, sender):
    """The server stamps the real one, or ends the stream; nothing of it reaches the node as somebody else's."""
    before, lines = len(house.moves), len(house.audited("anna@localhost"))
    for stanza in (
        f"<message from={quoteattr(sender)} to='{house.jid}' type='chat'><body>lamp on</body></message>",
        f"<presence from={quoteattr(sender)} to='{house.jid}' type='subscribe'/>",
        f"<iq from={quoteattr(sender)} to='{house.jid}/knoop' type='set' id='f1'><command "
        "xmlns='http://jabber.org/protocol/commands' node='set'/></iq>",
    ):
        async with house.visit("mallory") as other:
            other.send_raw(stanza)
            try:
                await other.ping(timeout_s=2)
            except (NotSeen, Refused, ConnectionError):
                continue  # it was thrown out
    await house.unmoved(since=before)
    mine = [line for line in house.audited("anna@localhost")[lines:] if line.action != "about"]
    assert mine == []


@pytest.mark.parametrize("inside", [
    "<nick xmlns='http://jabber.org/protocol/nick'>Anna</nick>",
    "<addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='anna@localhost'/></addresses>",
    "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='anna@localhost/phone' role='moderator'/></x>",
    "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='anna'/>",
    f"<privilege xmlns='urn:xmpp:privilege:2'>{FORWARDED}</privilege>",
    "<origin from='anna@localhost' xmlns='urn:x'/>",
    f"<delegation xmlns='urn:xmpp:delegation:2'>{FORWARDED}</delegation>",
    "<openpgp xmlns='urn:xmpp:openpgp:0'/>", "<signed xmlns='jabber:x:signed'>Anna</signed>",
    "<sent-as xmlns='urn:x' jid='anna@localhost'/>",
])  # fmt: skip
async def test_what_a_message_says_about_its_sender_is_only_said(house, mallory, inside):
    """A real address stands in `from` and nowhere else."""
    before = len(house.moves)
    mallory.send_raw(CHAT.format(to=house.jid, id="said", extra="", inside=inside))
    mallory.send_raw(CHAT.format(to=house.jid, id="said2", extra=" xml:lang='anna'", inside=inside))
    await house.unmoved(since=before)
    assert learned(house, mallory) == []


@pytest.mark.parametrize("wrapped", {
    "cve_2017_5589 and cve_2017_5591, a carbon": "<received xmlns='urn:xmpp:carbons:2'>{}</received>",
    "cve_2019_16235, a carbon of what was sent": "<sent xmlns='urn:xmpp:carbons:2'>{}</sent>",
    "cve_2020_26547, an archive": "<result xmlns='urn:xmpp:mam:2' queryid='1' id='1'>{}</result>",
    "a forward": "{}",
    "a mix of them": "<sent xmlns='urn:xmpp:carbons:2'>{}</sent><received xmlns='urn:xmpp:carbons:2'>{}</received>",
}.items(), ids=lambda item: item[0].partition(",")[0])
async def test_the_owners_words_in_somebody_elses_wrapping_are_nobodys(house, mallory, wrapped):
    """By a stranger, and by somebody who may set the lamp, and wraps the owner's “pump on”."""
    before = len(house.moves)
    inside = wrapped[1].replace("{}", FORWARDED.replace("lamp", "pump"))
    async with house.visit("bram") as bram:
        for person in (mallory, bram):
            for body in ("", "<body>pump on</body>"):
                for kind in ("chat", "normal", "headline"):
                    person.send_raw(f"<message to='{house.jid}' type='{kind}' id='w'>{body}{inside}</message>")
        await house.unmoved(since=before)
    assert learned(house, mallory) == []


async def test_a_room_called_like_the_owner_is_a_room(house, mallory):
    """`anna@rooms.localhost/anna` and an invitation in her name: the node is in no room, and enters none."""
    before = len(house.moves)
    room = house.server.room("anna")
    await mallory.join(room, "anna@localhost")
    invitation = (
        f"<message to='{room}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='{house.jid}'>"
        "<reason>lamp on</reason></invite></x></message>"
        f"<message to='{house.jid}'><x xmlns='jabber:x:conference' jid='{room}' reason='lamp on'/></message>"
    )
    mallory.send_raw(invitation)
    mallory.say(room, "greenhouse: lamp on", type="groupchat")
    await house.unmoved(since=before)
    assert learned(house, mallory) == []
    items = await mallory.disco_items(room)
    assert not [jid for jid, _ in items if "greenhouse" in jid]


async def test_a_domain_is_named_only_where_node_toml_says_so(house, mallory):
    """`*@example.net` is an owner here: nobody of localhost is, not even an account that is called `*`."""
    before = len(house.moves)
    async with house.visit("*", friends=()) as star:
        star.say(house.jid, "lamp on")
        await house.unmoved(since=before)
        assert learned(house, star) == []
    mallory.say(house.jid, "lamp on")
    await house.unmoved(since=before)


async def test_no_owner_gives_rights_to_a_domain_in_a_chat(house, anna):
    for text in ("allow *@localhost operator", "allow localhost operator", "allow ＊@localhost owner"):
        answer = await house.asks(anna, text, "A whole server can get rights in node.toml only.")
        assert "Nothing was changed" in answer


async def test_an_owner_who_allows_a_look_alike_is_told(house, anna):
    answer = await house.asks(anna, "allow аnna@localhost viewer", "аnna@localhost: viewer")
    assert "looks like anna@localhost, but is another address" in answer
    await house.asks(anna, "revoke аnna@localhost", "аnna@localhost has no rights here any more.")
    answer = await house.asks(anna, "allow bert@1ocalhost viewer", "bert@1ocalhost: viewer")
    assert "the server of bert@1ocalhost looks like localhost" in answer
    await house.asks(anna, "revoke bert@1ocalhost", "bert@1ocalhost has no rights here any more.")


async def test_what_one_device_was_asked_no_other_device_answers(house, anna):
    """A question belongs to the full address: the owner's own tablet does not answer the phone's."""
    before = len(house.moves)
    async with house.visit("anna", resource="tablet") as tablet:
        await house.asks(anna, "on", "")
        await house.asks(tablet, "1", "")
        await house.asks(tablet, "yes", "")
        await house.unmoved(since=before)


async def test_a_look_alike_of_the_node_is_not_the_node(house, anna):
    """Who answers in its place has no right at it either: what people say to greenh0use reaches nobody's outputs."""
    before = len(house.moves)
    async with house.visit("greenh0use", friends=()) as fake:
        anna.say(fake.jid, "lamp on")
        heard = await fake.wait(lambda seen: seen.body == "lamp on")
        fake.send_raw(
            f"<message to='{house.jid}' type='chat' id='relayed'><body>lamp on</body>"
            f"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{heard.sender}' "
            f"to='{house.jid}' type='chat'><body>lamp on</body></message></forwarded></message>"
        )
        fake.say(house.jid, heard.body)
        await house.unmoved(since=before)
        assert learned(house, fake) == []
