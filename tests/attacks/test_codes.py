"""One-time codes at a real server: what guesses, other devices, replays, restarts and other people's forms come to."""

from __future__ import annotations

import re
import signal
from xml.etree import ElementTree as ET

import pytest
from tests.attacks.rig import GROWTH_MB, House, besieged

from knoop_bench.errors import NotSeen
from knoop_bench.seen import Seen
from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

NO_CODE = "That is no code that counts now"
CODE = re.compile(r"Send (\d{3} \d{3}) within 30 s to do this: set Lock to (on|off)\.")
CARBONS = "<enable xmlns='urn:xmpp:carbons:2'/>"
OPENED = ("lock", True)
FROM_NOTHING_MB = 60 + GROWTH_MB  # a node that was started anew is measured with all that a start takes


async def given(house: House, person: Witness, text: str = "lock on") -> str:
    """The code that the node says to whoever asks for the lock."""
    answer = await house.asks(person, text)
    found = CODE.fullmatch(answer)
    assert found, answer
    return found[1]


def other(code: str) -> str:
    """A code that is another one."""
    return f"{(int(code.replace(' ', '')) + 1) % 1_000_000:06}"


def codes_in(witness: Witness) -> list[Seen]:
    """All that this client ever got with a code in it."""
    return [seen for seen in witness.seen if re.search(r"\d{3} \d{3}", ET.tostring(seen.xml, "unicode"))]


async def test_a_lock_opens_for_whoever_sends_the_code_back_and_once(house, anna):
    code = await given(house, anna)
    await house.unmoved()
    await house.asks(anna, code, "Lock is on.")
    await house.asks(anna, code, NO_CODE)
    await house.unmoved(since=1)
    assert house.moves == [OPENED]
    assert [(line.action, line.result) for line in house.audited(anna.full_jid)] == [
        ("lock on", "a code is asked"), ("set lock on (code)", "done"), ("code", "refused: no code that counts"),
    ]  # fmt: skip


async def test_nobody_but_the_asking_device_is_told_a_code_and_no_archive_keeps_it(house, anna):
    async with house.visit("anna", resource="tablet") as tablet, house.visit("mallory") as mallory:
        await tablet.iq("set", CARBONS)
        code = await given(house, anna)
        await house.asks(anna, "lamp?", "Lamp is off.")
        await tablet.wait(lambda seen: b"Lamp is off." in ET.tostring(seen.xml))  # carbons are on, and this was later
        await tablet.ping()
        assert codes_in(tablet) == codes_in(mallory) == []
        await house.asks(tablet, code, NO_CODE)
        assert house.learned(mallory) == []
    await house.unmoved()


async def test_what_is_said_to_a_device_that_went_helps_no_other(house, anna):
    """A server may hand what was for one device to another of the same account; the code is for the one that asked."""
    async with house.visit("anna", resource="left") as left:
        left.say(house.jid, "lock on")
        await left.ping()
    await house.settled()
    assert ("lock on", "a code is asked") in [(line.action, line.result) for line in house.audit()]
    for seen in codes_in(anna):
        await house.asks(anna, CODE.fullmatch(seen.body)[1], NO_CODE)
    await house.unmoved()


async def test_somebody_else_with_the_code_opens_nothing(house, anna):
    code = await given(house, anna)
    for user in ("bram", "vera", "mallory"):
        async with house.visit(user) as thief:
            thief.say(house.jid, code)
            thief.say(house.jid, "lock on")
            await thief.ping()
            await house.unmoved()
            assert codes_in(thief) == []
            assert user != "mallory" or house.learned(thief) == []
    await house.asks(anna, code, "Lock is on.")


async def test_three_guesses_end_it(house, anna):
    code = await given(house, anna)
    async with house.visit("anna", resource="tablet") as tablet:
        for guess in (code, other(code), "000000"):
            await house.asks(tablet, guess, NO_CODE)
    await house.asks(anna, code, NO_CODE)
    await house.asks(anna, "lock on", "Too many wrong codes came from your address")
    await house.unmoved()
    refused = [line for line in house.audited("anna@localhost") if line.action == "code"]
    assert [line.result for line in refused] == ["refused: no code that counts"] * 4


async def test_a_replayed_wish_gets_no_other_code_and_a_replayed_code_does_nothing(house, anna):
    first = anna.mark
    for _ in range(3):
        anna.say(house.jid, "lock on", id="wish")
    code = CODE.fullmatch((await anna.wait(lambda seen: bool(CODE.fullmatch(seen.body)), after=first)).body)[1]
    await house.settled()
    assert len(codes_in(anna)) == 1
    for _ in range(3):
        anna.say(house.jid, code, id="code")
    await anna.wait(lambda seen: seen.body == "Lock is on.", after=first)
    await house.asks(anna, "lock off", "Send ")
    anna.say(house.jid, code, id="code")
    await house.unmoved(since=1)
    assert house.moves == [OPENED]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_code_outlives_the_node_and_is_used_once_all_the_same(tmp_path, authority, how):
    async with besieged(tmp_path, authority, growth_mb=FROM_NOTHING_MB) as house, house.visit("anna") as anna:
        code = await given(house, anna)
        await again(house, anna, how)
        await house.asks(anna, code, "Lock is on.")
        assert house.moves[-1] == OPENED
        await again(house, anna, how)
        moved = len(house.moves)
        await house.asks(anna, code, NO_CODE)
        await house.unmoved(since=moved)


async def again(house: House, anna: Witness, how: signal.Signals) -> None:
    """Another start of the node, which its owner sees."""
    after, logins = anna.mark, house.node.log.count("connected as")
    await house.node.stop(how)
    house.node.start()
    await house.node.online(times=logins + 1)
    await anna.wait(house.present, 20, after=after)


async def test_a_form_that_waits_for_its_code_is_nobody_elses(house, anna):
    node = await house.device(anna)
    session = (await command(anna, node, "", None)).get("sessionid")
    told = ET.tostring(await command(anna, node, session, {"output": "lock", "value": "1"}), "unicode")
    code = re.search(r"Send (\d{3} \d{3}) within", told)[1]
    for user, resource in (("anna", "tablet"), ("bram", "")):
        async with house.visit(user, resource=resource) as thief:
            answer = await raw(thief, node, session, {"code": code})
            assert answer.get("type") == "error"
            assert "bad-sessionid" in ET.tostring(answer, "unicode")
    await house.unmoved()
    done = ET.tostring(await command(anna, node, session, {"code": code}), "unicode")
    assert "Lock is on." in done
    assert house.moves == [OPENED]


async def raw(witness: Witness, node: str, session: str, values: dict[str, str] | None) -> ET.Element:
    """One step of the node's form for `set`, and whatever the node answers."""
    fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in (values or {}).items())
    form = "" if values is None else f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
    named = f"sessionid='{session}'" if session else ""
    after, name = witness.mark, f"step{witness.mark}"
    witness.send_raw(
        f"<iq type='set' id='{name}' to='{node}'><command xmlns='http://jabber.org/protocol/commands' node='set' "
        f"{named}>{form}</command></iq>"
    )
    return (await witness.wait(lambda seen: seen.kind == "iq" and seen.id == name, after=after)).xml


async def command(witness: Witness, node: str, session: str, values: dict[str, str] | None) -> ET.Element:
    """The same, when the node takes it."""
    answer = await raw(witness, node, session, values)
    if answer.get("type") != "result":
        raise NotSeen(ET.tostring(answer, "unicode"))
    return answer[0]


ROOM = "hall@rooms.localhost"


async def test_a_room_gets_no_code_and_takes_none(tmp_path, authority):
    """What is said there others read; and a code is for the device that asked, not for an occupant."""
    table = f'[room."{ROOM}"]\ncommands = true\n'
    async with besieged(tmp_path, authority, more=table) as house, house.visit("anna") as anna:
        await house.node.says(f"room {ROOM} did not exist")
        await anna.join(ROOM, "anna")
        after = anna.mark
        anna.say(ROOM, "greenhouse: lock on", type="groupchat")
        answer = await anna.wait(lambda seen: seen.sender == f"{ROOM}/greenhouse" and bool(seen.body), after=after)
        assert answer.body == "I did nothing: Lock is never set from a room. Ask me in a chat of your own."
        code = await given(house, anna)
        for line in (code, f"greenhouse: {code}", f"greenhouse: {code.replace(' ', '')}"):
            anna.say(ROOM, line, type="groupchat")
            anna.say(f"{ROOM}/greenhouse", line)
        await house.unmoved()
        await house.asks(anna, code, "Lock is on.")


STAMP = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>"


NOT_LIVE = {
    "delayed": f"<message to='{{to}}' type='chat'><body>{{text}}</body>{STAMP}</message>",
    "headline": "<message to='{to}' type='headline'><body>{text}</body></message>",
    "groupchat": "<message to='{to}' type='groupchat'><body>{text}</body></message>",
    "corrected": "<message to='{to}' type='chat'><body>{text}</body>"
                 "<replace xmlns='urn:xmpp:message-correct:0' id='x'/></message>",
    "carbon": "<message to='{to}' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded "
              "xmlns='urn:xmpp:forward:0'><message type='chat' from='{me}' to='{to}'><body>{text}</body></message>"
              "</forwarded></received></message>",
    "forwarded": "<message to='{to}' type='chat'><body>{text}</body><forwarded xmlns='urn:xmpp:forward:0'/></message>",
}  # fmt: skip


async def test_a_code_in_anything_but_a_live_message_opens_nothing(house, anna):
    code = await given(house, anna)
    for stanza in NOT_LIVE.values():
        anna.send_raw(stanza.format(to=house.jid, text=code, me=anna.full_jid))
    await house.unmoved()
    await house.asks(anna, code, "Lock is on.")
