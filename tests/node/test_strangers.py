"""Who brings a code: over real rights, state and audit, and an answer only where one is due."""

import asyncio
import contextlib
import sqlite3
import time
from dataclasses import replace

import pytest
from tests.node.house import ANNA, BRAM, CLEO, PEOPLE, greenhouse
from tests.node.test_conversation import Talk

from knoop import claiming, claims, state
from knoop.access import Access, Person, Role
from knoop.claims import Offer
from knoop.commands import table
from knoop.errors import StoreError
from knoop.ownership import OWNERS, owned
from knoop.strangers import ALL_BURST, LESS, OWN_BURST, OWN_PER_S
from knoop.wall import Wall

NEW = "eve@example.org/phone"
WRONG = "aaaa-bbbb-cccc-dddd"
UNKNOWN = "I do not know this code. Each works once, and only for its time."


class Doorway(Talk):
    """A talk that knows what owners are told, and when nothing is under way."""

    def __init__(self, house):
        super().__init__(house, table())
        self.told = []
        self.conversation.door._announce = self.told.append

    async def brings(self, text, sender=NEW, **more):
        """Say it, and return what was answered to it when all of it is done."""
        before = len(self.said)
        self.hear(text, sender=sender, **more)
        await self.done()
        return [body for _, body in self.said[before:]]

    async def done(self):
        async with asyncio.timeout(20):
            while tasks := {*self.conversation.door._tasks, *self.execution._audits}:
                await asyncio.wait(tasks)

    def owners_hear(self):
        return [self.house.voice("en").sentence(sentence) for sentence in self.told]

    async def results(self):
        return [(line.who, line.action, line.result) for line in await self.house.state.audit_tail(200)]


@contextlib.asynccontextmanager
async def doorway(folder, people):
    async with greenhouse(folder) as house:
        house.access = Access(people)
        made = Doorway(house)
        try:
            yield made
        finally:
            await made.close()


@pytest.fixture
async def nobodys(tmp_path):
    """A node that nobody owns."""
    async with doorway(tmp_path, ()) as made:
        yield made


@pytest.fixture
async def annas(tmp_path):
    async with doorway(tmp_path, PEOPLE) as made:
        yield made


async def test_who_sends_the_code_becomes_the_owner_and_the_code_is_gone(nobodys):
    code = await nobodys.house.claims.make(OWNERS)
    assert not owned(nobodys.house.access)
    [answer] = await nobodys.brings(f"claim {code}")
    assert answer == "Welcome: I am Greenhouse. Say “help” for what I do.\neve@example.org: owner (given in chat)."
    assert nobodys.said[0][0] == NEW
    assert nobodys.house.access.person(nobodys.house.jid(NEW)).role is Role.OWNER
    assert await nobodys.house.claims.offers() == ()
    assert nobodys.owners_hear() == [], "there was nobody to tell"
    assert await nobodys.brings(f"claim {code}", "mallory@example.net/x") == []
    assert (await nobodys.results())[:2] == [
        (NEW, "claim", "done: owner"), ("mallory@example.net/x", "claim", "refused: stranger"),
    ]


async def test_a_code_that_is_wrong_ended_or_used_is_the_same_silence(nobodys):
    house = nobodys.house
    ended = await house.claims.make(replace(OWNERS, by=claims.CONSOLE, until_ns=house.clock.time_ns()))
    for text in (f"claim {WRONG}", f"claim {ended}", ended, WRONG):
        assert await nobodys.brings(text) == []
    assert [(action, result) for _, action, result in await nobodys.results()] == [("claim", "refused: stranger")] * 4
    assert nobodys.written == []
    assert not owned(house.access)


async def test_neither_log_nor_audit_log_nor_file_has_the_code(nobodys, caplog):
    code = await nobodys.house.claims.make(OWNERS)
    await nobodys.brings(f"claim {WRONG}")
    await nobodys.brings(f"claim {code}")
    assert "eve@example.org is owner here now" in caplog.text
    assert WRONG not in caplog.text + str(await nobodys.results())
    assert code not in caplog.text + str(await nobodys.results())
    with contextlib.closing(sqlite3.connect(nobodys.house.state.database.path)) as db:
        assert code not in "\n".join(db.iterdump())


async def test_of_two_at_once_one_is_the_owner(nobodys):
    code = await nobodys.house.claims.make(OWNERS)
    for number in range(4):
        nobodys.hear(f"claim {code}", sender=f"eve{number}@example.org/x")
    await nobodys.done()
    assert len(nobodys.said) == 1
    assert [person.role for person in nobodys.house.access.everyone()] == [Role.OWNER]


async def test_tries_of_one_address_are_few_and_come_back(nobodys):
    house = nobodys.house
    code = await house.claims.make(OWNERS)
    for _ in range(OWN_BURST):
        await nobodys.brings(f"claim {WRONG}")
    assert await nobodys.brings(f"claim {code}") == [], "not even looked at"
    assert await nobodys.brings(f"claim {code}", "eve@example.org/another") == []
    await house.clock.advance(1 / OWN_PER_S)
    assert len(await nobodys.brings(f"claim {code}")) == 1


async def test_a_flood_of_addresses_is_bounded_together_and_ends(nobodys):
    house = nobodys.house
    code = await house.claims.make(OWNERS)
    looked = 0
    find = house.claims.find

    async def counted(tried):
        nonlocal looked
        looked += 1
        return await find(tried)

    house.claims.find = counted
    for number in range(3 * ALL_BURST):
        await nobodys.brings(f"claim {WRONG}", f"m{number}@example.net/x")
    assert looked == ALL_BURST
    assert await nobodys.brings(f"claim {code}") == []
    await house.clock.advance(5)
    assert len(await nobodys.brings(f"claim {code}")) == 1


async def test_many_tries_at_the_same_instant_do_not_pile_up(nobodys):
    for number in range(ALL_BURST):
        nobodys.hear(f"claim {WRONG}", sender=f"m{number}@example.net/x")
    assert len(nobodys.conversation.door._tasks) <= 8
    await nobodys.done()
    assert nobodys.said == []


async def test_a_late_one_is_told_so_only_with_the_right_code_which_stays(nobodys):
    code = await nobodys.house.claims.make(OWNERS)
    assert await nobodys.brings(f"claim {WRONG}", late=True) == []
    assert await nobodys.brings(f"claim {code}", late=True) == [
        "That arrived late, so I did nothing. Please say it again."
    ]
    assert not owned(nobodys.house.access)
    assert len(await nobodys.brings(f"claim {code}")) == 1


@pytest.mark.parametrize(
    "inner",
    [
        "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:00:00Z'/>",
        "<replace xmlns='urn:xmpp:message-correct:0' id='x'/>",
        "<forwarded xmlns='urn:xmpp:forward:0'/>", "<received xmlns='urn:xmpp:carbons:2'/>",
        "<result xmlns='urn:xmpp:mam:2'/>", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
    ],
)  # fmt: skip
async def test_only_a_live_message_of_its_own_redeems(nobodys, inner):
    code = await nobodys.house.claims.make(OWNERS)
    assert await nobodys.brings(f"claim {code}", inner=inner) == []
    assert not owned(nobodys.house.access)


@pytest.mark.parametrize("kind", ["groupchat", "headline", "error", "other"])
async def test_other_kinds_of_message_redeem_nothing(nobodys, kind):
    code = await nobodys.house.claims.make(OWNERS)
    assert await nobodys.brings(f"claim {code}", kind=kind) == []
    assert not owned(nobodys.house.access)


async def test_a_server_is_nobody_and_becomes_nobody(nobodys):
    code = await nobodys.house.claims.make(OWNERS)
    assert await nobodys.brings(f"claim {code}", "example.net") == []
    assert not owned(nobodys.house.access)


async def test_the_nodes_own_account_does_not_become_its_owner(nobodys):
    """Whoever made the account may still be logged in with it on the telephone that opens the link."""
    code = await nobodys.house.claims.make(OWNERS)
    assert await nobodys.brings(f"claim {code}", "greenhouse@example.org/phone") == []
    assert not owned(nobodys.house.access)
    assert len(await nobodys.brings(f"claim {code}")) == 1


async def test_a_new_owner_by_the_console_is_said_to_the_others(annas):
    house = annas.house
    code = await house.claims.make(replace(OWNERS, by=claims.CONSOLE, until_ns=house.clock.time_ns() + 10**9))
    [answer] = await annas.brings(f"claim {code}")
    assert "eve@example.org: owner (given in chat)." in answer
    assert annas.owners_hear() == [
        "eve@example.org is an owner of Greenhouse now, by a code from its console. Is that not right? Say: "
        "revoke eve@example.org"
    ]


async def test_the_nodes_own_code_ends_with_the_first_owner_by_whatever_way(annas):
    """It stands in an old log, or on the case: node.toml or a file on the card may have named somebody since."""
    code = await annas.house.claims.make(OWNERS)
    assert await annas.brings(f"claim {code}") == []
    assert annas.owners_hear() == []


async def test_an_invite_makes_somebody_of_the_house_once(annas):
    house = annas.house
    code = await house.claims.make(Offer(role="viewer", only=("door",), name="Eve", by=str(ANNA.bare)))
    [answer] = await annas.brings(f"claim {code}")
    assert answer.endswith("\neve@example.org: viewer, only door (given in chat).")
    assert annas.owners_hear() == ["Eve has used the invite: eve@example.org: viewer, only door (given in chat)."]
    assert await annas.brings(f"claim {code}", "mallory@example.net/x") == []
    assert house.access.person(house.jid("mallory@example.net")) is None


async def test_who_uses_an_invite_with_an_address_like_another_is_told_as_such(annas):
    code = await annas.house.claims.make(Offer(role="viewer", name="Eve", by=str(ANNA.bare)))
    await annas.brings(f"claim {code}", "br\u0430m@example.org/x")
    assert [line.partition(" ")[0] for line in annas.owners_hear()] == ["Eve", "Mind:"]


async def test_an_invite_of_somebody_who_may_not_invite_any_more_is_nothing(annas):
    house = annas.house
    await house.state.grant("finn@example.org", "owner")
    await house.rights_changed()
    code = await house.claims.make(Offer(role="owner", name="Eve", by="finn@example.org"))
    await house.state.grant("finn@example.org", "owner", ("lamp",))
    await house.rights_changed()
    assert await annas.brings(f"claim {code}") == [], "it gives more than he has now"
    await house.state.revoke("finn@example.org")
    await house.rights_changed()
    assert await annas.brings(f"claim {code}") == []
    assert house.access.person(house.jid(NEW)) is None


async def test_an_invite_ends_and_counts_for_nobody_while_the_time_is_not_known(annas):
    house = annas.house
    until_ns = house.clock.time_ns() + round(claims.INVITE_S * 1e9)
    code = await house.claims.make(Offer(role="viewer", name="Eve", by=str(ANNA.bare), until_ns=until_ns))
    house.clock.is_set, house.wall = False, Wall(house.clock)
    assert await annas.brings(f"claim {code}") == []
    house.clock.is_set, house.wall = True, Wall(house.clock)
    house.clock.jump(claims.INVITE_S)
    assert await annas.brings(f"claim {code}") == []
    house.clock.jump(-1)
    assert len(await annas.brings(f"claim {code}")) == 1


async def test_people_are_answered_and_keep_what_they_have(annas):
    house = annas.house
    assert await annas.brings(f"claim {WRONG}", str(CLEO)) == [UNKNOWN]
    code = await house.claims.make(Offer(role="viewer", only=("door",), name="Eve", by=str(ANNA.bare)))
    enough = "You may do that already, so the code stays as it is: it is for somebody else."
    assert await annas.brings(f"claim {code}", str(ANNA)) == [enough]
    assert await annas.brings(f"claim {code}", str(CLEO)) == [enough]
    assert house.access.person(CLEO).only == ()
    owner = await house.claims.make(replace(OWNERS, by=claims.CONSOLE))
    assert await annas.brings(f"claim {owner}", str(BRAM)) == [
        "Node.toml zegt wat bram@example.org hier mag, en een code geeft niet meer. De code blijft zoals hij is."
    ]
    assert house.access.person(BRAM).role is Role.OPERATOR
    assert len(await annas.brings(f"claim {code}")) == 1, "neither of them used it up"


@pytest.mark.parametrize(
    ("had", "given"), [(("operator", ("lamp",)), ("viewer", ())), (("viewer", ()), ("operator", ("lamp",)))]
)
async def test_a_code_takes_nothing_from_anybody(annas, had, given):
    house = annas.house
    await house.state.grant("finn@example.org", *had)
    await house.rights_changed()
    code = await house.claims.make(Offer(role=given[0], only=given[1], name="Finn", by=str(ANNA.bare)))
    assert await annas.brings(f"claim {code}", "finn@example.org/phone") == [LESS]
    assert [(grant.role, grant.only) for grant in await house.state.grants()] == [had]
    assert len(await annas.brings(f"claim {code}")) == 1, "it was not used up"


async def test_an_invite_gives_back_nothing_that_its_inviter_could_not(annas):
    """Whom node.toml makes an owner and another such one put out stays out, whatever an owner by a chat would like."""
    house = annas.house
    house.access = Access([*PEOPLE, Person(jid=house.jid("lena@example.org"), role=Role.OWNER)])
    await house.state.grant("lena@example.org", "none")
    await house.state.grant("finn@example.org", "owner")
    await house.rights_changed()
    named = "node.toml says what lena@example.org may here, and a code gives no more. The code stays as it is."
    for role in ("owner", "viewer"):
        code = await house.claims.make(Offer(role=role, name="Lena", by="finn@example.org"))
        assert await annas.brings(f"claim {code}", "lena@example.org/x") == [named]
        assert house.access.person(house.jid("lena@example.org")) is None
    code = await house.claims.make(Offer(role="owner", name="Lena", by=str(ANNA.bare)))
    assert len(await annas.brings(f"claim {code}", "lena@example.org/x")) == 1
    assert house.access.person(house.jid("lena@example.org")).role is Role.OWNER


async def test_a_disk_that_answers_late_leaves_nobody_an_owner_unknown_to_the_node(annas, monkeypatch):
    house, entered = annas.house, []

    def slowly(*values):
        entered.append(time.sleep(0.2))
        return take(*values)

    take = claiming._take
    monkeypatch.setattr(claiming, "_take", slowly)
    monkeypatch.setattr(state, "ANSWER_S", 0.05)
    code = await house.claims.make(replace(OWNERS, by=claims.CONSOLE))
    assert len(await annas.brings(f"claim {code}")) == 1
    assert entered == [None]
    assert house.access.person(house.jid(NEW)).role is Role.OWNER
    assert len(annas.owners_hear()) == 1


async def test_who_was_let_in_by_a_code_is_welcomed_whatever_the_disk_does_then(annas, monkeypatch):
    house = annas.house
    code = await house.claims.make(replace(OWNERS, by=claims.CONSOLE))

    async def fails():
        raise StoreError("the disk is full", "failing")

    monkeypatch.setattr(house.claims, "offers", fails)
    assert len(await annas.brings(f"claim {code}")) == 1
    assert len(annas.owners_hear()) == 1


async def test_a_family_member_by_a_grant_can_become_the_owner(annas):
    house = annas.house
    await house.state.grant("finn@example.org", "viewer")
    await house.rights_changed()
    code = await house.claims.make(replace(OWNERS, by=claims.CONSOLE))
    assert len(await annas.brings(code, "finn@example.org/phone")) == 1
    assert house.access.person(house.jid("finn@example.org")).role is Role.OWNER


async def test_who_claims_ends_every_other_claim_but_no_invite(annas):
    house = annas.house
    await house.claims.make(OWNERS)
    again = await house.claims.make(replace(OWNERS, by=claims.CONSOLE))
    await house.claims.make(Offer(role="viewer", name="Finn", by=str(ANNA.bare)))
    await annas.brings(f"claim {again}")
    assert [offer.name for offer in await house.claims.offers()] == ["Finn"]
