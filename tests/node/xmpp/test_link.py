"""How long to wait before trying again, how to try, and when to stop."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.errors import LinkError, LoginRefused
from knoop.jid import Jid
from knoop.xmpp import link
from knoop.xmpp.account import Account
from knoop.xmpp.failures import unreachable
from knoop.xmpp.link import CAP_S, Link, pause_s
from knoop_hw.clock import FakeClock, SystemClock


@given(st.integers(0, 10_000), st.integers())
def test_full_jitter_stays_within_a_growing_capped_bound(failures, seed):
    pause = pause_s(failures, base_s=1.0, cap_s=CAP_S, rng=random.Random(seed))
    assert 0 <= pause <= min(CAP_S, 2.0 ** min(failures, 16))


def test_a_fleet_spreads_evenly_over_the_minute():
    pauses = [pause_s(20, base_s=1.0, cap_s=CAP_S, rng=random.Random(seed)) for seed in range(1000)]
    peak = max(sum(second <= pause < second + 1 for pause in pauses) for second in range(60))
    assert peak <= 100, "at most 10 % of a fleet in any second"


def a_link(host="127.0.0.1"):
    account = Account(jid=Jid("node", "example.org"), password="x", host=host, port=5222)
    return Link(account, clock=SystemClock(), rng=random.Random(1))


class Proven:
    """A session that was let in."""

    mode = "direct"

    async def close(self):
        pass


async def test_being_told_to_stop_is_not_lost_when_the_link_ends_in_that_instant(monkeypatch):
    """Up to Python 3.12 the session's failure hides the cancellation: the node went on reconnecting for ever."""
    serving = asyncio.Event()

    async def opened(*_args, **_parts):
        return Proven()

    async def serve(_session):
        try:
            serving.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LinkError("the server went away") from None

    monkeypatch.setattr(link.Session, "open", opened)
    task = asyncio.create_task(a_link().run(serve))
    await serving.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=20)
    assert done and task.cancelled()


@pytest.mark.parametrize("proven", [False, True])
async def test_a_refusal_ends_a_node_only_while_its_account_was_never_let_in(monkeypatch, proven):
    """After a reload the first login of the new agent is not the first of its account."""
    clock, tried = FakeClock(), []

    async def refused(*_args, **_parts):
        tried.append(clock.boottime_ns())
        raise LoginRefused("not now")

    monkeypatch.setattr(link.Session, "open", refused)
    account = Account(jid=Jid("node", "example.org"), password="x", host="127.0.0.1", port=5222)
    made = Link(account, clock=clock, rng=random.Random(1), proven=proven)
    task = asyncio.create_task(made.run(serve=pytest.fail))
    await clock.advance(300)
    if proven:
        assert not task.done()
        assert len(tried) >= 2
        task.cancel()
        await asyncio.wait({task})
    else:
        with pytest.raises(LoginRefused):
            await task
        assert len(tried) == 1


class Highest(random.Random):
    """Chance that always takes the longest pause, and notes it."""

    def __init__(self):
        super().__init__(1)
        self.bounds = []

    def uniform(self, a, b):
        self.bounds.append(b)
        return b


async def bounds_of(monkeypatch, *, lasts_s, why, refused=0):
    """The bounds of the first ten pauses of a link whose sessions end so, when so many tries were not let in."""
    clock, rng = FakeClock(), Highest()

    async def opened(*_args, **_parts):
        if len(rng.bounds) < refused:
            await serve(None)
        return Proven()

    async def serve(_session):
        await clock.sleep(lasts_s)
        raise LinkError(why)

    monkeypatch.setattr(link.Session, "open", opened)
    account = Account(jid=Jid("node", "example.org"), password="x", host="127.0.0.1", port=5222)
    task = asyncio.create_task(Link(account, clock=clock, rng=rng).run(serve))
    while len(rng.bounds) < 10:
        await clock.advance(1)
    task.cancel()
    await asyncio.wait({task})
    return rng.bounds[:10]


GROWING = [2, 4, 8, 16, 32, *[CAP_S] * 5]


@pytest.mark.parametrize(
    ("session", "bounds"),
    [
        ({"lasts_s": 5, "why": "it hung up"}, [2, *[4] * 9]),
        ({"lasts_s": 5, "why": str(unreachable("example.org", "conflict"))}, GROWING),
        ({"lasts_s": 5, "why": str(unreachable("conflict.example.org", "it hung up"))}, [2, *[4] * 9]),
        ({"lasts_s": 5, "why": "no answer", "refused": 10}, GROWING),
        ({"lasts_s": 5, "why": "no answer", "refused": 8}, [*GROWING[:8], 4, 4]),
        ({"lasts_s": link.STEADY_S + 1, "why": "it hung up"}, [1] * 10),
    ],
    ids=[
        "let in and dropped", "thrown out by a second node", "a name is no reason", "never let in", "let in at last",
        "lived for long",
    ],
)
async def test_pauses_grow_to_a_minute_only_where_nobody_lets_us_in(monkeypatch, session, bounds):
    """docs/adr/0032: with a fault every 6 s a node was away for most of the time in which the server was there."""
    assert await bounds_of(monkeypatch, **session) == bounds
