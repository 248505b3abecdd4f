"""The tour sees what it claims, and fails when any single observation is missing.

Each blindfold hides exactly one thing from one client (or falsifies one thing beside it) while the node goes on
working: the step must say that it did not see it. The same steps pass on the same stage without a blindfold.
"""

import asyncio
import contextlib
import dataclasses
import io
import json

import pytest

from knoop_bench import tour
from knoop_bench.stage import NODE, OWNER, STRANGER, VIEWER, stage
from knoop_bench.tour import Actor, Cast
from knoop_bench.witness import EVENTS, READINGS, STATE

pytestmark = pytest.mark.prosody
PATIENCE = 0.65  # in 9.75 s the door moves at least once and in 26 s there is a frost: what is missed is missed


def items_of(node):
    return lambda seen: any(item.node == node for item in seen.items)


def chat(seen):
    return seen.type == "chat"


def groupchat(seen):
    return seen.type == "groupchat"


def saying(words):
    return lambda seen: words in seen.body


@contextlib.asynccontextmanager
async def cast_on(made, *, anna=None, bram=None, mallory=STRANGER, patience=1.0):
    friends = (made.jid(NODE),)
    async with (
        Actor(made, OWNER, friends=friends, deaf=anna) as a,
        Actor(made, VIEWER, friends=friends, notify=()) as b,
        Actor(made, mallory, notify=()) as m,
    ):
        await b.join(made.room, f"{VIEWER}-{b.full_jid.rpartition('/')[2]}")
        b.blind(bram)
        yield Cast(a, b, m, patience)


async def blind(made, step, **blindfold):
    """Whether the step noticed that it cannot see."""
    async with cast_on(made, patience=PATIENCE, **blindfold) as cast:
        return not await tour.observed(step, made, cast)


def elsewhere(made, folder):
    """The same stage, looked at in the wrong place."""
    copy = dataclasses.replace(made, folder=folder)
    copy.node = made.node
    return copy


def every_other_door_event(seen):
    return any(
        child.get("channel") == "door" and int(child.get("seq")) % 2 == 0
        for item in seen.items if item.node == EVENTS for child in item.payload
    )


async def test_the_tour_sees_everything(tmp_path, capsys):
    async with stage(tmp_path / "demo") as made:
        assert await tour.tour(made) == 0, capsys.readouterr().out


async def test_each_step_misses_what_is_hidden(tmp_path):
    async with stage(tmp_path / "one") as made, stage(tmp_path / "two") as other:
        noticed = await asyncio.gather(
            blind(made, tour.typed_readings, anna=items_of(READINGS)),
            blind(made, tour.typed_readings, anna=items_of(STATE)),
            blind(made, tour.door, anna=items_of(EVENTS)),
            blind(made, tour.door, anna=chat),
            blind(made, tour.lamp, anna=chat),
            blind(elsewhere(made, tmp_path), tour.lamp),
            blind(made, tour.stranger, anna=saying("refused: stranger")),
            blind(made, tour.stranger, mallory=VIEWER),
            blind(made, tour.room, bram=groupchat),
            blind(made, tour.room, bram=saying("acknowledged")),
            blind(made, tour.room, bram=lambda seen: seen.kind == "presence"),
            blind(made, tour.meter, anna=items_of(READINGS)),
            blind(elsewhere(made, tmp_path), tour.bench),
            blind(other, tour.cut, anna=every_other_door_event),
        )
        assert all(noticed), [number for number, seen in enumerate(noticed) if not seen]


async def test_the_meter_step_compares_with_the_telegram(tmp_path, monkeypatch):
    kaifa = tour.telegram_values(tour.TELEGRAM.with_name("dsmr42-kaifa.txt"))
    async with stage(tmp_path / "demo") as made, cast_on(made) as cast:
        assert await tour.observed(tour.meter, made, cast)
        monkeypatch.setattr(tour, "telegram_values", lambda: kaifa)
        assert not await tour.observed(tour.meter, made, cast)


async def test_a_link_that_was_not_cut_proves_nothing(tmp_path):
    class Uncut:
        async def cut(self):
            pass

        async def restore(self):
            pass

    async with stage(tmp_path / "demo") as made, cast_on(made) as cast:
        made.proxy = Uncut()
        assert not await tour.observed(tour.cut, made, cast)


async def test_a_missing_observation_makes_the_demo_fail(tmp_path, monkeypatch, capsys):
    from knoop_bench import demo

    async def unseen(made, cast):
        """Something that did not happen."""
        raise tour.NotSeen("nothing")

    monkeypatch.setattr(tour, "STEPS", (tour.typed_readings, unseen))
    monkeypatch.setattr(tour.tour, "__kwdefaults__", {"steps": tour.STEPS})
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert await demo.run(tmp_path / "demo") == 1
    printed = capsys.readouterr().out
    assert "1 of 2 observations are missing" in printed
    assert "✗ not seen: nothing" in printed
    assert not (tmp_path / "demo").exists()


async def test_a_server_that_does_not_start_fails_the_demo(tmp_path, monkeypatch):
    from knoop_bench import demo
    from knoop_bench.errors import ServerFailed

    monkeypatch.setattr("knoop_bench.prosody_config.configuration", lambda *_: "this is not Lua")
    monkeypatch.setattr("knoop_bench.prosody.configuration", lambda *_: "this is not Lua")
    with pytest.raises(ServerFailed):
        await demo.run(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


async def test_a_node_that_ends_fails_the_demo(tmp_path, capsys):
    async with stage(tmp_path / "demo") as made, cast_on(made) as cast:
        assert await tour.observed(tour.typed_readings, made, cast)
        assert await made.node.stop() == 0
        assert not await tour.observed(tour.typed_readings, made, cast)
    assert "the node ended with exit code 0" in capsys.readouterr().out


def test_the_trace_is_read_as_the_board_wrote_it(tmp_path):
    class Here:
        trace = tmp_path / "board.jsonl"

    assert tour.transitions(Here, "lamp") == []
    moved = {"t_ns": 1, "channel": "lamp", "line": "GPIO27", "level": True}
    Here.trace.write_text(json.dumps(moved) + "\n" + json.dumps({**moved, "channel": "pump"}) + "\n")
    assert tour.transitions(Here, "lamp") == [moved]
