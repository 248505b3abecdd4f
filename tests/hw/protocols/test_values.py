"""From text to values: what is found, what is refused, and what garbage can do."""

from __future__ import annotations

import math
import re
import signal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from knoop_hw import config, decode
from knoop_hw.errors import BadReading
from knoop_hw.leash import leashed
from knoop_hw.protocols.values import LONGEST_TEXT, Said, Value, excerpt, path_of, read

LINE = "T=-3.5 H=47 door=open"
JSON = '{"bme": {"humidity": 47.5, "ok": true, "name": "attic"}, "list": [{"x": 1}, {"x": "2,5"}], "n": -0}'


@pytest.mark.parametrize(
    ("text", "options", "value"),
    [
        (LINE, {"pattern": r"T=(-?\d+\.\d)"}, -3.5),
        (LINE, {"pattern": r"(T|t)=(?P<value>-?\d+)"}, -3.0),
        (LINE, {"pattern": r"(?:T|t)=(-?\d+)"}, -3.0),
        (LINE, {"pattern": r"door=(\w+)", "type": "text"}, "open"),
        (LINE, {"pattern": r"H=(\d+)$"}, None),
        ("first\nH=47\nlast", {"pattern": r"^H=(\d+)$"}, 47.0),
        (LINE, {"pattern": r"(?:X=(\d+))?"}, None),  # fits, without its group
        (JSON, {"json": "bme.humidity"}, 47.5),
        (JSON, {"json": "list[0].x"}, 1.0),
        (JSON, {"json": "list[1].x", "decimal": ","}, 2.5),
        (JSON, {"json": "list[2].x"}, None),
        (JSON, {"json": "bme[0]"}, None),
        (JSON, {"json": "list.x"}, None),
        (JSON, {"json": "bme.ok", "type": "boolean"}, True),
        (JSON, {"json": "list[0].x", "type": "boolean"}, True),
        (JSON, {"json": "bme.name", "type": "text"}, "attic"),
        (JSON, {"json": "bme.humidity", "type": "text"}, "47.5"),
        (JSON, {"json": "bme.ok", "type": "text"}, "true"),
        (JSON, {"json": "n"}, 0.0),
        ("[[5]]", {"json": "[0][0]"}, 5.0),
        ("5", {"json": "x"}, None),
        ("{'x': 5}", {"json": "x"}, None),
        ('{"x": NaN}', {"json": "x"}, None),  # no JSON (RFC 8259 §6)
        ("1,2,3", {"column": 1}, 1.0),
        ("1,2,3", {"column": 3}, 3.0),
        ("1,2,3", {"column": 4}, None),
        ("", {"column": 1}, None),
        ('"a, b", 5', {"column": 2}, 5.0),
        ('"a, b", 5', {"column": 1, "type": "text"}, "a, b"),
        ("1;2,5", {"column": 2, "separator": ";", "decimal": ","}, 2.5),
        ("1\t2", {"column": 2, "separator": "\t"}, 2.0),
        ("1\x1c2", {"column": 2, "separator": "\x1c"}, 2.0),  # ASCII's own; to Python it ends a line
        ("  1   2 \t 3", {"column": 3, "separator": " "}, 3.0),
        ("\n\n1,2\n3,4\n", {"column": 2}, 2.0),
        ("on", {"column": 1, "type": "boolean"}, True),
        ("No", {"column": 1, "type": "boolean"}, False),
        ("+1.e3", {"column": 1}, 1000.0),
        (".5", {"column": 1}, 0.5),
    ],
)
def test_found(text, options, value):
    found = Value(**options).of(Said(text))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("T=nan", {"pattern": "T=(.*)"}),  # what Arduino's DHT library prints of a sensor that is not there
        ("T=inf", {"pattern": "T=(.*)"}),
        ("T=1e999", {"pattern": "T=(.*)"}),
        ("T=1_000", {"pattern": "T=(.*)"}),
        ("T=٣", {"pattern": "T=(.*)"}),  # a digit to Python
        ("T=1.2.3", {"pattern": "T=(.*)"}),
        ("T=1,234.5", {"pattern": "T=(.*)", "decimal": ","}),
        ("T=1.234", {"pattern": "T=(.*)", "decimal": ","}),  # 1234 where the comma is the decimal mark
        ("T=", {"pattern": "T=(.*)"}),
        ("T=", {"pattern": "T=(.*)", "type": "text"}),
        ("T=\x00\x1b", {"pattern": "T=(.*)", "type": "text"}),
        ("2", {"column": 1, "type": "boolean"}),
        ('{"x": null}', {"json": "x"}),
        ('{"x": null}', {"json": "x", "type": "text"}),
        ('{"x": [1]}', {"json": "x"}),
        ('{"x": {}}', {"json": "x", "type": "text"}),
        ('{"x": true}', {"json": "x"}),
        ('{"x": 1e999}', {"json": "x"}),
        ('{"x": 1e999}', {"json": "x", "type": "text"}),
        (f'{{"x": 1{"0" * 400}}}', {"json": "x"}),
        (f'{{"x": 1{"0" * 400}}}', {"json": "x", "type": "text"}),
    ],
)
def test_held_but_no_value(text, options):
    with pytest.raises(BadReading):
        Value(**options).of(Said(text))
    assert read({"x": Value(**options)}, Said(text)) == {"x": None}


@given(st.text(max_size=600))
def test_a_text_is_a_short_line_that_xml_can_carry(text):
    try:
        value = Value(pattern="(?s)(.*)", type="text").of(Said(text))
    except BadReading:
        return
    assert 0 < len(value) <= LONGEST_TEXT
    assert value == value.strip()
    assert not re.search("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", value)
    value.encode()


@given(st.text(max_size=200) | st.from_regex(r"[\[\]{}:,\"0-9eE+\-.]{0,60}", fullmatch=True))
@settings(max_examples=200)
def test_whatever_is_said_is_a_value_or_none_or_no_reading(text):
    said = Said(text)
    for options in ({"pattern": "([0-9.eE+-]+)"}, {"json": "[0]"}, {"json": "a.b"}, {"column": 2}, {"column": 1}):
        for kind, types in (("number", float), ("text", str), ("boolean", bool)):
            [found] = read({"x": Value(**options, type=kind)}, said).values() or [None]
            assert found is None or type(found) is types
            assert not isinstance(found, float) or math.isfinite(found)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 10_000, "1" * 60_000, '{"x": "\\ud800"}', '"' * 1001])
def test_json_and_columns_that_mean_harm(text):
    assert read({"x": Value(json="x"), "y": Value(column=2)}, Said(text)).get("x") is None


@pytest.mark.parametrize(
    ("path", "steps"),
    [("a", ("a",)), (".a", ("a",)), ("a.b-c.d_é", ("a", "b-c", "d_é")), ("a[0][12].b", ("a", 0, 12, "b")),
     ("[0]", (0,)), ("a.0", ("a", "0"))],
)  # fmt: skip
def test_paths(path, steps):
    assert path_of(path) == steps


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("{}", "sensor.arduino.values.x: it does not say where the value stands; set one of pattern, json or column"),
        ('{pattern = "(a)", column = 1}', "sensor.arduino.values.x: pattern and column are two ways; set one of"),
        ("{pattern = 'T=(\\d+'}", "sensor.arduino.values.x.pattern: missing ), unterminated subpattern at character 3"),
        ("{pattern = 'T=\\d+'}", "sensor.arduino.values.x.pattern: has no groups; put what is the value in ( )"),
        ("{pattern = '(a)(b)'}", "sensor.arduino.values.x.pattern: has 2 groups; call the one that is the"),
        ("{pattern = '[[a](b)'}", "sensor.arduino.values.x.pattern: Possible nested set at position 1; write"),
        (f"{{pattern = '({'(' * 90}a{')' * 90})'}}", "sensor.arduino.values.x.pattern: has 91 groups"),
        (f"{{pattern = '{'a' * 201}'}}", "sensor.arduino.values.x.pattern: has 201 characters; 200 are enough"),
        ("{pattern = '(a{99999999999})'}", "sensor.arduino.values.x.pattern: the repetition number is too large"),
        ('{json = "a..b"}', "sensor.arduino.values.x.json: is no path at character 2; a path is such as"),
        ('{json = ""}', "sensor.arduino.values.x.json: is no path at character 1"),
        ('{json = "a[-1]"}', "sensor.arduino.values.x.json: is no path at character 2"),
        ("{column = 0}", "sensor.arduino.values.x.column: expected from 1 to 999, not 0"),
        ('{column = 1, separator = ", "}', "sensor.arduino.values.x.separator: is one character, such as"),
        ('{column = 1, decimal = ","}', "sensor.arduino.values.x.separator: is the decimal mark, too"),
        ('{column = 1, unit = "C"}', "sensor.arduino.values.x.unit: 'C' is not a unit Knoop knows; "),
        ('{column = 1, type = "text", unit = "W"}', "sensor.arduino.values.x.unit: a text has none; leave it out"),
        ('{column = 1, type = "int"}', 'sensor.arduino.values.x.type: "int" is not one of number, text, boolean'),
        ("{colum = 1}", "sensor.arduino.values.x.colum: unknown key; did you mean 'column'?"),
        ("3", "sensor.arduino.values.x: expected a table such as { pattern = 'T=([0-9.]+)' }, not 3"),
    ],
)
def test_refused_where_it_stands(written, complaint):
    text = f'[sensor.arduino]\ndriver = "lines"\ndevice = "/dev/null"\n\n[sensor.arduino.values]\nx = {written}\n'
    problems = []
    config.load(decode.parse(text, "node.toml"), problems)
    assert str(problems[0]).startswith(f"node.toml:6: {complaint}")


@given(st.text(max_size=300))
@example("0" * 61)
def test_an_excerpt_does_nothing_to_a_terminal(text):
    assert excerpt(text).isprintable()
    assert excerpt(text).removesuffix(" …" if len(text) > 60 else "").isascii()
    assert len(excerpt(text)) <= 60 * 10 + 4


# ── the leash ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("pattern", "text"), [(r"(a+)+$", "a" * 1000 + "b"), ("(?:a|a)*($)", "a" * 99 + "b")])
def test_a_pattern_that_would_take_years_is_ended(pattern, text):
    with pytest.raises(TimeoutError, match=r"more than 0\.02 s of processor time"):
        leashed(lambda: read({"x": Value(pattern=pattern)}, Said(text)), limit_s=0.02)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_leash_lets_results_and_errors_through():
    assert leashed(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        leashed(lambda: 1 / 0)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    signal.raise_signal(signal.SIGVTALRM)  # one that comes too late pulls at nothing
