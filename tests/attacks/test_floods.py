"""Floods on a real Prosody: whatever comes by the thousand, the owner is answered, nothing moves, nothing swells."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio
from tests.attacks.rig import ANYBODYS, PEOPLE, House, besieged

from knoop_bench.errors import Refused
from knoop_bench.prosody import Options
from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

RATE = 1000  # stanzas a second, of the one flood that is timed
USUAL_RATE = 500  # of the others: on two cores, beside two more tests, the server has time for that
PROMPT_S = 1.0  # what a flood may cost an owner, of 95 in 100 answers; on two idle cores it is 0.02
HEARD_S = 5.0  # the same where the flood is as much work for the server and this test as for the node
SWOLLEN_MB = 8.0
CROWD = tuple(f"crowd{number}" for number in range(8))
ROOM = "fleet@rooms.localhost"
IN_A_ROOM = f'[room."{ROOM}"]\ncommands = true\n'

ABOUT_SUBSCRIPTIONS = ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "unavailable")

OWNERS = tuple(f"owner{number}" for number in range(8))
OWNERS_JIDS = tuple(f"{name}@localhost" for name in OWNERS)

_owners = itertools.cycle(OWNERS)  # one alone would have asked more than anybody types, over all these tests
Make = Callable[[int], str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory, authority) -> AsyncIterator[House]:
    """One house for all floods; the server limits nobody."""
    folder, people = tmp_path_factory.mktemp("floods"), {**PEOPLE, **dict.fromkeys(OWNERS_JIDS, '"owner"')}
    async with besieged(folder, authority, users=CROWD, people=people, more=IN_A_ROOM, growth_mb=SWOLLEN_MB) as made:
        yield made


async def delays(house: House, anna: Witness, seconds: float) -> list[float]:
    """How long the owner waits for each answer (s), asking ten times a second for so long; sorted.

    The server has the flood as well, and a machine with other work the server: what a pong of the server's own needs
    just before is not the node's.
    """
    loop, found = asyncio.get_running_loop(), []
    until_s = loop.time() + seconds
    while (began_s := loop.time()) < until_s:
        await anna.ping(timeout_s=30)
        server_s = loop.time() - began_s
        await house.asks(anna, "lamp?", "Lamp is ")
        found.append(loop.time() - began_s - 3 * server_s)  # the pong, and two ways through the server
        await asyncio.sleep(0.1)
    return sorted(found)


async def pour(witness: Witness, make: Make, rate: float) -> None:
    """Send as fast as that until cancelled."""
    loop = asyncio.get_running_loop()
    began_s, sent = loop.time(), 0
    while True:
        due = int((loop.time() - began_s) * rate)
        witness.send_raw("".join(make(number) for number in range(sent, due)) or " ")
        sent = due
        await asyncio.sleep(0.02)


@asynccontextmanager
async def flood(*witnesses: Witness, make: Make, rate: float = RATE) -> AsyncIterator[None]:
    """All of them together send `rate` stanzas a second within the block."""
    pouring = [asyncio.create_task(pour(witness, make, rate / len(witnesses))) for witness in witnesses]
    try:
        yield
    finally:
        for task in pouring:
            task.cancel()
        for ended in await asyncio.gather(*pouring, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


async def withstood(
    house: House, *witnesses: Witness, make: Make, seconds: float = 1.5, rate: float = USUAL_RATE
) -> None:
    """An owner is answered while these send that, no output moves for it, and the node is well."""
    moves, logins = len(house.moves), house.node.log.count("connected as")
    async with house.visit(next(_owners)) as owner, flood(*witnesses, make=make, rate=rate):
        waited = await delays(house, owner, seconds)
    assert waited[int(0.95 * (len(waited) - 1))] <= HEARD_S, waited
    await house.unmoved(since=moves)
    house.well()
    assert house.node.log.count("connected as") == logins


def said(to: str, text: str = "lamp on", kind: str = "chat") -> Make:
    """Messages."""
    return lambda number: f"<message to='{to}' type='{kind}' id='f{number}'><body>{text}</body></message>"


# A stranger -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "seconds"), [(None, 10.0), ("10kb/s", 5.0)], ids=["no limit at the server", "Debian's limit"]
)
async def test_a_thousand_messages_a_second_of_a_stranger_cost_the_owner_less_than_a_second(
    tmp_path, authority, limit, seconds
):
    """The server's own limit also holds for what the node says."""
    options = Options(rate_limit=limit)
    async with (
        besieged(tmp_path, authority, options=options, growth_mb=SWOLLEN_MB) as house,
        house.visit("mallory") as mallory,
    ):
        moves = house.moves
        async with house.visit("anna") as anna, flood(mallory, make=said(house.jid)):
            waited = await delays(house, anna, seconds)
        assert waited[int(0.95 * (len(waited) - 1))] <= PROMPT_S, waited
        assert house.moves == moves
        assert house.learned(mallory) == []
        assert len(house.audited("mallory@localhost")) <= 60
        assert house.node.log.count("mallory@localhost sends faster than it may") <= 2, "not a line a message"


async def test_strangers_by_the_dozen_get_no_more_than_one_does(home):
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(home.visit(name)) for name in CROWD]
        before = len(home.audit())
        await withstood(home, *crowd, make=said(home.jid))
        assert all(home.learned(one) == [] for one in crowd)
        assert sum(line.who.startswith("crowd") for line in home.audit()[before:]) <= 60


@pytest.mark.parametrize(
    "make",
    [lambda to: lambda n: f"<presence to='{to}' type='{ABOUT_SUBSCRIPTIONS[n % len(ABOUT_SUBSCRIPTIONS)]}'/>",
     lambda to: lambda n: f"<presence to='{to}'><status>{n}</status></presence>",
     lambda to: lambda n: f"<iq to='{to}' type='result' id='knoop{n}'><query xmlns='jabber:iq:roster'/></iq>",
     lambda to: lambda n: f"<message to='{to}' type='headline' id='h{n}'><body>lamp on</body></message>"],
    ids=["subscription requests", "presences", "answers that nobody asked for", "headlines"],
)
async def test_a_stranger_who_knows_the_full_address_floods_with(home, make):
    async with home.visit("mallory") as mallory, home.visit("anna") as anna:
        await withstood(home, mallory, make=make(await home.device(anna)))
        assert [seen for seen in home.learned(mallory) if seen.sender != home.jid] == [], "its server says what it does"


async def test_requests_of_a_stranger_who_knows_the_full_address_are_answered_a_few_times_and_then_never(home):
    """Or the answers fill the node's own way to the server. They look like those of a device that is not there."""
    async with home.visit("mallory2") as mallory, home.visit("anna") as anna:
        device = await home.device(anna)
        await withstood(home, mallory, make=lambda n: f"<iq to='{device}' type='get' id='q{n}'><x xmlns='u:x'/></iq>")
        answers = [seen for seen in mallory.seen if seen.sender == device]
        assert len(answers) <= 22
        assert home.learned(mallory) == []


async def test_who_does_not_know_the_full_address_cannot_tell_whether_the_node_is_online(home):
    """Each request is answered by the server, however many there are, for a resource that nobody has."""
    async with home.visit("mallory2") as mallory:
        for resource in ("knoop", "greenhouse", "knoop-aaaaaaaaaaaaaaaa"):
            for number in range(100):
                with pytest.raises(Refused, match="service-unavailable"):
                    await mallory.iq("get", f"<ping xmlns='urn:xmpp:ping' n='{number}'/>", to=f"{home.jid}/{resource}")
        assert home.learned(mallory) == []


async def test_the_address_that_nobody_can_guess_stays_the_same_over_a_kill_and_another_node_has_another(
    tmp_path, authority, home
):
    """So that after a power cut the server and rooms know who is back, and what a stranger learned of one is no use."""
    async with home.visit("anna") as elsewhere:
        other = await home.device(elsewhere)
    async with besieged(tmp_path, authority, growth_mb=100) as house:  # the process is another one at the end
        async with house.visit("anna") as anna:
            device = await house.device(anna)
        await house.node.stop(signal.SIGKILL)
        house.node.start()
        await house.node.online(times=2)
        async with house.visit("anna") as anna:
            assert await house.device(anna) == device
    assert re.fullmatch(r"greenhouse@localhost/knoop-[a-z2-7]{16}", device)
    assert device != other


async def test_oversized_stanzas_by_the_hundred_neither_end_the_stream_nor_fill_the_log(home):
    """Deep ones are small: 100 levels are 700 bytes."""
    deep = "<a>" * 100 + "</a>" * 100
    before = home.node.log.count("left out, from")
    async with home.visit("mallory") as mallory:
        await withstood(home, mallory, make=said(home.jid, deep), rate=100)  # more is too much for the server
    assert home.node.log.count("left out, from") - before <= 20


# Somebody with rights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["door?", "lamp on", "x" * 3000, "history door", "log 50", "watch door"], ids=lambda text: text[:9]
)
async def test_a_viewer_who_says_hundreds_of_things_a_second(home, text):
    async with home.visit("vera") as vera:
        await withstood(home, vera, make=said(home.jid, text), rate=USUAL_RATE if len(text) < 100 else 100)


@pytest.mark.parametrize(
    "child",
    ["<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='http://jabber.org/protocol/disco#info'/>",
     "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>",
     "<history xmlns='urn:knoop:1:history'/>",
     "<command xmlns='http://jabber.org/protocol/commands' node='watch' action='execute'/>"],
    ids=["ping", "disco", "disco of commands", "history", "forms"],
)
async def test_a_viewer_who_makes_hundreds_of_requests_a_second(home, child):
    kind = "set" if "execute" in child else "get"
    async with home.visit("vera") as vera:
        device = await home.device(vera)
        await withstood(home, vera, make=lambda n: f"<iq to='{device}' type='{kind}' id='q{n}'>{child}</iq>")


async def test_a_viewer_whose_answers_are_more_than_the_server_takes_does_not_keep_the_owner_waiting(
    tmp_path, authority
):
    """At Debian's limit: 19 s were, the node's pings late as well, and so the owner's commands refused."""
    question = "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>"
    async with (
        besieged(tmp_path, authority, options=Options(rate_limit="10kb/s"), growth_mb=SWOLLEN_MB) as house,
        house.visit("vera") as vera, house.visit("anna") as anna,
    ):
        device = await house.device(vera)
        async with flood(vera, make=lambda n: f"<iq to='{device}' type='get' id='q{n}'>{question}</iq>", rate=70):
            waited = await delays(house, anna, 6.0)
        assert waited[-1] <= 2 * HEARD_S, waited
        answers = sum(seen.sender == device and seen.id.startswith("q") for seen in vera.seen)
        assert answers < 70, "far fewer than the 400 that anybody may ask at once"


@pytest.mark.parametrize(
    "make",
    [lambda to: lambda n: f"<message to='{to}' type='chat'><received xmlns='urn:xmpp:receipts' id='r{n}'/></message>",
     lambda to: lambda n: f"<message to='{to}' type='error' id='e{n}'><error type='cancel'/></message>",
     lambda to: lambda _: f"<presence to='{to}' type='unavailable'/>"],
    ids=["receipts", "errors", "presences"],
)
async def test_a_viewer_who_floods_with(home, make):
    async with home.visit("vera") as vera:
        await withstood(home, vera, make=make(await home.device(vera)))


# A room ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [lambda n: f"<message to='{ROOM}' type='groupchat' id='g{n}'><body>greenhouse: lamp on</body></message>",
     lambda n: f"<presence to='{ROOM}/mallory'><status>{n}</status></presence>",
     lambda n: f"<iq to='{ROOM}/greenhouse' type='get' id='q{n}'><ping xmlns='urn:xmpp:ping'/></iq>"],
    ids=["lines", "presences", "requests"],
)
async def test_an_occupant_of_its_room_who_floods_it(home, make):
    async with home.visit("mallory") as mallory:
        await mallory.join(ROOM, "mallory")
        await withstood(home, mallory, make=make)
    assert home.node.log.count(f"in room {ROOM}") == 1, "it stayed in"


# Everybody ------------------------------------------------------------------------------------------------------------


async def test_a_domain_whose_every_account_has_rights_floods_with_all_of_them(tmp_path, authority):
    """`*@localhost` is a viewer: the owner, who is named, is answered all the same."""
    people = {
        "anna@localhost": PEOPLE["anna@localhost"], **dict.fromkeys(OWNERS_JIDS, '"owner"'), "*@localhost": '"viewer"',
    }
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(
            besieged(tmp_path, authority, people=people, users=CROWD, growth_mb=2 * SWOLLEN_MB)
        )
        crowd = [
            await stack.enter_async_context(
                Witness(house.server.jid(name), ANYBODYS, port=house.server.tls_port, ca_file=house.server.ca_file)
            ) for name in CROWD
        ]
        await withstood(house, *crowd, make=said(house.jid, "status"), seconds=5.0)
