"""One-time codes: from what is asked to what comes back, over real rights, verbs, state and audit log."""

import asyncio
import contextlib
import re
from dataclasses import replace

import pytest
from tests.node.house import ANNA, BRAM, CLEO, PEOPLE, STRANGER, GreenHouse
from tests.node.test_conversation import open_talk

from knoop.access import Access, Person, Role
from knoop.codes import DIGITS, digest, packed, spaced, typed, unpacked
from knoop.command import Request
from knoop.commands import table
from knoop.confirming import BUSY, CODE_S, HELD_S, MOST, NO_CODE, TRIES, Codes
from knoop.errors import NoAnswer, StoreError
from knoop.execution import CUT_OFF, NO_DISK
from knoop.jid import Jid
from knoop.state import State

PHONE, WATCH = "anna@example.org/phone", "anna@example.org/watch"
BODY = "{jabber:client}body"
ASKED = re.compile(r"Send (\d{3} \d{3}) within 30 s to do this: set gate to (on|off)( for 10 s)?\.")


@pytest.fixture
async def talk(tmp_path):
    async with open_talk(tmp_path) as made:
        yield made


async def code(talk, text="gate on", sender=PHONE, **more):
    """Ask for a guarded output; returns the code that its device was told, and nobody else."""
    said, written = len(talk.said), len(talk.written)
    talk.hear(text, sender=sender, **more)
    async with asyncio.timeout(20):
        while not (told := [stanza for stanza in talk.written[written:] if stanza.find(BODY) is not None]):
            assert talk.said[said:] == []
            await asyncio.sleep(0)
    [stanza] = told
    assert stanza.get("to") == sender
    assert {child.tag.rpartition("}")[2] for child in stanza} >= {"private", "no-copy", "no-store"}
    return ASKED.fullmatch(stanza.findtext(BODY))[1]


async def answer(talk, text, **more):
    said = len(talk.said)
    talk.hear(text, **more)
    return (await talk.answers(said + 1))[said]


def rows(talk):
    return talk.house.state.run(lambda db: db.execute("SELECT jid, tries FROM code").fetchall())


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["482160", "482 160", " 4 8 2 1 6 0 ", "482-160", "482\u00a0160", "482\u202f160", "4-8-2-1-6-0\n",
     "> Send 482 160 within 30 s to do this: set gate to on.\n482160"],
)
def test_a_code_is_typed_as_people_type(text):
    assert typed(text) == "482160"


@pytest.mark.parametrize(
    "text",
    [
        "", "48216", "4821600", "482160!", "code 482160", "482160 on", "４８２１６０", "٤٨٢١٦٠", "482\n160", "482.160",
        "gate on", "> 482160", "“482160”", "> 482160\n> 482160", "482160 482160",
    ],
)
def test_what_is_anything_else_is_none(text):
    assert typed(text) == ""


def test_a_code_fits_nothing_but_what_it_was_given_for():
    asked = Request(sender=ANNA, verb="set", channels=("gate",), value=True, for_s=10.0)
    given = {"code": "482160", "sender": ANNA, "wish": packed(asked), "until_ns": 7}
    others = (
        {"code": "482161"}, {"sender": replace(ANNA, resource="watch")}, {"until_ns": 8},
        *({"wish": packed(replace(asked, **other))} for other in (
            {"value": False}, {"value": 1.0}, {"channels": ("lamp",)}, {"for_s": None}, {"for_s": 11.0},
            {"verb": "ack"}, {"argument": "x"},
        )),
    )  # fmt: skip
    assert len({digest(**given), *(digest(**given | other) for other in others)}) == 1 + len(others)


def test_a_wish_comes_back_as_it_was_and_as_asked_now():
    asked = Request(sender=ANNA, verb="set", channels=("pump",), value=40.0, for_s=10.0, heard_ns=1, stanza="first")
    again = Request(sender=ANNA, verb="", code="482160", heard_ns=2, stanza="second", lang="nl", via="form")
    assert unpacked(packed(asked), again) == replace(
        asked, heard_ns=2, stanza="second", lang="nl", via="form", confirmed=True
    )


# In a chat ------------------------------------------------------------------------------------------------------------


async def test_an_output_with_confirm_moves_when_the_code_comes_back_and_once(talk):
    given = await code(talk)
    assert talk.house.board.moves == []
    assert await answer(talk, given) == "Gate is on."
    assert await answer(talk, given) == NO_CODE
    assert talk.house.board.moves == [("gate", True, None)]
    assert await talk.audit(3) == [
        (PHONE, "gate on", "a code is asked"), (PHONE, "set gate on (code)", "done"),
        (PHONE, "code", "refused: no code that counts"),
    ]  # fmt: skip


async def test_the_whole_wish_is_kept_and_said(talk):
    talk.hear("gate on for 10s")
    async with asyncio.timeout(20):
        while not talk.written:
            await asyncio.sleep(0)
    asked = ASKED.fullmatch(talk.written[0].findtext(BODY))
    assert (asked[2], asked[3]) == ("on", " for 10 s")
    assert await answer(talk, asked[1].replace(" ", "")) == "Gate is on, for 10 s."
    assert talk.house.board.moves == [("gate", True, 10.0)]


async def test_other_outputs_need_none(talk):
    assert await answer(talk, "lamp on") == "Lamp is on."
    assert await rows(talk) == []


async def test_a_lock_says_what_on_is_to_it(talk):
    """`lock on` may be meant the other way round: the code comes back for what is read."""
    channels = talk.house.channels
    talk.house.channels = {**channels, "gate": replace(channels["gate"], kind="lock")}
    talk.hear("gate on")
    async with asyncio.timeout(20):
        while not talk.written:
            await asyncio.sleep(0)
    asked = talk.written[0].findtext(BODY)
    assert asked.endswith(" within 30 s to do this: set gate to unlocked.")
    assert await answer(talk, asked[5:12]) == "Gate is unlocked."
    assert "Unlocked: gate." in await answer(talk, "status")
    assert await answer(talk, "gate?") == "Gate is unlocked."


async def test_a_question_about_it_gets_an_answer_and_no_code(talk):
    assert await answer(talk, "gate?") == "Gate is off."
    assert await rows(talk) == []


async def test_who_may_not_set_it_gets_no_code(talk):
    assert (await answer(talk, "gate on", sender=str(CLEO))).startswith("You may not set here.")
    talk.hear("gate on", sender=str(STRANGER))
    await talk.audit(2)
    assert await rows(talk) == []
    assert talk.written == []


async def _wrong_digits(talk, given):
    return {"text": spaced(f"{(int(given.replace(' ', '')) + 1) % 10**DIGITS:0{DIGITS}}")}


async def _other_device(_talk, given):
    return {"text": given, "sender": WATCH}


async def _no_device(_talk, given):
    return {"text": given, "sender": "anna@example.org"}


async def _somebody_else(_talk, given):
    return {"text": given, "sender": str(BRAM)}


async def _too_late(talk, given):
    await talk.house.clock.advance(CODE_S)
    return {"text": given}


async def _after_a_reboot(talk, given):
    talk.house.clock.boot_id = "another"
    return {"text": given}


async def _asked_anew(talk, given):
    while await code(talk, "gate off") == given:
        pass
    return {"text": given}


async def _asked_anew_elsewhere(talk, given):
    await code(talk, "gate off", sender=WATCH)
    return {"text": given}


WRONG = (
    _wrong_digits, _other_device, _no_device, _somebody_else, _too_late, _after_a_reboot, _asked_anew,
    _asked_anew_elsewhere,
)


@pytest.mark.parametrize("wrong", WRONG)
async def test_whatever_is_wrong_the_answer_is_one_and_nothing_moves(talk, wrong):
    """Nobody learns from it whether there is a code, whose, or how near."""
    talk.house.access = Access([*(replace(person, lang="en") for person in PEOPLE)])
    said = await wrong(talk, await code(talk))
    assert await answer(talk, **said) == NO_CODE
    assert talk.house.board.moves == []


async def test_it_is_the_same_answer_where_nothing_was_ever_asked(talk):
    assert await answer(talk, "482160") == NO_CODE
    assert await rows(talk) == []


async def test_one_may_mistype_twice(talk):
    given = await code(talk)
    for _ in range(TRIES - 1):
        assert await answer(talk, (await _wrong_digits(talk, given))["text"]) == NO_CODE
    assert await answer(talk, given) == "Gate is on."


async def test_the_third_wrong_one_ends_it_and_for_a_while_there_is_none(talk):
    given = await code(talk)
    for tried in range(TRIES):
        wrong = (await _wrong_digits(talk, given))["text"]
        assert await answer(talk, wrong, sender=(PHONE, WATCH)[tried % 2]) == NO_CODE, "also from another device"
    assert await answer(talk, given) == NO_CODE
    refusal = "Too many wrong codes came from your address, so nothing was done. Ask again in 1 min."
    assert await answer(talk, "gate on") == await answer(talk, "gate off", sender=WATCH) == refusal
    await talk.house.clock.advance(HELD_S / 2)
    for guess in (given, "000000"):
        assert await answer(talk, guess) == NO_CODE
    await talk.house.clock.advance(HELD_S / 2)  # who goes on guessing does not shut them out for ever
    assert await answer(talk, given) == NO_CODE
    assert await answer(talk, await code(talk)) == "Gate is on."


async def test_who_guesses_gets_three_tries_a_minute(talk):
    """A code has a million values."""
    tried = 0
    for _ in range(50):
        talk.hear("gate on")
        for guess in range(TRIES + 1):
            talk.hear(f"{guess:0{DIGITS}}")
            tried += 1
        await talk.house.clock.advance(10)
        await talk.execution.close()
    given = "SELECT count(*) FROM audit WHERE result = 'a code is asked'"
    codes = await talk.house.state.run(lambda db: db.execute(given).fetchone()[0])
    assert codes <= 50 * 10 / HELD_S + 1
    assert tried > 20 * codes, "and all the others were nothing"


async def test_who_asks_anew_before_the_third_has_no_more_tries(talk):
    given = await code(talk)
    for _ in range(TRIES - 1):
        assert await answer(talk, (await _wrong_digits(talk, given))["text"]) == NO_CODE
    given = await code(talk)
    assert await answer(talk, (await _wrong_digits(talk, given))["text"]) == NO_CODE
    assert await answer(talk, given) == NO_CODE
    assert (await answer(talk, "gate on")).startswith("Too many wrong codes")


@contextlib.asynccontextmanager
async def restarted(talk, folder):
    """The same house with another agent, which knows only what is on the disk."""
    await talk.close()
    async with State.open(folder / "state.db") as state:
        again = type(talk)(replace(talk.house, state=state), table())
        again.house.board = talk.house.board
        await again.execution.restore()
        try:
            yield again
        finally:
            await again.close()


async def test_a_code_outlives_the_agent(talk, tmp_path):
    given = await code(talk, stanza_id="m1")
    async with restarted(talk, tmp_path) as again:
        assert await answer(again, given) == "Gate is on."
        assert await answer(again, given) == NO_CODE
    assert talk.house.board.moves == [("gate", True, None)]


async def test_one_that_was_used_or_tried_is_so_after_a_restart(talk, tmp_path):
    given = await code(talk)
    for _ in range(TRIES):
        await answer(talk, (await _wrong_digits(talk, given))["text"])
    async with restarted(talk, tmp_path) as again:
        assert await answer(again, given) == NO_CODE
        assert (await answer(again, "gate on")).startswith("Too many wrong codes")


async def test_what_acted_before_a_restart_does_not_act_again(talk, tmp_path):
    """A server that was not told that it arrived says it again, on the next login."""
    assert await answer(talk, "lamp on", stanza_id="m1") == "Lamp is on."
    await answer(talk, "lamp off", stanza_id="m2")
    talk.hear("gate on", stanza_id="m3")
    await talk.audit(3)
    async with restarted(talk, tmp_path) as again:
        for text, stanza_id in (("lamp on", "m1"), ("lamp off", "m2"), ("gate on", "m3")):
            again.hear(text, stanza_id=stanza_id)
        again.hear("lamp on", stanza_id="m1", sender=WATCH)
        assert await answer(again, "lamp?", stanza_id="m4") == "Lamp is off."
        assert again.written == []
    assert talk.house.board.moves == [("lamp", True, None), ("lamp", False, None)]


async def test_a_repeat_of_what_was_refused_does_not_act_after_a_restart_either(talk, tmp_path):
    assert (await answer(talk, "lamp on", sender=str(CLEO), stanza_id="m1")).startswith("You may not")
    async with restarted(talk, tmp_path) as again:
        again.house.access = Access([Person(jid=CLEO.bare, role=Role.OPERATOR)])
        again.hear("lamp on", sender=str(CLEO), stanza_id="m1")
        assert await answer(again, "lamp?", sender=str(CLEO)) == "Lamp is off."
    assert talk.house.board.moves == []


async def test_what_was_answered_as_late_is_not_done_after_a_restart(talk, tmp_path):
    talk.hear("lamp on", stanza_id="m1", late=True)
    assert await talk.answers(1) == ["That arrived late, so I did nothing. Please say it again."]
    async with restarted(talk, tmp_path) as again:
        again.hear("lamp on", stanza_id="m1")
        assert await answer(again, "lamp?") == "Lamp is off."
    assert talk.house.board.moves == []


async def test_a_code_is_off_the_disk_before_it_acts(talk, monkeypatch):
    """Whatever happens then: it acted once at most."""
    seen = []

    async def set_(_house, *_args, **_more):
        seen.append(await rows(talk))
        raise OSError("the power went")

    given = await code(talk)
    monkeypatch.setattr(GreenHouse, "set", set_)
    assert "incident" in await answer(talk, given)
    assert seen == [[]]
    assert await answer(talk, given) == NO_CODE


async def test_who_is_cut_off_while_it_acts_needs_a_new_one(talk, monkeypatch):
    begun = asyncio.Event()

    async def set_(_house, *_args, **_more):
        begun.set()
        await asyncio.Event().wait()

    given = await code(talk)
    monkeypatch.setattr(GreenHouse, "set", set_)
    talk.hear(given)
    async with asyncio.timeout(20):
        await begun.wait()
    await talk.close()
    assert (await talk.audit(2))[-1] == (PHONE, "set gate on (code)", CUT_OFF)
    assert await rows(talk) == []


async def test_a_code_whose_right_is_gone_does_nothing(talk):
    given = await code(talk)
    talk.house.access = Access([Person(jid=ANNA.bare, role=Role.OPERATOR, only=("lamp",))])
    assert not (await answer(talk, given)).startswith("Gate is")
    assert talk.house.board.moves == []
    assert await rows(talk) == [], "and it is spent"


LATE_STAMP = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>"
CORRECTION = "<replace xmlns='urn:xmpp:message-correct:0' id='m1'/>"
CARBON = (
    "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
    "from='anna@example.org/phone' type='chat'><body>{}</body></message></forwarded></received>"
)


@pytest.mark.parametrize(
    "more",
    [{"late": True}, {"inner": LATE_STAMP}, {"inner": CORRECTION}, {"kind": "headline"}, {"kind": "groupchat"},
     {"kind": "error"}, {"inner": CARBON}, {"inner": "<encrypted xmlns='eu.siacs.conversations.axolotl'/>"}],
)  # fmt: skip
async def test_a_code_that_is_late_corrected_or_quoted_is_none(talk, more):
    given = await code(talk)
    talk.hear(given, **{key: value.replace("{}", given) if key == "inner" else value for key, value in more.items()})
    talk.hear("gate?")
    async with asyncio.timeout(20):
        while talk.said[-1:] != [(PHONE, "Gate is off.")]:
            await asyncio.sleep(0)
    assert talk.house.board.moves == []
    assert await rows(talk) == [("anna@example.org", 0)], "not tried, either"


async def test_a_wish_that_was_heard_too_long_ago_does_not_move(talk):
    """Five seconds after the code came in nobody expects it any more; the house is asked with when it was heard."""
    given = await code(talk)
    request = Request(sender=ANNA, verb="", code=given.replace(" ", ""), heard_ns=talk.house.clock.boottime_ns())
    await talk.house.clock.advance(5.1)
    reply = await talk.execution.run(request, words="")
    assert talk.house.voice().render(reply) == "That arrived late, so I did nothing. Please say it again."
    assert talk.house.board.moves == []


async def test_no_digit_of_a_code_is_in_any_file(talk, tmp_path):
    given = (await code(talk)).replace(" ", "")
    for file in tmp_path.iterdir():
        assert given.encode() not in file.read_bytes(), file


async def test_codes_are_not_given_in_a_room_nor_to_what_is_no_device(talk):
    for request in (
        Request(sender=ANNA, verb="set", channels=("gate",), value=True, via="room"),
        Request(sender=ANNA.bare, verb="set", channels=("gate",), value=True),
    ):
        reply = await talk.execution.run(request, words="gate on")
        assert not reply.passing
        assert talk.house.voice().render(reply) == "Gate is set with a one-time code only: nothing was done."
    assert await rows(talk) == []


async def test_a_whole_domain_does_not_take_everybodys_place(talk):
    talk.house.access = Access([*PEOPLE, Person(jid=Jid("*", "house.example"), role=Role.OPERATOR)])
    codes, wish = Codes(talk.house), {"verb": "set", "channels": ("gate",), "value": True}

    async def ask(who):
        request = Request(sender=who, **wish)
        return await codes.ask(request, await table()["set"].run(request, talk.house))

    for number in range(MOST):
        assert (await ask(Jid(f"u{number}", "house.example", "x"))).passing
    refused = await ask(Jid("late", "house.example", "x"))
    assert (refused.passing, refused.lines[0].message) == (False, BUSY)
    assert (await ask(Jid("u3", "house.example", "y"))).passing, "in place of their own"
    assert (await ask(ANNA)).passing
    await talk.house.clock.advance(CODE_S)
    assert (await ask(Jid("late", "house.example", "x"))).passing
    assert len(await rows(talk)) == 1


async def test_codes_are_drawn_from_all_there_are(talk):
    drawn = []
    codes = Codes(talk.house, below=lambda most: drawn.append(most) or 42)
    request = Request(sender=ANNA, verb="set", channels=("gate",), value=True)
    reply = await codes.ask(request, await table()["set"].run(request, talk.house))
    assert drawn == [10**DIGITS]
    assert "000 042" in talk.house.voice().render(reply)
    assert await codes.redeem(replace(request, code="000042")) == replace(request, confirmed=True)


@pytest.mark.parametrize("error", [StoreError("the disk is full", "full"), NoAnswer("it hangs", "failing")])
async def test_a_disk_that_keeps_nothing_gives_no_code_and_takes_none(talk, monkeypatch, error):
    given = await code(talk)

    async def run(_work, **_more):
        raise error

    monkeypatch.setattr(talk.house.state, "run", run)
    monkeypatch.setattr(talk.house.state, "answering", asyncio.Event().wait)
    assert await answer(talk, given) == NO_DISK
    assert "disk does not" in await answer(talk, "gate on")
    assert talk.house.board.moves == []


