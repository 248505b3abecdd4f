"""Where the node is: the element, when it is said, and when it is taken back."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from knoop import geoloc
from knoop.errors import LinkError, Refusal
from knoop.jid import Jid
from knoop.record import Record
from knoop.whereabouts import Whereabouts
from knoop_hw.clock import FakeClock
from knoop_hw.model import Channel

WIRE = Path(__file__).parents[2] / "docs/wire.md"
NS = f"{{{geoloc.GEOLOC}}}"
AT_NS = 1_795_342_503_120_000_000
UNITS = {"latitude": "°", "longitude": "°", "altitude": "m", "speed": "km/h", "course": "°"}
CHANNELS = {
    f"gps.{name}": Channel(name=f"gps.{name}", kind="sensor", type="number", unit=unit) for name, unit in UNITS.items()
}
ANNA = Jid("anna", "example.org", "")


def record(name, value, *, run="run1", at_ns=AT_NS, quality="ok"):
    return Record(
        run=run, channel=f"gps.{name}", seq=1, cls="telemetry", type="number", value=value, quality=quality, boot="b",
        boottime_ns=1, at_ns=at_ns,
    )  # fmt: skip


def latest(*, at_ns=AT_NS, run="run1", **values):
    known = {"latitude": 52.3702157, "longitude": -4.8951679} | values
    return {f"gps.{name}": record(name, value, at_ns=at_ns, run=run) for name, value in known.items()}


def place(records, channels=CHANNELS):
    return geoloc.place("gps", channels, records, run="run1")


def said(element):
    return {child.tag.removeprefix(NS): child.text for child in element}


class TestTheElement:
    def test_units_and_order_are_the_specifications(self):
        element = place(latest(altitude=-3.5, speed=90.0, course=271.25))
        assert element.tag == f"{NS}geoloc"
        assert list(said(element).items()) == [
            ("alt", "-3.5"), ("bearing", "271.25"), ("lat", "52.3702157"), ("lon", "-4.8951679"), ("speed", "25"),
            ("timestamp", "2026-11-22T10:15:03.120Z"),
        ]  # fmt: skip

    def test_the_example_for_readers_is_one(self):
        example = re.search(r"<geoloc .*?</geoloc>", WIRE.read_text("utf-8"), re.DOTALL)
        element = place(latest(altitude=2.0, speed=90.0, course=271.2, longitude=4.8951679))
        assert said(ET.fromstring(example[0])) == said(element)

    def test_what_is_not_known_is_left_out(self):
        records = latest(altitude=3.0, at_ns=None) | {"gps.speed": record("speed", None, quality="missing")}
        assert said(place(records)) == {"lat": "52.3702157", "lon": "-4.8951679", "alt": "3"}

    def test_a_unit_that_it_has_no_word_for_is_left_out(self):
        channels = CHANNELS | {"gps.speed": Channel(name="gps.speed", kind="sensor", type="number", unit="rpm")}
        assert "speed" not in said(place(latest(speed=3.0), channels))

    @pytest.mark.parametrize(
        "records",
        [
            {}, latest(run="before"), latest(latitude=None), latest(longitude=True), latest(latitude="52"),
            latest(latitude=90.1), latest(longitude=-181.0), {"gps.latitude": record("latitude", 52.0)},
        ],
    )  # fmt: skip
    def test_a_place_that_is_none(self, records):
        assert place(records) is None

    def test_channels_that_are_gone_tell_nothing(self):
        assert place(latest(), {}) is None

    def test_only_another_place_is_news(self):
        here = place(latest(speed=3.0))
        assert geoloc.moved(None, here)
        assert geoloc.moved(geoloc.nowhere(), here)
        assert not geoloc.moved(here, place(latest(speed=9.0, altitude=3.0, at_ns=AT_NS + 10**12)))
        assert geoloc.moved(here, place(latest(longitude=-4.8951678)))


def test_which_sensor_can_be_named():
    assert geoloc.missing("gps", CHANNELS.values()) == ""
    text = geoloc.missing("gsp", CHANNELS.values())
    assert text == "'gsp' is no sensor with the values latitude and longitude; expected one of gps"
    assert geoloc.missing("gps", []).endswith("there is none; a sensor with the driver 'nmea' has them")


class Account:
    """A server's PEP, as far as it matters here, and what was asked of it."""

    jid = Jid("node", "example.org", "knoop")

    def __init__(self, *, item="", refuses=""):
        self.item, self.refuses, self.asked = item, refuses, []

    async def iq(self, _kind, child, *, to=""):
        assert to == ""
        what = next(iter(child)).tag.rpartition("}")[2]
        self.asked.append(what)
        if self.refuses:
            raise Refusal(self.refuses, "no")
        if what == "items":
            answer = ET.Element("iq")
            ET.SubElement(answer, "{http://jabber.org/protocol/pubsub}item", {"id": self.item})
            return answer
        if what == "publish":
            item = next(child.iter("{http://jabber.org/protocol/pubsub}item"))
            self.asked[-1] = said(item[0])
            assert [value.text for value in child.iter("{jabber:x:data}value")] == [
                "http://jabber.org/protocol/pubsub#publish-options", "whitelist"
            ]  # fmt: skip
            assert item.get("id") == "knoop"
        return ET.Element("iq")

    @property
    def published(self):
        return [asked for asked in self.asked if isinstance(asked, dict)]


@asynccontextmanager
async def served(account, clock, *, wanted=True, places):
    whereabouts = Whereabouts(wanted=wanted, place=lambda: places[-1], readers=lambda: {ANNA}, clock=clock)
    task = asyncio.create_task(whereabouts.serve(account))
    await clock.advance(0)
    yield whereabouts, task
    task.cancel()
    await asyncio.wait({task})


async def test_it_is_said_at_once_and_then_once_a_minute_when_it_moves():
    account, clock, places = Account(), FakeClock(), [None]
    async with served(account, clock, places=places):
        assert account.asked[0] == "create"
        await clock.advance(30)
        assert account.published == []
        places.append(place(latest()))
        await clock.advance(2)
        assert [said["lat"] for said in account.published] == ["52.3702157"]
        for number in range(20):
            places.append(place(latest(latitude=52.0 + number, at_ns=None)))
            await clock.advance(10)
        assert [said["lat"] for said in account.published] == ["52.3702157", "57", "63", "69"]
        await clock.advance(700)
        assert len(account.published) == 5  # the last one; what lies still is no news


async def test_a_place_that_is_lost_for_long_is_taken_back_once():
    account, clock, places = Account(), FakeClock(), [place(latest())]
    async with served(account, clock, places=places):
        await clock.advance(300)
        places.append(None)
        await clock.advance(590)
        assert len(account.published) == 1
        await clock.advance(700)
        assert account.published[1:] == [{}]
        places.append(place(latest()))
        await clock.advance(2)
        assert [said.get("lat") for said in account.published] == ["52.3702157", None, "52.3702157"]


async def test_what_an_earlier_start_said_is_taken_back_when_nobody_knows_better():
    account, clock = Account(), FakeClock()
    async with served(account, clock, places=[None]):
        await clock.advance(700)
        assert account.published == [{}]


async def test_rights_are_followed_at_once():
    account, clock = Account(), FakeClock()
    async with served(account, clock, places=[place(latest())]) as (whereabouts, _):
        before = len(account.asked)
        whereabouts.rights_changed()
        await clock.advance(0)
        assert "affiliations" in account.asked[before:]
        assert len(account.published) == 1


async def test_where_it_is_not_wanted_ours_is_taken_away():
    account, clock = Account(item="knoop"), FakeClock()
    async with served(account, clock, wanted=False, places=[place(latest())]) as (_, task):
        await task
    assert account.asked == ["items", {}, "delete"]


@pytest.mark.parametrize("account", [Account(item="another"), Account(refuses="item-not-found")])
async def test_where_there_is_nothing_of_ours_nothing_is_touched(account):
    async with served(account, FakeClock(), wanted=False, places=[None]) as (_, task):
        await task
    assert account.asked == ["items"]


async def test_what_cannot_be_taken_away_is_no_secret():
    async with served(Account(refuses="internal-server-error"), FakeClock(), wanted=False, places=[None]) as (_, task):
        with pytest.raises(Refusal):
            await task


async def test_a_lost_link_ends_it():
    account, clock = Account(), FakeClock()

    async def lost(*_, **__):
        raise LinkError("gone")

    account.iq = lost
    async with served(account, clock, places=[None]) as (_, task):
        with pytest.raises(LinkError):
            await task
