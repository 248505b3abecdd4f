"""From a message to an answer, over real rights, parser, verbs, store and audit."""

import asyncio
import contextlib
import threading
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from tests.node.house import PEOPLE, greenhouse

from knoop.access import Access, Person, Role
from knoop.command import N_, Command, Instant, Sentence, say
from knoop.commands import table
from knoop.conversation import MAX_LANES, MAX_WAITING, Conversation
from knoop.errors import LinkError
from knoop.execution import BURST, CUT_OFF, PER_S, STRANGERS_AUDITED, Execution
from knoop.jid import Jid
from knoop.state import AUDIT_LINES

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
        async with asyncio.timeout(20):
            while len(self.said) < count:
                self._more.clear()
                await self._more.wait()
        return [text for _, text in self.said]

    async def audit(self, count):
        async with asyncio.timeout(20):
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


RECEIPT = "<received xmlns='urn:xmpp:receipts' id='{}'/>"
FORWARDED = "<{0} xmlns='urn:xmpp:{1}'><forwarded xmlns='urn:xmpp:forward:0'>{2}</forwarded></{0}>"
BOUNCE = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


@pytest.mark.parametrize(
    ("sender", "kind", "inner", "counts"),
    [
        (ANNA, "chat", RECEIPT, "received"),
        ("anna@example.org/other", "normal", RECEIPT, "received"),
        ("bram@example.org/laptop", "chat", RECEIPT, ""),
        ("mallory@example.net/x", "chat", RECEIPT, ""),
        ("anna@example.net/x", "chat", RECEIPT, ""),
        (ANNA, "groupchat", RECEIPT, ""),
        (ANNA, "headline", RECEIPT, ""),
        (ANNA, "chat", "<received xmlns='urn:example' id='{}'/>", ""),
        (ANNA, "chat", FORWARDED.format("sent", "carbons:2", f"<message>{RECEIPT}</message>"), ""),
        (ANNA, "chat", FORWARDED.format("received", "carbons:2", f"<message>{RECEIPT}</message>"), ""),
        (ANNA, "chat", FORWARDED.format("result", "mam:2", f"<message>{RECEIPT}</message>"), ""),
        (ANNA, "chat", f"<forwarded xmlns='urn:xmpp:forward:0'/>{RECEIPT}", ""),
        ("anna@example.org", "error", BOUNCE, "bounced"),
        (ANNA, "error", BOUNCE, "bounced"),
        (ANNA, "error", BOUNCE + RECEIPT, "bounced"),
        ("anna@example.org", "error", "", "bounced"),
        ("bram@example.org", "error", BOUNCE, ""),
        ("mallory@example.net", "error", BOUNCE, ""),
        ("example.org", "error", BOUNCE, ""),
        (ANNA, "chat", BOUNCE, ""),
    ],
)
async def test_only_they_themselves_confirm_an_alarm_or_send_it_back(talk, sender, kind, inner, counts):
    """A carbon, an archive or a forward is what somebody else may have said."""
    await talk.house.report("air.temperature", -1.0)
    raised = talk.house.router.went[-1]
    talk.house.alarms.calls.hear("frost", raised, 1)
    talk.house.alarms.note("anna@example.org", raised, "Alert frost.")
    talk.hear("", sender=sender, kind=kind, stanza_id=raised.identity, inner=inner.replace("{}", raised.identity))
    notes = talk.house.alarms.unreceived._notes.values()
    came_back = [note.bounces for note in notes] == [1]
    assert (counts == "received", counts == "bounced") == (not notes, came_back)
    assert talk.said == []


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
    lines = await talk.audit(1 + STRANGERS_AUDITED)
    assert (ANNA, "lamp on", "done") in lines
    assert len(lines) == 1 + STRANGERS_AUDITED


async def test_what_was_refused_is_counted_strangers_included_and_what_was_done_is_not(talk):
    talk.hear("lamp on")
    talk.hear("lamp?")
    await talk.answers(2)
    assert (talk.execution.refused, talk.execution.failed) == (0, 0)
    for number in range(100):
        talk.hear("open", sender=f"m{number}@example.net/x")
    talk.hear("lamp on", sender="cleo@example.org/tablet")  # a viewer
    talk.hear("lamp on", late=True)
    await talk.answers(4)
    assert talk.execution.refused == 102, "also those that the audit log has no room for"


async def test_the_audit_log_says_what_was_encrypted(talk):
    for sender in (ANNA, "mallory@example.net/x"):
        talk.hear("secret", sender=sender, inner="<encrypted xmlns='urn:xmpp:omemo:2'/>")
        talk.hear("lamp on", sender=sender)
    await talk.audit(4)
    lines = {(line.who, line.result, line.encrypted) for line in await talk.house.state.audit_tail(9)}
    assert lines == {
        (ANNA, "ignored: encrypted", True), (ANNA, "done", False),
        ("mallory@example.net/x", "refused: stranger", True), ("mallory@example.net/x", "refused: stranger", False),
    }  # fmt: skip


async def test_whose_share_of_the_audit_log_a_line_is(talk):
    talk.house.access = A_WHOLE_DOMAIN
    for sender in (ANNA, "finn@house.example/x", "gus@house.example/x", "mallory@example.net/x", "eve@example.net/x"):
        talk.hear("lamp on", sender=sender)
    await talk.audit(5)
    whose = await talk.house.state.run(lambda db: db.execute("SELECT who, whose FROM audit").fetchall())
    assert dict(whose) == {
        ANNA: "anna@example.org", "finn@house.example/x": "*@house.example", "gus@house.example/x": "*@house.example",
        "mallory@example.net/x": "", "eve@example.net/x": "",
    }  # fmt: skip


async def test_strangers_who_never_stop_leave_weeks_of_peoples_lines_in_the_audit_log(talk):
    """At 30 lines a minute it was six hours."""
    day_s, noted = 86_400, 0
    for _ in range(day_s // 60):
        for number in range(5):
            noted += talk.execution.notes_strangers()
            talk.hear("open", sender=f"m{number}@example.net/x")
        await talk.house.clock.advance(60)
    assert noted * 14 < AUDIT_LINES


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


async def test_who_asks_more_than_anybody_types_is_left_out_and_the_audit_log_keeps_the_others(talk, caplog):
    """Also a machine that answers our answers, another node for one: without this both would go on for ever."""
    talk.hear("lamp on")
    await talk.answers(1)
    for number in range(3 * BURST):
        talk.hear("lamp off", sender="cleo@example.org/tablet", stanza_id=f"c{number}")
        if number < BURST:
            await talk.answers(2 + number)
    talk.hear("lamp?", sender="bram@example.org/laptop")
    assert len(await talk.answers(2 + BURST)) == 2 + BURST, "one person's haste is nobody else's"
    assert caplog.text.count("cleo@example.org asks faster") == 1
    await talk.house.clock.advance(10)
    for number in range(30):
        talk.hear("lamp?", sender="cleo@example.org/phone", stanza_id=f"d{number}")
        await asyncio.sleep(0)
    await talk.answers(2 + BURST + round(10 * PER_S))
    talk.hear("lamp?", sender="bram@example.org/laptop")
    assert len(await talk.answers(3 + BURST + round(10 * PER_S))) == 3 + BURST + round(10 * PER_S)


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


async def test_who_lost_every_right_while_it_was_done_hears_nothing_of_it(tmp_path):
    release, begun = asyncio.Event(), asyncio.Event()

    async def slow(_request, _house):
        begun.set()
        await release.wait()
        return say(N_("done"))

    verbs = {**table(), "bench": Command(verb="bench", role=Role.OPERATOR, summary=N_("x"), usage=("bench",), run=slow)}
    async with open_talk(tmp_path, verbs) as talk:
        talk.hear("bench", sender="bram@example.org/laptop")
        async with asyncio.timeout(20):
            await begun.wait()
        talk.house.access = Access([person for person in PEOPLE if person.name != "Bram"])
        tasks = [*talk.conversation._tasks.values()]
        release.set()
        await asyncio.gather(*tasks)
        assert talk.said == []


async def test_nobody_to_answer_is_no_error(talk):
    talk.online = False
    talk.hear("lamp on")
    await asyncio.gather(*talk.conversation._tasks.values())
    assert (await talk.audit(1), talk.said) == ([(ANNA, "lamp on", "done")], [])
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


# Choices --------------------------------------------------------------------------------------------------------------


async def test_a_numbered_choice_is_made_in_the_next_message(talk):
    talk.hear("relay on for 10s")
    talk.hear("2")
    assert await talk.answers(2) == [
        "I did nothing: which one do you mean, 1 Café lights, 2 Heating?", "Heating is on, for 10 s.",
    ]  # fmt: skip
    assert talk.house.board.moves == [("relay.two", True, 10)]
    assert await talk.audit(1) == [(ANNA, "2 (relay.two on for 10s)", "done")]


async def test_a_question_is_answered_in_dutch(talk):
    bram = "bram@example.org/laptop"
    talk.hear("lmp aan", sender=bram)
    talk.hear("ja", sender=bram)
    assert await talk.answers(2) == ["Ik begrijp “lmp aan” niet. Bedoelde je “lamp aan”?", "Lamp is aan."]


@pytest.mark.parametrize("answer", ["1", "yes", "ja", "lamp"])
@pytest.mark.parametrize(
    "late",
    [
        {"late": True}, {"inner": "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>"},
        {"inner": "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>"},
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_fresh_never_acts_and_ends_the_question(talk, answer, late):
    talk.hear("lmp on")
    talk.hear(answer, **late)
    talk.hear("yes")
    await talk.answers(3)
    assert talk.house.board.moves == []


async def test_an_answer_that_waited_behind_a_slow_request_is_late(tmp_path):
    release, begun = asyncio.Event(), asyncio.Event()

    async def slow(_request, _house):
        begun.set()
        await release.wait()
        return say(N_("done"))

    verbs = {**table(), "bench": Command(verb="bench", role=Role.OWNER, summary=N_("x"), usage=("bench",), run=slow)}
    async with open_talk(tmp_path, verbs) as talk:
        talk.hear("bench")
        async with asyncio.timeout(20):
            await begun.wait()
        talk.hear("lmp on")
        talk.hear("yes")
        await talk.house.clock.advance(4)
        release.set()
        _, question, unknown = await talk.answers(3)
        assert "Did you mean “lamp on”?" in question
        assert "I do not understand “yes”" in unknown
        assert talk.house.board.moves == [], "it was said before the question was asked"


async def test_a_choice_of_another_chat_or_person_is_none(talk):
    talk.hear("relay on")
    talk.hear("2", sender="anna@example.org/tablet")
    talk.hear("2", sender="bram@example.org/laptop")
    await talk.answers(3)
    assert talk.house.board.moves == []


async def test_a_choice_needs_the_right_when_it_is_made(talk):
    cleo = "cleo@example.org/tablet"
    talk.hear("relay on", sender=cleo)
    talk.hear("2", sender=cleo)
    _, refusal = await talk.answers(2)
    assert refusal == "You may not set here. An owner of this node can allow it."
    talk.hear("relay on")
    await talk.answers(3)
    anna = talk.house.access.person(talk.house.jid(ANNA))
    talk.house.access = talk.house.access.with_grants([replace(anna, role=Role.VIEWER)])
    talk.hear("2")
    await talk.answers(4)
    assert talk.house.board.moves == []


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
        async with asyncio.timeout(20):
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
    async with asyncio.timeout(20):
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


# Alerts are acknowledged where they are read ------------------------------------------------------------------------

BRAM = "bram@example.org/laptop"


async def frost(talk, value=-1.2):
    """Raise (or end) the alert `frost`; returns the id of the message about it."""
    await talk.house.report("air.temperature", value)
    return talk.house.alert_record(talk.house.transitions[-1]).identity


def phase(talk, alert="frost"):
    return talk.house.alerts.state(alert).phase


def react(talk, to, *emoji, sender=ANNA, late=False, inner="", **more):
    """What a client sends when somebody touches a message."""
    inside = "".join(f"<reaction>{one}</reaction>" for one in emoji)
    text = f"<reactions xmlns='urn:xmpp:reactions:0' id='{to}'>{inside}</reactions>{inner}"
    element = ET.fromstring(f"<message xmlns='jabber:client' type='chat' from='{sender}'>{text}</message>")
    for name, value in more.items():
        element.set(name.removesuffix("_"), value)
    talk.conversation.hear(element, late=late)


def answering(to, quoted=""):
    return f"<reply xmlns='urn:xmpp:reply:0' to='greenhouse@example.org' id='{to}'/>{quoted}"


async def nothing_more(talk, said):
    """What was heard before this is done: a person's requests are done in their order, and silence takes no lane."""
    talk.hear("lamp?")
    assert await talk.answers(said + 1) == [text for _, text in talk.said]
    assert talk.said[-1][1].startswith("Lamp is")
    assert len(talk.said) == said + 1


@pytest.mark.parametrize("thumb", ["👍", "👍🏿", "👌🏼", "✅", "✔️", "✔"])
async def test_a_thumb_on_an_alert_acknowledges_it(talk, thumb):
    react(talk, await frost(talk), thumb, sender=BRAM)
    assert await talk.answers(1) == ["Gezien: frost."]
    assert (phase(talk), talk.house.alerts.state("frost").by) == ("acknowledged", "Bram")
    assert await talk.audit(1) == [(BRAM, f"{thumb} (ack frost)", "done")]


async def test_all_reactions_come_with_each_new_one_and_one_thumb_acts_once(talk):
    identity = await frost(talk)
    react(talk, identity, "❤️", "👍")
    await talk.answers(1)
    react(talk, identity, "👍", "😀")
    react(talk, identity)
    await nothing_more(talk, 1)


@pytest.mark.parametrize("emoji", [(), ("👎",), ("❤️",), ("👍👎",), ("",), ("ok",)])
async def test_any_other_reaction_and_a_removal_are_between_people(talk, emoji):
    react(talk, await frost(talk), *emoji)
    await nothing_more(talk, 0)
    assert phase(talk) == "raised"


async def test_a_thumb_on_anything_else_is_ignored(talk):
    identity = await frost(talk)
    others = [identity.replace(*pair) for pair in (("frost", "fire"), ("frost", "door_open"), ("k3v9q2xa", "zzzzzzzz"))]
    for to in ("", "x", "b0a2dk3x-air.temperature-1", identity + "0", f" {identity}", *others):
        react(talk, to, "👍")
    await nothing_more(talk, 0)
    assert phase(talk) == "raised"


async def test_a_thumb_on_an_older_raising_acknowledges_nothing(talk):
    older = await frost(talk)
    await frost(talk, 5.0)
    newer = await frost(talk)
    react(talk, older, "👍")
    await nothing_more(talk, 0)
    assert phase(talk) == "raised"
    react(talk, newer, "👍")
    await talk.answers(2)
    assert phase(talk) == "acknowledged"


async def test_a_thumb_needs_the_right_to_acknowledge_and_is_told_so_once(talk):
    identity = await frost(talk)
    cleo = "cleo@example.org/tablet"
    react(talk, identity, "👍", sender=cleo)
    assert "may not ack here" in (await talk.answers(1))[0]
    react(talk, identity, "👍", "❤️", sender=cleo)
    await nothing_more(talk, 1)
    assert phase(talk) == "raised"
    assert (cleo, "👍 (ack frost)", "refused: not allowed") in await talk.audit(1)


async def test_a_stranger_who_reacts_or_replies_hears_nothing(talk):
    identity = await frost(talk)
    react(talk, identity, "👍", sender="mallory@example.net/x")
    talk.hear("ok", sender="mallory@example.net/x", inner=answering(identity))
    await nothing_more(talk, 0)
    assert phase(talk) == "raised"
    assert await talk.audit(2) == [
        ("mallory@example.net/x", "👍", "refused: stranger"), ("mallory@example.net/x", "ok", "refused: stranger"),
    ]


async def test_for_somebody_who_may_not_read_it_an_alert_is_no_alert(talk):
    identity = await frost(talk)
    dirk = "dirk@example.org/watch"
    react(talk, identity, "👍", sender=dirk)
    talk.hear("ok", sender=dirk, inner=answering(identity))
    assert "do not understand" in (await talk.answers(1))[0]


@pytest.mark.parametrize("wrapper", ["sent", "received"])
async def test_a_thumb_within_a_carbon_is_somebodys_quotation(talk, wrapper):
    inside = f"<reactions xmlns='urn:xmpp:reactions:0' id='{await frost(talk)}'><reaction>👍</reaction></reactions>"
    talk.conversation.hear(ET.fromstring(
        f"<message xmlns='jabber:client' type='chat' from='{ANNA}'><{wrapper} xmlns='urn:xmpp:carbons:2'><forwarded "
        f"xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{ANNA}' type='chat'>{inside}</message>"
        f"</forwarded></{wrapper}></message>"
    ), late=False)  # fmt: skip
    await nothing_more(talk, 0)
    assert phase(talk) == "raised"


async def test_a_late_thumb_never_acts_and_may_be_given_again(talk):
    identity = await frost(talk)
    react(talk, identity, "👍", late=True)
    react(talk, identity, "👍", inner="<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>")
    assert all("arrived late" in text for text in await talk.answers(2))
    assert phase(talk) == "raised"
    react(talk, identity, "👍")
    assert "Acknowledged: frost." in (await talk.answers(3))[2]


@pytest.mark.parametrize(
    "text", ["ack", "ok", "OK!", "okay", "👍", "👍🏽 ok", "gezien", "Ja", "> Alert frost\n> more\nok"]
)
async def test_a_reply_that_says_seen_acknowledges_what_it_answers(talk, text):
    await talk.house.report("door", True)
    identity = await frost(talk)
    talk.hear(text, sender=BRAM, inner=answering(identity))
    assert await talk.answers(1) == ["Gezien: frost."]
    assert await talk.audit(1) == [(BRAM, f"{text} (ack frost)".replace("\n", "\\n"), "done")]


@pytest.mark.parametrize("text", ["ok?", "not ok", "ok 👎", "no", "why", "lamp on", "> ok", "seen the lamp"])
async def test_a_reply_that_says_anything_else_is_read_as_usual(talk, text):
    talk.hear(text, inner=answering(await frost(talk)))
    await talk.answers(1)
    assert phase(talk) == "raised"
    assert talk.house.board.moves == ([("lamp", True, None)] if text == "lamp on" else [])


async def test_ok_is_no_verb_of_its_own(talk):
    await frost(talk)
    talk.hear("ok")
    assert "do not understand" in (await talk.answers(1))[0]
    assert phase(talk) == "raised"


async def test_a_reply_to_an_older_raising_says_so(talk):
    older = await frost(talk)
    await frost(talk, 5.0)
    talk.hear("ok", inner=answering(older))
    assert await talk.answers(1) == ["frost is not raised: there is nothing to acknowledge."]
    await frost(talk)
    talk.hear("ok", inner=answering(older))
    assert "an earlier time" in (await talk.answers(2))[1]
    assert phase(talk) == "raised"


@pytest.mark.parametrize(
    "inner", ["<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>",
              "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>", "<encrypted xmlns='urn:xmpp:omemo:2'/>"],
)  # fmt: skip
async def test_a_reply_that_is_not_fresh_or_not_readable_never_acts(talk, inner):
    talk.hear("ok", inner=answering(await frost(talk)) + inner)
    await talk.answers(1)
    assert phase(talk) == "raised"


async def test_a_receipt_is_remembered_and_an_owner_who_acknowledges_hears_who_has_it(talk):
    identity = await frost(talk)
    receipt = f"<received xmlns='urn:xmpp:receipts' id='{identity}'/>"
    for sender in (BRAM, "mallory@example.net/x"):
        talk.conversation.hear(
            ET.fromstring(f"<message xmlns='jabber:client' from='{sender}'>{receipt}</message>"), late=False
        )
    at = f"{talk.house.voice().sentence(Sentence('{time}', {'time': Instant(talk.house.clock.time_ns())}))}"
    talk.hear("ack")
    assert await talk.answers(1) == [
        f"Acknowledged: frost.\nTold, too: Bram (received {at}), cleo@example.org."
    ]
