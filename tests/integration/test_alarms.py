"""An alarm that waits for a person, on a running node: said again, to the next one, held back, acknowledged, kept."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.running import NODE, Running, Way, running, write

from knoop_bench.prosody import Prosody
from knoop_bench.seen import Seen
from knoop_bench.witness import EVENTS, Witness

pytestmark = pytest.mark.prosody

PASSWORD = "secret"
PEOPLE = {
    "anna@localhost": '{ role = "owner", name = "Anna" }',
    "bram@localhost": '{ role = "operator", name = "Bram", notify = [] }',
    "cleo@localhost": '"viewer"',
}
BOARD = """
[board]
driver = "simulated"
scenario = "scenario.toml"

[output.lamp]
label = "Lamp"
pin = "GPIO27"

[output.heater]
label = "Heater"
pin = "GPIO22"
initial = "restore"
safe = "keep"

[sensor.air]
driver = "simulated"
label = "Air"
every = "200ms"

[alert.light]
when = "lamp == on"
repeat = "2s"
escalate = ["bram@localhost"]
escalate_after = "3s"

[alert.heat]
when = "heater == on"
severity = "critical"
repeat = "0s"

[alert.air_missing]
severity = "info"
for = "2s"
"""
FAILING = """
[sensor.air]
temperature = 12
noise = 0
lag = "10ms"
[[step]]
at = "2s"
sensor = "air"
error = "EIO"
for = "4s"
"""
SINCE = r"\(since (\d\d\d\d-\d\d-\d\d )?\d\d:\d\d"


@dataclass(frozen=True, slots=True)
class Home:
    """A running node and its people, each with a client."""

    node: Running
    jid: str
    anna: Witness
    bram: Witness
    cleo: Witness

    def heard(self, person: Witness, fits: str, *, after: int = 0) -> list[Seen]:
        """What the node said in chat that matches."""
        said = [seen for seen in person.seen[after:] if seen.sender_bare == self.jid and seen.kind == "message"]
        return [seen for seen in said if re.fullmatch(fits, seen.body)]

    async def hears(self, person: Witness, fits: str, *, after: int = 0) -> Seen:
        return await person.wait(
            lambda seen: seen.sender_bare == self.jid and seen.type == "chat" and bool(re.fullmatch(fits, seen.body)),
            after=after, timeout_s=15.0,
        )

    async def present(self, person: Witness, *, after: int = 0) -> None:
        """What is said to it from now on reaches it and is not kept for later."""
        await person.wait(
            lambda seen: seen.kind == "presence" and seen.sender_bare == self.jid and not seen.type, after=after,
            timeout_s=15.0,
        )

    async def asks(self, person: Witness, text: str, fits: str) -> Seen:
        after = person.mark
        person.say(self.jid, text)
        return await self.hears(person, fits, after=after)

    def react(self, person: Witness, to: str, emoji: str) -> None:
        person.send_raw(
            f"<message to='{self.jid}' type='chat' id='react-{to}'><reactions xmlns='urn:xmpp:reactions:0' id='{to}'>"
            f"<reaction>{emoji}</reaction></reactions><store xmlns='urn:xmpp:hints'/></message>"
        )


@pytest.fixture
async def home(tmp_path: Path, authority) -> AsyncIterator[Callable]:
    users = [NODE, "anna", "bram", "cleo"]

    @asynccontextmanager
    async def made(scenario: str = "") -> AsyncIterator[Home]:
        async with Prosody(tmp_path / "prosody", dict.fromkeys(users, PASSWORD), authority=authority) as server:

            def visit(user: str) -> Witness:
                return Witness(server.jid(user), PASSWORD, port=server.tls_port, ca_file=server.ca_file,
                               friends=[server.jid(NODE)], receipts=True)

            write(tmp_path, Way.to(server), jid=server.jid(NODE), password=PASSWORD, people=PEOPLE, board=BOARD,
                  scenario=scenario)
            async with running(tmp_path) as node, visit("anna") as anna, visit("bram") as bram, visit("cleo") as cleo:
                await node.online()
                home = Home(node, server.jid(NODE), anna, bram, cleo)
                for person in (anna, bram, cleo):
                    await home.present(person)
                yield home
                assert "Traceback" not in node.log
                assert "incident" not in node.log

    return made


async def test_an_alarm_is_said_again_goes_on_to_the_next_and_a_thumb_ends_it(home):
    async with home() as h:
        await h.asks(h.anna, "lamp on", "Lamp is on.")
        raised = await h.hears(h.anna, "Alert light: Lamp is on.")
        assert raised.xml.find("{urn:xmpp:receipts}request") is not None
        again = await h.hears(h.anna, rf"Still: Alert light: Lamp is on {SINCE}\).")
        assert again.id != raised.id
        await h.hears(h.cleo, rf"Still: Alert light: Lamp is on {SINCE}\).")
        asked = await h.hears(h.bram, rf"Alert light: Lamp is on {SINCE}; nobody acknowledged it for 3 s\).")
        await h.anna.wait(lambda seen: any(item.node == EVENTS and item.payload is not None
                                           and item.payload[0].text == "reminded" for item in seen.items))

        h.react(h.cleo, raised.id, "👍")
        await h.hears(h.cleo, "You may not ack here.*")
        h.react(h.bram, asked.id, "👍🏽")
        await h.hears(h.bram, "Acknowledged: light.")
        told = await h.hears(h.anna, "light: acknowledged by Bram.")
        await h.hears(h.cleo, "light: acknowledged by Bram.")

        await h.asks(h.anna, "lamp off", "Lamp is off.")
        for person in (h.anna, h.bram, h.cleo):
            await h.hears(person, "light is over.")
        assert h.heard(h.anna, "Still.*", after=told.number) == []
        assert len(h.heard(h.bram, "Alert light.*")) == 1
        await h.asks(h.anna, "log 5", r"(?s).*bram@localhost.*👍🏽 \(ack light\).*")


async def test_quiet_holds_back_a_warning_and_nothing_critical_and_tells_it_afterwards(home):
    async with home() as h:
        await h.asks(h.cleo, "quiet 1h", "I keep quiet until .*")
        await h.asks(h.anna, "lamp on", "Lamp is on.")
        await h.hears(h.anna, "Alert light.*")
        await h.asks(h.anna, "heater on", "Heater is on.")
        await h.hears(h.cleo, "Critical alert heat: Heater is on.")
        await h.hears(h.anna, "Still: Alert light.*")
        assert h.heard(h.cleo, ".*light.*") == []
        after = h.cleo.mark
        await h.asks(h.cleo, "quiet off", "I speak up again.")
        first = await h.hears(h.cleo, ".*light.*", after=after)
        assert re.fullmatch(rf"Alert light: Lamp is on {SINCE}\).", first.body)

        await h.asks(h.anna, "silence light 1h", "light is silent until .*")
        marks = h.anna.mark, h.cleo.mark
        await h.asks(h.anna, "lamp off", "Lamp is off.")
        await h.asks(h.anna, "heater off", "Heater is off.")
        for person, mark in zip((h.anna, h.cleo), marks, strict=True):
            await h.hears(person, "heat is over.", after=mark)
            assert h.heard(person, ".*light is over.*", after=mark) == []


async def test_a_sensor_that_is_missing_is_said_and_its_return(home):
    async with home(FAILING) as h:
        await h.hears(h.anna, r"Note: Air has no value since \d\d:\d\d \(the sensor is missing\).")
        await h.hears(h.anna, "Air is back: 12.0 °C.")
        assert "alert.air_missing" in {
            channel.get("channel") for item in await h.anna.pep_items(h.jid, "urn:knoop:1:state")
            for channel in (item.payload if item.payload is not None else ())
        }


async def test_a_restart_tells_nobody_twice_and_the_old_message_still_counts(home):
    async with home() as h:
        await h.asks(h.anna, "heater on", "Heater is on.")
        raised = await h.hears(h.anna, "Critical alert heat: Heater is on.")
        await h.hears(h.cleo, "Critical alert heat: Heater is on.")
        await h.node.stop()
        after = h.anna.mark
        h.node.start()
        await h.present(h.anna, after=after)
        await h.asks(h.anna, "status", "(?s).*heat.*")
        after = h.anna.mark
        h.anna.send_raw(
            f"<message to='{h.jid}' type='chat' id='answer'><body>&gt; Critical alert heat: Heater is on.\nok</body>"
            f"<reply xmlns='urn:xmpp:reply:0' to='{h.jid}' id='{raised.id}'/></message>"
        )
        answer = await h.hears(h.anna, "(?s)Acknowledged: heat.*", after=after)
        assert "Told, too: cleo@localhost" in answer.body
        await h.hears(h.cleo, "heat: acknowledged by Anna.")
        for person in (h.anna, h.cleo):
            heard = {(seen.id, seen.body) for seen in h.heard(person, "(Still: )?Critical alert heat.*")}
            assert len(heard) == 1, "with another id it would be news; the same one may come again when a link ends"
