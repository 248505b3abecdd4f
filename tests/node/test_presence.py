"""One login's life: rights reach the server, whatever the server does meanwhile."""

import asyncio
from dataclasses import replace

import pytest

from knoop import presence
from knoop.errors import LinkError, Refusal
from knoop.health import Health
from knoop.jid import Jid
from knoop.presence import Presence
from knoop.publishers import Voice
from knoop.whereabouts import Whereabouts
from knoop.xmpp import nodes
from knoop_hw.clock import FakeClock

FINE = Health(link_up=True, link_since_s=0, uptime_s=0, version="0")


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
    return Presence(
        Config(), clock=clock, outbox=Outbox(), people=frozenset, readers=frozenset, health=lambda: FINE,
        voice=Voice(
            sentence=lambda _record, _lang: "", personal=lambda _who, _record, _lang: "",
            may_hear=lambda _who, _record: True,
        ),
        about=lambda: None, present=list, on_link=lambda _up: None, rooms={},
        whereabouts=Whereabouts(wanted=False, place=lambda: None, readers=frozenset, clock=clock),
    )


async def test_rights_that_were_refused_are_told_again(made, clock, monkeypatch):
    tries = []

    async def follow(_session, _people, _entered):
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

    async def follow(_session, _people, _entered):
        raise LinkError("the server did not answer within 20 s")

    monkeypatch.setattr(presence.roster, "follow", follow)
    async with asyncio.timeout(20):
        with pytest.raises(LinkError, match="did not answer"):
            await made.serve(Session())
    assert not made.up


async def test_what_one_node_refuses_keeps_roster_and_other_nodes_from_nothing(made, clock, monkeypatch):
    """One address that a server did not take kept everybody else a reader who was not to be one any more."""
    told = []

    async def follow(_session, _people, _entered):
        told.append("roster")
        raise Refusal("bad-request", "an address is none")

    async def nothing(*_arguments, **_options):
        pass

    async def allow(_session, node, _readers, *, service):
        told.append(node.name)
        if node == nodes.READINGS and told.count(node.name) == 1:
            raise Refusal("bad-request", "an address is none")

    for name, instead in (("configure", nothing), ("allow", allow), ("publish", nothing)):
        monkeypatch.setattr(presence.nodes, name, instead)
    monkeypatch.setattr(presence.roster, "follow", follow)
    monkeypatch.setattr(Config.publish, "pubsub", "pep")
    monkeypatch.setattr(Config.publish, "service", "", raising=False)
    task = asyncio.create_task(made.serve(Session()))
    await clock.advance(1)
    assert sorted(told) == sorted(["roster", *(node.name for node in nodes.NODES)])
    await clock.advance(presence.RETRY_S)
    assert sorted(told[5:]) == ["roster", nodes.READINGS.name], "only what was refused is tried again"
    task.cancel()
    await asyncio.wait({task})


async def test_presence_says_how_the_node_is_and_says_nothing_twice(made):
    class Stream(Session):
        sent = []  # noqa: RUF012

        def send(self, stanza):
            self.sent.append([(child.tag.rpartition("}")[2], child.text) for child in stanza])

    made._glance = lambda health: f"{health.unacknowledged} alerts."
    task = asyncio.create_task(made.serve(Stream()))
    while not made.up:
        await asyncio.sleep(0)
    made.show()
    made._health = lambda: replace(FINE, unacknowledged=2)
    made.show()
    made.show()
    task.cancel()
    await asyncio.wait({task})
    assert Stream.sent == [[("status", "0 alerts.")], [("show", "dnd"), ("status", "2 alerts.")]]


async def test_about_is_published_anew_when_the_level_changes_at_most_once_a_minute(made, clock, monkeypatch):
    told = []

    async def nothing(*_arguments, **_options):
        pass

    async def publish(_session, _name, item_id, element, **_options):
        told.append((item_id, element))

    for name, instead in (("configure", nothing), ("allow", nothing), ("publish", publish)):
        monkeypatch.setattr(presence.nodes, name, instead)
    monkeypatch.setattr(presence.roster, "follow", nothing)
    monkeypatch.setattr(Config.publish, "pubsub", "pep")
    monkeypatch.setattr(Config.publish, "service", "", raising=False)
    now = [FINE]
    made._health, made._about = lambda: now[0], lambda: now[0].level
    task = asyncio.create_task(made.serve(Session()))
    await clock.advance(10)
    now[0] = replace(FINE, losing=True)
    await clock.advance(45)
    now[0] = FINE
    await clock.advance(1)
    now[0] = replace(FINE, away_s=0.0)
    await clock.advance(200)
    assert told == [("current", "fine"), ("current", "degraded")]
    now[0] = FINE
    await clock.advance(60)
    assert told[2:] == [("current", "fine")]
    task.cancel()
    await asyncio.wait({task})
