"""From a message to an answer, over real rights, parser, verbs, store and audit."""

import asyncio
import contextlib
import threading
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from tests.node.house import PEOPLE, greenhouse

from knoop.access import Access, Person, Role
from knoop.command import N_, Command, say
from knoop.commands import table
from knoop.conversation import MAX_LANES, MAX_WAITING, STRANGERS_AUDITED_PER_MIN, Conversation
from knoop.errors import LinkError
from knoop.execution import CUT_OFF, Execution
from knoop.jid import Jid

ANNA = "anna@example.org/phone"
A_WHOLE_DOMAIN = Access([*PEOPLE, Person(jid=Jid("*", "house.example"), role=Role.VIEWER)])


def message(text, sender=ANNA, stanza_id="", inner="", kind="chat"):
    element = ET.fromstring(f"<message xmlns='jabber:client' type='{kind}' from='{sender}'><body/>{inner}</message>")
    element[0].text = text
    if stanza_id:
        element.set("id", stanza_id)
    return element


class Talk:
    """The house, what it answered, and a way to wait for an answer."""

    def __init__(self, house, verbs):
        self.house = house
        self.said = []
        self.written = []
        self.online = True
        self._more = asyncio.Event()
        self.execution = Execution(house, verbs=verbs)
        self.conversation = Conversation(
            house, execution=self.execution, voice=self._voice, send=self._send, write=self.written.append
        )

    async def close(self):
        await self.conversation.close()
        await self.execution.close()

    def _voice(self, lang):
        return self.house.voice(lang or "en")

    def _send(self, to, text):
        if not self.online:
            raise LinkError("not connected")
        self.said.append((str(to), text))
        self._more.set()

    def hear(self, *args, late=False, **more):
        self.conversation.hear(message(*args, **more), late=late)

    async def answers(self, count):
        async with asyncio.timeout(5):
            while len(self.said) < count:
                self._more.clear()
                await self._more.wait()
        return [text for _, text in self.said]

    async def audit(self, count):
        async with asyncio.timeout(5):
            while len(lines := await self.house.state.audit_tail(100)) < count:
                await asyncio.sleep(0.005)
        return [(line.who, line.action, line.result) for line in lines]


@pytest.fixture
async def talk(tmp_path):
    async with open_talk(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def open_talk(folder, verbs=None):
    async with greenhouse(folder) as house:
        made = Talk(house, verbs or table())
        try:
            yield made
        finally:
            await made.close()


async def test_a_person_is_answered_where_they_spoke(talk):
    talk.hear("lamp on")
    assert await talk.answers(1) == ["Lamp is on."]
    assert talk.said[0][0] == ANNA
    assert talk.house.board.moves == [("lamp", True, None)]
    assert await talk.audit(1) == [(ANNA, "lamp on", "done")]


async def test_a_client_that_asks_for_a_receipt_gets_one_and_a_strangers_does_not(talk):
    wish = "<request xmlns='urn:xmpp:receipts'/>"
    talk.hear("lamp?", sender="mallory@example.net/x", stanza_id="m0", inner=wish)
    talk.hear("lamp?", stanza_id="m1", inner=wish)
    await talk.answers(1)
    [receipt] = talk.written
    assert (receipt.get("to"), receipt[0].tag, receipt[0].get("id")) == (ANNA, "{urn:xmpp:receipts}received", "m1")


async def test_a_stranger_hears_nothing_and_is_in_the_audit_log(talk):
    talk.hear("lamp on", sender="mallory@example.net/x")
    assert await talk.audit(1) == [("mallory@example.net/x", "lamp on", "refused: stranger")]
    assert talk.said == []
    assert talk.house.board.moves == []


async def test_a_flood_of_strangers_does_not_push_people_out_of_the_audit_log(talk):
    talk.hear("lamp on")
    await talk.answers(1)
    for number in range(500):
        talk.hear("open", sender=f"m{number}@example.net/x")
    lines = await talk.audit(1 + STRANGERS_AUDITED_PER_MIN)
    assert (ANNA, "lamp on", "done") in lines
    assert len(lines) == 1 + STRANGERS_AUDITED_PER_MIN


async def test_somebody_without_the_right_gets_one_sentence_and_an_audit_line(talk):
    talk.hear("lamp on", sender="cleo@example.org/tablet")
    [sentence] = await talk.answers(1)
    assert "\n" not in sentence
    assert talk.house.board.moves == []
    assert await talk.audit(1) == [("cleo@example.org/tablet", "lamp on", "refused: not allowed")]


async def test_only_hides_channels_altogether(talk):
    talk.hear("lamp?", sender="dirk@example.org/watch")
    talk.hear("unheard of?", sender="dirk@example.org/watch")
    hidden, unknown = await talk.answers(2)
    assert hidden.replace("lamp", "X") == unknown.replace("unheard of", "X"), "a hidden channel looks like none"


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>", "arrived late"),
        ("<replace xmlns='urn:xmpp:message-correct:0' id='1'/>", "corrections"),
        ("<encrypted xmlns='eu.siacs.conversations.axolotl'/>", "cannot read encrypted"),
    ],
)
async def test_what_is_not_fresh_or_not_readable_is_answered_and_never_acts(talk, inner, words):
    talk.hear("lamp on", inner=inner)
    [sentence] = await talk.answers(1)
    assert words in sentence
    assert talk.house.board.moves == []


async def test_late_by_the_link_is_late(talk):
    talk.hear("lamp on", late=True)
    assert "arrived late" in (await talk.answers(1))[0]
    assert talk.house.board.moves == []


@pytest.mark.parametrize("kind", ["error", "headline", "groupchat"])
async def test_other_types_are_silence(talk, kind):
    talk.hear("lamp on", kind=kind)
    talk.hear("lamp?")
    assert await talk.answers(1) == ["Lamp is off."]


async def test_a_repeated_stanza_id_acts_once(talk):
    talk.hear("lamp on", stanza_id="a1")
    talk.hear("lamp on", stanza_id="a1")
    talk.hear("lamp?", stanza_id="a2")
    assert await talk.answers(2) == ["Lamp is on.", "Lamp is on."]
    assert len(talk.house.board.moves) == 1


async def test_requests_of_one_person_are_done_in_their_order(talk):
    for number in range(10):
        talk.hear("lamp on" if number % 2 == 0 else "lamp off")
    await talk.answers(10)
    assert [value for _, value, _ in talk.house.board.moves] == [True, False] * 5


async def test_a_script_that_types_too_fast_loses_the_rest_not_the_node(talk):
    for _ in range(MAX_WAITING * 3):
        talk.hear("lamp?")
    await talk.answers(MAX_WAITING)
    talk.hear("status", sender="bram@example.org/laptop")
    assert any(to.startswith("bram") for to, _ in talk.said) or await talk.answers(MAX_WAITING + 1)


async def test_a_right_that_was_taken_back_counts_for_what_still_waits(talk):
    talk.hear("lamp on")
    talk.house.access = talk.house.access.with_grants(
        [replace(talk.house.access.person(talk.house.jid(ANNA)), role=Role.NONE)]
    )
    talk.hear("lamp?", sender="bram@example.org/laptop")
    assert len(await talk.answers(1)) == 1
    assert talk.house.board.moves == []


async def test_a_fault_inside_is_an_incident_id_and_no_detail(tmp_path, caplog):
    async def fail(_request, _house):
        raise RuntimeError("/dev/gpiochip0 secret detail")

    broken = Command(verb="status", role=Role.VIEWER, summary=N_("x"), usage=("status",), run=fail)
    verbs = {**table(), "status": broken}
    async with open_talk(tmp_path, verbs) as talk:
        talk.hear("status")
        [sentence] = await talk.answers(1)
        assert "secret" not in sentence
        incident = sentence.rstrip(".").rpartition(" ")[2]
        assert incident in caplog.text
        assert "secret detail" in caplog.text
        talk.hear("lamp on")
        assert (await talk.answers(2))[1] == "Lamp is on."


async def test_what_waited_behind_a_slow_request_is_late(tmp_path):
    release = asyncio.Event()

    async def slow(_request, _house):
        await release.wait()
        return say(N_("done"))

    verbs = {**table(), "bench": Command(verb="bench", role=Role.OWNER, summary=N_("x"), usage=("bench",), run=slow)}
    async with open_talk(tmp_path, verbs) as talk:
        talk.hear("bench")
        talk.hear("lamp on")
        await asyncio.sleep(0)
        await talk.house.clock.advance(6)
        release.set()
        answers = await talk.answers(2)
        assert "arrived late" in answers[1]
        assert talk.house.board.moves == []


async def test_nobody_to_answer_is_no_error(talk):
    talk.online = False
    talk.hear("lamp on")
    await talk.audit(1)
    talk.online = True
    talk.hear("lamp?")
    assert await talk.answers(1) == ["Lamp is on."]


async def test_a_sender_that_is_no_address_is_nobody(talk):
    talk.hear("lamp on", sender="a b@c@d")
    talk.hear("lamp?")
    assert await talk.answers(1) == ["Lamp is off."]


async def test_a_device_whose_name_is_an_emoji_is_answered(talk):
    talk.hear("lamp on", sender="anna@example.org/📱")
    assert await talk.answers(1) == ["Lamp is on."]
    assert talk.said[0][0] == "anna@example.org/📱"


# Lanes ----------------------------------------------------------------------------------------------------------------


async def test_many_who_once_spoke_do_not_lock_others_out(talk):
    """Lanes were never freed: after 64 people of a domain with rights, nobody new was heard until a restart."""
    talk.house.access = A_WHOLE_DOMAIN
    for number in range(MAX_LANES + 6):
        talk.hear("lamp?", sender=f"v{number}@house.example/x")
        await talk.answers(number + 1)
    talk.hear("lamp on")
    assert (await talk.answers(MAX_LANES + 7))[-1] == "Lamp is on."


async def test_who_is_named_is_heard_however_many_of_a_domain_are_waiting(tmp_path):
    release = asyncio.Event()

    async def slow(_request, _house):
        await release.wait()
        return say(N_("done"))

    verbs = {**table(), "about": Command(verb="about", role=Role.VIEWER, summary=N_("x"), usage=("about",), run=slow)}
    async with open_talk(tmp_path, verbs) as talk:
        talk.house.access = A_WHOLE_DOMAIN
        for number in range(MAX_LANES + 1):
            talk.hear("about", sender=f"v{number}@house.example/x")
        talk.hear("lamp on")
        assert await talk.answers(1) == ["Lamp is on."]
        release.set()
        await talk.answers(1 + MAX_LANES)
        talk.hear("lamp?", sender="late@house.example/x")
        assert len(await talk.answers(2 + MAX_LANES)) == 2 + MAX_LANES, "the one too many was left out, later ones not"


# What is in the audit log ---------------------------------------------------------------------------------------------


async def test_a_verb_that_raises_is_in_the_audit_log(tmp_path):
    async def fail(_request, _house):
        raise RuntimeError("secret detail")

    broken = replace(table()["set"], run=fail)
    async with open_talk(tmp_path, {**table(), "set": broken}) as talk:
        talk.hear("lamp on")
        incident = (await talk.answers(1))[0].rstrip(".").rpartition(" ")[2]
        assert await talk.audit(1) == [(ANNA, "lamp on", f"failed: incident {incident}")]


async def test_an_answer_that_cannot_be_said_is_an_incident_and_the_next_one_is_answered(tmp_path, caplog):
    """What failed while a reply was put into words ended that person's lane: never answered again."""

    async def odd(_request, _house):
        return say(N_("{nothing} has this name"))

    verbs = {**table(), "status": Command(verb="status", role=Role.VIEWER, summary=N_("x"), usage=("status",), run=odd)}
    async with open_talk(tmp_path, verbs) as talk:
        talk.hear("status")
        talk.hear("lamp on")
        unsaid, answer = await talk.answers(2)
        assert answer == "Lamp is on."
        incident = unsaid.rstrip(".").rpartition(" ")[2]
        assert incident in caplog.text
        assert "KeyError" in caplog.text
        assert (ANNA, "status", f"failed: incident {incident}") in await talk.audit(2)


async def test_a_request_that_the_stop_cut_off_is_in_the_audit_log(tmp_path):
    acting = asyncio.Event()

    async def act(_request, _house):
        acting.set()
        await asyncio.Event().wait()

    async with open_talk(tmp_path, {**table(), "set": replace(table()["set"], run=act)}) as talk:
        talk.hear("lamp on")
        async with asyncio.timeout(5):
            await acting.wait()
        await talk.close()
        assert await talk.audit(1) == [(ANNA, "lamp on", CUT_OFF)]
        assert talk.said == []


async def test_a_stop_while_the_audit_line_waits_for_the_disk_does_not_lose_it(talk):
    release, busy = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_db):
        loop.call_soon_threadsafe(busy.set)
        release.wait(5)

    holding = asyncio.create_task(talk.house.state._db.run(hold))
    async with asyncio.timeout(5):
        await busy.wait()
        talk.hear("lamp on")
        while not talk.execution._audits:
            await asyncio.sleep(0.005)
    assert talk.house.board.moves == [("lamp", True, None)]
    closing = asyncio.create_task(talk.close())
    while talk.conversation._tasks:
        await asyncio.sleep(0.005)
    release.set()
    await closing
    await holding
    assert await talk.audit(1) == [(ANNA, "lamp on", "done")]
