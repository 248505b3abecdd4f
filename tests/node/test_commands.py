"""What each verb does and answers, in the greenhouse of `house.py`."""

from __future__ import annotations

import ast
from dataclasses import replace
from types import ModuleType

import pytest
from tests.node.house import ANNA, BRAM, CHANNELS, CLEO, DIRK, PEOPLE, STRANGER, greenhouse

from knoop.access import Access, Person, Role
from knoop.beside import Found
from knoop.command import Command, Intent, Request, Sentence
from knoop.commands import collect, table, words
from knoop.health import SafeMode
from knoop.jid import Jid
from knoop.text import Voice
from knoop_hw.clock import FakeClock
from knoop_hw.model import Channel


@pytest.fixture
async def house(tmp_path):
    async with greenhouse(tmp_path) as open_house:
        yield open_house


async def request(house, who, verb, **more):
    """A request that does not come from the parser, as a form would make it."""
    return await table()[verb].run(Request(sender=who, verb=verb, **more), house)


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_folder_is_the_table():
    assert list(table()) == [
        "about", "ack", "allow", "always", "bench", "doctor", "help", "history", "invite", "log", "never", "once",
        "quiet", "read", "revoke", "roll", "set", "silence", "status", "unwatch", "watch", "who",
    ]  # fmt: skip


def test_who_may_what_is_what_the_documentation_promises():
    by_role = {role: {c.verb for c in table().values() if c.role is role} for role in Role}
    assert by_role == {
        Role.NONE: set(),
        Role.VIEWER: {"help", "status", "read", "watch", "unwatch", "history", "about", "quiet", "roll"},
        Role.OPERATOR: {"set", "ack", "silence"},
        Role.OWNER: {"log", "who", "allow", "always", "invite", "never", "once", "revoke", "bench", "doctor"},
    }


def test_what_is_answered_in_safe_mode_changes_nothing():
    open_then = [command for command in table().values() if command.safe]
    assert [command.verb for command in open_then] == ["about", "doctor", "help", "log", "status"]
    assert not any(command.writes for command in open_then)


def test_the_words_of_verbs_are_no_names_for_channels():
    assert {*table(), "zet", "roll"} <= words()
    assert not words() & set(CHANNELS)


@pytest.mark.parametrize("command", table().values(), ids=lambda c: c.verb)
def test_every_verb_has_examples_that_mean_it(command):
    from knoop.parse import Intent, parse

    assert command.usage
    for text in command.usage:
        intent = parse(text, channels=CHANNELS, verbs=table())
        assert isinstance(intent, Intent), text
        assert intent.verb == command.verb


@pytest.mark.parametrize("command", table().values(), ids=lambda c: c.verb)
def test_what_help_says_in_dutch_means_the_same(command):
    """Its words and examples are translated, so they must be understood as what they stand for."""
    from knoop.parse import parse

    dutch = Voice(lang="nl", now_ns=0)
    assert dutch.sentence(Sentence(command.verb)) in {command.verb, *command.aliases}
    for text in command.usage:
        spoken = dutch.sentence(Sentence(text))
        meant, heard = (parse(said, channels=CHANNELS, verbs=table()) for said in (text, spoken))
        assert isinstance(meant, Intent)
        assert isinstance(heard, Intent), spoken
        if command.takes == "text":  # the verb reads its words itself
            assert (heard.verb, bool(heard.argument)) == (meant.verb, bool(meant.argument))
        else:
            assert replace(heard, argument="") == replace(meant, argument="")


def test_a_file_without_a_command_or_with_a_taken_word_is_refused():
    def module(name, **members):
        made = ModuleType(name)
        made.__dict__.update(members)
        return made

    command = table()["about"]
    with pytest.raises(ValueError, match=r"^knoop\.commands\.empty has no COMMAND$"):
        collect([module("knoop.commands.empty")])
    with pytest.raises(ValueError, match="has no COMMAND"):
        collect([module("wrong", COMMAND="about")])
    with pytest.raises(ValueError, match="two: the word 'about' is already taken by one"):
        collect([module("one", COMMAND=command), module("two", COMMAND=replace(command, aliases=()))])
    with pytest.raises(ValueError, match="two: the word 'over' is already taken by one"):
        collect([module("one", COMMAND=command), module("two", COMMAND=replace(command, verb="x", aliases=("over",)))])


def test_every_sentence_is_marked_for_translation():
    """`say`, `refuse` and `Sentence` get N_(…), a name, or only placeholders: nothing would be left in English."""
    import knoop.commands

    for name in table():
        source = ast.parse((__import__("pathlib").Path(knoop.commands.__path__[0]) / f"{name}.py").read_text())
        for node in ast.walk(source):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"say", "refuse", "Sentence"}:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    plain = "".join(part for part in first.value.replace("{", "}").split("}")[::2])
                    assert not any(c.isalpha() for c in plain), f"{name}: {first.value!r} is not marked with N_"


def test_a_verb_cannot_be_declared_without_a_right():
    with pytest.raises(TypeError, match="role"):
        Command(verb="x", summary="", usage=(), run=table()["about"].run)  # type: ignore[call-arg]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stranger_is_not_answered(house):
    for text in ("lamp on", "status", "help", "?", "allow mallory@example.net owner"):
        assert await house.ask(STRANGER, text) == ""
    assert house.board.moves == []


async def test_a_name_is_read(house):
    assert await house.ask(CLEO, "temp") == "Air temperature is 21.4 °C.\nCpu temperature is 48 °C."
    assert await house.ask(BRAM, "achterdeur", "nl") == "Ik begrijp “achterdeur” niet. Zeg “help” voor wat ik wel ken."
    assert await house.ask(BRAM, "door", "nl") == "Front door is dicht."


async def test_a_value_that_is_missing_is_said_to_be(house):
    await house.report("air.temperature", None, "error")
    assert await house.ask(CLEO, "air temp") == "Air temperature has no value now (error)."


async def test_an_old_value_has_its_age(house):
    await house.clock.advance(599)
    assert await house.ask(CLEO, "lamp") == "Lamp is off."
    await house.clock.advance(2 * 3600)
    assert await house.ask(CLEO, "lamp") == "Lamp is off, as of 2 h 9 min ago."


async def test_the_age_of_a_value_from_before_the_reboot_comes_from_the_wall_clock_if_at_all(house):
    house.latest["lamp"] = replace(house.latest["lamp"], boot="another")
    house.latest["door"] = replace(house.latest["door"], boot="another", at_ns=None)
    await house.clock.advance(1800)
    assert await house.ask(CLEO, "lamp") == "Lamp is off, as of 30 min ago."
    assert await house.ask(CLEO, "door") == "Front door was closed before the last start."


async def test_what_never_reported_says_so(tmp_path):
    async with greenhouse(tmp_path, readings=False) as house:
        assert await house.ask(CLEO, "lamp") == "Lamp has not reported yet."


async def test_read_alone_reads_everything_the_person_may(house):
    assert len((await house.ask(CLEO, "read")).splitlines()) == len(CHANNELS)
    assert await house.ask(DIRK, "read all") == "Front door is closed."


async def test_a_large_house_is_not_read_out_whole(house):
    house.channels = {f"c{i}": Channel(name=f"c{i}", kind="sensor", type="number") for i in range(45)}
    answer = (await house.ask(CLEO, "read")).splitlines()
    assert len(answer) == 31
    assert answer[-1] == "And 15 more; name what you want."


async def test_a_channel_that_is_not_theirs_does_not_exist_for_a_person(house):
    unknown = await house.ask(DIRK, "xylophone")
    for name in ("lamp", "air.temperature"):
        assert await house.ask(DIRK, name) == unknown.replace("xylophone", name)
        for verb in ("read", "history", "watch"):
            reply = await request(house, DIRK, verb, channels=(name,))
            assert CHANNELS[name] not in [value for line in reply.lines for value in line.values.values()]
    assert house.watches == {}


# ── setting ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_set_answers_with_the_level_read_back(house):
    assert await house.ask(ANNA, "lamp on") == "Lamp is on."
    assert house.board.levels["lamp"] is True
    assert await house.ask(BRAM, "zet lamp uit", "nl") == "Lamp is uit."
    assert await house.ask(ANNA, "pump 40%") == "Pump is 40 %."
    assert await house.ask(ANNA, "lamp on for 10s") == "Lamp is on, for 10 s."
    assert house.board.moves == [
        ("lamp", True, None),
        ("lamp", False, None),
        ("pump", 40.0, None),
        ("lamp", True, 10.0),
    ]


async def test_a_pulse_says_how_long_it_is_and_is_never_longer(house):
    house.channels = CHANNELS | {"lamp": replace(CHANNELS["lamp"], pulse_s=0.5)}
    assert await house.ask(ANNA, "lamp on") == "Lamp is on, for 500 ms."
    assert await house.ask(BRAM, "zet lamp aan", "nl") == "Lamp is aan, voor 500 ms."
    assert await house.ask(ANNA, "lamp on for 200ms") == "Lamp is on, for 200 ms."
    assert await house.ask(ANNA, "lamp off") == "Lamp is off."
    assert house.board.moves == [("lamp", True, None), ("lamp", True, None), ("lamp", True, 0.2), ("lamp", False, None)]
    assert await house.ask(ANNA, "lamp on for 1s") == "Lamp gives pulses of 500 ms: nothing was done."
    assert await house.ask(BRAM, "lamp aan gedurende 1s", "nl") == "Lamp geeft pulsen van 500 ms: er is niets gedaan."
    assert len(house.board.moves) == 4


async def test_an_output_that_does_not_follow_is_not_said_to_be_on(house):
    house.board.stuck = {"lamp", "pump"}
    assert await house.ask(ANNA, "lamp on") == "Lamp is off.\nIt did not follow: have a look at it."
    assert await house.ask(ANNA, "pump 40") == "Pump is 0 %.\nIt did not follow: have a look at it."
    assert (await house.hear(ANNA, "lamp on")).ok is False


async def test_what_the_hardware_refuses_is_said_without_its_insides(house):
    await house.ask(ANNA, "relay.one on")
    assert await house.ask(ANNA, "heating on") == (
        "Heating stays as it is: something that must not be on together with it is on."
    )
    house.board.dead = {"lamp"}
    assert await house.ask(ANNA, "lamp on") == "Lamp could not be set: its device does not answer."


async def test_limits_are_said(house):
    assert await house.ask(ANNA, "pump 140") == "Pump takes at most 100."
    assert await house.ask(ANNA, "pump -1") == "Pump takes at least 0."
    assert house.board.moves == []


async def test_an_output_that_wants_a_code_does_not_move_without(house):
    alone = await table()["set"].run(Request(sender=ANNA, verb="set", channels=("gate",), value=True), house)
    assert house.voice().render(alone) == "Gate is set with a one-time code only: nothing was done."
    for wrong in (1.5, None, "on"):  # no code for what would be refused
        reply = await table()["set"].run(Request(sender=ANNA, verb="set", channels=("gate",), value=wrong), house)
        assert (reply.ok, reply.confirm) == (False, None)
    assert await house.ask(ANNA, "gate on") == "Send 482 160 within 30 s to do this: set gate to on."
    assert await house.ask(ANNA, "gate on for 2min") == (
        "Send 482 160 within 30 s to do this: set gate to on for 2 min."
    )
    assert house.board.moves == []
    assert await house.ask(ANNA, "482160") == "Gate is on, for 2 min."
    assert house.board.moves == [("gate", True, 120.0)]


@pytest.mark.parametrize(
    ("channels", "value"),
    [
        ((), True), (("lamp", "gate"), True), (("lamp",), None), (("lamp",), 1.0), (("pump",), True), (("door",), True),
        (("nothing",), True), (("pump",), float("nan")), (("pump",), float("inf")), (("mode",), True),
    ],
)  # fmt: skip
async def test_a_form_that_makes_no_sense_moves_nothing(house, channels, value):
    reply = await request(house, ANNA, "set", channels=channels, value=value)
    assert not reply.ok
    assert house.board.moves == []


async def test_an_operator_for_one_lamp_cannot_move_the_pump(house):
    house.access = Access([Person(jid=BRAM.bare, role=Role.OPERATOR, only=("lamp",))])
    assert await house.ask(BRAM, "lamp on") == "Lamp is on."
    assert "do not understand" in await house.ask(BRAM, "pump 40")
    assert not (await request(house, BRAM, "set", channels=("pump",), value=40.0)).ok
    assert house.board.levels["pump"] == 0


async def test_a_viewer_moves_nothing(house):
    assert (await house.hear(CLEO, "lamp on")).ok is False
    assert house.board.moves == []


# ── status, about, help ──────────────────────────────────────────────────────────────────────────────────────────


async def test_status_says_only_what_matters(house):
    assert (await house.ask(CLEO, "status")).splitlines() == [
        "🟢 Greenhouse: all is well.",
        "Up 3 d 4 h, connected for 2 h 1 min.",
    ]
    await house.ask(ANNA, "lamp on")
    await house.ask(ANNA, "pump 40")
    await house.report("door", True)
    await house.report("air.temperature", -0.4)
    await house.report("cpu.temperature", None, "error")
    assert (await house.ask(CLEO, "status")).splitlines() == [
        "🔴 Greenhouse: 1 alert.",
        "Alert frost since 10:15: nobody has acknowledged it.",
        "No value from: cpu temperature.",
        "On: lamp, pump.",
        "Open: Front door.",
        "Up 3 d 4 h, connected for 2 h 1 min.",
    ]
    await house.ask(ANNA, "ack")
    acknowledged = (await house.ask(CLEO, "status")).splitlines()
    assert acknowledged[:2] == ["🟠 Greenhouse: 1 alert, acknowledged.", "Alert frost, acknowledged by Anna (10:15)."]
    await house.ask(BRAM, "silence frost 1h")
    assert (await house.ask(CLEO, "status")).splitlines()[2] == "frost is silent until 11:15, said Bram."
    house.link_up = False
    assert "Up 3 d 4 h, not connected for 2 h 1 min." in await house.ask(CLEO, "status")
    await house.report("air.temperature", 5.0)
    assert (await house.ask(CLEO, "status")).startswith("🟠 Greenhouse: 1 value missing.")


async def test_a_hardware_half_that_is_away_is_said_where_it_matters(house):
    await house.ask(ANNA, "lamp on")
    house.away_s, house.board.gone = 90.0, "away"
    assert (await house.ask(CLEO, "status")).splitlines()[:2] == [
        "🟠 Greenhouse: the hardware half is away.",
        "The hardware half has been away for 1 min 30 s: values are old, and nothing can be switched.",
    ]
    assert (await house.ask(CLEO, "lamp")).splitlines() == [
        "Lamp is on.", "The hardware half has been away for 1 min 30 s: these are the last values.",
    ]  # fmt: skip
    refused = "Lamp stays as it is: the hardware half is away. Try again when it is back."
    assert await house.ask(ANNA, "lamp off") == refused
    house.board.gone = "absent"  # the device alone
    refused = "Lamp stays as it is: its device is away. Try again when it is back."
    assert await house.ask(ANNA, "lamp off") == refused
    house.board.gone = "unsure"
    went = "The hardware half went away before it answered: look at lamp when it is back."
    assert await house.ask(ANNA, "lamp off") == went
    assert house.health().level == "degraded"


async def test_status_shows_a_person_only_what_is_theirs(house):
    await house.ask(ANNA, "lamp on")
    await house.report("air.temperature", None, "error")
    await house.report("air.temperature", -5.0)
    said = await house.ask(DIRK, "status")
    assert said == "🟢 Greenhouse: all is well.\nUp 3 d 4 h, connected for 2 h 1 min."


async def test_about_says_where_the_source_is(house):
    assert await house.ask(DIRK, "about") == (
        "Knoop 0.1.0, node greenhouse, run k3v9q2xa.\n1 channel that you may read.\n"
        "Free software (AGPL-3.0-or-later); its source: https://example.org/knoop"
    )


async def test_help_shows_what_this_person_may(house):
    def verbs(answer):
        return [line.partition(":")[0] for line in answer.splitlines()[:-1]]

    assert verbs(await house.ask(ANNA, "help")) == list(table())
    assert "set" in verbs(await house.ask(BRAM, "help"))
    assert verbs(await house.ask(CLEO, "help")) == [
        "about", "help", "history", "quiet", "read", "roll", "status", "unwatch", "watch",
    ]  # fmt: skip


async def test_help_on_a_verb_gives_examples_and_knows_its_other_words(house):
    english = await house.ask(ANNA, "help set")
    assert english == "set: switch or set something\nFor example: lamp on, lamp off for 10min, pump 40"
    assert await house.ask(ANNA, "hulp “zet”!") == english
    assert await house.ask(ANNA, "hulp zet", "nl") == (
        "zet: iets schakelen of instellen\nBijvoorbeeld: lamp aan, lamp uit voor 10min, pump 40"
    )
    assert [await house.ask(ANNA, example) for example in ("lamp on", "lamp off for 10min", "pump 40")] == [
        "Lamp is on.", "Lamp is off, for 10 min.", "Pump is 40 %.",
    ]  # fmt: skip
    assert await house.ask(CLEO, "help set") == "I do not know “set”. Say “help” to see what I know."
    assert await house.ask(CLEO, "help xyz") == "I do not know “xyz”. Say “help” to see what I know."


# ── watch, history ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_watch_ends_by_itself_or_by_word(house):
    assert await house.ask(CLEO, "watch temp for 10min") == (
        "I tell you what changes for 10 min: air temperature, cpu temperature. “unwatch” ends it."
    )
    assert house.watches == {CLEO: (("air.temperature", "cpu.temperature"), 600.0)}
    assert await house.ask(CLEO, "unwatch") == "Stopped watching 2 values."
    assert await house.ask(CLEO, "unwatch") == "Nothing was being watched."
    await house.ask(CLEO, "watch door")
    assert house.watches[CLEO] == (("door",), 3600.0)
    await house.ask(CLEO, "watch door for 90d")
    assert house.watches[CLEO] == (("door",), 86400.0)
    assert await house.ask(CLEO, "watch") == "Say what to watch, for example: watch temp"


async def test_history_gives_the_mean_over_time_and_the_last_entries(house):
    for value in (10.0, 20.0, 30.0):
        await house.report("air.temperature", value)
        await house.clock.advance(3600)
    await house.clock.advance(3600)  # 30 lasts two hours: the mean over time is 22.5, not 20
    await house.report("air.temperature", None, "missing")
    assert (await house.ask(CLEO, "history air temp 4h")).splitlines() == [
        "Air temperature, last 4 h: 5 readings.",
        "Lowest 10.0 °C (10:15), mean 22.5 °C, highest 30.0 °C (12:15).",
        "▁▁▁▁▁▁▅▅▅▅▅▅████████████",
        "10:15 21.4 °C",
        "10:15 10.0 °C",
        "11:15 20.0 °C",
        "12:15 30.0 °C",
        "14:15 missing",
    ]


async def test_history_of_a_door_is_its_changes(house):
    await house.clock.advance(60)
    await house.report("door", True)
    await house.clock.advance(120)
    assert (await house.ask(CLEO, "history door 1h")).splitlines() == [
        "Front door, last 1 h: 2 readings.", "In all: open 1 time, for 2 min.", "10:15 closed", "10:16 open",
    ]  # fmt: skip
    await house.clock.advance(7200)
    assert await house.ask(CLEO, "history door 1h") == "Front door: no change in the last 1 h, still open."


async def test_motion_is_said_as_such_wherever_it_is(house):
    house.channels = {**house.channels, "hall": Channel(name="hall", kind="motion", type="boolean", label="Hall")}
    assert await house.ask(CLEO, "hall") == "Hall has not reported yet."
    await house.report("hall", False)
    assert "otion" not in await house.ask(CLEO, "status")
    await house.clock.advance(700)
    assert await house.ask(CLEO, "is there motion in the hall?") == "There is no motion in Hall, as of 11 min 40 s ago."
    await house.report("hall", True)
    assert "Motion: Hall." in (await house.ask(CLEO, "status")).splitlines()
    assert "Beweging: Hall." in (await house.ask(BRAM, "status", "nl")).splitlines()
    await house.clock.advance(120)
    assert (await house.ask(BRAM, "history hall 1h", "nl")).splitlines() == [
        "Hall, laatste 1 u: 2 metingen.", "In totaal: 1 keer beweging, samen 2 min.",
        "10:15 geen beweging", "10:26 beweging",
    ]  # fmt: skip
    house.latest["hall"] = replace(house.latest["hall"], boot="another", at_ns=None)
    assert await house.ask(CLEO, "hall") == "There was motion in Hall before the last start."


async def test_a_button_says_what_was_done_to_it_and_when(house):
    await house.report("button", "double")
    await house.clock.advance(190)
    assert await house.ask(CLEO, "button") == "Button: pressed twice, 3 min 10 s ago."
    assert await house.ask(CLEO, "is the button pressed?") == "Button: pressed twice, 3 min 10 s ago."
    house.latest["button"] = replace(house.latest["button"], boot="another", at_ns=None)
    assert await house.ask(CLEO, "button") == "Button was pressed twice before the last start."
    assert "utton" not in await house.ask(CLEO, "status")


async def test_history_of_a_button_is_what_was_done_to_it(house):
    for value in ("click", "long", "click"):
        await house.clock.advance(60)
        await house.report("button", value)
    assert (await house.ask(CLEO, "history button 1h")).splitlines() == [
        "Button, last 1 h: 4 readings.", "In all: pressed 3×, held 1×.",
        "10:15 pressed", "10:16 pressed", "10:17 held", "10:18 pressed",
    ]  # fmt: skip
    await house.clock.advance(7200)
    assert await house.ask(CLEO, "history button 1h") == "Button: nothing in the last 1 h."


async def test_history_knows_what_lasted_since_before_its_span(house):
    await house.report("air.temperature", 10.0)
    await house.clock.advance(3600)
    await house.report("air.temperature", 20.0)
    await house.clock.advance(900)
    said = (await house.ask(CLEO, "history air temp 30min")).splitlines()
    assert said[1:3] == ["Lowest 10.0 °C (11:00), mean 15.0 °C, highest 20.0 °C (11:15).", "▁▁▁▁▁▁▁▁▁▁▁▁████████████"]
    assert await house.ask(CLEO, "history rain 10min") == "Rain: no change in the last 10 min, still 12.4 mm."


async def test_history_wants_a_few_names(house):
    assert await house.ask(CLEO, "history") == "Say of what and since when, for example: history door 24h"
    assert (await house.ask(CLEO, "history all")).startswith("That is too much at once; choose from: door, button,")


# ── alerts, quiet ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_ack_says_that_somebody_has_seen_it(house):
    assert await house.ask(BRAM, "ack frost") == "frost is not raised: there is nothing to acknowledge."
    assert await house.ask(BRAM, "ack") == "No alert waits for an acknowledgement."
    await house.report("air.temperature", -1.0)
    assert await house.ask(BRAM, "ack Frost!") == "Acknowledged: frost."
    assert house.alerts.state("frost").by == "Bram"
    assert [change.change for change in house.transitions] == ["raised", "acknowledged"]
    assert await house.ask(ANNA, "ack frost") == "frost was already acknowledged by Bram."
    assert await house.ask(ANNA, "ack flood") == "There is no alert “flood”."


async def test_ack_asks_when_more_than_one_waits(house):
    await house.report("air.temperature", -1.0)
    await house.report("door", True)
    await house.clock.advance(300)
    house.transitions += house.alerts.due(house.clock.boottime_ns(), at_ns=None)
    answer = await house.ask(BRAM, "ack")
    assert answer == "More than one alert waits; say “ack all” or one of: frost, door_open"
    assert await house.ask(BRAM, "ack door open") == "Acknowledged: door open."
    await house.report("air.temperature", 5.0)
    await house.report("air.temperature", -1.0)
    assert await house.ask(BRAM, "ack alles") == "Acknowledged: frost."


async def test_an_alert_on_what_a_person_may_not_read_does_not_exist_for_them(house):
    house.access = Access([Person(jid=BRAM.bare, role=Role.OPERATOR, only=("door",))])
    await house.report("air.temperature", -1.0)
    assert await house.ask(BRAM, "ack frost") == "There is no alert “frost”."
    assert await house.ask(BRAM, "ack") == "No alert waits for an acknowledgement."
    assert house.alerts.state("frost").phase == "raised"


async def test_silence_is_for_everybody_and_ends(house):
    assert await house.ask(BRAM, "silence frost") == "Say for how long, for example: silence frost 1h"
    assert await house.ask(BRAM, "silence frost for 1h") == (
        "frost is silent until 11:15, for everybody, however critical; presence and “status” still show it. "
        "“silence frost off” ends it."
    )
    assert await house.ask(ANNA, "silence frost") == "frost is silent until 11:15, said Bram."
    assert house.alarms.silenced("frost").by == "Bram"
    assert house.alarms.silenced("door_open") is None
    assert await house.ask(ANNA, "silence frost off") == "Not silent any more: frost."
    assert house.alarms.silenced("frost") is None
    assert await house.state.silences() == {}


async def test_silence_takes_all_but_asks_which_one_and_how_long(house):
    assert await house.ask(BRAM, "silence all 300d") == (
        "Silent until 2026-11-29 10:15, for everybody, however critical: frost, door open.\n"
        "Presence and “status” still show them; “silence all off” ends it."
    )
    assert {*await house.state.silences()} == {"frost", "door_open"}
    assert await house.ask(BRAM, "demp door open 1h 30min") != ""
    assert await house.ask(BRAM, "silence door open") == "door open is silent until 11:45, said Bram."
    assert await house.ask(BRAM, "silence alles uit") == "Not silent any more: frost, door open."
    assert await house.ask(BRAM, "silence 1h") == "Say which alert, and for how long, for example: silence frost 1h"
    assert await house.ask(BRAM, "silence fire 1h") == "There is no alert “fire”."
    assert await house.ask(BRAM, "silence frost on") == "Say for how long, for example: silence frost 1h"
    assert await house.state.silences() == {}


async def test_silence_needs_a_right_a_clock_and_a_channel_one_may_read(house):
    assert "may not silence here" in await house.ask(CLEO, "silence frost 1h")
    house.access = Access([Person(jid=BRAM.bare, role=Role.OPERATOR, only=("door",))])
    assert await house.ask(BRAM, "silence frost 1h") == "There is no alert “frost”."
    await house.ask(BRAM, "silence all 1h")
    assert {*await house.state.silences()} == {"door_open"}
    house.clock.jump(-house.clock.time_ns() / 1e9)
    assert "do not know what time it is" in await house.ask(BRAM, "silence door open 1h")


async def test_quiet_is_for_the_person_who_asks_and_ends(house):
    assert await house.ask(CLEO, "quiet") == "Say for how long, for example: quiet 2h"
    assert await house.ask(CLEO, "quiet 2h") == "I keep quiet until 12:15; “quiet off” ends it."
    until = house.clock.time_ns() + 7200 * 10**9
    assert await house.state.quiet_until() == {"cleo@example.org": until}
    assert await house.ask(CLEO, "quiet") == "I keep quiet until 12:15; “quiet off” ends it."
    assert await house.ask(CLEO, "quiet off") == "I speak up again."
    assert await house.state.quiet_until() == {}
    assert await house.ask(CLEO, "quiet 300d") == "I keep quiet until 2026-11-29 10:15; “quiet off” ends it."


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_allow_gives_rights_at_once(house):
    answer = await house.ask(ANNA, "allow Eve@Example.org/phone operator only lamp, relay")
    assert answer == "eve@example.org: operator, only lamp, relay (given in chat)."
    eve = house.jid("eve@example.org/phone")
    assert await house.ask(eve, "lamp on") == "Lamp is on."
    assert "do not understand" in await house.ask(eve, "pump 40")
    assert await house.ask(ANNA, "allow eve@example.org kijker") == "eve@example.org: viewer (given in chat)."
    assert await house.ask(ANNA, "revoke eve@example.org") == "eve@example.org has no rights here any more."
    assert await house.ask(eve, "status") == ""
    assert await house.ask(ANNA, "revoke eve@example.org") == "eve@example.org has no rights here."


@pytest.mark.parametrize(("jid", "mind"), [
    ("аnna@example.org", "Mind: аnna@example.org looks like anna@example.org, but is another address. Not meant? Say: "
     "revoke аnna@example.org"),
    ("eve@examp1e.org", "Mind: the server of eve@examp1e.org looks like example.org, but is another one. Not meant? "
     "Say: revoke eve@examp1e.org"),
    ("evе@example.net", "Mind: evе@example.net has letters of several alphabets in one name. Not meant? Say: "
     "revoke evе@example.net"),
])  # fmt: skip
async def test_allow_says_when_an_address_may_not_be_the_one_that_was_meant(house, jid, mind):
    assert (await house.ask(ANNA, f"allow {jid} viewer")).splitlines() == [f"{jid}: viewer (given in chat).", mind]
    assert (await house.ask(ANNA, f"allow {jid} viewer")).splitlines()[1] == mind, "not because of itself"
    await house.ask(ANNA, f"revoke {jid}")
    assert house.access.person(house.jid(jid)) is None


async def test_chat_cannot_exceed_node_toml(house):
    assert await house.ask(ANNA, "allow cleo@example.org owner") == (
        "cleo@example.org: viewer (from node.toml).\nnode.toml allows no more than viewer; chat can only narrow that."
    )
    assert (await house.hear(CLEO, "lamp on")).ok is False
    assert await house.ask(ANNA, "allow dirk@example.org viewer only lamp") == (
        "node.toml does not allow dirk@example.org that: no rights are left."
    )


async def test_revoke_stops_somebody_whom_node_toml_names_until_they_are_allowed_again(house):
    assert await house.ask(ANNA, "revoke bram@example.org") == "bram@example.org has no rights here any more."
    assert await house.ask(BRAM, "lamp on") == ""
    await house.ask(ANNA, "revoke bram@example.org")
    assert house.access.person(BRAM) is None
    assert await house.ask(ANNA, "allow bram@example.org owner") == (
        "Bram (bram@example.org): operator (from node.toml).\n"
        "node.toml allows no more than operator; chat can only narrow that."
    )


async def test_revoke_stops_one_of_a_whole_domain(house):
    house.access = Access([*PEOPLE, Person(jid=house.jid("*@house.example"), role=Role.VIEWER)])
    finn = house.jid("finn@house.example/x")
    assert await house.ask(finn, "lamp") == "Lamp is off."
    await house.ask(ANNA, "revoke finn@house.example")
    assert await house.ask(finn, "lamp") == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("allow", "Say who and as what, for example: allow bram@example.org operator only lamp"),
        ("allow eve@example.org", "Say who and as what, for example: allow bram@example.org operator only lamp"),
        ("allow eve@example.org boss", "Say who and as what, for example: allow bram@example.org operator only lamp"),
        (
            "allow eve@example.org viewer lamp",
            "Say who and as what, for example: allow bram@example.org operator only lamp",
        ),
        (
            "allow eve@example.org viewer only",
            "Say who and as what, for example: allow bram@example.org operator only lamp",
        ),
        ("allow e@v@e viewer", "“e@v@e” is no address. Nothing was changed."),
        ("allow *@example.org viewer", "A whole server can get rights in node.toml only. Nothing was changed."),
        ("allow greenhouse@example.org owner", "That is my own address. Nothing was changed."),
        ("allow example.org viewer", "A whole server can get rights in node.toml only. Nothing was changed."),
        ("allow anna@example.org viewer", "Your own rights are for another owner to change."),
        ("allow eve@example.org viewer only sauna", "There is no channel sauna. Nothing was changed."),
        ("revoke", "Say whose rights, for example: revoke bram@example.org"),
        ("revoke anna@example.org", "Your own rights are for another owner to change."),
        ("revoke eve@example.org", "eve@example.org has no rights here."),
    ],
)
async def test_rights_that_make_no_sense_change_nothing(house, text, answer):
    before = house.access.everyone()
    assert await house.ask(ANNA, text) == answer
    assert house.access.everyone() == before
    assert await house.state.grants() == []


async def test_a_role_that_is_none_cannot_be_given(house):
    reply = await request(house, ANNA, "allow", argument="eve@example.org none")
    assert not reply.ok
    assert await house.state.grants() == []


async def test_who_lists_people_and_where_their_rights_come_from(house):
    house.access = Access([*PEOPLE, Person(jid=house.jid("*@house.example"), role=Role.VIEWER)])
    await house.ask(ANNA, "allow eve@example.org viewer only air")
    assert await house.ask(ANNA, "who") == (
        "Anna (anna@example.org): owner (from node.toml).\n"
        "Bram (bram@example.org): operator (from node.toml).\n"
        "everybody at house.example: viewer (from node.toml).\n"
        "cleo@example.org: viewer (from node.toml).\n"
        "dirk@example.org: viewer, only door (from node.toml).\n"
        "eve@example.org: viewer, only air (given in chat)."
    )


async def test_log_shows_who_asked_for_what(house):
    assert await house.ask(ANNA, "log") == "Nobody has asked for anything yet."
    for i in range(12):
        await house.state.audit(
            at_ns=house.clock.time_ns(), who=str(BRAM), action=f"pump {i}", result="done", via="chat", encrypted=False
        )
    lines = (await house.ask(ANNA, "log")).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "10:15 bram@example.org/laptop, chat: pump 11 → done"
    assert len((await house.ask(ANNA, "log 2")).splitlines()) == 2
    assert len((await house.ask(ANNA, "log 0")).splitlines()) == 1
    for nonsense in ("log all", "log -3", "log ²", "log 1e9"):
        assert await house.ask(ANNA, nonsense) == "Say how many lines, for example: log 20"


async def test_bench_says_its_figures_in_three_digits(house):
    assert await house.ask(ANNA, "bench") == (
        "812 stanzas a second through the server and back\n96.7 µs of processor time a reading\n"
        "31.2 MB of memory\n1.83 ms to the server and back"
    )
    assert "31,2 MB geheugen" in await house.ask(ANNA, "bench", "nl")


@pytest.mark.parametrize("verb", table())
async def test_no_verb_trips_over_an_empty_or_strange_request(house, verb):
    house.clock = FakeClock(boottime_ns=1)
    for argument in ("", " ", "\x00{channel}%s", "🤷" * 300, "9" * 5000):
        reply = await request(house, ANNA, verb, argument=argument)
        assert house.voice("nl").render(reply)


LENA = Jid("lena", "example.org", "phone")  # owns only the door and the air
ONLY_PART = Person(jid=LENA.bare, role=Role.OWNER, name="Lena", only=("door", "air.temperature"))


@pytest.fixture
async def shared(house):
    """The greenhouse with an owner of a part of it."""
    house.access = Access([*PEOPLE, ONLY_PART])
    return house


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (
            "allow eve@example.org operator",
            "eve@example.org: operator, only door, air.temperature (given in chat).\n"
            "You can give no more than your own: door, air.temperature.",
        ),
        (
            "allow eve@example.org viewer only air door",
            "eve@example.org: viewer, only door, air.temperature (given in chat).\n"
            "You can give no more than your own: door, air.temperature.",
        ),
        ("allow eve@example.org owner only door", "eve@example.org: owner, only door (given in chat)."),
        ("allow eve@example.org viewer only lamp", "There is no channel lamp. Nothing was changed."),
    ],
)
async def test_an_owner_of_a_part_cannot_grant_the_whole(shared, text, answer):
    assert await shared.ask(LENA, text) == answer
    eve = shared.access.person(shared.jid("eve@example.org"))
    assert eve is None or ONLY_PART.covers(eve)


@pytest.mark.parametrize("text", ["allow {} viewer only door", "revoke {}"])
@pytest.mark.parametrize(("who", "theirs"), [(CLEO, False), (BRAM, False), (DIRK, True)])
async def test_an_owner_of_a_part_changes_only_rights_that_lie_within_it(shared, text, who, theirs):
    answer = await shared.ask(LENA, text.format(who.bare))
    refused = f"{who.bare} has rights beyond yours, so they are for another owner to change."
    assert (answer != refused) is theirs
    assert bool(await shared.state.grants()) is theirs


async def test_an_owner_of_a_part_sees_nothing_beyond_it_in_who_and_log(shared):
    await shared.state.audit(at_ns=1, who="anna", action="lamp on", result="done", via="chat", encrypted=False)
    assert await shared.ask(LENA, "who") == (
        "Lena (lena@example.org): owner, only door, air.temperature (from node.toml).\n"
        "dirk@example.org: viewer, only door (from node.toml)."
    )
    answer = await shared.ask(LENA, "log")
    assert answer == "The log is about the whole node, and you may see only a part of it."
    assert "lamp on" in await shared.ask(ANNA, "log")


@pytest.mark.parametrize("text", ["revoke {}", "allow {} viewer", "allow {} owner only door", "allow {} owner"])
async def test_an_owner_by_chat_cannot_lock_out_an_owner_by_file(house, text):
    house.access = Access([*PEOPLE, Person(jid=Jid("*", "house.example"), role=Role.OWNER)])
    await house.ask(ANNA, "allow eve@example.org owner")
    eve, finn = house.jid("eve@example.org/x"), house.jid("finn@house.example/x")
    before = house.access.everyone()
    for owner in (ANNA, finn):
        assert await house.ask(eve, text.format(owner.bare)) == (
            f"node.toml makes {owner.bare} an owner; only another owner named there can change that."
        )
    assert house.access.everyone() == before
    assert await house.ask(eve, "revoke bram@example.org") == "bram@example.org has no rights here any more."
    assert (await house.hear(finn, "revoke anna@example.org")).ok, "an owner by node.toml is one by its domain, too"
    assert (await house.hear(finn, "revoke eve@example.org")).ok


async def test_quiet_is_not_promised_before_the_clock_is_set(house):
    await house.ask(CLEO, "quiet 2h")
    house.clock.jump(-house.clock.time_ns() / 1e9)
    for text in ("quiet", "quiet 2h"):
        assert await house.ask(CLEO, text) == (
            "I do not know what time it is yet, so I cannot keep quiet. Please ask again later."
        )
    assert await house.ask(CLEO, "quiet off") == "I speak up again."
    assert await house.state.quiet_until() == {}


# ── doctor, and safe mode ────────────────────────────────────────────────────────────────────────────────────────


async def test_doctor_says_what_is_wrong_first_and_what_is_fine_in_one_line(house):
    house.found = [
        Found("disk", "note", "lower than it was", "make room"), Found("power", "note", "not looked at", ""),
        Found("state", "problem", "cannot be written to", "make it a folder"), Found("clock", "ok", "right", ""),
        Found("password", "ok", "there", ""),
    ]  # fmt: skip
    assert await house.ask(ANNA, "doctor") == (
        "🔴 Greenhouse: 1 problem.\nstate: cannot be written to → make it a folder\n"
        "disk: lower than it was → make room\nFine: clock, password."
    )
    del house.found[2]
    assert (await house.ask(ANNA, "dokter", "nl")).startswith("🟢 Greenhouse: aan deze machine mankeert niets.\n")
    assert await house.ask(BRAM, "doctor") == "You may not doctor here. An owner of this node can allow it."


async def test_doctor_is_about_the_whole_machine_and_a_machine_may_hang(house, monkeypatch):
    house.access = Access([replace(PEOPLE[0], only=("door",))])
    assert "only a part" in await house.ask(ANNA, "doctor")
    house.access = Access(PEOPLE)

    async def hangs():
        raise TimeoutError

    monkeypatch.setattr(house, "examined", hangs)
    assert (await house.ask(ANNA, "doctor")).startswith("🔴 Looking at this machine did not come to an end")


async def test_status_in_safe_mode_says_why_and_when_it_ends_and_only_to_owners_what_crashed(house):
    until_ns = house.clock.boottime_ns() + 420 * 10**9
    house.safe = SafeMode(crashes=7, last="relay.two: GPIO5 is taken", until_ns=until_ns)
    assert (await house.ask(ANNA, "status")).splitlines() == [
        "🔴 Greenhouse: safe mode. Nothing is measured, switched or reported.",
        "I crashed 7 times shortly after I had started.",
        "The last crash: relay.two: GPIO5 is taken",
        "In 7 min I try to start as usual.",
        "Up 3 d 4 h, connected for 2 h 1 min.",
    ]
    for who in (BRAM, DIRK):
        assert "relay.two" not in await house.ask(who, "status")
    house.safe = SafeMode(cuts=30, until_ns=until_ns)
    assert "This machine went off 30 times shortly after I had started." in await house.ask(ANNA, "status")
    house.safe = SafeMode(by_hand=True)
    assert "I was started so.\nThat lasts until I am stopped." in await house.ask(ANNA, "status")


async def test_help_in_safe_mode_names_only_what_is_answered(house):
    house.safe = SafeMode(crashes=5)
    assert [line.partition(":")[0] for line in (await house.ask(ANNA, "help")).splitlines()[:-1]] == [
        "about", "doctor", "help", "log", "status",
    ]  # fmt: skip
    assert await house.ask(ANNA, "help set") == "I do not know “set”. Say “help” to see what I know."
