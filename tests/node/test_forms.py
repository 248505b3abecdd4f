"""What verbs ask in a form, and what a filled-in form becomes: over real rights, alerts, channels and sentences."""

import string
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.node.house import ANNA, BRAM, CHANNELS, CLEO, DIRK, GreenHouse, greenhouse, narrowed

from knoop.access import Access, Person, Role
from knoop.command import Command, Reply, Request
from knoop.commands import table
from knoop.forms import MAX_TEXT, MOST_CHOICES, Desk, Field, Form, spoken
from knoop.jid import Jid
from knoop_hw.model import Channel

SWITCHES = ("door", "lamp", "relay.one", "relay.two")


@pytest.fixture
async def house(tmp_path):
    async with greenhouse(tmp_path) as made:
        yield made


def desk(house: GreenHouse, verb: str, who: Jid = ANNA, lang: str = "en") -> Desk:
    request = Request(sender=who, verb=verb, lang=lang, via="form")
    return Desk(command=table()[verb], request=request, house=house, voice=house.voice(lang))


def shown(house: GreenHouse, verb: str, who: Jid = ANNA, lang: str = "en") -> Form:
    form = desk(house, verb, who, lang).form()
    assert isinstance(form, Form), form
    return form


def field(form: Form, var: str) -> Field:
    return next(f for f in form.fields if f.var == var)


def offered(form: Form, var: str) -> list[str]:
    return [option.value for option in field(form, var).options]


def problem(house: GreenHouse, outcome: Form | Request | Reply, lang: str = "en") -> str:
    assert isinstance(outcome, Reply) and not outcome.ok, outcome
    return house.voice(lang).render(outcome)


def usual(form: Form) -> dict[str, tuple[str, ...]]:
    """The form as it stands; where it needs something that only a person knows, something that fits."""
    known = {"jid-single": "eve@example.org", "text-single": "10"}
    return {
        f.var: f.values or ((f.options[0].value if f.options else known[f.kind],) if f.needed else ())
        for f in form.fields
    }


# Forms ----------------------------------------------------------------------------------------------------------------


async def test_what_asks_nothing_is_a_request_at_once(house):
    for verb in ("about", "status", "who", "bench", "unwatch"):
        assert desk(house, verb).form() == Request(sender=ANNA, verb=verb, via="form")


@pytest.mark.parametrize("who", [ANNA, BRAM, CLEO, DIRK])
@pytest.mark.parametrize("lang", ["en", "nl"])
async def test_every_form_as_it_stands_is_a_valid_request(house, who, lang):
    await house.report("air.temperature", -3.0)
    role = house.access.person(who).role
    for verb, command in table().items():
        if command.role > role:
            continue
        made = desk(house, verb, who, lang)
        outcome = made.form()
        while isinstance(outcome, Form):
            assert outcome.title and all(f.label for f in outcome.fields)
            assert not any(set("{}") & set(f.label) for f in outcome.fields)
            output, values = outcome.output, usual(outcome)
            outcome = made.submitted(values, output=output)
        if isinstance(outcome, Reply):
            assert verb in {"set", "ack", "once", "always", "never"}, (verb, outcome)  # nothing to choose
            continue
        assert (outcome.sender, outcome.verb, outcome.via) == (who, verb, "form")
        reply = await command.run(outcome, house)
        assert reply.lines


async def test_outputs_of_one_kind_are_asked_with_their_value_on_one_page(house):
    house.channels = narrowed(SWITCHES)
    form = shown(house, "set", BRAM)
    assert (form.stage, [f.var for f in form.fields]) == ("only", ["output", "value", "for"])
    assert offered(form, "output") == ["lamp", "relay.one", "relay.two"]
    assert [o.label for o in field(form, "output").options] == ["Lamp: off", "Café lights: off", "Heating: off"]
    assert field(form, "value").kind == "boolean"
    request = desk(house, "set", BRAM).submitted({"output": ["relay.one"], "value": ["1"], "for": ["90 s"]})
    assert request == Request(
        sender=BRAM, verb="set", channels=("relay.one",), value=True, for_s=90.0, lang="en", via="form"
    )  # fmt: skip
    assert spoken(request) == "set relay.one on for 90s"


async def test_a_single_output_is_not_asked_for(house):
    house.channels = narrowed(["door", "lamp"])
    await house.report("lamp", True)
    form = shown(house, "set")
    assert [f.var for f in form.fields] == ["value", "for"]
    assert (form.stage, field(form, "value").label, field(form, "value").values) == ("only", "Lamp on", ("true",))
    request = desk(house, "set").submitted({"value": ["0"]}, output=form.output)
    assert (request.channels, request.value, request.for_s) == (("lamp",), False, None)


async def test_outputs_of_several_kinds_are_chosen_first(house):
    await house.report("pump", 35.0)
    form = shown(house, "set")
    assert (form.stage, [f.var for f in form.fields]) == ("first", ["output"])
    second = desk(house, "set").submitted({"output": ["pump"]})
    assert (second.stage, second.output) == ("second", "pump")
    value = field(second, "value")
    assert (value.label, value.values, value.datatype) == ("Pump (0–100 %)", ("35",), "xs:decimal")
    assert (value.least, value.most) == (0, 100)
    request = desk(house, "set").submitted({"value": ["40,5 %"], "for": [""]}, output="pump")
    assert (request.channels, request.value, spoken(request)) == (("pump",), 40.5, "set pump 40.5")


async def test_no_outputs_no_form(house):
    house.channels = narrowed(["door"])
    assert "nothing here that you may set" in problem(house, desk(house, "set").form())


async def test_an_output_that_wants_a_code_asks_for_it_as_in_chat_and_on_a_page(house):
    made = desk(house, "set")
    request = made.submitted(usual(made.submitted({"output": ["gate"]})), output="gate")
    reply = await house.codes.ask(request, await table()["set"].run(request, house))
    assert house.voice().render(reply) == await house.ask(ANNA, "gate off")
    page = made.coding()
    assert (page.stage, [f.var for f in page.fields], [f.values for f in page.fields]) == ("code", ["code"], [()])
    for said in (["482 160"], ["482160 "], ["4", "82160"]):
        assert made.submitted({"code": said}, stage="code") == replace(made.request, code="482160")
    assert made.submitted({"code": ["x"]}, stage="code").code == ""
    assert made.submitted({}, stage="code").code == "", "and that is a wrong one"


async def test_only_what_somebody_may_read_is_offered(house):
    assert offered(shown(house, "read", DIRK), "channels") == ["door"]
    assert offered(shown(house, "history", ANNA), "channels") == [*CHANNELS]
    house.access = Access([Person(jid=BRAM.bare, role=Role.OPERATOR, only=("lamp",))])
    assert field(shown(house, "set", BRAM), "value").label == "Lamp on"
    made = desk(house, "set", BRAM).submitted({"output": ["pump"], "value": ["1"]}, output="pump")
    assert "nothing here that you may set" in problem(house, made)


async def test_labels_that_read_alike_say_which_they_are(house):
    house.channels = {n: replace(c, label="Air") for n, c in narrowed(["air.temperature", "air.humidity"]).items()}
    options = field(shown(house, "read"), "channels").options
    assert [o.label for o in options] == ["Air (air.temperature)", "Air (air.humidity)"]


async def test_a_list_of_choices_is_bounded(house):
    house.channels = {f"c{n}": Channel(name=f"c{n}", kind="sensor", type="text") for n in range(1000)}
    assert len(field(shown(house, "read"), "channels").options) == MOST_CHOICES


async def test_reading_nothing_in_particular_is_reading_all(house):
    assert desk(house, "read").submitted({}).channels == ()
    assert desk(house, "read").submitted({"channels": ["lamp", "door"]}).channels == ("lamp", "door")


async def test_history_wants_a_channel_and_takes_a_time(house):
    assert "please fill this in" in problem(house, desk(house, "history").submitted({"for": ["2h"]}))
    request = desk(house, "history").submitted({"channels": ["door"], "for": ["2 uur"]})
    assert (request.channels, request.for_s) == (("door",), 7200.0)
    assert spoken(request) == "history door for 7200s"


async def test_acknowledging_offers_what_waits(house):
    assert problem(house, desk(house, "ack", BRAM).form()) == "No alert waits for an acknowledgement."
    await house.report("air.temperature", -3.0)
    assert offered(shown(house, "ack", BRAM), "alert") == ["frost"]
    await house.report("door", True)
    house.alerts.due(house.clock.boottime_ns() + 400_000_000_000, at_ns=None)
    assert offered(shown(house, "ack", BRAM), "alert") == ["frost", "door_open", "all"]
    request = desk(house, "ack", BRAM).submitted({"alert": ["door_open"]})
    assert house.voice().render(await table()["ack"].run(request, house)) == "Acknowledged: door open."


async def test_rights_are_given_by_form(house):
    form = shown(house, "allow")
    assert field(form, "jid").kind == "jid-single"
    assert offered(form, "role") == ["viewer", "operator", "owner"]
    values = {"jid": ["Eve@example.org/phone"], "role": ["operator"], "only": ["lamp", "pump"]}
    request = desk(house, "allow").submitted(values)
    assert request.argument == "eve@example.org operator only lamp pump"
    assert house.voice().render(await table()["allow"].run(request, house)) == (
        "eve@example.org: operator, only lamp, pump (given in chat)."
    )
    assert offered(shown(house, "revoke"), "jid") == [
        "bram@example.org", "eve@example.org", "cleo@example.org", "dirk@example.org",
    ], "not the owner who asks"  # fmt: skip


@pytest.mark.parametrize("jid", ["eve@example.org owner", "no address", "@", "eve@example.org owner only lamp"])
async def test_an_address_cannot_bring_words_along(house, jid):
    made = desk(house, "allow").submitted({"jid": [jid], "role": ["viewer"]})
    assert "is no address like" in problem(house, made)


async def test_quiet_takes_a_choice_a_time_or_off(house):
    made = desk(house, "quiet", CLEO)
    assert made.submitted({"for": ["8h"]}).for_s == 28800.0
    assert made.submitted({"for": ["8h"], "other": ["45min"]}).for_s == 2700.0, "what was typed counts"
    off = made.submitted({"for": ["off"], "other": [""]})
    assert (off.value, off.for_s, spoken(off)) == (False, None, "quiet off")
    assert "a time like 10s" in problem(house, made.submitted({"for": ["2h"], "other": ["off"]}))


async def test_help_and_log(house):
    assert "set" not in offered(shown(house, "help", CLEO), "verb")
    assert desk(house, "help", CLEO).submitted({"verb": [""]}).argument == ""
    assert desk(house, "help", CLEO).submitted({"verb": ["read"]}).argument == "read"
    assert desk(house, "log").submitted({"lines": ["20"]}).argument == "20"
    for lines in ("0", "51", "-1", "ten", "1.5", "²", "99999999999999999999"):
        assert "a whole number from 1 to 50" in problem(house, desk(house, "log").submitted({"lines": [lines]}))


async def test_a_verb_that_describes_no_form_has_one_from_what_it_takes(house):
    async def run(_request, _house):
        raise AssertionError("never")

    for takes, variables in (("text", ["text"]), ("channels", ["channels", "for"]), ("span", ["for"])):
        command = Command(verb="x", role=Role.VIEWER, summary="x", usage=(), run=run, takes=takes)
        made = replace(desk(house, "read"), command=command).form()
        assert [f.var for f in made.fields] == variables


async def test_a_form_is_in_the_readers_language(house):
    form = shown(house, "quiet", BRAM, "nl")
    assert form.title == "Greenhouse: een tijdje geen berichten aan jou"
    assert [f.label for f in form.fields] == ["Hoe lang", "Of een andere tijd, zoals 45min of 3u"]
    house.channels = narrowed(["lamp"])
    assert field(shown(house, "set", BRAM, "nl"), "value").label == "Lamp aan"


# What is wrong with it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("140", "Pump takes at most 100."),
        ("-1", "Pump takes at least 0."),
        ("1,000", "Pump (0–100 %): that is no number that I understand."),
        ("40 °C", "Pump (0–100 %): that is no number that I understand."),
        ("nan", "Pump (0–100 %): that is no number that I understand."),
        ("", "Pump (0–100 %): please fill this in."),
        ("on", "Pump (0–100 %): that is no number that I understand."),
        ("4" * (MAX_TEXT + 1), "Pump (0–100 %): that is too long."),
    ],
)
async def test_a_number_that_does_not_fit(house, value, sentence):
    assert problem(house, desk(house, "set").submitted({"value": [value]}, output="pump")) == sentence


@pytest.mark.parametrize("value", ["on", "yes", "2", "TRUE", "", "true false"])
async def test_a_switch_is_moved_by_yes_and_no_only(house, value):
    house.channels = narrowed(["lamp"])
    assert problem(house, desk(house, "set").submitted({"value": [value]}, output="lamp"))
    assert problem(house, desk(house, "set").submitted({}, output="lamp")) == "Lamp on: please fill this in."
    assert "only one" in problem(house, desk(house, "set").submitted({"value": ["1", "0"]}, output="lamp"))


async def test_every_field_that_is_wrong_is_told(house):
    made = desk(house, "allow", lang="nl").submitted({"jid": [""], "role": ["koning"], "only": ["nothing"]})
    lines = problem(house, made, "nl").splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("Als wat: ")


async def test_what_was_filled_in_is_kept_to_be_mended(house):
    form = shown(house, "allow").filled({"jid": ("eve",), "only": ("lamp", "none of these"), "unknown": ("x",)})
    assert [f.values for f in form.fields] == [("eve",), ("viewer",), ("lamp",)]


texts = st.text(alphabet=st.sampled_from(string.printable + "−½２²é🦔\u202e\u0000°%"), max_size=30)
anything = st.dictionaries(
    st.sampled_from(["output", "value", "for", "channels", "jid", "role", "only", "alert", "lines", "verb", "other"]),
    st.lists(st.one_of(texts, st.sampled_from([
        "lamp", "pump", "gate", "relay.one", "1", "true", "0", "40", "40 %", "10s", "2h", "off", "frost", "all",
        "eve@example.org", "viewer", "owner", "20", "", "read", "door", "x" * (MAX_TEXT + 1),
    ])), max_size=4),
    max_size=6,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    verb=st.sampled_from([*table()]), values=anything, who=st.sampled_from([ANNA, BRAM, CLEO, DIRK]),
    output=st.sampled_from(["", "lamp", "pump", "door", "nothing"]),
)  # fmt: skip
async def test_nothing_that_is_submitted_raises_or_reaches_beyond_what_was_offered(house, verb, values, who, output):
    outcome = desk(house, verb, who).submitted(values, output=output)
    if isinstance(outcome, Request):
        mine = house.access.person(who)
        assert all(mine.reads(name) for name in outcome.channels)
        assert verb != "set" or (len(outcome.channels) == 1 and house.channels[outcome.channels[0]].writable)
        assert outcome.for_s is None or outcome.for_s > 0
        assert "\n" not in spoken(outcome)
    elif isinstance(outcome, Reply):
        assert not outcome.ok
        assert house.voice("nl").render(outcome)
