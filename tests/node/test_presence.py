"""One login's life: rights reach the server, whatever the server does meanwhile."""

import asyncio

import pytest

from knoop import presence
from knoop.errors import LinkError, Refusal
from knoop.jid import Jid
from knoop.presence import Presence
from knoop.publishers import Voice
from knoop.whereabouts import Whereabouts
from knoop_hw.clock import FakeClock


class Outbox:
    """A router without sinks."""

    sinks = frozenset()

    def wake(self, _sink):
        return asyncio.Event()


class Session:
    """A session whose link never ends."""

    jid = Jid("node", "example.org", "knoop")
    mode = "direct"

    async def lost(self):
        await asyncio.Event().wait()

    async def iq(self, _kind, _child, *, to=""):
        raise Refusal("item-not-found", f"nothing there {to}")

    def send(self, stanza):
        pass


class Config:
    rooms = {}  # noqa: RUF012
    people = ()

    class publish:  # noqa: N801
        pubsub = "off"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def made(clock):
    from knoop.health import Health

    health = Health(link_up=True, link_since_s=0, uptime_s=0, version="0")
    return Presence(
        Config(), clock=clock, outbox=Outbox(), people=frozenset, readers=frozenset, health=lambda: health,
        voice=Voice(
            sentence=lambda _record, _lang: "", personal=lambda _who, _record, _lang: "",
            may_hear=lambda _who, _record: True,
        ),
        about=lambda: None, present=list, on_link=lambda _up: None, rooms={},
        whereabouts=Whereabouts(wanted=False, place=lambda: None, readers=frozenset, clock=clock),
    )


async def test_rights_that_were_refused_are_told_again(made, clock, monkeypatch):
    tries = []

    async def follow(_session, _people):
        tries.append(None)
        if len(tries) < 3:
            raise Refusal("service-unavailable", "the roster is busy")

    monkeypatch.setattr(presence.roster, "follow", follow)
    task = asyncio.create_task(made.serve(Session()))
    await clock.advance(120)
    assert len(tries) == 3
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_rights_that_got_no_answer_end_the_session_so_that_the_next_one_tells_them(made, monkeypatch):
    """A roster answer that did not come within 20 s ended the telling in silence: a revoked person stayed a reader."""

    async def follow(_session, _people):
        raise LinkError("the server did not answer within 20 s")

    monkeypatch.setattr(presence.roster, "follow", follow)
    async with asyncio.timeout(5):
        with pytest.raises(LinkError, match="did not answer"):
            await made.serve(Session())
    assert not made.up
