"""What presence tells, and what a lost terminal does."""

import asyncio
import signal

import pytest

from knoop_bench import tour
from knoop_bench.stage import NODE, OWNER, VIEWER, stage
from knoop_bench.tour import Actor

pytestmark = pytest.mark.prosody
CLIENT = "{jabber:client}"


async def test_an_alarm_is_seen_in_presence_and_named_only_where_all_are_told(tmp_path):
    async with stage(tmp_path / "demo") as made:
        friends = (made.jid(NODE),)
        async with Actor(made, OWNER, friends=friends) as anna, Actor(made, VIEWER, friends=friends) as bram:
            await bram.join(made.room, VIEWER)

            def shown(sender):
                return lambda s: (
                    s.kind == "presence" and s.sender.startswith(sender) and s.xml.findtext(f"{CLIENT}show") == "dnd"
                )

            seen = await anna.wait(shown(f"{made.jid(NODE)}/knoop-"), 30)
            assert seen.xml.find(f"{CLIENT}status") is None, "a viewer of one channel must not learn of another's alarm"
            in_room = await bram.wait(shown(f"{made.room}/{NODE}"), 5)
            assert in_room.xml.findtext(f"{CLIENT}status", "").startswith("1 alarm · ")
            anna.say(made.jid(NODE), "ack frost")
            await anna.wait(
                lambda s: s.kind == "presence" and s.sender == seen.sender and not s.type
                and s.xml.find(f"{CLIENT}show") is None, 5, after=seen.number,
            )


async def test_a_node_that_is_told_to_stop_leaves_its_outputs_safe(tmp_path):
    async with stage(tmp_path / "demo") as made, Actor(made, OWNER, friends=(made.jid(NODE),)) as anna:
        await anna.wait(lambda s: s.kind == "presence" and s.sender_bare == made.jid(NODE) and not s.type, 10)
        anna.say(made.jid(NODE), "lamp on")
        await anna.wait(lambda s: s.body == "Lamp is on.", 5)
        made.node.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await made.node.process.wait() == 0
        assert [move["level"] for move in tour.transitions(made, "lamp")] == [True, False]
