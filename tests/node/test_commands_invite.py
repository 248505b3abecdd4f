"""invite, and what who and revoke say of it: over real rights, state and parser."""

import pytest
from tests.node.house import ANNA, BRAM, CHANNELS, CLEO, PEOPLE, greenhouse

from knoop import claims
from knoop.access import Access, Person, Role
from knoop.claims import INVITE_S, MOST
from knoop.jid import Jid

LENA = Jid("lena", "example.org", "phone")


@pytest.fixture
async def house(tmp_path):
    async with greenhouse(tmp_path) as made:
        made.access = Access([*PEOPLE, Person(jid=LENA.bare, role=Role.OWNER, only=("door", "air"))])
        yield made


def code_in(answer):
    return claims.find(answer.splitlines()[1])


async def test_an_invite_says_for_whom_until_when_and_how_to_use_it(house):
    answer = await house.ask(ANNA, "invite Bram operator only lamp, relay")
    code = code_in(answer)
    assert answer.splitlines() == [
        "For Bram, operator, only lamp, relay: works once, until 2026-11-24 10:15. Whoever has it can use it.",
        f"xmpp:greenhouse@example.org?message;body=claim%20{code}",
        f"Or let them send me: claim {code}",
    ]
    offer = await house.claims.find(code)
    assert (offer.role, offer.only, offer.name, offer.by) == ("operator", ("lamp", "relay"), "Bram", "anna@example.org")
    assert offer.until_ns == house.clock.time_ns() + INVITE_S * 1e9
    assert (await house.ask(ANNA, "who")).splitlines()[-1] == (
        "Bram: invited as operator, only lamp, relay, until 2026-11-24 10:15."
    )


async def test_a_name_may_have_several_words(house):
    answer = await house.ask(ANNA, "invite Anna Maria viewer only door")
    assert answer.startswith("For Anna Maria, viewer, only door: works once")
    assert await house.ask(ANNA, "revoke anna maria") == "The invite for Anna Maria is taken back."


@pytest.mark.parametrize("text", ["invite Carla as viewer", "invite Carla as a viewer", "nodig Carla uit als kijker"])
async def test_what_people_say_between_name_and_role_is_no_part_of_the_name(house, text):
    assert (await house.ask(ANNA, text)).startswith("For Carla, viewer: works once")


async def test_a_name_may_be_such_a_word(house):
    assert (await house.ask(ANNA, "invite As viewer")).startswith("For As, viewer: works once")


async def test_it_is_for_the_device_that_asked_alone(house):
    assert (await house.hear(ANNA, "invite eve viewer")).passing


async def test_a_second_one_for_a_name_replaces_the_first(house):
    first = code_in(await house.ask(ANNA, "invite Eve viewer"))
    second = code_in(await house.ask(ANNA, "invite eve operator"))
    assert await house.claims.find(first) is None
    assert (await house.claims.find(second)).role == "operator"
    assert [offer.name for offer in await house.claims.offers()] == ["Eve"]


async def test_revoke_takes_it_back_by_its_name(house):
    code = code_in(await house.ask(ANNA, "invite Eve viewer"))
    assert await house.ask(ANNA, "revoke eve") == "The invite for Eve is taken back."
    assert await house.claims.find(code) is None
    assert await house.ask(ANNA, "revoke eve") == "eve has no rights here."
    assert "invited" not in await house.ask(ANNA, "who")


async def test_one_that_has_ended_is_not_listed_and_can_be_taken_back(house):
    await house.ask(ANNA, "invite Eve viewer")
    house.clock.jump(INVITE_S)
    assert "invited" not in await house.ask(ANNA, "who")
    assert await house.ask(ANNA, "revoke Eve") == "The invite for Eve is taken back."


async def test_an_owner_within_limits_invites_within_them_and_sees_no_other(house):
    await house.ask(ANNA, "invite Eve viewer")
    answer = await house.ask(LENA, "invite Finn viewer")
    assert answer.splitlines()[-1] == "You can give no more than your own: door, air."
    assert (await house.claims.find(code_in(answer))).only == ("door", "air")
    assert "Eve" not in await house.ask(LENA, "who")
    assert await house.ask(LENA, "revoke Eve") == "eve has no rights here."
    assert await house.ask(LENA, "invite eve viewer") == (
        "That name is taken by another owner's invite. Nothing was changed."
    )
    assert await house.ask(LENA, "invite Gijs viewer only lamp") == "There is no channel lamp. Nothing was changed."
    assert await house.ask(ANNA, "revoke finn") == "The invite for Finn is taken back."


@pytest.mark.parametrize("who", [BRAM, CLEO])
async def test_nobody_else_invites(house, who):
    await house.ask(who, "invite eve viewer")
    assert await house.claims.offers() == ()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("invite", "Say who and as what, for example: invite bram operator only lamp"),
        ("invite eve", "Say who and as what, for example: invite bram operator only lamp"),
        ("invite eve boss", "Say who and as what, for example: invite bram operator only lamp"),
        ("invite eve viewer lamp", "Say who and as what, for example: invite bram operator only lamp"),
        ("invite eve viewer only", "Say who and as what, for example: invite bram operator only lamp"),
        ("invite eve viewer only sauna", "There is no channel sauna. Nothing was changed."),
        (f"invite {'e' * 41} viewer", "That is no name. Nothing was changed."),
        (
            "invite eve@example.org viewer",
            "An invite is for somebody whose address you do not know. Say: allow eve@example.org viewer",
        ),
    ],
)
async def test_what_is_not_understood_changes_nothing(house, text, answer):
    assert await house.ask(ANNA, text) == answer
    assert await house.claims.offers() == ()


async def test_open_invites_are_few(house):
    for number in range(MOST):
        await house.ask(ANNA, f"invite guest{number} viewer")
    assert await house.ask(ANNA, "invite eve viewer") == "20 invites are open. Take one back first: revoke guest0"
    assert len(await house.claims.offers()) == MOST
    house.access = Access([*PEOPLE, Person(jid=LENA.bare, role=Role.OWNER, only=("door",))])
    assert await house.ask(LENA, "invite eve viewer") == "20 invites are open. Take one back first: revoke …"
    house.clock.jump(INVITE_S)
    assert code_in(await house.ask(ANNA, "invite eve viewer"))


async def test_without_the_time_no_invite_could_end(house):
    house.clock.is_set, house.wall._trusted = False, False
    assert await house.ask(ANNA, "invite eve viewer") == (
        "I do not know what time it is yet, so no invite could end. Please ask again later."
    )


async def test_a_limited_invite_covers_what_may_be_read(house):
    assert set(CHANNELS) >= {"lamp", "relay.one"}
    await house.ask(ANNA, "invite Eve viewer only relay")
    [offer] = await house.claims.offers()
    assert offer.only == ("relay",)


async def test_invites_that_ended_are_not_kept_for_ever(house):
    for number in range(3):
        await house.ask(ANNA, f"invite guest{number} viewer")
    house.clock.jump(INVITE_S)
    await house.ask(ANNA, "invite bram viewer")
    assert [offer.name for offer in await house.claims.offers()] == ["bram"]
