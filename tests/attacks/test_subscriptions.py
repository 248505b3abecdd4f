"""Presence, roster and pub-sub: what somebody without rights gets out of asking, and what remains of one who had some.

Seen from their clients, from the node's own account, and on the board.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.attacks.rig import ANYBODYS, GROWTH_MB, PEOPLE, House, besieged, visitor
from tests.integration.running import NODE

from knoop_bench.errors import Refused
from knoop_bench.seen import PUBSUB
from knoop_bench.witness import EVENTS, NODES, STATE, Witness

pytestmark = [pytest.mark.prosody, pytest.mark.asyncio(loop_scope="module")]

OWN = "http://jabber.org/protocol/pubsub#owner"
SOON_S = 15.0
TICKING = '\nrepeat = "1s"\n[[step]]\nat = "200ms"\nline = "door"\nvalue = true\n'
TICKING += '[[step]]\nat = "700ms"\nline = "door"\nvalue = false\n'
SCENARIO = 'trace = "board.jsonl"' + TICKING + "[sensor.air]\ntemperature = 12\n"
MORE = {"carl@localhost": '"viewer"', "dora@localhost": '"viewer"', "emma@localhost": '"viewer"'}
VERSION = "<query xmlns='jabber:iq:version'/>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory, authority) -> AsyncIterator[House]:
    """One node for all tests of this file; its door opens and closes each second."""
    folder = tmp_path_factory.mktemp("subscriptions")
    async with besieged(
        folder, authority, people=PEOPLE | MORE, users=("frank", "gina"), scenario=SCENARIO,
        growth_mb=GROWTH_MB + 50,  # it is started anew, which is counted from nothing
    ) as made:
        yield made


mallory = visitor("mallory")
anna = visitor("anna")


# An ordinary account that is online and answers nobody: what a stranger hears of it, the server says.
nobody = visitor("mallory2", scope="module", notify=())


def heard(stranger: Witness, jid: str, *, after: int = 0) -> list[tuple[str, str, bool, tuple[str, ...]]]:
    """What came from an account, without what differs from one to the next: ids, addresses, times."""
    return sorted(
        (seen.kind, seen.type, "/" in seen.sender, tuple(sorted(part.tag for part in seen.xml.iter())))
        for seen in stranger.seen[after:] if seen.sender_bare == jid
    )


def friendly(house: House, user: str) -> Witness:
    """A client that takes the node for a friend, whether it is present to it or not."""
    server = house.server
    return Witness(server.jid(user), ANYBODYS, port=server.tls_port, ca_file=server.ca_file, friends=[house.jid])


async def roster(owner: Witness) -> dict[str, str]:
    """Everybody in the node's roster, and the state of the subscription."""
    answer = await owner.iq("get", "<query xmlns='jabber:iq:roster'/>")
    return {item.get("jid", ""): item.get("subscription", "") for item in answer.iter("{jabber:iq:roster}item")}


async def members(owner: Witness, node: str) -> set[str]:
    """Who may read a node."""
    answer = await owner.iq("get", f"<pubsub xmlns='{OWN}'><affiliations node='{node}'/></pubsub>")
    found = answer.iter(f"{{{OWN}}}affiliation")
    return {one.get("jid", "") for one in found if one.get("affiliation") not in {"owner", "none"}}


async def traces(owner: Witness, jid: str) -> list[str]:
    """Where the node's account still knows this person."""
    there = [node for node in NODES if jid in await members(owner, node)]
    return [*there, *(["roster"] if jid in await roster(owner) else [])]


async def forgotten(owner: Witness, jid: str) -> None:
    """Return when the account knows nothing of this person any more."""
    async with asyncio.timeout(SOON_S):
        while await traces(owner, jid):
            await owner.ping()


async def told(person: Witness, kind: str, *, after: int) -> None:
    """Return when a presence of this kind came from the node's account."""
    jid = f"{NODE}@localhost"
    await person.wait(lambda seen: seen.type == kind and seen.sender_bare == jid, SOON_S, after=after)


async def readable(person: Witness, jid: str, node: str = STATE) -> bool:
    try:
        return bool(await person.pep_items(jid, node))
    except Refused:
        return False


# Strangers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", ""])
async def test_no_presence_of_a_stranger_opens_anything(house, mallory, nobody, anna, kind):
    """A1: with the library's defaults a stranger got the subscription “both”."""
    for to in (house.jid, await house.device(anna), nobody.jid, nobody.full_jid):
        mallory.send_raw(f"<presence to='{to}' type='{kind}'/>" if kind else f"<presence to='{to}'/>")
    await house.unmoved()
    await nobody.ping()
    await mallory.ping()
    assert heard(mallory, house.jid) == heard(mallory, nobody.jid)
    async with house.account() as owner:
        assert mallory.jid not in await roster(owner)


async def test_an_unanswered_request_is_not_answered_at_the_next_login_either(house, mallory, nobody):
    """The server keeps it and shows it to us each time."""
    for jid in (house.jid, nobody.jid):
        mallory.send_raw(f"<presence to='{jid}' type='subscribe'/>")
    await mallory.ping()
    logins = house.node.log.count("connected as")
    await house.node.stop(signal.SIGTERM)
    house.node.start()
    await house.node.online(times=logins + 1)
    await house.unmoved()
    assert heard(mallory, house.jid) == heard(mallory, nobody.jid)


async def test_a_stranger_who_announces_interest_is_sent_no_item(house, mallory, nobody, anna):
    """A directed presence with `+notify` (XEP-0163 §4.3.2) gets what the access model lets through: nothing."""
    for to in (house.jid, await house.device(anna), nobody.jid, nobody.full_jid):
        mallory._client.send_presence(pto=to)  # with the capabilities of its own presence, which name our nodes
    after = anna.mark
    await anna.wait(lambda seen: any(item.node == EVENTS for item in seen.items), SOON_S, after=after)
    await mallory.ping()
    assert mallory.items == ()
    assert {*heard(mallory, house.jid)} <= {*heard(mallory, nobody.jid)}


@pytest.mark.parametrize("whose", ["mallory@localhost", "mallory@localhost/x", "anna@localhost"])
async def test_a_stranger_subscribes_nobody_to_a_node(house, mallory, whose):
    for node in NODES:
        for question in (f"<subscribe node='{node}' jid='{whose}'/>", f"<items node='{node}'/>",
                         f"<publish node='{node}'><item id='0'><x xmlns='u'/></item></publish>",
                         f"<retract node='{node}'><item id='0'/></retract>"):
            kind = "get" if question.startswith("<items") else "set"
            with pytest.raises(Refused):
                await mallory.iq(kind, f"<pubsub xmlns='{PUBSUB}'>{question}</pubsub>", to=house.jid)
        for question in (f"<affiliations node='{node}'/>", f"<subscriptions node='{node}'/>", f"<purge node='{node}'/>",
                         f"<delete node='{node}'/>", f"<configure node='{node}'/>"):
            with pytest.raises(Refused):
                await mallory.iq("set", f"<pubsub xmlns='{OWN}'>{question}</pubsub>", to=house.jid)
    assert [seen for seen in house.learned(mallory) if seen.kind != "presence"] == []


async def test_items_that_somebody_sends_us_are_nobodys_readings(house, mallory, anna):
    """A forged PEP event: to the node it is a headline of a stranger, or of a person, and no command."""
    item = "<readings xmlns='urn:knoop:1:readings' run='k3v9q2xa'><boolean channel='lamp' seq='1'>true</boolean>"
    event = (
        "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:knoop:1:readings'>"
        f"<item id='1'>{item}</readings></item></items></event>"
    )
    for person in (mallory, anna):
        person.send_raw(f"<message to='{house.jid}' type='headline'>{event}</message>")
        person.send_raw(f"<message to='{house.jid}' type='chat'>{event}</message>")
    await house.unmoved()
    assert [seen for seen in house.learned(mallory) if seen.kind != "presence"] == []


@pytest.mark.parametrize("user", ["mallory", "vera"])
async def test_cve_2015_8688_and_cve_2016_9928_a_roster_push_of_a_client_is_none(house, anna, nobody, user):
    """Only the account's own server says who is in its roster (RFC 6121 §2.1.6): not a stranger, not a person."""
    device, after = await house.device(anna), nobody.mark
    item = f"<item jid='{nobody.jid}' subscription='both' ask='subscribe'><group>Knoop</group></item>"
    async with house.visit(user, resource="pusher") as person:
        for pushed in (item, item.replace("both", "remove"), "<item jid='anna@localhost' subscription='remove'/>"):
            with pytest.raises(Refused, match="service-unavailable"):
                await person.iq("set", f"<query xmlns='jabber:iq:roster'>{pushed}</query>", to=device)
        await house.unmoved()
    async with house.account() as owner:
        known = await roster(owner)
    assert nobody.jid not in known
    assert known["anna@localhost"] == "both"
    assert [seen for seen in nobody.seen[after:] if seen.sender_bare == house.jid] == []


# Who had rights -------------------------------------------------------------------------------------------------------


async def test_revoked_is_revoked_everywhere_at_once(house, nobody, anna):
    async with house.visit("carl", friends=[house.jid]) as carl, house.account() as owner:
        device = await house.device(carl)
        await house.asks(carl, "watch door", "I tell you")
        async with asyncio.timeout(SOON_S):
            while not await readable(carl, house.jid):
                await carl.ping()
        form = await carl.iq(
            "set", "<command xmlns='http://jabber.org/protocol/commands' node='read' action='execute'/>", to=device
        )
        session = form[0].get("sessionid")
        after = carl.mark
        await house.asks(anna, "revoke carl@localhost", "carl@localhost has no rights here any more.")
        await told(carl, "unsubscribed", after=after)
        await told(carl, "unavailable", after=after)
        await forgotten(owner, carl.jid)
        for node in NODES:
            assert not await readable(carl, house.jid, node)
            with pytest.raises(Refused):
                await carl.iq("set", f"<pubsub xmlns='{PUBSUB}'><subscribe node='{node}' jid='{carl.jid}'/></pubsub>",
                              to=house.jid)
        for kind, question in (("get", VERSION), ("get", "<history xmlns='urn:knoop:1:history' channel='door'/>"), (
            "set", "<command xmlns='http://jabber.org/protocol/commands' node='read' action='complete' "
            f"sessionid='{session}'><x xmlns='jabber:x:data' type='submit'/></command>"
        )):
            with pytest.raises(Refused, match="service-unavailable"):
                await carl.iq(kind, question, to=device)
        after = carl.mark
        for jid in (house.jid, nobody.jid):
            carl.say(jid, "lamp on")
            carl.send_raw(f"<presence to='{jid}' type='subscribe'/><presence to='{jid}' type='probe'/>")
        seen = anna.mark
        for _ in range(3):  # the door goes on; nobody tells Carl, by the watch, as an item or as an alarm
            event = await anna.wait(lambda one: any(item.node == EVENTS for item in one.items), SOON_S, after=seen)
            seen = event.number + 1
        await house.unmoved()
        await carl.ping()
        assert not [one for one in carl.seen[after:] if one.items]
        assert heard(carl, house.jid, after=after) == heard(carl, nobody.jid, after=after)
    await house.asks(anna, "allow carl@localhost viewer", "carl@localhost: viewer")


async def test_whom_the_roster_had_before_the_node_did_leaves_it_too(house, anna):
    """An entry that another client had made was left alone for ever, and its owner went on to see the node."""
    async with friendly(house, "frank") as frank, house.account() as owner:
        item = f"<item jid='{frank.jid}' name='Frank'><group>Family</group></item>"
        await owner.iq("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")
        owner.send_raw(f"<presence to='{frank.jid}' type='subscribed'/>")
        await frank.wait(house.present, SOON_S)
        await house.asks(anna, "allow frank@localhost viewer", "frank@localhost: viewer")
        async with asyncio.timeout(SOON_S):
            while (await roster(owner)).get(frank.jid) != "both":
                await owner.ping()
        answer = await owner.iq("get", "<query xmlns='jabber:iq:roster'/>")
        [kept] = [item for item in answer.iter("{jabber:iq:roster}item") if item.get("jid") == frank.jid]
        assert kept.get("name") == "Frank"
        assert {group.text for group in kept} == {"Family", "Knoop"}
        after = frank.mark
        await house.asks(anna, "revoke frank@localhost", "frank@localhost has no rights here any more.")
        await told(frank, "unsubscribed", after=after)
        await forgotten(owner, frank.jid)


async def test_who_only_saw_the_node_and_was_not_seen_is_told_that_it_is_gone(house, anna):
    """Prosody 0.12 says `unavailable` at the end of an entry only where we saw them as well."""
    async with house.visit("gina", friends=()) as gina, house.account() as owner:
        gina.send_raw(f"<presence to='{house.jid}' type='subscribe'/>")  # and no answer to the node's own request
        await house.asks(anna, "allow gina@localhost viewer", "gina@localhost: viewer")
        await gina.wait(house.present, SOON_S)
        assert (await roster(owner))[gina.jid] == "from"
        after = gina.mark
        await house.asks(anna, "revoke gina@localhost", "gina@localhost has no rights here any more.")
        await told(gina, "unavailable", after=after)
        await forgotten(owner, gina.jid)


async def test_who_was_taken_out_of_node_toml_is_out_with_its_reload_and_after_a_start(house):
    file = house.folder / "node.toml"
    async with house.account() as owner:
        for who, how in (("dora@localhost", "reload"), ("emma@localhost", "start")):
            assert await traces(owner, who)
            assert who in file.read_text("utf-8")
            logins = house.node.log.count("connected as")
            text = file.read_text("utf-8").replace(f'"{who}" = "viewer"\n', "").replace(f'"{who}" = "viewer"', "")
            if how == "start":
                await house.node.stop(signal.SIGTERM)
                file.write_text(text, "utf-8")
                house.node.start()
            else:
                file.write_text(text, "utf-8")
                house.node.tell(signal.SIGHUP)
            if how == "start":
                await house.node.online(times=logins + 1)
            await forgotten(owner, who)
    assert f"{NODE}@localhost" in file.read_text("utf-8")
