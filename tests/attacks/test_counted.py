"""What attackers tried is counted where machines see it, over a restart, and nobody without rights does."""

from __future__ import annotations

import pytest
from tests.attacks.rig import ANYBODYS, BOARD, PASSWORD, PEOPLE
from tests.integration.inprocess import node
from tests.integration.running import NODE, Way, write

from knoop import storage
from knoop_bench.prosody import Prosody
from knoop_bench.seen import Seen
from knoop_bench.witness import READINGS, Witness

pytestmark = pytest.mark.prosody


def counted(seen: Seen, channel: str, least: float) -> bool:
    return any(
        one.get("channel") == channel and float(one.text or 0) == least
        for item in seen.items if item.node == READINGS and item.payload is not None for one in item.payload
    )  # fmt: skip


async def test_refused_commands_are_published_and_counted_on_after_a_restart(tmp_path, authority, monkeypatch):
    monkeypatch.setattr(storage, "COUNT_S", 0.2)
    accounts = {**dict.fromkeys(("anna", "vera", "mallory"), ANYBODYS), NODE: PASSWORD}
    async with Prosody(tmp_path / "prosody", accounts, authority=authority) as server:
        jid, where = server.jid(NODE), {"port": server.tls_port, "ca_file": server.ca_file}
        file = write(tmp_path, Way.to(server), jid=jid, password=PASSWORD, people=PEOPLE, board=BOARD)
        async with (
            Witness(server.jid("anna"), ANYBODYS, friends=[jid], **where) as anna,
            Witness(server.jid("vera"), ANYBODYS, friends=[jid], **where) as vera,
            Witness(server.jid("mallory"), ANYBODYS, **where) as mallory,
        ):
            for so_far in (0, 101):
                after = anna.mark
                async with node(file, password=PASSWORD) as made:
                    await anna.wait(
                        lambda seen: seen.kind == "presence" and seen.sender_bare == jid and not seen.type, after=after
                    )
                    for _ in range(100):
                        mallory.say(jid, "lamp on")
                    vera.say(jid, "lamp on")
                    await anna.wait(
                        lambda seen, all_in_all=so_far + 101: counted(seen, "node.refused", all_in_all), 15, after=after
                    )
                    assert made.agent.execution.refused + made.agent.house.admission.left_out == 101
            assert not any(seen.items for seen in mallory.seen)
            assert not [seen for seen in mallory.seen if seen.sender.startswith(f"{jid}/")]
