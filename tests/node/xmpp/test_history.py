"""Who missed something asks for it: what they get, in what order and at what pace, and what the others get."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from tests.node.house import ANNA, BRAM, CLEO, DIRK, PEOPLE, greenhouse
from tests.node.wire import validate

from knoop import gaps, payload
from knoop.access import Access, Person, Role
from knoop.budgets import Budgets
from knoop.commands import table
from knoop.errors import LinkError, StoreError
from knoop.execution import Execution
from knoop.jid import Jid
from knoop.record import Record
from knoop.xmpp.history import BURST, IN_LINE, IN_LINE_ALL, LEAST, LONGEST_ID, PER_S, History

H, R, RSM = (f"{{{name}}}" for name in (gaps.HISTORY, payload.READINGS, gaps.RSM))
EVE = Jid("eve", "example.org")


class Link:
    """The session of the test: what was sent, and a server whose pongs the test holds or lets come."""

    def __init__(self):
        self.sent: list[ET.Element] = []
        self.events: list[str] = []
        self.pongs = asyncio.Event()
        self.pongs.set()
        self.took_s = 0.0
        self.up = True
        self._more = asyncio.Event()

    def send(self, stanza):
        if not self.up:
            raise LinkError("not connected")
        self.sent.append(ET.fromstring(ET.tostring(stanza)))
        self.events.append("page")
        self._more.set()

    async def ping(self):
        self.events.append("ping")
        await self.pongs.wait()
        return self.took_s

    async def answer(self, number):
        async with asyncio.timeout(20):
            while len(self.sent) <= number:
                self._more.clear()
                await self._more.wait()
        return self.sent[number]


class Desk:
    """History of a greenhouse, and a way to ask."""

    def __init__(self, house):
        self.house, self.link = house, Link()
        self.held: list[Record] = []
        self.execution = Execution(house, verbs=table())
        self.history = History(
            house, execution=self.execution, channels=lambda: [*house.channels, "alert.frost"], flush=self._flush,
            session=lambda: self.link,
        )
        self._ids = iter(range(10**6))

    async def _flush(self):
        held, self.held = self.held, []
        await self.house.store.add((record, ()) for record in held)

    def ask(self, attributes="", rsm="", *, who=ANNA, kind="get", beside=""):
        inside = f"<set xmlns='{gaps.RSM}'>{rsm}</set>" if rsm else ""
        iq = ET.fromstring(
            f"<iq xmlns='jabber:client' type='{kind}' id='q{next(self._ids)}' to='node@example.org/knoop'>"
            f"<history xmlns='{gaps.HISTORY}' {attributes}>{inside}</history>{beside}</iq>"
        )
        iq.set("from", str(who))
        return self.history.take(iq)

    async def answer(self, *args, **more):
        count = len(self.link.sent)
        assert self.ask(*args, **more)
        return await self.link.answer(count)

    async def page(self, *args, **more):
        answer = await self.answer(*args, **more)
        assert answer.get("type") == "result", ET.tostring(answer)
        [element] = answer
        validate(element)
        return element

    async def refused(self, *args, **more):
        answer = await self.answer(*args, **more)
        assert answer.get("type") == "error", ET.tostring(answer)
        return answer[0][0].tag.rpartition("}")[2], answer[0].get("type")

    async def walk(self, attributes="", *, most=100, who=ANNA):
        """Every page, as a client would ask for them; the readings."""
        came, after = [], ""
        while True:
            cursor = f"<after>{after}</after>" if after else ""
            element = await self.page(attributes, f"<max>{most}</max>{cursor}", who=who)
            came += seqs(element)
            if element.get("complete") == "true":
                return came
            after = last(element)


def seqs(element):
    return [(r.channel, r.seq) for group in element.iter(f"{R}readings") for r in payload.parse_readings(group)]


def last(element):
    return element.findtext(f"{RSM}set/{RSM}last")


def record(house, seq, channel="rain", **changes):
    plain = Record(
        run="k3v9q2xa", channel=channel, seq=seq, cls="telemetry", type="number", value=float(seq), boot="b",
        boottime_ns=seq * 10**9, at_ns=house.clock.time_ns() + seq * 10**9,
    )
    return replace(plain, **changes)


@asynccontextmanager
async def desk_at(folder):
    async with greenhouse(folder) as house:
        desk = Desk(house)
        try:
            yield desk
        finally:
            desk.link.pongs.set()
            await desk.history.close()
            await desk.execution.close()


@pytest.fixture
async def desk(tmp_path):
    async with desk_at(tmp_path) as made:
        yield made


async def test_everything_in_the_order_it_came_page_by_page(desk):
    await desk.house.store.add((record(desk.house, seq), ()) for seq in range(1, 31))
    whole = await desk.walk()
    assert whole[:2] == [("door", 1), ("button", 1)]
    assert whole[-30:] == [("rain", seq) for seq in range(1, 31)]
    assert await desk.walk(most=7) == whole


async def test_bounds_are_kept(desk):
    house = desk.house
    await house.store.add((record(house, seq), ()) for seq in range(1, 31))
    assert await desk.walk("channel='rain' run='k3v9q2xa' from='28'") == [("rain", 28), ("rain", 29), ("rain", 30)]
    assert await desk.walk("run='k3v9q2xa' from='2' to='3'") == [("rain", 2), ("rain", 3)]
    assert await desk.walk("run='zzzzzzzz'") == []
    start = payload.timestamp(house.clock.time_ns() + 29 * 10**9)
    assert await desk.walk(f"from='{start}'") == [("rain", 29), ("rain", 30)]


async def test_what_is_held_in_memory_is_in_the_answer(desk):
    desk.held.append(record(desk.house, 1))
    assert (await desk.walk())[-1] == ("rain", 1)
    desk.held.append(record(desk.house, 2))
    assert await desk.walk("channel='rain' run='k3v9q2xa' from='2'") == [("rain", 2)]


async def test_only_what_the_person_may_read(desk):
    await desk.house.report("air.temperature", -3.0)
    desk.held += [record(desk.house, 1, "alert.frost", cls="alarm", type="text", value="raised")]
    assert ("alert.frost", 1) in await desk.walk(who=CLEO)
    assert await desk.walk(who=DIRK) == [("door", 1)]
    desk.house.access = Access([*PEOPLE, Person(jid=EVE, role=Role.VIEWER, only=("air.temperature",))])
    mine = await desk.walk(who=EVE)
    assert ("alert.frost", 1) in mine  # it watches what she may read
    assert {channel for channel, _ in mine} == {"air.temperature", "alert.frost"}
    unknown = await desk.refused("channel='cellar'", who=DIRK)
    assert unknown == await desk.refused("channel='rain'", who=DIRK) == ("item-not-found", "cancel")
    assert await desk.refused("channel='alert.frost'", who=DIRK) == unknown
    assert await desk.refused(who=Jid("node", "example.org", "other")) == unknown


async def test_rights_that_go_while_the_request_waits_count(desk):
    desk.link.pongs.clear()
    await desk.page(who=ANNA)
    assert desk.ask(who=CLEO)
    desk.house.access = Access([Person(jid=ANNA.bare, role=Role.OWNER)])
    desk.link.pongs.set()
    assert (await desk.link.answer(1))[0][0].tag.endswith("item-not-found")


async def test_rights_that_go_while_the_disk_is_read_count(desk, monkeypatch):
    reading = desk.house.store.span

    async def meanwhile(**wanted):
        found = await reading(**wanted)
        desk.house.access = Access([Person(jid=CLEO.bare, role=Role.VIEWER, only=("rain",))])
        return found

    monkeypatch.setattr(desk.house.store, "span", meanwhile)
    assert await desk.refused(who=CLEO) == ("item-not-found", "cancel")


async def test_no_cursor_tells_of_readings_that_one_may_not_read(desk):
    await desk.house.store.add((record(desk.house, seq), ()) for seq in (1, 2))
    theirs = last(await desk.page("channel='rain' run='k3v9q2xa' to='1'"))
    wrong = theirs[:-8] + "00000000"
    said = [await desk.refused(rsm=f"<after>{after}</after>", who=DIRK) for after in (theirs, wrong)]
    assert said == [("item-not-found", "cancel")] * 2


async def test_a_flood_is_refused_a_few_times_and_no_id_is_carried_to_and_fro(desk):
    for _ in range(10 * BURST):
        assert desk.ask("channel='?'")
    assert len(desk.link.sent) == BURST
    iq = ET.fromstring(f"<iq xmlns='jabber:client' type='get' from='{CLEO}' id='{'x' * (LONGEST_ID + 1)}'/>")
    ET.SubElement(iq, f"{H}history")
    assert desk.history.take(iq)
    await desk.page(who=CLEO)
    assert not any("xx" in sent.get("id", "") for sent in desk.link.sent)


async def test_what_is_malformed_is_a_bad_request(desk):
    for more in (
        {"attributes": "from='yesterday'"}, {"rsm": "<max>0</max>"}, {"kind": "set"}, {"beside": "<x xmlns='urn:x'/>"},
        {"attributes": "run='k3v9q2xa' from='1e3'"},
    ):  # fmt: skip
        assert await desk.refused(**more) == ("bad-request", "modify")
    assert await desk.refused(rsm="<before/>") == ("feature-not-implemented", "modify")


async def test_a_kept_cursor_goes_on_where_it_was(desk):
    after = f"<after>{last(await desk.page())}</after>"
    nothing = await desk.page(rsm=after)
    assert (nothing.get("complete"), seqs(nothing)) == ("true", [])
    desk.held.append(record(desk.house, 1))
    assert seqs(await desk.page(rsm=after)) == [("rain", 1)]
    assert seqs(await desk.page("run='k3v9q2xa'", after)) == [("rain", 1)]
    assert seqs(await desk.page("channel='door'", after)) == []


async def test_a_cursor_outlives_its_reading_but_not_its_store(desk):
    house = desk.house
    await house.store.add((record(house, seq), ()) for seq in (1, 2))
    after = last(await desk.page("run='k3v9q2xa' to='1'"))
    row = int(after.partition(".")[0])
    await house.store.prune(house.clock.time_ns() + 2 * 10**9)  # it is gone, the next one is not
    assert seqs(await desk.page(rsm=f"<after>{after}</after>")) == [("rain", 2)]
    for cursor in (f"{row + 1}.00000000", f"{row + 100}.00000000", "1", "none"):
        assert await desk.refused(rsm=f"<after>{cursor}</after>") == ("item-not-found", "cancel")


async def test_the_next_page_waits_for_the_pong_behind_the_last(desk):
    desk.link.pongs.clear()
    await desk.page()
    for _ in range(IN_LINE):
        assert desk.ask()
    await asyncio.sleep(0)
    assert desk.link.events == ["page", "ping"]
    desk.link.pongs.set()
    await desk.link.answer(IN_LINE)
    assert desk.link.events[:6] == ["page", "ping"] * 3


async def test_a_slow_link_gets_small_pages(desk):
    await desk.house.store.add((record(desk.house, seq), ()) for seq in range(1, 400))

    async def size():
        return len(seqs(await desk.page("run='k3v9q2xa'")))

    assert [await size() for _ in range(4)] == [LEAST, 2 * LEAST, 4 * LEAST, 100]
    desk.link.took_s = 2.0
    assert [await size() for _ in range(4)] == [100, 50, LEAST, LEAST]


async def test_who_asks_for_more_than_a_line_holds_is_told_to_wait(desk):
    desk.house.access = Access([
        Person(jid=ANNA.bare, role=Role.OWNER), Person(jid=BRAM.bare, role=Role.VIEWER),
        Person(jid=Jid("*", "example.org"), role=Role.VIEWER),
    ])  # fmt: skip
    desk.link.pongs.clear()
    await desk.page(who=BRAM)
    for _ in range(IN_LINE):
        desk.ask(who=BRAM)
    assert await desk.refused(who=BRAM) == ("resource-constraint", "wait")
    for number in range(IN_LINE_ALL):  # a crowd whose right is only its domain's leaves room for Anna
        desk.ask(who=Jid(f"guest{number}", "example.org", "x"))
    count = len(desk.link.sent)
    assert desk.ask(who=ANNA)
    assert len(desk.link.sent) == count
    desk.link.pongs.set()
    async with asyncio.timeout(20):
        while not any(sent.get("to") == str(ANNA) for sent in desk.link.sent):
            await asyncio.sleep(0)


async def test_each_person_has_a_budget_and_gets_it_back(desk):
    for _ in range(BURST):
        await desk.page("run='zzzzzzzz'")
    assert await desk.refused() == ("resource-constraint", "wait")
    await desk.page(who=CLEO)
    await desk.house.clock.advance(1 / PER_S)
    await desk.page()


async def test_a_disk_that_fails_or_hangs_is_worth_another_try(desk, monkeypatch):
    async def fails(**_):
        raise StoreError("readings.db: disk I/O error")

    monkeypatch.setattr(desk.house.store, "span", fails)
    assert await desk.refused() == ("resource-constraint", "wait")
    hangs = asyncio.Event()
    monkeypatch.setattr("knoop.xmpp.history.DISK_S", 0.01)
    monkeypatch.setattr(desk.house.store, "span", lambda **_: hangs.wait())
    assert await desk.refused() == ("resource-constraint", "wait")


async def test_what_goes_wrong_inside_is_in_the_log_only(desk, monkeypatch, caplog):
    async def fails(**_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(desk.house.store, "span", fails)
    assert await desk.refused() == ("internal-server-error", "cancel")
    assert "a secret" in caplog.text
    assert b"secret" not in ET.tostring(desk.link.sent[-1])


async def test_other_requests_are_not_taken_and_a_lost_link_ends_nothing(desk):
    other = ET.fromstring("<iq xmlns='jabber:client' type='get' from='a@b/x'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert not desk.history.take(other)
    desk.link.up = False
    assert desk.ask()
    async with asyncio.timeout(20):
        while "ping" not in desk.link.events:
            await asyncio.sleep(0)
    desk.link.up = True
    await desk.page()


CHANNELS = ("rain", "door", "mode", "cellar")  # the last one is of a board that was changed since
RUNS = ("aaaaaaaa", "bbbbbbbb")


class Books:
    """A plain list beside the store: what is there, in the order it came, while rows come and go."""

    def __init__(self, desk, chance):
        self.desk, self.chance, self.rows, self.gone = desk, chance, [], set()
        self._numbers = {}
        desk.history._budgets = Budgets(burst=10**9, per_s=1)

    def one(self):
        """A reading of one of two runs that take turns, by a clock that is set to and fro, or never was."""
        channel, run = self.chance.choice(CHANNELS), self.chance.choice(RUNS)
        seq = self._numbers[channel, run] = self._numbers.get((channel, run), 0) + 1
        at_ns = self.chance.choice((None, self.desk.house.clock.time_ns() + self.chance.randrange(-9, 9) * 10**9))
        return record(self.desk.house, seq, channel, run=run, at_ns=at_ns)

    async def flush(self):
        held, self.desk.held = self.desk.held, []
        self.rows += await self.desk.house.store.add((one, ()) for one in held)

    async def happens(self):
        """Some readings come, on the disk or still in memory, and some of the oldest go."""
        chance = self.chance
        self.desk.held += [self.one() for _ in range(chance.randrange(4))]
        if chance.random() < 0.5:
            await self.flush()
        if chance.random() < 0.4:
            count = chance.randrange(6)
            await self.desk.house.store._run(lambda readings: readings.drop_history(count))
            there = await self.desk.house.store.span(channels=CHANNELS, limit=10**6)
            self.gone = {one.row for one in self.rows} - {one.row for one in there}

    def question(self):
        """The attributes of a request, and whether a reading is asked for by them."""
        chance, channel = self.chance, self.chance.choice(("", "rain", "door"))
        words, mine = f"channel='{channel}' " if channel else "", {channel} if channel else {"rain", "door", "mode"}
        if chance.random() < 0.5:
            first, final = sorted(chance.randrange(1, 40) for _ in range(2))
            run = chance.choice(RUNS)
            return f"{words} run='{run}' from='{first}' to='{final}'", lambda one: (
                one.channel in mine and one.run == run and first <= one.seq <= final
            )
        if chance.random() < 0.5:
            return words, lambda one: one.channel in mine
        since_ns = (self.desk.house.clock.time_ns() // 10**9 + chance.randrange(-9, 9)) * 10**9
        return f"{words} from='{payload.timestamp(since_ns)}'", lambda one: (
            one.channel in mine and one.at_ns is not None and one.at_ns >= since_ns
        )

    async def walk(self):
        """Page through one question while things happen: what came, and what had to."""
        words, wanted = self.question()
        came, after, cursor = [], "", 0
        while True:
            answer = await self.desk.answer(words, f"<max>{self.chance.randrange(1, 7)}</max>{after}")
            if answer.get("type") == "error":  # its reading is gone, and nothing came after it: begin again
                assert all(one.row < cursor or one.row in self.gone for one in self.rows if one.channel != "cellar")
                break
            element = answer[0]
            came += [
                (one.run, one.channel, one.seq)
                for group in element.iter(f"{R}readings") for one in payload.parse_readings(group)
            ]
            if element.get("complete") == "true":
                break
            after, cursor = f"<after>{last(element)}</after>", int(last(element).partition(".")[0])
            await self.happens()
        rows = [one for one in self.rows if wanted(one)]
        return came, [(one.run, one.channel, one.seq) for one in rows], [
            (one.run, one.channel, one.seq) for one in rows if one.row not in self.gone
        ]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
async def test_pages_are_what_a_plain_list_holds_none_missed_none_twice(tmp_path, monkeypatch, seed):
    for name in ("knoop.readings_sql.PLACE_ROWS", "knoop.readings_sql.SCAN_ROWS", "knoop.store.SCAN_ROWS"):
        monkeypatch.setattr(name, 7)
    async with desk_at(tmp_path) as desk:
        while await desk.house.store._run(lambda readings: readings.drop_history(100)) is not None:
            pass  # what the greenhouse had
        books = Books(desk, random.Random(seed))
        desk.history._flush = books.flush
        for _ in range(12):
            await books.happens()
            came, there, must = await books.walk()
            assert len(came) == len(set(came))
            assert came == [one for one in there if one in set(came)], "in the order in which they came"
            assert set(must) <= set(came)
