"""Verbs as forms on a running node: what a client's "Execute command…" shows and does, seen from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
from tests.integration.running import BOARD, NODE, Running, Way, running, until, write

from knoop.commands import table
from knoop_bench.errors import Refused
from knoop_bench.prosody import Prosody
from knoop_bench.seen import CLIENT, Seen
from knoop_bench.witness import Witness

pytestmark = [pytest.mark.prosody, pytest.mark.asyncio(loop_scope="module")]

COMMANDS = "http://jabber.org/protocol/commands"
C, X = f"{{{COMMANDS}}}", "{jabber:x:data}"
PASSWORD = "secret"
PEOPLE = {
    "anna@localhost": '{ role = "owner", name = "Anna" }',
    "bert@localhost": '"viewer"',
    "olga@localhost": '{ role = "operator", only = ["lamp"], lang = "nl" }',
    "vera@localhost": '"viewer"',
}
OUTPUTS = f"""{BOARD}
[output.fan]
label = "Fan"
pin = "GPIO18"
kind = "pwm"
"""
OPEN_DOOR = """
trace = "board.jsonl"
[[step]]
at = "100ms"
line = "door"
value = true
"""
ALERT = '[alert.burglar]\nwhen = "door == on"\n'

# What a person chooses where the form as it stands is not what this test wants.
KNOCKING = ("once", "always", "never")  # each about a stranger of its name
CHOSEN: dict[str, dict[str, str]] = {
    **{verb: {"jid": f"{verb}@localhost"} for verb in KNOCKING},
    "allow": {"jid": "guest@localhost", "role": "viewer"},
    "invite": {"name": "Guest"},
    "revoke": {"jid": "bert@localhost"},
    "history": {"channels": "lamp"},
    "watch": {"channels": "door"},
}
BOUND_S = 60.0  # bench measures that long at most


@dataclass(frozen=True, slots=True)
class Home:
    server: Prosody
    node: Running

    @property
    def jid(self) -> str:
        return f"{self.server.jid(NODE)}/knoop"

    @asynccontextmanager
    async def visit(self, user: str) -> AsyncIterator[Witness]:
        async with Witness(
            self.server.jid(user), PASSWORD, port=self.server.tls_port, ca_file=self.server.ca_file
        ) as witness:
            yield witness

    def audit(self) -> list[tuple[str, str, str, str]]:
        [state] = self.node.folder.rglob("state.db")
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=5)) as database:
            return database.execute("SELECT who, action, result, via FROM audit ORDER BY id").fetchall()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory, authority) -> AsyncIterator[Home]:
    folder = tmp_path_factory.mktemp("adhoc")
    users = [NODE, "mallory", "guest", *KNOCKING, *(jid.partition("@")[0] for jid in PEOPLE)]
    async with Prosody(folder / "prosody", dict.fromkeys(users, PASSWORD), authority=authority) as server:
        file = write(folder, Way.to(server), jid=f"{server.jid(NODE)}/knoop", password=PASSWORD, people=PEOPLE,
                     board=OUTPUTS, scenario=OPEN_DOOR, more=ALERT)
        file.write_text(file.read_text("utf-8").replace("[node]", '[node]\nstrangers = "ask"'), "utf-8")
        async with running(folder) as node:
            await node.online()
            yield Home(server, node)
            assert "Traceback" not in node.log
            assert "incident" not in node.log


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def anna(home: Home) -> AsyncIterator[Witness]:
    async with home.visit("anna") as witness:
        yield witness


async def step(  # noqa: PLR0917 -- as they stand in the stanza
    person: Witness, home: Home, verb: str, session: str = "", action: str = "", x: ET.Element | None = None
) -> ET.Element:
    """One request of a client, and the `command` that answers it; what every client relies on is checked."""
    request = ET.Element(f"{C}command", {"node": verb})
    for name, value in (("sessionid", session), ("action", action)):
        if value:
            request.set(name, value)
    if x is not None:
        request.append(x)
    [command] = await person.iq("set", request, to=home.jid, timeout_s=BOUND_S)
    assert (command.tag, command.get("node")) == (f"{C}command", verb)
    assert command.get("sessionid")
    assert not (command.find(f"{C}note") is not None and command.find(f"{X}x") is not None), "Movim hides the form"
    return command


def filled(form: ET.Element, chosen: dict[str, str]) -> ET.Element:
    """The form as it stands, but for what was chosen."""
    x = ET.Element(f"{X}x", {"type": "submit"})
    for field in form.findall(f"{X}field"):
        values = [value.text or "" for value in field.findall(f"{X}value")]
        if (var := field.get("var", "")) in chosen:
            values = [chosen[var]]
        elif not values and field.find(f"{X}required") is not None:
            values = [field.findtext(f"{X}option/{X}value", "")]
        sent = ET.SubElement(x, f"{X}field", {"var": var})
        for value in values:
            ET.SubElement(sent, f"{X}value").text = value
    return x


async def execute(person: Witness, home: Home, verb: str, **chosen: str) -> tuple[str, list[str]]:
    """What a person does who fills in one form after the other: the kind of answer, and its lines."""
    command = await step(person, home, verb)
    for _ in range(3):
        if command.get("status") == "completed":
            break
        assert command.get("status") == "executing"
        x, actions = command.find(f"{X}x"), command.find(f"{C}actions")
        assert x is not None and x.get("type") == "form"
        assert x.find(f"{X}instructions") is None, ET.tostring(x, encoding="unicode")
        assert actions is not None and len(actions), "Gajim refuses an empty list"
        assert actions.find(f"{C}{actions.get('execute')}") is not None
        session = command.get("sessionid", "")
        command = await step(person, home, verb, session, actions.get("execute", ""), filled(x, chosen))
    assert command.get("status") == "completed"
    note, x = command.find(f"{C}note"), command.find(f"{X}x")
    if note is not None:
        return note.get("type", ""), (note.text or "").splitlines()
    assert x is not None and x.get("type") == "result"
    return "result", [value.text or "" for value in x.iter(f"{X}value")]


async def asked(person: Witness, to: str, kind: str, payload: str, stanza_id: str) -> ET.Element:
    """The whole answer to a request, whatever it is."""
    after = person.mark
    person.send_raw(f"<iq type='{kind}' to='{to}' id='{stanza_id}'>{payload}</iq>")
    return (await person.wait(lambda seen: seen.kind == "iq" and seen.id == stanza_id, after=after)).xml


# Discovery ------------------------------------------------------------------------------------------------------------


async def test_the_node_says_that_it_has_commands_and_its_presence_promises_the_same(home, anna):
    assert {COMMANDS, "jabber:x:data", "http://jabber.org/protocol/xdata-validate"} <= await anna.disco(home.jid)
    async with Witness(
        home.server.jid("vera"), PASSWORD, port=home.server.tls_port, ca_file=home.server.ca_file,
        friends=[home.server.jid(NODE)],
    ) as vera:

        def ours(seen: Seen) -> bool:
            return seen.kind == "presence" and seen.sender == home.jid and not seen.type

        presence = await vera.wait(ours)
        caps = presence.xml.find("{http://jabber.org/protocol/caps}c")
        assert caps is not None
        hashed = await vera.disco(home.jid, node=f"{caps.get('node')}#{caps.get('ver')}")
        assert hashed == await vera.disco(home.jid), "entity capabilities (XEP-0115) cover them"


async def test_each_sees_what_they_may(home, anna):
    listed = await anna.disco_items(home.jid, node=COMMANDS)
    assert listed == tuple((home.jid, verb) for verb in table())
    async with home.visit("bert") as bert, home.visit("olga") as olga:
        assert {verb for _, verb in await bert.disco_items(home.jid, node=COMMANDS)} == {
            command.verb for command in table().values() if str(command.role) == "viewer"
        }
        operator = {verb for _, verb in await olga.disco_items(home.jid, node=COMMANDS)}
        assert {"set", "ack"} <= operator
        assert "allow" not in operator
        with pytest.raises(Refused, match="item-not-found"):
            await step(bert, home, "set")
    features = await anna.disco(home.jid, node="set")
    assert {COMMANDS, "jabber:x:data"} <= features


async def test_for_a_stranger_nobody_is_there(home):
    requests = [
        ("get", f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>"),
        ("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='set'/>"),
        ("set", f"<command xmlns='{COMMANDS}' node='set' action='execute'/>"),
        ("set", f"<command xmlns='{COMMANDS}' node='nothing' sessionid='x' action='complete'/>"),
    ]
    absent = f"{home.server.jid(NODE)}/nobody"
    async with home.visit("mallory") as mallory:
        for number, (kind, payload) in enumerate(requests):
            errors = []
            for to in (home.jid, absent):
                answer = await asked(mallory, to, kind, payload, f"m{number}{len(errors)}")
                assert answer.get("type") == "error"
                error = answer.find(f"{{{CLIENT}}}error")
                assert error is not None
                errors.append((error.get("type"), [child.tag for child in error]))
            assert errors[0] == errors[1], "a device that is not there answers the same"


# Verbs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [*table()])
async def test_every_verb_has_a_form_that_works(home, anna, verb):
    if verb == "ack":
        await until(lambda: "alert.burglar" in home.node.log or _raised(home), lambda: home.node.log)
    after = anna.mark
    if verb in KNOCKING:
        async with home.visit(verb) as stranger:
            stranger.say(home.jid, "lamp?")
            await anna.wait(lambda seen: f"{stranger.jid} is nobody you named" in (seen.body or ""), after=after)
    kind, lines = await execute(anna, home, verb, **CHOSEN.get(verb, {}))
    assert kind in {"info", "result"}, (verb, lines)
    assert lines and all(lines)
    if verb == "bench" and kind == "info":  # it takes longer than a client waits
        answer = await anna.wait(lambda seen: seen.type == "chat" and bool(seen.body), BOUND_S, after=after)
        assert len(answer.body.splitlines()) == 4


def _raised(home: Home) -> bool:
    [state] = home.node.folder.rglob("state.db")
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=5)) as database:
        return bool(database.execute("SELECT 1 FROM alert WHERE status = 'raised'").fetchall())


async def test_a_form_moves_the_lamp_and_the_log_says_by_what(home, anna):
    await execute(anna, home, "set", output="lamp", value="false")
    before = len(home.node.moves())
    assert await execute(anna, home, "set", output="lamp", value="true") == ("info", ["Lamp is on."])
    assert home.node.moves()[before:] == [True]
    assert (anna.full_jid, "set lamp on", "done", "form") in home.audit()


async def test_a_number_in_its_range(home, anna):
    assert await execute(anna, home, "set", output="fan", value="40") == ("info", ["Fan is 40 %."])


async def test_one_output_is_one_page_in_ones_language(home):
    async with home.visit("olga") as olga:
        form = await step(olga, home, "set")
        [label] = [f.get("label") for f in form.iter(f"{X}field") if f.get("var") == "value"]
        assert label == "Lamp aan"
        assert [action.tag for action in form.iter(f"{C}complete")] == [f"{C}complete"]
        assert await execute(olga, home, "set", value="0") == ("info", ["Lamp is uit."])


async def test_somebody_elses_form_is_nobodys(home, anna):
    form = await step(anna, home, "set")
    async with home.visit("olga") as olga, home.visit("anna") as tablet:
        for thief in (olga, tablet):
            with pytest.raises(Refused, match="bad-request"):
                await step(thief, home, "set", form.get("sessionid", ""), "cancel")
    await until(lambda: any(result == "refused: not theirs" for _, _, result, _ in home.audit()), lambda: home.node.log)


async def test_the_same_stanza_twice_moves_once(home, anna):
    await execute(anna, home, "set", output="lamp", value="false")
    form = await step(anna, home, "set")
    second = await step(anna, home, "set", form.get("sessionid", ""), "", filled(_x(form), {"output": "lamp"}))
    submit = ET.Element(f"{C}command", {"node": "set", "sessionid": second.get("sessionid", ""), "action": "complete"})
    submit.append(filled(_x(second), {"value": "1"}))
    payload, before = ET.tostring(submit, encoding="unicode"), len(home.node.moves())
    first = await asked(anna, home.jid, "set", payload, "twice")
    again = await asked(anna, home.jid, "set", payload, "twice")
    assert ET.tostring(first) == ET.tostring(again)
    assert home.node.moves()[before:] == [True]


def _x(command: ET.Element) -> ET.Element:
    x = command.find(f"{X}x")
    assert x is not None
    return x


async def test_a_form_that_came_while_the_process_stood_still_is_late(home, anna):
    await execute(anna, home, "set", output="lamp", value="false")
    form = await step(anna, home, "set")
    session = form.get("sessionid", "")
    second = await step(anna, home, "set", session, "", filled(_x(form), {"output": "lamp"}))
    before = len(home.node.moves())
    os.kill(home.node.pid, signal.SIGSTOP)
    try:
        submitted: Any = asyncio.create_task(
            step(anna, home, "set", session, "complete", filled(_x(second), {"value": "1"}))
        )
        await anna.ping()
        await asyncio.sleep(7.0)  # the time that passes is the claim: more than LATE_AFTER_S
    finally:
        os.kill(home.node.pid, signal.SIGCONT)
    note = (await submitted).find(f"{C}note")
    assert note.get("type") == "error"
    assert note.text == "That arrived late, so I did nothing. Please do it again."
    assert len(home.node.moves()) == before
