"""Outputs that are numbers of any range and unit (those that live in devices): said, asked in forms, read, told of."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.node.house import ANNA, BRAM, CHANNELS, greenhouse
from tests.node.wire import validate

from knoop import payload
from knoop.command import Request
from knoop.commands import table
from knoop.forms import Desk
from knoop_hw.model import Channel

NUMBERS = {
    channel.name: channel
    for channel in (
        Channel(name="dimmer", kind="number", type="number", minimum=0, maximum=255, writable=True),
        Channel(
            name="warmth", kind="number", type="number", unit="°C", digits=1, minimum=5, maximum=30, writable=True,
            aliases=("stooklijn",),
        ),
        Channel(name="tilt", kind="number", type="number", unit="°", digits=0, minimum=-10, maximum=10, writable=True),
    )
}  # fmt: skip


@pytest.fixture
async def house(tmp_path):
    async with greenhouse(tmp_path) as made:
        made.channels = CHANNELS | NUMBERS
        yield made


@pytest.mark.parametrize(
    ("who", "text", "moved", "answer"),
    [
        (ANNA, "set dimmer 120", ("dimmer", 120.0, None), "Dimmer is 120."),
        (ANNA, "dimmer 0", ("dimmer", 0.0, None), "Dimmer is 0."),
        (ANNA, "dimmer off", ("dimmer", 0.0, None), "Dimmer is 0."),
        (ANNA, "dimmer on", ("dimmer", 255.0, None), "Dimmer is 255."),
        (ANNA, "dimmer 40 for 10s", ("dimmer", 40.0, 10.0), "Dimmer is 40, for 10 s."),
        (ANNA, "dimmer 256", None, "Dimmer takes at most 255."),
        (ANNA, "warmth 21.5", ("warmth", 21.5, None), "Warmth is 21.5 °C."),
        (ANNA, "warmth 21.5 °C", ("warmth", 21.5, None), "Warmth is 21.5 °C."),
        (BRAM, "zet stooklijn op 21,5 graden", ("warmth", 21.5, None), "Warmth is 21,5 °C."),
        (ANNA, "warmth 4", None, "Warmth takes at least 5."),
        (ANNA, "set tilt -3", ("tilt", -3.0, None), "Tilt is −3 °."),
        (ANNA, "set tilt -11", None, "Tilt takes at least −10."),
    ],
)
async def test_it_is_said_as_people_say_it(house, who, text, moved, answer):
    reply = await house.hear(who, text)
    assert house.board.moves == ([moved] if moved else [])
    assert house.voice("nl" if who is BRAM else "en").render(reply) == answer


async def test_what_a_device_rounds_has_followed(house, monkeypatch):
    monkeypatch.setattr(house.board, "set", lambda _channel, value, _for_s: value - 1)
    assert (await house.hear(ANNA, "dimmer 121")).ok
    monkeypatch.setattr(house.board, "set", lambda _channel, value, _for_s: value - 20)
    assert not (await house.hear(ANNA, "dimmer 121")).ok


@pytest.mark.parametrize("text", ["warmth off", "warmth on", "warmth uit", "warmth 20 %", "dimmer 20 °C"])
async def test_what_does_not_fit_moves_nothing(house, text):
    reply = await house.hear(ANNA, text)
    assert not reply.ok
    assert house.board.moves == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("dimmer to 50%", "Dimmer takes a number from 0 to 255, like “dimmer 40”."),
        ("warmth 20 %", "Warmth takes a number from 5 to 30, like “warmth 17.5”."),
    ],
)
async def test_what_does_not_fit_hears_the_range(house, text, answer):
    assert await house.ask(ANNA, text) == answer


async def test_a_mean_has_a_decimal_more_than_what_it_is_of(house):
    for value in (120.0, 255.0, 77.0):
        await house.report("dimmer", value)
        await house.clock.advance(7)
    lines = await house.ask(ANNA, "history dimmer")
    assert re.search(r"mean [0-9]+\.[0-9], highest 255 ", lines), lines


async def test_names_in_a_list_look_alike(house):
    labelled = replace(NUMBERS["warmth"], label="Warm floor")
    house.channels = {**house.channels, "warmth": labelled}
    for name in ("dimmer", "warmth"):
        await house.report(name, None, "missing")
    assert "No value from: Dimmer, Warm floor." in await house.ask(ANNA, "status")


async def test_an_estimate_is_one_wherever_it_is_told(house):
    await house.report("dimmer", 120.0, "estimate")
    await house.report("warmth", None, "missing")
    assert house.voice().render(await house.hear(ANNA, "dimmer?")) == "Dimmer is 120 (estimate)."
    assert house.voice().render(await house.hear(ANNA, "warmth?")) == "Warmth has no value now (missing)."
    status = house.voice().render(await house.hear(ANNA, "status"))
    assert "No value from: warmth.\nOn: dimmer." in status


@pytest.mark.parametrize(
    ("name", "label", "least", "most"),
    [("dimmer", "Dimmer (0–255)", 0, 255), ("warmth", "Warmth (5–30 °C)", 5, 30), ("tilt", "Tilt (−10–10 °)", -10, 10)],
)
async def test_forms_name_the_range(house, name, label, least, most):
    house.channels = {name: NUMBERS[name]}
    request = Request(sender=ANNA, verb="set", lang="en", via="form")
    desk = Desk(command=table()["set"], request=request, house=house, voice=house.voice())
    form = desk.form()
    field = next(field for field in form.fields if field.var == "value")
    assert (field.label, field.least, field.most, field.datatype) == (label, least, most, "xs:decimal")


def test_machines_are_told_the_range():
    element = payload.about(version="0.1.0", digest="5b1e", channels=NUMBERS.values(), verbs=("set",))
    validate(element)
    warmth = element[1]
    assert [warmth.get(key) for key in ("kind", "type", "unit", "min", "max", "writable")] == [
        "number", "number", "°C", "5", "30", "true",
    ]  # fmt: skip
