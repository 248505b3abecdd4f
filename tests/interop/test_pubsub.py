"""What machines get, from the node's own account and from a service, on both servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from tests.interop.conftest import House, asks

from knoop_bench import schema
from knoop_bench.errors import Refused
from knoop_bench.seen import PUBSUB, PUBSUB_EVENT, Item
from knoop_bench.witness import ABOUT, EVENTS, READINGS, STATE, Witness

ALL = (READINGS, EVENTS, STATE, ABOUT)
REFUSED = {"forbidden", "not-allowed", "not-authorized", "subscription-required"}
SOON_S = 10.0  # two requests a node and four nodes; a busy machine must not make a test fail


class Place:
    """Where a node publishes, as a reader sees it."""

    def __init__(self, home: House, kind: str) -> None:
        self.jid = home.server.pubsub if kind == "service" else home.jid
        self._suffix = f"/{home.jid}" if kind == "service" else ""

    def node(self, name: str) -> str:
        return name + self._suffix

    async def admits(self, reader: Witness, name: str, *, full: bool = False) -> None:
        """Subscribe as soon as the node has made its nodes and let the reader in."""
        async with asyncio.timeout(SOON_S):
            while True:
                try:
                    return await self.subscribe(reader, name, full=full)
                except Refused:
                    await asyncio.sleep(0.02)

    async def subscribe(self, reader: Witness, name: str, *, full: bool = False) -> None:
        jid = reader.full_jid if full else reader.jid
        request = f"<subscribe node={quoteattr(self.node(name))} jid={quoteattr(jid)}/>"
        await reader.iq("set", f"<pubsub xmlns='{PUBSUB}'>{request}</pubsub>", to=self.jid)

    async def items(self, reader: Witness, name: str) -> tuple[Item, ...]:
        return await reader.pep_items(self.jid, self.node(name))

    def pushed(self, name: str, fits: Callable[[Item], bool] = lambda _: True):
        return lambda seen: any(item.node == self.node(name) and fits(item) for item in seen.items)

    async def closed(self, reader: Witness, name: str) -> None:
        """Neither items nor a subscription are given."""
        wishes = (self.items, self.subscribe, partial(self.subscribe, full=True))
        for wish in wishes:
            with pytest.raises(Refused) as refusal:
                await wish(reader, name)
            assert refusal.value.condition in REFUSED


def publish_to(kind: str, server) -> str:
    return f'[publish]\npubsub = "{server.pubsub if kind == "service" else "pep"}"'


@pytest.fixture(params=["service", "pep"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def start(house, server, kind) -> Callable[..., Any]:
    """A node that publishes there, and the place."""

    async def begin(**people: str) -> tuple[House, Place]:
        home = await house(server, people, more=publish_to(kind, server))
        return home, Place(home, kind)

    return begin


async def until_refused(place: Place, reader: Witness, name: str) -> None:
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                await place.items(reader, name)
            except Refused:
                return
            await asyncio.sleep(0.02)


async def test_a_reader_gets_everything_by_subscription(start):
    home, place = await start(anna="owner", vera="viewer")
    vera = await home.visit("vera", notify=())
    for name in ALL:
        await place.admits(vera, name)
    readings = await vera.wait(place.pushed(READINGS))
    events = await vera.wait(place.pushed(EVENTS))
    for seen in (readings, events):
        assert seen.sender_bare == place.jid
        for item in seen.items:
            schema.validate(item.payload)
    [about] = await place.items(vera, ABOUT)
    state = await place.items(vera, STATE)
    assert (about.id, [item.id for item in state]) == ("current", ["0"])
    assert {child.get("channel") for child in state[0].payload} >= {"door", "lamp", "air.temperature"}
    for item in (about, *state):
        schema.validate(item.payload)


async def test_the_servers_keep_what_the_table_says(start):
    home, place = await start(anna="owner")
    anna = await home.visit("anna", notify=())
    for name in (READINGS, EVENTS):
        await place.admits(anna, name)
    first, second = await anna.wait(place.pushed(EVENTS)), None
    second = await anna.wait(place.pushed(EVENTS), after=first.number + 1)
    await anna.wait(place.pushed(READINGS))
    kept = [item.id for item in await place.items(anna, EVENTS)]
    assert {first.items[0].id, second.items[0].id} <= set(kept)
    async with asyncio.timeout(SOON_S):  # ejabberd has none for a moment, when it replaces one
        while not (readings := await place.items(anna, READINGS)):
            await asyncio.sleep(0.02)
    assert len(readings) == 1


async def test_somebody_without_rights_is_refused(start):
    home, place = await start(anna="owner", guest="", eve="")
    eve = await home.visit("eve", friends=[], notify=ALL)
    anna = await home.visit("anna", notify=())
    await place.admits(anna, EVENTS)
    for name in ALL:
        await place.closed(eve, name)
    seen = await anna.wait(place.pushed(EVENTS))
    await anna.wait(place.pushed(EVENTS), after=seen.number + 1)
    await eve.ping()
    assert not [item for item in eve.items if home.jid in (item.node, eve.jid) or item.node in map(place.node, ALL)]


async def test_who_lost_the_rights_is_cut_off_at_once(start):
    home, place = await start(anna="owner", bram="")
    anna = await home.visit("anna", notify=())
    bram = home.people["bram"].jid
    await asks(anna, home.jid, f"allow {bram} viewer", lambda text: text.startswith(f"{bram}: viewer"))
    reader = await home.visit("bram", notify=())
    await place.admits(reader, EVENTS)
    await place.admits(reader, EVENTS, full=True)  # a subscription of one device outlives that of the address
    await reader.wait(place.pushed(EVENTS))
    await place.admits(anna, EVENTS)

    mark = anna.mark
    await asks(anna, home.jid, f"revoke {bram}", f"{bram} has no rights here any more.")
    for name in ALL:
        await until_refused(place, reader, name)
    await reader.ping()
    after = reader.mark
    for name in ALL:
        await place.closed(reader, name)
    if any(seen.xml.find(f"{{{PUBSUB_EVENT}}}event/{{{PUBSUB_EVENT}}}delete") is not None for seen in anna.seen[mark:]):
        await place.admits(anna, EVENTS)  # ejabberd's PEP: the node was made anew, and she was told
    for _ in range(2):
        mark = (await anna.wait(place.pushed(EVENTS), after=mark)).number + 1
    await reader.ping()
    late = [item for seen in reader.seen[after:] for item in seen.items]
    assert late == []
    about = await place.items(anna, ABOUT)
    state = await place.items(anna, STATE)
    assert [item.id for item in (*about, *state)] == ["current", "0"]


async def test_a_subscription_that_outlived_the_rights_is_ended_at_login(house, server):
    home = await house(server, {"anna": "owner", "vera": "viewer"}, more=publish_to("service", server))
    place = Place(home, "service")
    anna, vera = await home.visit("anna", notify=()), await home.visit("vera", notify=())
    for reader in (anna, vera):
        await place.admits(reader, EVENTS)
    await home.node.stop()
    node = place.node(EVENTS)
    change = f"<affiliations node={quoteattr(node)}><affiliation jid='{vera.jid}' affiliation='none'/></affiliations>"
    async with Witness(
        home.jid, home.account.password, port=server.tls_port, ca_file=server.ca_file, notify=()
    ) as owner:
        with suppress(Refused):  # Prosody 0.12 does it nevertheless
            await owner.iq("set", f"<pubsub xmlns='{PUBSUB}#owner'>{change}</pubsub>", to=server.pubsub)
    config = home.node.folder / "node.toml"
    config.write_text(config.read_text("utf-8").replace(f'"{vera.jid}" = "viewer"\n', ""), "utf-8")
    home.node.start()
    await home.node.online(times=2)
    for name in ALL:
        await until_refused(place, vera, name)
    await vera.ping()
    before, mark = vera.mark, anna.mark
    for _ in range(2):
        mark = (await anna.wait(place.pushed(EVENTS), after=mark)).number + 1
    await vera.ping()
    assert not [seen for seen in vera.seen[before:] if seen.items]


async def test_after_a_restart_of_the_server_it_goes_on(house, serve):
    own = await serve()
    home = await house(own, {"anna": "owner", "vera": "viewer"}, more=publish_to("service", own))
    place = Place(home, "service")
    vera = await home.visit("vera", notify=())
    for name in ALL:
        await place.admits(vera, name)
    await vera.wait(place.pushed(EVENTS))
    before = {item.id for item in vera.items}
    await own.restart()
    await home.node.online(times=2)
    again = await home.visit("vera", notify=())
    pushed = place.pushed(EVENTS)  # what was not acknowledged comes once more, as what it was
    await again.wait(lambda seen: pushed(seen) and seen.items[0].id not in before)
    kept = [item.id for item in await place.items(again, EVENTS)]
    assert before & set(kept), "what was acknowledged is still there"


async def test_a_service_that_lets_the_node_make_nothing_is_named_with_the_remedy(house, serve):
    own = await serve(closed=True)
    home = await house(own, {"anna": "owner"}, more=publish_to("service", own))
    await home.node.says("see docs/servers.md")
    [line] = [line for line in home.node.log.splitlines() if "docs/servers.md" in line]
    assert own.pubsub in line and home.jid in line and "access_createnode" in line and "admins" in line
    anna = await home.visit("anna")
    await asks(anna, home.jid, "lamp on", "Lamp is on.")


async def test_an_address_without_a_service_is_named_with_the_remedy(house, server):
    home = await house(server, {"anna": "owner"}, more=f'[publish]\npubsub = "rooms.{server.host}"')
    await home.node.says("correct 'publish.pubsub'")


