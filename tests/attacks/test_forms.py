"""Ad-hoc commands (XEP-0050): a form that somebody else goes on with, again, later, or with more than it asked.

slixmpp's own plugin (1.17) lets a third address finish somebody's form, keeps each one for ever and has
no end of time. It is not loaded; these are the same attacks against what stands in its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
from tests.attacks.rig import House, besieged, visitor

from knoop.xmpp.openforms import PER_PERSON
from knoop_bench.errors import Refused
from knoop_bench.witness import Witness

pytestmark = [pytest.mark.prosody, pytest.mark.asyncio(loop_scope="module")]

C, X = "{http://jabber.org/protocol/commands}", "{jabber:x:data}"
NS = "xmlns='http://jabber.org/protocol/commands'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory, authority) -> AsyncIterator[House]:
    async with besieged(tmp_path_factory.mktemp("forms"), authority) as made:
        yield made


anna = visitor("anna")
bram = visitor("bram")  # Operator, of the lamp only


def step(verb: str, session: str = "", action: str = "", **values: str) -> ET.Element:
    command = ET.Element(f"{C}command", {"node": verb, **({"sessionid": session} if session else {})})
    if action:
        command.set("action", action)
    if values:
        x = ET.SubElement(command, f"{X}x", {"type": "submit"})
        for var, value in values.items():
            field = ET.SubElement(x, f"{X}field", {"var": var})
            ET.SubElement(field, f"{X}value").text = value
    return command


async def go(person: Witness, device: str, *arguments: str, **values: str) -> ET.Element:
    [command] = await person.iq("set", step(*arguments, **values), to=device)
    return command


async def opened(person: Witness, device: str, verb: str) -> str:
    """The id of a form that now stands open."""
    command = await go(person, device, verb)
    assert command.get("status") == "executing"
    return command.get("sessionid", "")


ON = {"output": "lamp", "value": "1"}
GRANT = {"jid": "mallory@localhost", "role": "owner"}


@pytest.mark.parametrize("thief", ["mallory", "vera", "bram", "anna"])
async def test_c1_who_knows_the_id_of_a_form_does_nothing_with_it(house, anna, thief):
    """A third address finished Alice's session. Here it is a stranger, who may less, and the owner's other phone."""
    device, before = await house.device(anna), len(house.moves)
    session = await opened(anna, device, "allow")
    async with house.visit(thief, resource="thief", friends=()) as other:
        for action in ("", "execute", "complete", "next", "prev", "cancel"):
            with pytest.raises(Refused) as refused:
                await go(other, device, "allow", session, action, **GRANT)
            assert refused.value.condition in {"service-unavailable", "item-not-found", "bad-request"}
        if thief == "mallory":
            assert house.learned(other) == []
        await house.unmoved(since=before)
    assert (await go(anna, device, "allow", session, "cancel")).get("status") == "canceled", "it was still hers"
    assert "mallory" not in await house.asks(anna, "who", "")


async def test_c1_the_theft_of_a_form_is_in_the_audit_log(house, anna):
    device = await house.device(anna)
    session = await opened(anna, device, "allow")
    async with house.visit("anna", resource="tablet") as tablet:
        with pytest.raises(Refused, match="bad-request"):
            await go(tablet, device, "allow", session, "complete", **GRANT)
        await house.settled()
        last = house.audited(tablet.full_jid)[-1]
        assert (last.action, last.result) == (f"allow: the form of {anna.full_jid}", "refused: not theirs")
    await go(anna, device, "allow", session, "cancel")


async def test_c2_a_form_that_is_done_is_over(house, anna):
    """Replayed with its id, and with the id of its stanza, it acts no second time."""
    device = await house.device(anna)
    before = len(house.moves)
    session = await opened(anna, device, "set")
    done = ET.tostring(step("set", session, "complete", **ON), encoding="unicode")
    answers = []
    for _ in range(2):
        after = anna.mark
        anna.send_raw(f"<iq type='set' id='again-1' to='{device}'>{done}</iq>")
        seen = await anna.wait(lambda seen: seen.xml.get("id") == "again-1", after=after)
        answers.append(ET.tostring(seen.xml))
    assert answers[0] == answers[1], "it is answered as it was"
    await house.asks(anna, "lamp off", "Lamp is off.")
    anna.send_raw(f"<iq type='set' id='again-1' to='{device}'>{done}</iq>")
    with pytest.raises(Refused, match="bad-request"):
        await go(anna, device, "set", session, "complete", **ON)
    await house.settled()
    assert house.moves[before:] == [("lamp", True), ("lamp", False)]


async def test_an_id_that_was_never_given_opens_nothing(house, anna):
    device, before = await house.device(anna), len(house.moves)
    for session in ("1", "a" * 32, " ", "'\"", "\u202e", "x" * 5000):
        for action in ("", "complete", "next", "cancel"):
            with pytest.raises(Refused, match="bad-request"):
                await go(anna, device, "set", session, action, **ON)
    await house.unmoved(since=before)


async def test_a_form_of_one_verb_submits_no_other(house, anna):
    device, before = await house.device(anna), len(house.moves)
    session = await opened(anna, device, "read")
    for verb in ("set", "allow", "revoke"):
        with pytest.raises(Refused, match="bad-request"):
            await go(anna, device, verb, session, "complete", **ON, **GRANT)
    await house.unmoved(since=before)
    await go(anna, device, "read", session, "cancel")


@pytest.mark.parametrize("values", [
    {"output": "pump"}, {"output": "lock"}, {"output": "lamp", "value": "1", "channels": "pump"}, {"output": "nothing"},
    {"value": "1", "output": "pump"},
])  # fmt: skip
async def test_a_form_does_no_more_than_it_asks(house, anna, bram, values):
    """Bram may set the lamp: what he writes into it besides is nobody's wish, and no other output exists for him."""
    device, before = await house.device(anna), len(house.moves)
    command = await go(bram, device, "set")
    assert "pump" not in ET.tostring(command, encoding="unicode").lower()
    try:
        await go(bram, device, "set", command.get("sessionid", ""), "complete", **values)
    except Refused:
        pass
    await house.settled()
    assert {channel for channel, _ in house.moves[before:]} <= {"lamp"}


async def test_a_viewer_is_shown_and_opens_no_form_that_changes_something(house, anna):
    device, before = await house.device(anna), len(house.moves)
    async with house.visit("vera") as vera:
        listed = {node for _, node in await vera.disco_items(device, node="http://jabber.org/protocol/commands")}
        assert listed.isdisjoint({"set", "allow", "revoke", "log", "who", "bench"})
        for verb in ("set", "allow", "revoke", "log", "nothing"):
            for action in ("", "execute", "complete"):
                with pytest.raises(Refused, match="item-not-found"):
                    await go(vera, device, verb, "", action)
    await house.unmoved(since=before)


async def test_a_form_goes_with_the_rights_it_was_opened_with(house, anna):
    """Taken away and given back in between: what was filled in before does not count any more."""
    device, before = await house.device(anna), len(house.moves)
    async with house.visit("bram", resource="phone") as bram:
        session = await opened(bram, device, "set")
        await house.asks(anna, "revoke bram@localhost", "bram@localhost has no rights here any more.")
        with pytest.raises(Refused, match="service-unavailable"):
            await go(bram, device, "set", session, "complete", **ON)
        await house.asks(anna, "allow bram@localhost operator only lamp", "bram@localhost: operator, only lamp")
        with pytest.raises(Refused, match="bad-request"):
            await go(bram, device, "set", session, "complete", **ON)
    await house.unmoved(since=before)


async def test_c2_many_forms_are_a_few(house, anna):
    """Who opens them loses their own oldest; the owner's stays open."""
    device = await house.device(anna)
    session = await opened(anna, device, "allow")
    async with house.visit("vera", resource="greedy") as vera:
        after = vera.mark
        for number in range(2 * PER_PERSON):  # fewer than are heard of somebody while the server is behind
            vera.send_raw(
                f"<iq type='set' id='greedy-{number}' to='{device}'>"
                "<command xmlns='http://jabber.org/protocol/commands' node='read'/></iq>"
            )
            await vera.wait(lambda seen, name=f"greedy-{number}": seen.xml.get("id") == name, 20, after=after)
        first = next(one for seen in vera.seen[after:] if (one := seen.xml.find(f"{C}command")) is not None)
        with pytest.raises(Refused, match="bad-request"):
            await go(vera, device, "read", first.get("sessionid", ""), "complete")
    assert (await go(anna, device, "allow", session, "cancel")).get("status") == "canceled"


@pytest.mark.parametrize("payload", [
    f"<command {NS} node='set' action='complete'><x xmlns='jabber:x:data' type='submit'><field var='output'><value>lamp"
    "</value></field><field var='value'><value>1</value></field></x></command>",
    f"<command {NS} node='set'/><command {NS} node='set'/>",
    f"<command {NS} node='set' action='jump'/>",
    f"<command {NS}/>",
    "<command xmlns='urn:x' node='set'/>",
])  # fmt: skip
@pytest.mark.parametrize("kind", ["get", "set"])
async def test_what_is_no_proper_form_moves_nothing(house, anna, payload, kind):
    device, before = await house.device(anna), len(house.moves)
    after = anna.mark
    anna.send_raw(f"<iq type='{kind}' id='improper' to='{device}'>{payload}</iq>")
    answer = await anna.wait(lambda seen: seen.xml.get("id") == "improper", after=after)
    assert answer.type == "error"
    await house.unmoved(since=before)
