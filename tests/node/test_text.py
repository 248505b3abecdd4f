"""How sentences read, and that each has a Dutch one.

After adding or changing a sentence: `.venv/bin/python tests/node/test_text.py` puts it into the catalogues, where
you translate it, and run again, which compiles them. Both files are committed: nothing is compiled at installation.
"""

from __future__ import annotations

import gettext
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from hypothesis import given
from hypothesis import strategies as st

import knoop.text
from knoop.alerts import Absence, Alerts, AlertState, Rule
from knoop.command import Instant, Reply, Sentence, Span, counted, reading, say
from knoop.condition import Condition
from knoop.record import Record
from knoop.reminders import Hearing
from knoop.text import AGAIN, LOCALE, Voice, languages
from knoop_hw.model import Channel

SOURCES = Path(knoop.text.__file__).parent
PO = LOCALE / "nl" / "LC_MESSAGES" / "knoop.po"
KEYWORDS = {"N_": None, "counted": (1, 2)}
WRITTEN = datetime(2026, 11, 22, tzinfo=UTC)  # fixed: a catalogue changes only when a sentence does

NOON_NS = 1_795_348_800_000_000_000  # 2026-11-22T12:00:00Z
CHANNELS = {
    channel.name: channel
    for channel in (
        Channel(name="door", kind="contact", type="boolean", label="Front door"),
        Channel(name="hall", kind="motion", type="boolean", label="Hall"),
        Channel(name="gate", kind="lock", type="boolean", writable=True),
        Channel(name="button", kind="button", type="text"),
        Channel(name="lamp", kind="switch", type="boolean"),
        Channel(name="air.temperature", kind="sensor", type="number", unit="°C", digits=1),
        Channel(name="note", kind="sensor", type="text"),
        Channel(name="uptime", kind="sensor", type="number", unit="s", digits=0),
    )
}
ENGLISH = Voice(lang="en", channels=CHANNELS, now_ns=NOON_NS, zone=UTC)
DUTCH = replace(ENGLISH, lang="nl")


def record(channel, value, quality="ok", **more):
    known = CHANNELS.get(channel)
    return Record(**{
        "run": "r", "channel": channel, "seq": 1, "cls": "event", "type": known.type if known else "text",
        "value": value, "unit": known.unit if known else "", "quality": quality, "boot": "b", "boottime_ns": 5,
        "at_ns": NOON_NS,
    } | more)  # fmt: skip


def extracted() -> Catalog:
    catalog = Catalog(project="Knoop", version="0.1", copyright_holder="the Knoop authors", creation_date=WRITTEN)
    for path, _, message, _, _ in extract_from_dir(SOURCES, [("**.py", "python")], keywords=KEYWORDS):
        assert "locale" not in path
        catalog.add(message)
    return catalog


def translated() -> Catalog:
    with PO.open("rb") as file:
        return read_po(file, locale="nl")


def compiled(catalog: Catalog) -> gettext.GNUTranslations:
    buffer = BytesIO()
    write_mo(buffer, catalog)
    buffer.seek(0)
    return gettext.GNUTranslations(buffer)


def update() -> None:
    """Bring new sentences into the catalogue, drop those that are gone, compile."""
    catalog = translated() if PO.exists() else Catalog(locale="nl", fuzzy=False)
    catalog.update(extracted(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.project, catalog.version, catalog.last_translator = "Knoop", "0.1", "the Knoop authors"
    catalog.creation_date = catalog.revision_date = WRITTEN
    catalog.fuzzy = False
    catalog.header_comment = "# Knoop's sentences in Dutch. AGPL-3.0-or-later, as all of Knoop."
    catalog.msgid_bugs_address, catalog.language_team = "see CONTRIBUTING.md", "Dutch"
    PO.parent.mkdir(parents=True, exist_ok=True)
    with PO.open("wb") as file:
        write_po(file, catalog, width=110, no_location=True, sort_output=True, omit_header=False)
    with PO.with_suffix(".mo").open("wb") as file:
        write_mo(file, translated())
    waiting = [message.id for message in translated() if waits(message)]
    print(f"{PO}: {len(waiting)} sentences to translate", *waiting, sep="\n  ")


def waits(message: Message) -> bool:
    return bool(message.id) and (message.fuzzy or not all(texts(message.string)))


def texts(text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def sentences() -> Iterator[tuple[str, ...]]:
    return (texts(message.id) for message in extracted() if message.id)


def test_every_sentence_has_a_dutch_one():
    dutch = {texts(m.id): m for m in translated() if m.id}
    wanted = set(sentences())
    assert wanted, "nothing was extracted: are the keywords right?"
    assert wanted - dutch.keys() == set(), "run `.venv/bin/python tests/node/test_text.py`, translate, run it again"
    assert dutch.keys() - wanted == set(), "no longer said; run the same"
    assert [m.id for m in dutch.values() if waits(m)] == []


def test_a_translation_has_the_same_placeholders():
    for message in translated():
        if message.id:
            wanted = placeholders(texts(message.id)[-1])
            assert [placeholders(text) for text in texts(message.string)] == [wanted] * len(texts(message.string)), (
                message.id
            )


def test_the_compiled_catalogue_is_the_one_in_the_text_file():
    with PO.with_suffix(".mo").open("rb") as file:
        shipped = gettext.GNUTranslations(file)
    fresh = compiled(translated())
    assert {k: v for k, v in shipped._catalog.items() if k} == {k: v for k, v in fresh._catalog.items() if k}


def test_plurals_follow_the_count():
    one, many = (counted("{count} reading waits to be sent.", "{count} readings wait to be sent.", n) for n in (1, 3))
    assert ENGLISH.sentence(one) == "1 reading waits to be sent."
    assert ENGLISH.sentence(many) == "3 readings wait to be sent."
    assert DUTCH.sentence(one) == "1 meting wacht op verzending."
    assert DUTCH.sentence(many) == "3 metingen wachten op verzending."


@pytest.mark.parametrize(
    ("channel", "value", "english", "dutch"),
    [
        ("air.temperature", 21.4, "Air temperature is 21.4 °C.", "Air temperature is 21,4 °C."),
        ("air.temperature", -0.4, "Air temperature is −0.4 °C.", "Air temperature is −0,4 °C."),
        ("air.temperature", -0.04, "Air temperature is 0.0 °C.", "Air temperature is 0,0 °C."),
        ("air.temperature", 5, "Air temperature is 5.0 °C.", "Air temperature is 5,0 °C."),
        ("uptime", 16297, "Uptime is 4 h 31 min.", "Uptime is 4 u 31 min."),
        ("uptime", 59.6, "Uptime is 60 s.", "Uptime is 60 s."),
        ("uptime", float("inf"), "Uptime is inf s.", "Uptime is inf s."),
        ("door", True, "Front door is open.", "Front door is open."),
        ("door", False, "Front door is closed.", "Front door is dicht."),
        ("hall", True, "There is motion in Hall.", "Er is beweging in Hall."),
        ("hall", False, "There is no motion in Hall.", "Er is geen beweging in Hall."),
        ("button", "click", "Button: pressed.", "Button: ingedrukt."),
        ("button", "double", "Button: pressed twice.", "Button: twee keer ingedrukt."),
        ("button", "long", "Button: held.", "Button: lang ingedrukt."),
        ("button", "quadruple", "Button: quadruple.", "Button: quadruple."),
        ("button", True, "Button: pressed.", "Button: ingedrukt."),  # of before an update
        ("button", False, "Button: released.", "Button: los."),
        ("gate", True, "Gate is unlocked.", "Gate is ontgrendeld."),
        ("gate", False, "Gate is locked.", "Gate is vergrendeld."),
        ("lamp", True, "Lamp is on.", "Lamp is aan."),
        ("lamp", False, "Lamp is off.", "Lamp is uit."),
        ("note", "two\nlines\u202e", "Note is two lines.", "Note is two lines."),
    ],
)
def test_a_value_is_said_as_its_kind_is_spoken_of(channel, value, english, dutch):
    line = reading(CHANNELS[channel], record(channel, value))
    assert (ENGLISH.sentence(line), DUTCH.sentence(line)) == (english, dutch)


@pytest.mark.parametrize(
    ("value", "quality", "english", "dutch"),
    [
        (
            None,
            "missing",
            "Air temperature has no value now (missing).",
            "Air temperature heeft nu geen waarde (ontbreekt).",
        ),
        (None, "error", "Air temperature has no value now (error).", "Air temperature heeft nu geen waarde (fout)."),
        (3.0, "estimate", "Air temperature is 3.0 °C (estimate).", "Air temperature is 3,0 °C (schatting)."),
        (3.0, "warning", "Air temperature is 3.0 °C (doubtful).", "Air temperature is 3,0 °C (twijfelachtig)."),
    ],
)
def test_quality_is_said_plainly(value, quality, english, dutch):
    line = reading(CHANNELS["air.temperature"], record("air.temperature", value, quality))
    assert (ENGLISH.sentence(line), DUTCH.sentence(line)) == (english, dutch)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (21.0, None, "21"), (21.5, None, "21.5"), (0.1 + 0.2, None, "0.3"), (1e-7, None, "0.0000001"),
        (1234567890123.0, None, "1234567890123"), (-0.0, None, "0"), (2.345, 2, "2.35"), (1e300, 2, None),
        (float("nan"), 1, "nan"), (float("-inf"), 1, "−inf"),
    ],
)  # fmt: skip
def test_a_number_has_the_decimals_that_its_channel_wants(value, digits, text):
    said = ENGLISH.number(value, digits)
    assert text is None or said == text


@pytest.mark.parametrize(
    ("seconds", "english", "dutch"),
    [
        (0, "0 s", "0 s"), (0.05, "50 ms", "50 ms"), (10, "10 s", "10 s"), (90, "1 min 30 s", "1 min 30 s"),
        (7200, "2 h", "2 u"), (7260.4, "2 h 1 min", "2 u 1 min"), (7230, "2 h", "2 u"),
        (3 * 86400 + 4 * 3600 + 59, "3 d 4 h", "3 d 4 u"), (-5, "0 s", "0 s"), (59.9996, "1 min", "1 min"),
    ],
)  # fmt: skip
def test_a_span_is_said_in_its_two_largest_units(seconds, english, dutch):
    sentence = Sentence("{span}", {"span": Span(seconds)})
    assert (ENGLISH.sentence(sentence), DUTCH.sentence(sentence)) == (english, dutch)


def test_an_instant_is_local_and_has_its_date_when_not_today():
    here = replace(ENGLISH, zone=timezone(timedelta(hours=1)))
    times = (NOON_NS, NOON_NS - 12 * 3600 * 10**9, NOON_NS - 13 * 3600 * 10**9 - 10**9, None)
    assert here.sentence(Sentence("{times}", {"times": tuple(map(Instant, times))})) == (
        "13:00, 01:00, 2026-11-21 23:59, time unknown"
    )


def test_a_language_tag_finds_its_catalogue_and_nothing_else():
    line = reading(CHANNELS["lamp"], record("lamp", False))
    said = {tag: replace(ENGLISH, lang=tag).sentence(line) for tag in ("nl-BE", "NL_nl", "de", "", "../../nl", "en")}
    assert said == {
        "nl-BE": "Lamp is uit.", "NL_nl": "Lamp is uit.", "de": "Lamp is off.", "": "Lamp is off.",
        "../../nl": "Lamp is off.", "en": "Lamp is off.",
    }  # fmt: skip
    assert languages() == {"en", "nl"}


def test_a_reply_is_one_line_a_sentence():
    reply = Reply((reading(CHANNELS["lamp"], record("lamp", True)), reading(CHANNELS["door"], None)))
    assert ENGLISH.render(reply) == "Lamp is on.\nFront door has not reported yet."


@given(st.text())
def test_words_from_outside_never_add_a_line_or_a_direction(text):
    said = ENGLISH.render(say("{text}|{list}", text=text, list=(text, text)))
    assert len(said.splitlines()) == 1
    assert "\u202e" not in said


FROST = Rule(name="frost", when=Condition.parse("air.temperature < 0"))
FIRE = Rule(name="big_fire", when=Condition.parse("air.temperature > 60"), severity="critical")


def alert(value, name="alert.frost", **more):
    return record(name, value, cls="alarm", **more)


def standing(phase, **more) -> Alerts:
    alerts = Alerts((FROST, FIRE))
    alerts.restore([AlertState(name="frost", phase=phase, changed_ns=5, value=-0.4, **more)])
    return alerts


@pytest.mark.parametrize(
    ("heard", "alerts", "english", "dutch"),
    [
        (record("door", True), Alerts(), "Front door is open.", "Front door is open."),
        (
            alert("raised"), standing("raised"),
            "Alert frost: air temperature is −0.4 °C.", "Alarm frost: air temperature is −0,4 °C.",
        ),
        (alert("raised", boottime_ns=6), standing("raised"), "Alert frost.", "Alarm frost."),
        (alert("raised", "alert.big_fire"), standing("idle"), "Critical alert big fire.", "Kritiek alarm big fire."),
        (
            alert("acknowledged"), standing("acknowledged", by="Anna"),
            "frost: acknowledged by Anna.", "frost: gezien door Anna.",
        ),
        (alert("acknowledged", boottime_ns=6), standing("idle"), "frost: acknowledged.", "frost: gezien."),
        (alert("cleared"), standing("idle"), "frost is over.", "frost is voorbij."),
        (alert("cleared", "alert.gone"), standing("idle"), "gone is over.", "gone is voorbij."),
    ],
)  # fmt: skip
def test_what_the_node_says_by_itself(heard, alerts, english, dutch):
    def said(lang):
        return Voice(lang=lang, channels=CHANNELS, now_ns=NOON_NS, zone=UTC).event(heard, alerts)

    assert (said("en"), said("nl")) == (english, dutch)


def test_an_alert_about_motion():
    alerts = Alerts([Rule(name="burglar", when=Condition.parse("hall == true"), severity="critical")])
    alerts.restore([AlertState(name="burglar", phase="raised", changed_ns=5, value=True)])
    heard = alert("raised", "alert.burglar")
    assert ENGLISH.event(heard, alerts) == "Critical alert burglar: motion in Hall."
    assert DUTCH.event(heard, alerts) == "Kritiek alarm burglar: beweging in Hall."


MISSING = Rule(name="air_missing", when=Absence("air", ("air.temperature", "air.humidity")), for_s=300)
SINCE = NOON_NS - 3600 * 10**9
NEW, ASKED = Hearing(first=True), Hearing(first=True, unanswered_s=1800)


@pytest.mark.parametrize(
    ("hearing", "since_ns", "english", "dutch"),
    [
        (Hearing(), SINCE, "Still: Alert frost: air temperature is −2.0 °C (since 11:00).",
         "Nog steeds: Alarm frost: air temperature is −2,0 °C (sinds 11:00)."),
        (Hearing(), None, "Still: Alert frost: air temperature is −2.0 °C.",
         "Nog steeds: Alarm frost: air temperature is −2,0 °C."),
        (NEW, SINCE, "Alert frost: air temperature is −2.0 °C (since 11:00).",
         "Alarm frost: air temperature is −2,0 °C (sinds 11:00)."),
        (ASKED, SINCE, "Alert frost: air temperature is −2.0 °C (since 11:00; nobody acknowledged it for 30 min).",
         "Alarm frost: air temperature is −2,0 °C (sinds 11:00; al 30 min heeft niemand het gezien)."),
        (ASKED, None, "Alert frost: air temperature is −2.0 °C; nobody acknowledged it for 30 min.",
         "Alarm frost: air temperature is −2,0 °C; al 30 min heeft niemand het gezien."),
    ],
)  # fmt: skip
def test_a_reminder_says_how_it_is_now_and_since_when(hearing, since_ns, english, dutch):
    alerts = standing("raised", since_at_ns=since_ns, last=-2.0)
    late = alert("reminded", at_ns=NOON_NS - 900 * 10**9)
    assert (ENGLISH.event(late, alerts, hearing), DUTCH.event(late, alerts, hearing)) == (english, dutch)


def test_a_missing_device_and_its_return():
    alerts = Alerts([MISSING, replace(MISSING, name="door_missing", when=Absence("door", ("door",), "Front door"))])
    gone = AlertState(name="air_missing", phase="raised", changed_ns=5, since_at_ns=SINCE)
    alerts.restore([gone, replace(gone, name="door_missing", since_at_ns=None)])

    def said(value, name="alert.air_missing", hearing=AGAIN):
        return ENGLISH.event(alert(value, name), alerts, hearing)

    assert said("raised") == "Alert: Air has no value since 11:00 (the sensor is missing)."
    assert said("reminded") == "Still: Alert: Air has no value since 11:00 (the sensor is missing)."
    assert said("reminded", hearing=ASKED) == (
        "Alert: Air has no value since 11:00 (the sensor is missing); nobody acknowledged it for 30 min."
    )
    assert said("raised", "alert.door_missing") == "Alert: Front door has no value (it is missing)."
    assert DUTCH.event(alert("raised", "alert.air_missing"), alerts) == (
        "Alarm: Air heeft geen waarde sinds 11:00 (de sensor ontbreekt)."
    )
    alerts.restore([replace(gone, phase="idle", last=21.4)])
    assert said("cleared") == "Air is back: 21.4 °C."
    alerts.restore([replace(gone, phase="idle")])
    assert said("cleared") == "Air is back."


def test_late_news_says_when_it_was():
    later = replace(ENGLISH, now_ns=NOON_NS + 7200 * 10**9)
    assert later.event(record("door", True), Alerts()) == "Front door is open. (at 12:00)"
    assert later.event(record("door", True, at_ns=None), Alerts()) == "Front door is open. (time unknown)"


def test_news_of_this_boot_is_late_by_the_clock_that_nobody_sets():
    """The wall clock was 3 h wrong when it happened, or nobody knew it."""
    soon = replace(ENGLISH, boot="b", boottime_ns=5 + 59 * 10**9, now_ns=NOON_NS + 10800 * 10**9)
    assert soon.event(record("door", True), Alerts()) == "Front door is open."
    assert soon.event(record("door", True, at_ns=None), Alerts()) == "Front door is open."
    later = replace(soon, boottime_ns=5 + 150 * 10**9, now_ns=NOON_NS - 10800 * 10**9)
    assert later.event(record("door", True), Alerts()) == "Front door is open. (at 12:00)"
    assert later.event(record("door", True, at_ns=None), Alerts()) == "Front door is open. (2 min 30 s ago)"
    dutch = replace(later, lang="nl")
    assert dutch.event(record("door", True, at_ns=None), Alerts()) == "Front door is open. (2 min 30 s geleden)"


if __name__ == "__main__":
    update()
