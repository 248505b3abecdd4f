"""What may have been an attack on a login: when it is said, how often, and what the audit log keeps."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from knoop.command import Sentence
from knoop.errors import LinkError, LoginRefused, Sign, Untrusted
from knoop.jid import Jid
from knoop.text import Voice
from knoop.vigil import AGAIN_S, FAILED, REFUSED, TELL_EVERY_S, TICK_S, WHAT, Vigil
from knoop.xmpp import failures
from knoop_hw.clock import FakeClock


@dataclass
class House:
    """As much of a house as a vigil needs: a clock, and the address that logs in."""

    clock: FakeClock = field(default_factory=FakeClock)
    synced: bool = True
    jid: Jid = field(default_factory=lambda: Jid("greenhouse", "example.org", "knoop"))

    @property
    def config(self) -> "House":
        return self

    @property
    def now_ns(self) -> int | None:
        return self.clock.time_ns() if self.synced else None

    def say(self, sentence: Sentence, lang: str = "en") -> str:
        clock = self.clock
        voice = Voice(lang=lang, channels={}, now_ns=clock.time_ns(), boot=clock.boot_id,
                      boottime_ns=clock.boottime_ns())
        return voice.sentence(sentence)


class Login:
    """A link that is up; `ends` is how it answers a question."""

    ends: Exception | None = None

    async def ping(self) -> None:
        if self.ends:
            raise self.ends


class Watched:
    """A vigil, and what it said and noted."""

    def __init__(self) -> None:
        self.house = House()
        self.said: list[Sentence] = []
        self.noted: list[tuple[Any, ...]] = []
        self.session: Login | None = Login()
        self.vigil = self.another()

    def another(self) -> Vigil:
        return Vigil(
            self.house, self, note=lambda *line, via: self.noted.append((*line, via)), announce=self.said.append
        )

    @property
    def heard(self) -> list[str]:
        return [self.house.say(sentence) for sentence in self.said]


@pytest.fixture
def watched():
    return Watched()


EXPIRED = failures.untrusted("example.org", 10)


async def test_of_each_kind_an_owner_hears_one_sentence_in_both_languages(watched):
    assert set(WHAT) == set(get_args(Sign))
    for sign in get_args(Sign):
        watched.vigil.met(Untrusted(f"example.org: {sign}", sign))
    link, watched.session = watched.session, None
    await watched.vigil.tell()
    assert watched.said == [], "nobody can be told without a link"
    watched.session = link
    await watched.vigil.tell()
    assert len(set(watched.heard)) == len(WHAT)
    assert all(text.startswith("Careful (") and "example.org" in text for text in watched.heard)
    assert all(watched.house.say(sentence, "nl").startswith("Let op (") for sentence in watched.said)


async def test_what_happened_often_is_one_sentence_with_its_count_and_times(watched):
    for _ in range(500):
        watched.vigil.met(EXPIRED)
    await watched.house.clock.advance(600)
    watched.vigil.met(EXPIRED)
    await watched.house.clock.advance(30)
    await watched.vigil.tell()
    (text,) = watched.heard
    assert "501 times" in text
    values, now_ns = watched.said[0].values, watched.house.clock.time_ns()
    assert [(now_ns - values[name].at_ns) / 1e9 for name in ("first", "last")] == [630, 30]
    assert watched.vigil.count == 501
    assert len(watched.noted) == 2, "a flood of attempts does not push people's lines out of the audit log"


def test_the_audit_log_has_it_at_once_with_the_reason(watched):
    watched.vigil.met(EXPIRED)
    assert watched.noted == [
        (Jid("greenhouse", "example.org"), "log in", f"broken off (certificate): {EXPIRED}", "login")
    ]


async def test_trouble_that_is_no_sign_is_no_news(watched):
    watched.vigil.met(failures.unreachable("example.org", "Connection refused"))
    watched.vigil.met(LinkError("it hung up"))
    watched.vigil.met(failures.refused("example.org", Jid("a", "b"), "not-authorized", iterations=(1, 2)))
    await watched.vigil.tell()
    assert (watched.said, watched.noted, watched.vigil.count) == ([], [], 1), "a refused login is counted"


async def test_who_attacks_between_logins_all_day_is_told_once_an_hour_and_counted(watched):
    for _ in range(3 * 60):
        watched.vigil.met(LoginRefused("weak", "mechanism"))
        await watched.vigil.tell()
        await watched.house.clock.advance(60)
    assert len(watched.said) == 3
    assert "60 times" in watched.heard[-1]
    assert len(watched.noted) <= 6


async def test_it_is_told_on_a_link_that_stays_up_when_the_hour_is_over(watched):
    for _ in range(2):
        watched.vigil.met(EXPIRED)
        await watched.vigil.tell()
    assert len(watched.said) == 1
    await watched.house.clock.advance(TELL_EVERY_S)
    await watched.vigil.tell()
    assert len(watched.said) == 2


async def test_without_a_clock_to_trust_the_time_is_unknown(watched):
    watched.house.synced = False
    watched.vigil.met(EXPIRED)
    await watched.vigil.tell()
    assert "Careful (time unknown)" in watched.heard[0]


async def test_another_agent_goes_on_with_it(watched):
    watched.vigil.met(EXPIRED)
    other = watched.another()
    other.follow(watched.vigil)
    await other.tell()
    assert len(watched.said) == 1


async def test_what_a_link_took_with_it_is_told_again_and_not_at_every_login(watched):
    """Whoever stands on the way may cut the link just then."""
    watched.vigil.met(EXPIRED)
    watched.session.ends = LinkError("it hung up")
    for _ in range(10):
        with pytest.raises(LinkError):
            await watched.vigil.tell()
        await watched.vigil.tell()  # a minute has not passed
        await watched.house.clock.advance(AGAIN_S)
    assert len(watched.said) == 10
    watched.session.ends = None
    await watched.vigil.tell()
    assert "Careful (" in watched.heard[-1]
    await watched.house.clock.advance(2 * TELL_EVERY_S)
    await watched.vigil.tell()
    assert len(watched.said) == 11


async def test_it_goes_on_telling_by_itself_whatever_links_do(watched):
    running = asyncio.create_task(watched.vigil.run())
    watched.vigil.met(EXPIRED)
    watched.session.ends = LinkError("it hung up")
    await watched.house.clock.advance(2 * TICK_S)
    assert len(watched.said) == 1
    watched.session.ends = None
    await watched.house.clock.advance(AGAIN_S)
    assert len(watched.said) == 2
    running.cancel()
    await asyncio.wait([running])


def test_what_is_published_counts_commands_and_logins(watched):
    """Refused: also what nobody looked at. Failed: also the signs and the logins that were refused."""
    watched.vigil.met(EXPIRED)
    watched.vigil.met(LoginRefused("weak", "mechanism"))
    watched.house.admission = SimpleNamespace(left_out=40)
    counts = watched.vigil.counts(SimpleNamespace(refused=5, failed=7))
    assert counts == {REFUSED: 45, FAILED: 9}


async def test_what_is_met_while_it_is_told_is_told_next_time(watched):
    watched.vigil.met(EXPIRED)

    async def ping():
        watched.vigil.met(EXPIRED)

    watched.session.ping = ping
    await watched.vigil.tell()
    await watched.house.clock.advance(TELL_EVERY_S)
    await watched.vigil.tell()
    assert len(watched.said) == 2
    assert "times" not in watched.heard[1]
