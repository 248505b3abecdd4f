"""Ad-hoc commands as XML (XEP-0050): what clients are shown, and what the hostile among them get."""

import asyncio
import contextlib
import re
from xml.etree import ElementTree as ET

import pytest
from tests.node.house import ANNA, BRAM, CLEO, DIRK, PEOPLE, STRANGER, greenhouse, narrowed

from knoop.access import Access, Person, Role
from knoop.command import N_, Command, say
from knoop.commands import table
from knoop.confirming import NO_CODE
from knoop.errors import LinkError
from knoop.execution import BURST, CUT_OFF, PER_S, Execution
from knoop.jid import Jid
from knoop.xmpp.adhoc import ANSWER_WITHIN_S, AT_WORK, COMMANDS, FEATURES, REMEMBERED, AdHoc
from knoop.xmpp.openforms import EXPIRES_S, IN_ALL, PER_PERSON

NODE = "node@example.org/knoop"
C, X, INFO, ITEMS, V = (
    "{http://jabber.org/protocol/commands}", "{jabber:x:data}", "{http://jabber.org/protocol/disco#info}",
    "{http://jabber.org/protocol/disco#items}", "{http://jabber.org/protocol/xdata-validate}",
)  # fmt: skip
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
LAMP = {"value": "1"}


class Desk:
    """The commands of a greenhouse, what they answered, and a way to wait for it."""

    def __init__(self, house, verbs):
        self.house = house
        self.sent, self.said = [], []
        self.online = True
        self._more = asyncio.Event()
        self._ids = iter(range(10**6))
        self.execution = Execution(house, verbs=verbs)
        self.adhoc = AdHoc(
            house, execution=self.execution, voice=lambda lang: house.voice(lang or "en"), send=self._send,
            say=lambda to, text: self.said.append((str(to), text)),
        )

    async def close(self):
        await self.adhoc.close()
        await self.execution.close()

    def _send(self, stanza):
        if not self.online:
            raise LinkError("not connected")
        self.sent.append(ET.fromstring(ET.tostring(stanza)))
        self._more.set()

    def ask(self, payload, who=ANNA, *, kind="set", late=False, stanza_id="", lang="", beside=""):
        """Send a request; returns whether it was taken."""
        element = ET.fromstring(f"<iq xmlns='jabber:client' type='{kind}' to='{NODE}'>{payload}{beside}</iq>")
        element.set("from", str(who))
        element.set("id", stanza_id or f"q{next(self._ids)}")
        if lang:
            element.set("{http://www.w3.org/XML/1998/namespace}lang", lang)
        return self.adhoc.take(element, late)

    async def answer(self, *args, **more):
        """The whole answer to one request."""
        count = len(self.sent)
        assert self.ask(*args, **more)
        return await self.next(count)

    async def next(self, count):
        async with asyncio.timeout(20):
            while len(self.sent) <= count:
                self._more.clear()
                await self._more.wait()
        return self.sent[count]

    async def go(self, verb, values=None, who=ANNA, *, session="", action="execute", **more):
        """The `command` element that answers one step."""
        answer = await self.answer(step(verb, values, session=session, action=action), who, **more)
        assert answer.get("type") == "result", ET.tostring(answer)
        [command] = answer
        assert answer.get("to") == str(who)
        assert command.get("node") == verb
        assert command.get("sessionid")
        assert command.get("status") in {"executing", "completed", "canceled"}
        return command

    async def refused(self, *args, **more):
        """The conditions of the error that answers one request."""
        answer = await self.answer(*args, **more)
        assert answer.get("type") == "error", ET.tostring(answer)
        [error] = answer
        return tuple(child.tag.rpartition("}")[2] for child in error)

    async def audit(self):
        await self.execution.close()
        return [(line.who, line.action, line.result, line.via) for line in await self.house.state.audit_tail(200)]


def step(verb, values=None, *, session="", action="execute", kind="submit"):
    command = ET.Element(f"{C}command", {"node": verb})
    if action:
        command.set("action", action)
    if session:
        command.set("sessionid", session)
    if values is not None:
        x = ET.SubElement(command, f"{X}x", {"type": kind})
        for var, value in values.items():
            field = ET.SubElement(x, f"{X}field", {"var": var})
            for one in [value] if isinstance(value, str) else value:
                ET.SubElement(field, f"{X}value").text = one
    return ET.tostring(command, encoding="unicode")


def actions(command):
    element = command.find(f"{C}actions")
    return (element.get("execute"), [child.tag.removeprefix(C) for child in element])


def note(command):
    """The note of a completed command, which then has nothing else."""
    assert command.get("status") == "completed"
    [only] = command
    return only.get("type"), only.text


def result(command):
    """The lines of a completed command's form, which then has no note."""
    assert command.get("status") == "completed"
    [x] = command
    assert x.get("type") == "result"
    [field] = x.findall(f"{X}field")
    assert field.get("type") == "text-multi"
    return [value.text for value in field]


@contextlib.asynccontextmanager
async def opened(folder, verbs=None):
    async with greenhouse(folder) as house:
        made = Desk(house, verbs or table())
        try:
            yield made
        finally:
            await made.close()


@pytest.fixture
async def desk(tmp_path):
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
def one_lamp(desk):
    """Setting is one page there."""
    desk.house.channels = narrowed(["door", "lamp"])


def query(what, node=""):
    return f"<query xmlns='http://jabber.org/protocol/disco#{what}'" + (f" node='{node}'/>" if node else "/>")


# Discovery ------------------------------------------------------------------------------------------------------------


async def test_everybody_is_listed_what_is_open_to_them(desk):
    for who, role in ((ANNA, Role.OWNER), (BRAM, Role.OPERATOR), (CLEO, Role.VIEWER), (DIRK, Role.VIEWER)):
        [listed] = await desk.answer(query("items", COMMANDS), who, kind="get")
        assert listed.get("node") == COMMANDS
        assert {item.get("jid") for item in listed} == {NODE}, "the full JID that they asked"
        assert [item.get("node") for item in listed] == [c.verb for c in table().values() if c.role <= role]
        assert all(item.get("name") for item in listed)


async def test_a_name_is_in_the_language_of_the_client_else_of_the_person(desk):
    async def name(who, lang=""):
        [listed] = await desk.answer(query("items", COMMANDS), who, kind="get", lang=lang)
        return next(item.get("name") for item in listed if item.get("node") == "set")

    assert await name(BRAM) == "Iets schakelen of instellen"
    assert await name(ANNA) == await name(ANNA, "tlh") == "Switch or set something"
    assert await name(ANNA, "nl-BE") == await name(BRAM, "tlh") == "Iets schakelen of instellen"
    assert await name(BRAM, "en") == "Iets schakelen of instellen", "servers write that on what says nothing"


@pytest.mark.parametrize(("node", "kind"), [(COMMANDS, "command-list"), ("set", "command-node")])
async def test_what_a_command_is(desk, node, kind):
    [info] = await desk.answer(query("info", node), kind="get")
    [identity] = info.findall(f"{INFO}identity")
    assert (identity.get("category"), identity.get("type")) == ("automation", kind)
    assert {feature.get("var") for feature in info.findall(f"{INFO}feature")} == set(FEATURES)
    if node == "set":
        [items] = await desk.answer(query("items", node), kind="get")
        assert len(items) == 0


async def test_unknown_and_not_allowed_look_alike(desk):
    for payload in (query("info", "{}"), query("items", "{}"), step("{}")):
        kind = "set" if "<ns" in payload or "command " in payload else "get"
        answers = []
        for node in ("allow", "nothing"):
            answer = await desk.answer(payload.replace("{}", node), CLEO, kind=kind, stanza_id="same")
            answers.append(ET.tostring(answer))
        assert answers[0] == answers[1]
        assert b"item-not-found" in answers[0]


async def test_who_is_let_in_without_rights_of_their_own_finds_no_command(desk):
    """Our server and our own account may ask what we are, and no more."""
    for who in (Jid("", "example.org"), STRANGER):
        for payload, kind in ((query("items", COMMANDS), "get"), (query("info", "set"), "get"), (step("help"), "set")):
            assert await desk.refused(payload, who, kind=kind) == ("item-not-found",)


async def test_what_is_not_about_commands_is_left_to_others(desk):
    for payload in (query("info"), query("items"), query("info", "urn:knoop:1#abc="), "<ping xmlns='urn:xmpp:ping'/>"):
        assert not desk.ask(payload, kind="get")
    assert not desk.ask(step("help"), who="@")
    assert desk.sent == []


# The way through ------------------------------------------------------------------------------------------------------


async def test_what_asks_nothing_is_done_at_once(desk):
    command = await desk.go("about", who=CLEO)
    assert result(command)[1] == "12 channels that you may read."
    assert note(await desk.go("unwatch")) == ("info", "Nothing was being watched.")
    assert len(desk.adhoc.opened) == 0


async def test_a_lamp_is_set_on_one_page(desk, one_lamp):
    form = await desk.go("set")
    assert form.get("status") == "executing"
    assert actions(form) == ("complete", ["complete"]), "never an empty list"
    assert form.find(f"{C}note") is None, "Movim would show nothing else"
    x = form.find(f"{X}x")
    assert (x.get("type"), x.find(f"{X}title").text) == ("form", "Greenhouse: switch or set something")
    fields = {field.get("var"): field for field in x.findall(f"{X}field")}
    assert fields["value"].get("type") == "boolean"
    assert fields["value"].find(f"{X}required") is not None
    assert fields["value"].find(f"{X}value").text == "false"
    done = await desk.go("set", {"value": "true", "for": "10s"}, session=form.get("sessionid"), action="complete")
    assert note(done) == ("info", "Lamp is on, for 10 s.")
    assert desk.house.board.moves == [("lamp", True, 10.0)]
    assert (str(ANNA), "set lamp on for 10s", "done", "form") in await desk.audit()
    assert len(desk.adhoc.opened) == 0


async def test_outputs_of_several_kinds_take_two_pages_and_one_can_go_back(desk):
    first = await desk.go("set")
    session = first.get("sessionid")
    assert actions(first) == ("next", ["next"])
    second = await desk.go("set", {"output": "pump"}, session=session, action="next")
    assert second.get("sessionid") == session
    assert actions(second) == ("complete", ["prev", "complete"])
    value = second.find(f"{X}x/{X}field")
    assert value.get("label") == "Pump (0–100 %)"
    validate = value.find(f"{V}validate")
    assert validate.get("datatype") == "xs:decimal"
    assert validate.find(f"{V}range").attrib == {"min": "0", "max": "100"}
    again = await desk.go("set", {"value": "1"}, session=session, action="prev")
    assert actions(again) == ("next", ["next"])
    await desk.go("set", {"output": "pump"}, session=session, action="next")
    done = await desk.go("set", {"value": "40"}, session=session, action="complete")
    assert note(done) == ("info", "Pump is 40 %.")
    assert desk.house.board.moves == [("pump", 40.0, None)]


@pytest.mark.parametrize("action", ["", "execute", "complete"])
async def test_a_client_without_pages_gets_through_all_the_same(desk, action):
    """Movim and Pidgin say no action, Profanity knows one page only."""
    session = (await desk.go("set", action="")).get("sessionid")
    await desk.go("set", {"output": "lamp"}, session=session, action=action)
    assert note(await desk.go("set", LAMP, session=session, action=action)) == ("info", "Lamp is on.")


async def test_cancel_is_the_end(desk, one_lamp):
    for cancel in ({"action": "cancel"}, {"values": {}, "kind": "cancel", "action": ""}):
        session = (await desk.go("set")).get("sessionid")
        answer = await desk.answer(step("set", session=session, **cancel))
        assert answer[0].attrib == {"node": "set", "sessionid": session, "status": "canceled"}
        assert await desk.refused(step("set", LAMP, session=session)) == ("bad-request", "bad-sessionid")
    assert desk.house.board.moves == []


async def test_what_is_wrong_stands_above_the_form_and_what_was_filled_in_stays(desk):
    session = (await desk.go("set")).get("sessionid")
    await desk.go("set", {"output": "pump"}, session=session)
    again = await desk.go("set", {"value": "140", "for": "1h"}, session=session, action="complete")
    assert (again.get("status"), actions(again)) == ("executing", ("complete", ["prev", "complete"]))
    x = again.find(f"{X}x")
    assert x.find(f"{X}instructions").text == "Pump takes at most 100."
    assert [f.find(f"{X}value").text for f in x.findall(f"{X}field")] == ["140", "1h"]
    assert desk.house.board.moves == []
    assert note(await desk.go("set", {"value": "100"}, session=session)) == ("info", "Pump is 100 %.")


async def test_a_refusal_is_one_note_with_its_reason(desk):
    desk.house.board.levels["relay.one"] = True
    session = (await desk.go("set")).get("sessionid")
    await desk.go("set", {"output": "relay.two"}, session=session)
    kind, text = note(await desk.go("set", LAMP, session=session, action="complete"))
    assert (kind, text.partition(":")[0]) == ("error", "Heating stays as it is")
    assert note(await desk.go("ack")) == ("error", "No alert waits for an acknowledgement.")
    desk.house.board.stuck.add("lamp")
    session = (await desk.go("set")).get("sessionid")
    await desk.go("set", {"output": "lamp"}, session=session)
    kind, text = note(await desk.go("set", LAMP, session=session, action="complete"))
    assert (kind, len(text.splitlines())) == ("error", 2)


async def test_an_output_with_confirm_asks_for_a_code_on_a_page_of_its_own(desk):
    session = (await desk.go("set")).get("sessionid")
    await desk.go("set", {"output": "gate"}, session=session)
    page = await desk.go("set", LAMP, session=session)
    assert (page.get("status"), page.get("sessionid")) == ("executing", session)
    assert actions(page) == ("complete", ["complete"])
    x = page.find(f"{X}x")
    [field] = x.findall(f"{X}field")
    assert (field.get("var"), field.get("type"), field.get("label")) == ("code", "text-single", "Code")
    assert field.find(f"{X}value") is None, "it is not filled in already"
    told = x.findtext(f"{X}instructions")
    [code] = re.findall(r"^Send (\d{3} \d{3}) within 30 s to do this: set gate to on\.$", told)
    assert desk.house.board.moves == []
    assert note(await desk.go("set", {"code": code}, session=session)) == ("info", "Gate is on.")
    assert desk.house.board.moves == [("gate", True, None)]
    assert await desk.refused(step("set", {"code": code}, session=session)) == ("bad-request", "bad-sessionid")
    assert [line[1:] for line in await desk.audit()] == [
        ("set gate on", "a code is asked", "form"), ("set gate on (code)", "done", "form"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "values", [{"code": "482160"}, {"code": ""}, {"code": ("482", "160")}, {}, {"value": "1"}, {"code": "x" * 5000}]
)
async def test_a_page_without_the_code_moves_nothing(desk, values):
    desk.execution._codes._below = lambda _most: 123456
    session = (await desk.go("set")).get("sessionid")
    await desk.go("set", {"output": "gate"}, session=session)
    await desk.go("set", LAMP, session=session)
    kind, text = note(await desk.go("set", values, session=session))
    assert (kind, text) == ("error", NO_CODE)
    assert desk.house.board.moves == []


async def test_a_code_page_is_its_devices_and_goes_neither_back_nor_on_late(desk):
    desk.execution._codes._below = lambda _most: 123456
    session = (await desk.go("set")).get("sessionid")
    await desk.go("set", {"output": "gate"}, session=session)
    await desk.go("set", LAMP, session=session)
    right = {"code": "123456"}
    for thief in (BRAM, Jid("anna", "example.org", "other")):
        assert await desk.refused(step("set", right, session=session), thief) == ("bad-request", "bad-sessionid")
    for action in ("prev", "next"):
        assert await desk.refused(step("set", right, session=session, action=action)) == ("bad-request", "bad-action")
    assert note(await desk.go("set", right, session=session, late=True))[0] == "error"
    assert desk.house.board.moves == []


# Hostile --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thief", [BRAM, Jid("anna", "example.org", "other"), ANNA.bare])
async def test_a_form_belongs_to_the_device_that_opened_it(desk, one_lamp, thief):
    """slixmpp's plugin let a third JID finish the owner's session, in the owner's name."""
    session = (await desk.go("set")).get("sessionid")
    for action in ("execute", "next", "prev", "complete", "cancel"):
        payload = step("set", LAMP, session=session, action=action)
        assert await desk.refused(payload, thief) == ("bad-request", "bad-sessionid")
    assert desk.house.board.moves == []
    assert (str(thief), f"set: the form of {ANNA}", "refused: not theirs", "form") in await desk.audit()
    assert note(await desk.go("set", LAMP, session=session)) == ("info", "Lamp is on."), "and it is still hers"


async def test_a_form_of_another_verb_is_no_form(desk, one_lamp):
    session = (await desk.go("set")).get("sessionid")
    assert await desk.refused(step("quiet", {"for": "2h"}, session=session)) == ("bad-request", "bad-sessionid")


async def test_nobody_takes_anothers_place(desk, one_lamp):
    hers = (await desk.go("set")).get("sessionid")
    his = [(await desk.go("set", who=BRAM)).get("sessionid") for _ in range(100)]
    assert len(set(his)) == 100
    assert len(desk.adhoc.opened) == PER_PERSON + 1
    assert note(await desk.go("set", LAMP, session=hers)) == ("info", "Lamp is on.")
    assert await desk.refused(step("set", LAMP, session=his[0]), BRAM) == ("bad-request", "bad-sessionid")
    assert note(await desk.go("set", LAMP, BRAM, session=his[-1]))[0] == "info"


async def test_a_whole_domain_cannot_keep_our_people_out(desk, one_lamp):
    desk.house.access = Access([*PEOPLE, Person(jid=Jid("*", "house.example"), role=Role.OPERATOR)])
    for number in range(IN_ALL):
        await desk.go("set", who=Jid(f"m{number}", "house.example", "x"))
    assert await desk.refused(step("set"), Jid("late", "house.example", "x")) == ("resource-constraint",)
    await desk.go("set", who=Jid("m0", "house.example", "x"))
    assert len(desk.adhoc.opened) == IN_ALL, "in the place of their own"
    assert (await desk.go("set")).get("status") == "executing"
    await desk.house.clock.advance(EXPIRES_S + 1)
    await desk.go("set", who=Jid("late", "house.example", "x"))
    assert len(desk.adhoc.opened) == 1


async def test_a_form_that_lies_too_long_has_expired(desk, one_lamp):
    session = (await desk.go("set")).get("sessionid")
    await desk.house.clock.advance(EXPIRES_S + 1)
    assert await desk.refused(step("set", LAMP, session=session)) == ("not-allowed", "session-expired")
    assert await desk.refused(step("set", LAMP, session=session)) == ("bad-request", "bad-sessionid")
    assert desk.house.board.moves == []


async def test_who_lost_the_right_meanwhile_finds_nothing_any_more(desk, one_lamp):
    session = (await desk.go("set", who=BRAM)).get("sessionid")
    desk.house.access = Access([Person(jid=BRAM.bare, role=Role.VIEWER)])
    assert await desk.refused(step("set", LAMP, session=session), BRAM) == ("item-not-found",)
    desk.house.access = Access([Person(jid=BRAM.bare, role=Role.OPERATOR, only=("door",))])
    refusal = await desk.go("set", LAMP, BRAM, session=session)
    assert note(refusal) == ("error", "There is nothing here that you may set.")
    assert desk.house.board.moves == []
    assert (str(BRAM), "set", "refused: not allowed", "form") in await desk.audit()


async def test_a_form_goes_with_the_rights_of_whoever_opened_it(desk, one_lamp):
    """Also when they are given back before it is submitted: it was filled in by somebody with other rights."""
    opened, other = await desk.go("set"), await desk.go("set", who=BRAM)
    desk.adhoc.opened.keep(lambda sender: sender.bare != ANNA.bare)
    assert await desk.refused(step("set", LAMP, session=opened.get("sessionid"))) == ("bad-request", "bad-sessionid")
    assert (await desk.go("set", LAMP, BRAM, session=other.get("sessionid"))).get("status") == "completed"


async def test_who_may_set_less_meanwhile_gets_the_form_of_now(desk):
    session = (await desk.go("set", who=BRAM)).get("sessionid")
    desk.house.access = Access([Person(jid=BRAM.bare, role=Role.OPERATOR, only=("lamp",))])
    again = await desk.go("set", {"output": "pump"}, BRAM, session=session)
    assert again.find(f"{X}x/{X}instructions").text == "Lamp on: please fill this in."
    assert actions(again) == ("complete", ["complete"])
    assert note(await desk.go("set", LAMP, BRAM, session=session)) == ("info", "Lamp is on.")


@pytest.mark.parametrize(
    ("payload", "conditions"),
    [
        (step("set", action="explode"), ("bad-request", "malformed-action")),
        (step("set", action="complete"), ("bad-request", "bad-sessionid")),
        (step("set", LAMP, session="guess"), ("bad-request", "bad-sessionid")),
        (step("nothing"), ("item-not-found",)),
        (step(""), ("item-not-found",)),
        (f"<command xmlns='{COMMANDS}'/>", ("item-not-found",)),
        (step("help") + step("set"), ("bad-request",)),
    ],
)
async def test_what_is_no_proper_start(desk, payload, conditions):
    assert await desk.refused(payload) == conditions


async def test_a_command_is_set_not_got(desk):
    assert await desk.refused(step("about"), kind="get") == ("bad-request",)


@pytest.mark.parametrize(
    ("payload", "conditions"),
    [
        ("", ("bad-request", "bad-payload")),
        ("<x xmlns='jabber:x:data' type='form'/>", ("bad-request", "bad-payload")),
        ("<x xmlns='jabber:x:data' type='result'/>", ("bad-request", "bad-payload")),
        ("<x xmlns='jabber:x:data'/>", ("bad-request", "bad-payload")),
        ("<x xmlns='jabber:x:data' type='submit'/>" * 2, ("bad-request", "bad-payload")),
        ("<x xmlns='urn:other' type='submit'/>", ("bad-request", "bad-payload")),
        ("<x xmlns='jabber:x:data' type='submit'><field><value>1</value></field></x>", ("bad-request", "bad-payload")),
        (
            "<x xmlns='jabber:x:data' type='submit'>" + "<field var='value'><value>1</value></field>" * 2 + "</x>",
            ("bad-request", "bad-payload"),
        ),
        (
            "<x xmlns='jabber:x:data' type='submit'>"
            + "".join(f"<field var='f{n}'><value>1</value></field>" for n in range(1000))
            + "</x>",
            ("bad-request", "bad-payload"),
        ),
        (
            "<x xmlns='jabber:x:data' type='submit'><field var='value'>" + "<value>1</value>" * 5000 + "</field></x>",
            ("bad-request", "bad-payload"),
        ),
    ],
)
async def test_what_is_no_filled_in_form(desk, one_lamp, payload, conditions):
    session = (await desk.go("set")).get("sessionid")
    command = f"<command xmlns='{COMMANDS}' node='set' sessionid='{session}' action='complete'>{payload}</command>"
    assert await desk.refused(command) == conditions
    assert desk.house.board.moves == []
    assert note(await desk.go("set", LAMP, session=session)) == ("info", "Lamp is on."), "the form is still open"


async def test_a_huge_value_is_told_and_not_sent_back_whole(desk, one_lamp):
    session = (await desk.go("set")).get("sessionid")
    again = await desk.go("set", {"value": "1", "for": "9" * 200_000}, session=session, action="complete")
    assert again.find(f"{X}x/{X}instructions").text.endswith("that is too long.")
    assert len(ET.tostring(again)) < 5000


@pytest.mark.parametrize(
    ("stage", "action"), [("only", "prev"), ("only", "next"), ("first", "prev"), ("second", "next")]
)
async def test_pages_that_are_not_there(desk, stage, action):
    if stage == "only":
        desk.house.channels = narrowed(["lamp"])
    session = (await desk.go("set")).get("sessionid")
    values = {"output": "lamp"}
    if stage == "second":
        await desk.go("set", values, session=session)
        values = LAMP
    assert await desk.refused(step("set", values, session=session, action=action)) == ("bad-request", "bad-action")
    assert desk.house.board.moves == []


# Freshness and repeats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"late": True}, {"beside": "<delay xmlns='urn:xmpp:delay' stamp='x'/>"}])
async def test_what_arrived_late_changes_nothing(desk, one_lamp, how):
    session = (await desk.go("set")).get("sessionid")
    done = await desk.go("set", LAMP, session=session, action="complete", **how)
    assert note(done) == ("error", "That arrived late, so I did nothing. Please do it again.")
    assert desk.house.board.moves == []
    assert (str(ANNA), "set lamp on", "ignored: delayed", "form") in await desk.audit()
    assert note(await desk.go("unwatch", **how))[0] == "error", "also what asks nothing"
    assert result(await desk.go("about", **how)), "looking harms nobody"


async def test_the_same_stanza_again_acts_once_and_is_answered_the_same(desk, one_lamp):
    session = (await desk.go("set")).get("sessionid")
    payload = step("set", {"value": "1", "for": "10s"}, session=session, action="complete")
    first = await desk.answer(payload, stanza_id="once")
    again = await desk.answer(payload, stanza_id="once")
    assert ET.tostring(first) == ET.tostring(again)
    assert desk.house.board.moves == [("lamp", True, 10.0)]
    assert await desk.refused(payload, stanza_id="other") == ("bad-request", "bad-sessionid")


async def test_requests_by_the_thousand_neither_pile_up_nor_push_others_out_of_the_audit_log(desk):
    for _ in range(10 * BURST):
        desk.ask(step("set"), CLEO)
    assert len(desk.execution._audits) <= BURST
    assert await desk.refused(step("read"), CLEO) == ("resource-constraint",)
    await desk.go("status", who=BRAM)
    await desk.house.clock.advance(2 / PER_S)
    await desk.go("status", who=CLEO)
    await desk.execution.close()
    assert len(await desk.house.state.audit_tail(10 * BURST)) == BURST


async def test_answers_are_not_kept_without_end(desk):
    for _ in range(REMEMBERED + 50):
        await desk.go("unwatch")
    assert len(desk.adhoc._answers) == REMEMBERED
    await desk.go("unwatch", stanza_id="1")
    desk.house.watch(ANNA, ["door"], for_s=60)
    assert note(await desk.go("unwatch", stanza_id="1")) == ("info", "Nothing was being watched.")
    await desk.house.clock.advance(3600)
    assert note(await desk.go("unwatch", stanza_id="1")) == ("info", "Stopped watching 1 value."), "a new start of it"


# Slow, failing, ending ------------------------------------------------------------------------------------------------


def waiting(release, outcome=say(N_("Done.")), takes="nothing"):  # noqa: B008 -- frozen
    async def run(_request, _house):
        await release.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return {**table(), "bench": Command(
        verb="bench", role=Role.VIEWER, summary="slow", usage=("bench",), run=run, writes=True, takes=takes,
    )}  # fmt: skip


async def test_a_slow_verb_holds_up_nobody_else_and_is_answered_in_time(tmp_path):
    release = asyncio.Event()
    async with opened(tmp_path, waiting(release)) as desk:
        assert desk.ask(step("bench"))
        assert result(await desk.go("about", who=BRAM)), "others do not wait"
        desk.sent.clear()
        assert note(await desk.go("about"))[1].startswith("I am still busy"), "one at a time for each"
        assert (await desk.go("set")).get("status") == "executing", "looking at a form is no work"
        desk.sent.clear()
        await desk.house.clock.advance(ANSWER_WITHIN_S + 1)
        [answer] = (await desk.next(0),)
        assert note(answer[0]) == ("info", "This takes a while; I send you the answer as a message.")
        assert desk.said == []
        release.set()
        await asyncio.gather(*desk.adhoc._working.values())
        assert desk.said == [(str(ANNA), "Done.")]
        assert result(await desk.go("about")), "and then there is time again"
        assert (str(ANNA), "bench", "done", "form") in await desk.audit()


@pytest.mark.parametrize("wait_s", [0, ANSWER_WITHIN_S + 1])
async def test_who_lost_every_right_while_it_was_done_hears_nothing_of_it(tmp_path, wait_s):
    release = asyncio.Event()
    async with opened(tmp_path, waiting(release)) as desk:
        assert desk.ask(step("bench"), BRAM)
        await asyncio.sleep(0)
        await desk.house.clock.advance(wait_s)
        desk.house.access = Access([person for person in PEOPLE if person.jid != BRAM.bare])
        working = [*desk.adhoc._working.values()]
        release.set()
        await asyncio.gather(*working)
        assert desk.said == []
        assert all("Done." not in ET.tostring(sent, "unicode") for sent in desk.sent)
        assert len(desk.sent) == 1, "a request is always answered"


async def test_a_form_at_work_is_no_form_any_more(tmp_path):
    """Two taps on “OK” are one request."""
    release = asyncio.Event()
    async with opened(tmp_path, waiting(release, takes="text")) as desk:
        session = (await desk.go("bench")).get("sessionid")
        count = len(desk.sent)
        assert desk.ask(step("bench", {"text": "a"}, session=session))
        for action in ("complete", "cancel"):
            payload = step("bench", {"text": "a"}, session=session, action=action)
            count += 1
            assert await desk.refused(payload) == ("bad-request", "bad-sessionid")
        release.set()
        assert note((await desk.next(count))[0]) == ("info", "Done.")


async def test_at_most_so_many_verbs_run_for_a_whole_domain(tmp_path):
    release = asyncio.Event()
    async with opened(tmp_path, waiting(release)) as desk:
        desk.house.access = Access([*PEOPLE, Person(jid=Jid("*", "house.example"), role=Role.VIEWER)])
        for number in range(AT_WORK):
            assert desk.ask(step("bench"), who=Jid(f"m{number}", "house.example", "x"))
        late = await desk.go("bench", who=Jid("late", "house.example", "x"))
        assert note(late)[1].startswith("I am still busy")
        assert result(await desk.go("about")), "our own people are heard"
        release.set()
        await asyncio.gather(*desk.adhoc._working.values())


async def test_what_goes_wrong_inside_is_told_with_its_incident_only(tmp_path):
    release = asyncio.Event()
    release.set()
    async with opened(tmp_path, waiting(release, RuntimeError("/dev/secret"))) as desk:
        kind, text = note(await desk.go("bench"))
        assert kind == "error"
        assert "incident k3v9q2xa-1" in text
        assert "secret" not in text


async def test_what_cannot_be_put_into_words_is_an_error_not_silence(tmp_path):
    release = asyncio.Event()
    release.set()
    async with opened(tmp_path, waiting(release, say("{missing}"))) as desk:
        assert await desk.refused(step("bench")) == ("internal-server-error",)
        assert (str(ANNA), "bench", "failed: incident k3v9q2xa-1", "form") in await desk.audit()


async def test_a_node_that_stops_says_in_the_audit_log_what_it_cut_off(tmp_path):
    async with opened(tmp_path, waiting(asyncio.Event())) as desk:
        assert desk.ask(step("bench"))
        await asyncio.sleep(0)
        await desk.adhoc.close()
        assert (str(ANNA), "bench", CUT_OFF, "form") in await desk.audit()
        assert desk.adhoc._working == {}


async def test_a_link_that_ended_meanwhile_harms_nobody(desk, one_lamp):
    session = (await desk.go("set")).get("sessionid")
    desk.online = False
    assert desk.ask(step("set", LAMP, session=session))
    await asyncio.gather(*desk.adhoc._working.values())
    assert desk.house.board.moves == [("lamp", True, None)]
