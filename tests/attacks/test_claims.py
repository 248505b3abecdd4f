"""Whoever has the code from the machine becomes the owner, and nobody else: guesses, replays, races, thefts, forgeries.

A node that nobody owns has outputs like any other; as long as nobody has claimed it nothing moves them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.rig import AIR, ANYBODYS, BOARD, GROWTH_MB, PASSWORD, House, besieged
from tests.integration.running import NODE, SCENARIO, Ended, Way, knoop, running, until, write

from knoop import claims
from knoop_bench.certificates import Authority
from knoop_bench.errors import NotSeen, Refused
from knoop_bench.prosody import Prosody
from knoop_bench.seen import Seen
from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

USERS = ("anna", "bram", "eve", "mallory", "mallory2")
WRONG = "aaaa-bbbb-cccc-dddd"


class Unowned(House):
    """A node whose owner is whoever claims it; nobody is a resident."""

    @property
    def state(self) -> Path:
        return self.folder / "state/knoop"

    @asynccontextmanager
    async def visit(self, user: str, **more: Any) -> AsyncIterator[Witness]:
        async with super().visit(user, **{"friends": [], **more}) as witness:
            yield witness

    async def code(self) -> str:
        """The code that the machine shows."""
        await until((self.state / "claim.png").exists, lambda: self.node.log)
        return next(filter(None, map(claims.find, (self.state / "claim.txt").read_text("utf-8").splitlines())))

    async def command(self, *arguments: object) -> Ended:
        """`knoop claim` at the console, beside the running node."""
        return await knoop("claim", *arguments, "--config", "node.toml", folder=self.folder)

    async def claimed(self, witness: Witness, code: str) -> str:
        return await self.asks(witness, f"claim {code}", "Welcome: I am greenhouse")

    async def refused(self, count: int) -> None:
        """Wait until the audit log has so many tries that were wrong."""
        await until(lambda: len(self.tries()) >= count, lambda: str(self.audit()))

    def tries(self) -> list[str]:
        return [line.who for line in self.audit() if (line.action, line.result) == ("claim", "refused: stranger")]


def says(text: str) -> Callable[[Seen], bool]:
    return lambda seen: (seen.body or "").startswith(text)


@asynccontextmanager
async def nobodys(folder: Path, authority: Authority, *, growth_mb: float = GROWTH_MB) -> AsyncIterator[Unowned]:
    accounts = dict.fromkeys(USERS, ANYBODYS)
    async with Prosody(folder / "prosody", {**accounts, NODE: PASSWORD}, authority=authority) as server:
        file = write(folder, Way.to(server), jid=server.jid(NODE), password=PASSWORD, board=BOARD,
                     scenario=SCENARIO + AIR)
        file.write_text(file.read_text("utf-8").replace('"anna@localhost" = "owner"', ""), "utf-8")
        async with running(folder) as node:
            await node.online()
            house = Unowned(folder, node, server, growth_mb=growth_mb)
            yield house
            house.well()


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[Unowned]:
    async with nobodys(tmp_path, authority) as made:
        yield made


async def test_the_machine_shows_a_code_and_who_sends_it_is_the_owner_and_nobody_after_them(house):
    code = await house.code()
    assert f"claim {code}" in house.node.log
    async with house.visit("anna") as anna, house.visit("mallory") as mallory:
        for text in ("lamp on", f"claim {WRONG}", "claim", "help"):
            mallory.say(house.jid, text)
        await mallory.ping()
        answer = await house.claimed(anna, code)
        assert "anna@localhost: owner (given in chat)." in answer
        await until(lambda: not (house.state / "claim.txt").exists(), lambda: house.node.log)
        assert not (house.state / "claim.png").exists()
        mallory.say(house.jid, f"claim {code}")
        mallory.say(house.jid, f"xmpp:{house.jid}?message;body=claim%20{code}")
        await mallory.ping()
        await house.refused(3)
        assert house.moves == []
        await house.asks(anna, "lamp on", "Lamp is on.")
        await house.asks(anna, "who", "anna@localhost: owner")
        assert house.learned(mallory) == []
    assert code not in str(house.audit())


async def test_guesses_are_silence_bounded_and_lock_nobody_out_for_ever(house):
    code = await house.code()
    near = [code[:-1] + letter for letter in claims.LETTERS if letter != code[-1]]
    async with house.visit("mallory") as mallory, house.visit("mallory2") as other, house.visit("anna") as anna:
        for attacker in (mallory, other):
            for number in range(200):
                attacker.say(house.jid, f"claim {near[number % len(near)]}")
            await attacker.ping()
        async with asyncio.timeout(60):
            while True:
                anna.say(house.jid, f"claim {code}")
                with contextlib.suppress(NotSeen):
                    await anna.wait(lambda seen: "Welcome" in (seen.body or ""), 1.5)
                    break
        assert house.learned(mallory) == house.learned(other) == []
    assert {who.partition("/")[0] for who in house.tries()} <= {"mallory@localhost", "mallory2@localhost"}
    assert 2 <= len(house.tries()) <= 120
    assert not any(code[:-2] in f"{line.action}{line.result}" for line in house.audit())
    assert code[:-2] not in house.node.log.partition("connected as")[2].partition("is owner here now")[2]
    assert house.moves == []


async def test_of_two_who_claim_at_the_same_instant_one_is_the_owner(house):
    code = await house.code()
    async with house.visit("anna") as anna, house.visit("eve") as eve:
        for witness in (anna, eve):
            witness.say(house.jid, f"claim {code}")
        await until(lambda: any(line.result == "done: owner" for line in house.audit()), lambda: str(house.audit()))
        for witness in (anna, eve):
            await witness.ping()
        await until(lambda: house.learned(anna) or house.learned(eve), lambda: house.node.log)
        won, lost = (anna, eve) if house.learned(anna) else (eve, anna)
        await house.asks(won, "lamp on", "Lamp is on.")
        lost.say(house.jid, "pump on")
        await lost.ping()
        await house.asks(won, "who", f"{won.jid}: owner")
        assert house.learned(lost) == []
    assert house.moves == [("lamp", True)]


FORWARDED = (
    "<{0} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' type='chat' "
    "from='eve@localhost/x' to='{1}'><body>claim {2}</body></message></forwarded></{0}>"
)


async def test_a_code_that_is_quoted_wrapped_delayed_or_corrected_claims_nothing(house):
    """Whoever forges one of these has the code, but the words were somebody else's, or of another time."""
    code = await house.code()
    body = f"<body>claim {code}</body>"
    async with house.visit("mallory") as mallory:
        for inner, kind in (
            (FORWARDED.format("received", house.jid, code), "chat"),
            (FORWARDED.format("sent", house.jid, code), "chat"),
            (body + "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>", "chat"),
            (body + "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>", "chat"),
            (body, "headline"), (body, "groupchat"), (body, "error"),
            (f"<body>&gt; claim {code}</body>", "chat"), (f"<body>do not claim {code}</body>", "chat"),
            (f"<subject>claim {code}</subject>", "chat"), (f"<body xml:lang='en'>x</body>{body}", "chat"),
            ("<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
             f"claim {code}</body></html>", "chat"),
            ("<body>claim</body>" + f"<reply xmlns='urn:xmpp:reply:0' id='{code}'/>", "chat"),
        ):  # fmt: skip
            mallory.send_raw(f"<message to='{house.jid}' type='{kind}' id='f{len(inner)}'>{inner}</message>")
        mallory.send_raw(f"<presence to='{house.jid}' type='subscribe'><status>claim {code}</status></presence>")
        await mallory.ping()
        async with house.visit("anna") as anna:
            await house.claimed(anna, code)
            assert "mallory" not in await house.asks(anna, "who", "anna@localhost: owner")
        answers = {str(seen) for seen in house.learned(mallory)}
        assert answers <= {f"presence unavailable from {house.jid}"}, "what the server says to a subscription request"
    assert house.moves == []
    assert code not in str(house.audit()), "a code that still counts is in no log that others read"


async def test_after_it_is_claimed_only_the_console_gives_a_code_and_the_owner_hears_of_it(house):
    code = await house.code()
    async with house.visit("anna") as anna, house.visit("eve") as eve, house.visit("mallory") as mallory:
        await house.claimed(anna, code)
        ended = await house.command()
        ended.plainly(1, "greenhouse has an owner: anna@localhost. If nobody can reach them any more: knoop claim --a")
        again = claims.find((await house.command("--again")).out.splitlines()[2])
        for letter in [letter for letter in claims.LETTERS if letter != again[-1]][:3]:
            mallory.say(house.jid, f"claim {again[:-1]}{letter}")
        await mallory.ping()
        after = anna.mark
        await house.claimed(eve, again)
        await anna.wait(says("eve@localhost is an owner of greenhouse now, by a code from its console."), after=after)
        await house.asks(anna, "revoke eve@localhost", "eve@localhost has no rights here any more.")
        mark = eve.mark
        eve.say(house.jid, f"claim {again}")
        eve.say(house.jid, "lamp on")
        await eve.ping()
        await house.asks(anna, "who", "anna@localhost: owner")
        assert not [seen for seen in eve.seen[mark:] if seen.sender_bare == house.jid and seen.body]
        assert house.learned(mallory) == []
    assert house.moves == []


async def test_a_stolen_invite_is_said_to_the_owner_works_once_and_its_thief_is_put_out(house):
    async with house.visit("anna") as anna, house.visit("bram") as bram, house.visit("mallory") as mallory:
        await house.claimed(anna, await house.code())
        answer = await house.asks(anna, "invite Bram operator only lamp", "For Bram, operator")
        code = claims.find(answer.splitlines()[1])
        after = anna.mark
        await house.claimed(mallory, code)
        await anna.wait(says("Bram has used the invite: mallory@localhost: operator, only lamp"), after=after)
        bram.say(house.jid, f"claim {code}")
        await bram.ping()
        await house.asks(mallory, "pump on", "I do not understand")
        await house.asks(anna, "revoke mallory@localhost", "mallory@localhost has no rights here any more.")
        mark = mallory.mark
        mallory.say(house.jid, "lamp on")
        mallory.say(house.jid, f"claim {code}")
        await mallory.ping()
        second = claims.find((await house.asks(anna, "invite Bram viewer", "For Bram")).splitlines()[1])
        await house.claimed(bram, second)
        assert not [seen for seen in mallory.seen[mark:] if seen.sender_bare == house.jid and seen.body]
        taken = claims.find((await house.asks(anna, "invite Finn owner", "For Finn")).splitlines()[1])
        await house.asks(anna, "revoke finn", "The invite for Finn is taken back.")
        mallory.say(house.jid, f"claim {taken}")
        await mallory.ping()
        assert "mallory" not in await house.asks(anna, "who", "anna@localhost: owner")
    assert house.moves == []
    assert code not in str(house.audit())


async def test_a_file_on_the_card_gives_a_lost_node_back_once(tmp_path, authority):
    restarted = 3 * GROWTH_MB  # which counts from nothing
    async with nobodys(tmp_path, authority, growth_mb=restarted) as house, house.visit("mallory") as mallory:
        await house.claimed(mallory, await house.code())  # who once was trusted, and is the last owner
        await house.node.stop()
        config = tmp_path / "node.toml"
        file = tmp_path / "knoop-claim.txt"
        text = config.read_text("utf-8")
        config.write_text(text.replace("[node]\n", f'[node]\nclaim_file = "{file}"\n'), "utf-8")
        file.write_text("# it is ours\nanna@localhost\n", "utf-8")
        after = mallory.mark
        house.node.start()
        await house.node.online(times=2)
        told = says("anna@localhost is an owner of greenhouse now: knoop-claim.txt on its card")
        await mallory.wait(told, after=after)
        async with house.visit("anna") as anna:
            await house.asks(anna, "revoke mallory@localhost", "mallory@localhost has no rights here any more.")
            await house.asks(anna, "lamp on", "Lamp is on.")
        assert house.moves == [("lamp", True)]


async def test_strangers_put_to_the_owner_learn_nothing_until_let_in_and_cannot_flood_them(tmp_path, authority):
    async with besieged(tmp_path, authority, users=("eve", "eve2", "eve3", "eve4")) as house:
        file = tmp_path / "node.toml"
        file.write_text(file.read_text("utf-8").replace("[node]", '[node]\nstrangers = "ask"'), "utf-8")
        house.node.tell(signal.SIGHUP)
        await house.node.says("node.toml is taken")
        async with (
            house.visit("anna") as anna, house.visit("mallory") as mallory, house.visit("eve") as eve,
            house.visit("eve2") as eve2, house.visit("eve3") as eve3,
        ):  # fmt: skip
            strangers = (mallory, eve, eve2, eve3)
            for number, stranger in enumerate(strangers[:3], 1):
                for _ in range(5):
                    stranger.say(house.jid, "lamp on" if stranger is mallory else "lamp?")
                await until(lambda: len(asked(anna)) == number, lambda: f"{asked(anna)} {house.node.log}")  # noqa: B023
            eve3.say(house.jid, "lamp?")
            await eve3.ping()
            await house.settled()
            assert len(asked(anna)) == 3, "once each, three at a time"
            assert all(house.learned(stranger) == [] for stranger in strangers)
            await house.asks(anna, "once mallory@localhost", "What mallory@localhost asked is more than reading")
            await house.asks(anna, "never eve2@localhost", "I do not ask about eve2@localhost any more")
            await house.asks(anna, "once eve@localhost", "I have answered eve@localhost, this once.")
            await until(lambda: house.learned(eve), lambda: str(anna.seen))
            assert [seen.body for seen in house.learned(eve)] == ["Lamp is off."]
            assert house.learned(mallory) == house.learned(eve2) == house.learned(eve3) == []
            with pytest.raises(Refused):  # the server answers for the node, which hears nothing of it
                await eve2.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=await house.device(anna))
            before = len(house.audit())
            eve2.say(house.jid, "lamp?")
            await eve2.ping()
            await house.settled()
            assert not [line for line in house.audit()[before:] if line.who.startswith("eve2@")]
        await house.unmoved()


def asked(owner: Witness) -> list[str]:
    return [seen.body for seen in owner.seen if "is nobody you named" in (seen.body or "")]
