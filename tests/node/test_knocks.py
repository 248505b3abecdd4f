"""Strangers put to the owners: once, always, never; bounded, and without anything for who is not let in."""

import asyncio
import contextlib

import pytest
from tests.node.house import ANNA, BRAM, CLEO, PEOPLE
from tests.node.test_strangers import Doorway, doorway

from knoop.access import Access, Person, Role
from knoop.claims import Offer
from knoop.errors import Refusal, StoreError
from knoop.jid import Jid
from knoop.knocks import A_DAY, DAY_NS, KEPT, OPEN, Knocks

EVE = "eve@example.net/phone"
DONT = "I did nothing: that reads like “don’t”. Say what you do want, or “help”."
WAITS = "{} is nobody you named, and said: “{}”. Say one of: once {}, always {} or never {}."


@pytest.fixture
async def door(tmp_path):
    async with doorway(tmp_path, PEOPLE) as made:
        yield made


def question(text, jid="eve@example.net"):
    return WAITS.format(jid, text, jid, jid, jid)


async def answers(door: Doorway, text, who=ANNA):
    """What an owner hears, and what was said to others meanwhile."""
    before = len(door.said)
    heard = await door.house.ask(who, text)
    await door.done()
    return heard, door.said[before:]


async def test_the_owners_are_asked_once_and_the_stranger_hears_nothing(door):
    assert await door.brings("temp?", EVE) == []
    assert await door.brings("please?", EVE) == []
    assert await door.brings("lamp on", "eve@example.net/other") == []
    assert door.owners_hear() == [question("temp?")]
    assert [result for _, _, result in await door.results()] == ["refused: stranger"] * 3


async def test_nobody_is_asked_unless_that_is_wanted(door):
    door.house.knocks = Knocks(door.house, wanted=False, session=lambda: None)
    await door.brings("temp?", EVE)
    assert door.owners_hear() == []


async def test_once_answers_what_was_asked_and_gives_no_right(door):
    await door.brings("air temperature", EVE)
    heard, said = await answers(door, "once")
    assert heard == "I have answered eve@example.net, this once."
    assert said == [(EVE, "Air temperature is 21.4 °C.")] or said[0][0] == EVE
    assert "21.4 °C" in said[0][1]
    assert door.house.access.person(Jid("eve", "example.net")) is None
    assert await door.brings("lamp?", EVE) == []
    assert door.owners_hear()[1:] == [question("lamp?")]


@pytest.mark.parametrize(
    "text", ["lamp on", "watch temp for 2h", "quiet 2h", "allow eve@example.net owner", "log", "ack frost"]
)
async def test_once_does_nothing_but_read(door, text):
    await door.brings(text, EVE)
    heard, said = await answers(door, "once eve@example.net")
    assert heard == "What eve@example.net asked is more than reading, or gone. Nothing was done."
    assert said == []
    assert door.house.board.moves == []
    assert door.house.watches == {}
    assert await door.house.state.grants() == []


async def test_what_a_guest_does_not_say_clearly_is_answered_with_a_question_that_asks_nothing_more(door):
    await door.brings("relay", EVE)
    _, said = await answers(door, "once")
    assert [to for to, _ in said] == [EVE]
    assert await door.brings("1", EVE) == []


async def test_always_makes_a_viewer_who_is_answered(door):
    await door.brings("lamp?", EVE)
    heard, said = await answers(door, "always")
    assert heard == "eve@example.net is a viewer from now on."
    assert said == [(EVE, "Lamp is off.")]
    assert door.house.access.person(Jid("eve", "example.net")).role is Role.VIEWER
    assert door.house.knocks.waiting == ()
    before = len(door.said)
    door.hear("pump?", sender=EVE)
    await door.answers(before + 1)


async def test_never_is_never_asked_again_and_an_owner_can_change_their_mind(door):
    await door.brings("lamp?", EVE)
    heard, said = await answers(door, "never")
    assert (heard, said) == ("I do not ask about eve@example.net any more, and hear nothing of them.", [])
    await door.house.clock.advance(5)
    door.house.clock.jump(10 * DAY_NS / 1e9)
    await door.brings("lamp?", EVE)
    assert len(door.owners_hear()) == 1
    heard, _ = await answers(door, "allow eve@example.net viewer")
    assert heard == "eve@example.net: viewer (given in chat)."
    assert not await door.house.knocks.shut_out(Jid("eve", "example.net"))


async def test_an_owner_can_change_their_mind_also_after_a_restart(door):
    await door.brings("lamp?", EVE)
    await answers(door, "never")
    door.house.knocks = Knocks(door.house, wanted=True, session=lambda: None)
    heard, _ = await answers(door, "always eve@example.net")
    assert heard == "eve@example.net is a viewer from now on."


class Blocking:
    """What a session is asked about the block list."""

    def __init__(self, *, fails: bool = False) -> None:
        self.jid, self.asked, self.fails = Jid("greenhouse", "example.org", "x"), [], fails

    async def iq(self, kind, query):
        if self.fails:
            raise Refusal("feature-not-implemented", "the server has no block list")
        self.asked.append((kind, query.tag.partition("}")[2], query[0].get("jid")))


async def test_never_blocks_at_the_server_and_rights_unblock(door):
    session = Blocking()
    door.house.knocks._session = lambda: session
    await door.brings("lamp?", EVE)
    await answers(door, "never")
    await answers(door, "always eve@example.net")
    assert session.asked == [("set", "block", "eve@example.net"), ("set", "unblock", "eve@example.net")]


async def test_a_server_without_a_block_list_changes_nothing_about_never(door, caplog):
    door.house.knocks._session = lambda: Blocking(fails=True)
    await door.brings("lamp?", EVE)
    heard, _ = await answers(door, "never")
    assert "hear nothing of them" in heard
    assert "eve@example.net is not blocked at the server" in caplog.text
    door.house.clock.jump(DAY_NS / 1e9)
    await door.brings("lamp?", EVE)
    assert len(door.owners_hear()) == 1


async def test_questions_are_few_at_a_time_and_few_a_day(door):
    for number in range(3 * A_DAY):
        await door.brings("lamp?", f"m{number}@example.net/x")
    assert len(door.owners_hear()) == OPEN
    for number in range(3 * A_DAY):
        if door.house.knocks.waiting:
            await answers(door, f"never {door.house.knocks.waiting[0]}")
        await door.brings("lamp?", f"n{number}@example.net/x")
    assert len(door.owners_hear()) == A_DAY
    door.house.clock.jump(DAY_NS / 1e9)
    await door.brings("lamp?", "late@example.net/x")
    assert len(door.owners_hear()) == A_DAY + 1


async def test_a_restart_forgets_what_was_said_and_not_who_was_asked_about(door):
    await door.brings("lamp?", EVE)
    door.house.knocks = Knocks(door.house, wanted=True, session=lambda: None)
    await door.brings("lamp?", EVE)
    assert len(door.owners_hear()) == 1
    heard, said = await answers(door, "once eve@example.net")
    assert (heard, said) == ("eve@example.net does not wait for an answer. Nothing was changed.", [])


async def test_the_table_is_bounded_and_never_goes_last(door):
    house = door.house
    await house.state.run(lambda db: db.executemany(
        "INSERT INTO knock VALUES (?, ?, ?)",
        [(f"m{n}@example.net", "never" if n % 2 else "once", n) for n in range(KEPT)],
    ))  # fmt: skip
    await door.brings("lamp?", EVE)
    rows = await house.state.run(lambda db: db.execute("SELECT jid, answer FROM knock").fetchall())
    assert len(rows) == KEPT
    assert ("eve@example.net", "asked") in rows
    assert ("m1@example.net", "never") in rows
    assert ("m0@example.net", "once") not in rows


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nfrom: anna\u202e\u009b31m", r"a\nfrom: anna\u202e\x9b31m"), ("x" * 4000, "x" * 200 + "…"),
        ("is claim k3dh-9wza-7mpb-t2xf right?", "is claim … right?"),
    ],
)  # fmt: skip
async def test_what_owners_read_of_it_is_one_short_line_without_any_code(door, text, shown):
    await door.brings(text, EVE)
    [line] = door.owners_hear()
    assert "\n" not in line
    assert len(line) < 500
    assert "k3dh" not in line
    assert shown in line or all(char.isprintable() for char in line)


async def test_what_a_stranger_says_ends_where_its_quotation_does(door):
    await door.brings('hi”. Bram asks you to say „allow "eve" owner“. “', EVE)
    assert door.owners_hear() == [question("hi'. Bram asks you to say 'allow 'eve' owner'. '")]


async def test_what_owners_could_not_read_is_not_answered(door):
    await door.brings("hi " * 100 + "air temperature", EVE)
    _, said = await answers(door, "once")
    assert "21.4" not in str(said)


async def test_an_address_that_looks_like_anothers_is_said_to_who_lets_it_in(door):
    await door.brings("lamp?", "br\u0430m@example.org/x")
    heard, _ = await answers(door, "always")
    assert heard.endswith(
        "Mind: br\u0430m@example.org looks like bram@example.org, but is another address. Not meant? Say: "
        "revoke br\u0430m@example.org"
    )


async def test_two_owners_who_say_once_at_the_same_time_answer_once(door):
    await door.brings("lamp?", EVE)
    await asyncio.gather(*(door.house.knocks.answer(Jid("eve", "example.net"), "once") for _ in range(2)))
    assert len(door.said) == 1


async def test_a_disk_that_does_not_keep_a_question_leaves_nobody_waiting(door, monkeypatch):
    await door.brings("pump?", "finn@example.net/x")
    with monkeypatch.context() as failing:
        failing.setattr(door.house.state, "run", _fails)
        await door.brings("lamp?", EVE)
    assert door.house.knocks.waiting == (Jid("finn", "example.net"),)
    await door.brings("lamp?", EVE)
    assert door.owners_hear()[1:] == [question("lamp?")]


async def _fails(_work):
    raise StoreError("the disk is full", "failing")


async def test_while_nobody_owns_the_node_nobody_is_asked_about(door):
    """It would be whoever is about to claim it."""
    door.house.access = Access([])
    await door.brings("hello?", EVE)
    assert (door.owners_hear(), door.house.knocks.waiting) == ([], ())


async def test_who_comes_in_by_a_code_does_not_wait_any_more(door):
    await door.brings("hello?", EVE)
    code = await door.house.claims.make(Offer(role="viewer", name="Eve", by=str(ANNA.bare)))
    await door.brings(code, EVE)
    assert door.house.knocks.waiting == ()


@pytest.mark.parametrize("sender", ["example.net", "greenhouse@example.org/x"])
async def test_a_server_and_our_own_account_do_not_knock(door, sender):
    await door.brings("lamp?", sender)
    assert door.owners_hear() == []


async def test_what_is_late_wrapped_or_no_message_asks_nobody(door):
    await door.brings("lamp?", EVE, late=True)
    await door.brings("lamp?", EVE, inner="<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>")
    await door.brings("lamp?", EVE, kind="headline")
    await door.brings("claim aaaa-bbbb-cccc-dddd", EVE)
    assert door.owners_hear() == []


@pytest.mark.parametrize("who", [BRAM, CLEO])
@pytest.mark.parametrize("text", ["once eve@example.net", "always", "never eve@example.net"])
async def test_only_owners_answer(door, who, text):
    await door.brings("lamp?", EVE)
    _, said = await answers(door, text, who)
    assert said == []
    assert door.house.knocks.waiting == (Jid("eve", "example.net"),)


async def test_an_owner_within_limits_lets_nobody_read_everything(door):
    lena = Jid("lena", "example.org", "phone")
    door.house.access = Access([*PEOPLE, Person(jid=lena.bare, role=Role.OWNER, only=("door",))])
    await door.brings("lamp?", EVE)
    for way in ("once", "always"):
        heard, said = await answers(door, way, lena)
        assert heard == "A viewer reads everything, which is more than yours. Say: allow eve@example.net viewer"
        assert said == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("once", "Say whom: eve@example.net, finn@example.net"),
        ("always cleo@example.org", "cleo@example.org does not wait for an answer. Nothing was changed."),
        ("always gijs@example.net", "gijs@example.net does not wait for an answer. Nothing was changed."),
        ("never a@b@c", "“a@b@c” is no address. Nothing was changed."),
        ("never example.net", DONT),
        ("never allow eve@example.net owner", DONT),
        ("never thanks!", DONT),
        ("always *@example.net", "*@example.net does not wait for an answer. Nothing was changed."),
    ],
)
async def test_an_answer_to_nobody_in_particular_does_nothing(door, text, answer):
    await door.brings("lamp?", EVE)
    await door.brings("lamp?", "finn@example.net/x")
    with contextlib.suppress(KeyError):
        assert (await answers(door, text))[0] == answer
    assert await door.house.state.grants() == []


async def test_where_nobody_waits_the_owner_is_told_what_to_say_instead(door):
    assert (await answers(door, "always"))[0] == "Nobody waits for an answer. Give somebody rights with “allow”."
