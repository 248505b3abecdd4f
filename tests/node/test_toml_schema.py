"""`knoop schema` says of node.toml what the decoder does, key by key."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.running import BOARD

from knoop import cli, commands, config
from knoop.toml_schema import schema
from knoop.xmpp import compat
from knoop_hw import config as hw_config
from knoop_hw import source
from knoop_hw.errors import ConfigError
from knoop_hw.include import KEYS

ROOT = Path(__file__).parents[2]
SCHEMA = schema()
HEAD = '[node]\nname = "attic"\n[xmpp]\njid = "attic@example.org"\n'
WHOLE = HEAD + BOARD.replace('scenario = "scenario.toml"', 'buses = ["i2c", "w1:GPIO4"]') + """
max_on = "2 min"
min_off = 3
dead_man = true
confirm = false
[output.fan]
pin = "BOARD12"
kind = "pwm"
interlock = ["lamp"]
interlock_wait = "1s"
dead_man = "5s"
[output.dimmer]
sensor = "arduino"
write = "B{value}\\n"
kind = "number"
minimum = 0
maximum = 255
initial = 0
safe = "keep"
[output.valve]
sensor = "bus"
coil = 3
max_on = "1h"
[sensor.arduino]
driver = "lines"
device = "/dev/ttyACM0"
[sensor.bus]
driver = "modbus"
device = "/dev/ttyUSB0"
[input.bell]
pin = "GPIO22"
kind = "button"
double = "300ms"
long = 1.5
[input.water]
pin = "GPIO13"
kind = "counter"
rate = "1/min"
[input.sun]
pin = "GPIO19"
kind = "counter"
[input.sun.rate]
unit = "Hz"
heartbeat = "5min"
[input.rain]
pin = "GPIO23"
kind = "counter"
unit = "mm"
multiply = 0.2794
delta = "2 %"
median = 5
valid = [0, 1e6]
clamp = [0, 5000]
[sensor.pi]
driver = "system"
every = "1min"
label = "Pi"
[sensor.pi.load]
label = "Load"
class = "event"
digits = 1
stale = "1h"
min_interval = 0
[people]
"anna@example.org" = "owner"
[people."bram@example.org"]
role = "viewer"
only = ["lamp"]
notify = ["alarm"]
lang = "nl"
[room."fleet@rooms.example.org"]
classes = ["alarm", "event"]
[alert.dark]
when = "lamp == off"
for = "5min"
severity = "info"
[publish]
pubsub = "off"
[storage]
max = "32MiB"
retain = "7d"
"""

# A validator of what the schema uses (draft 2020-12), and of nothing else ---------------------------------------------

KNOWN = {
    "$schema", "title", "description", "default", "type", "properties", "additionalProperties", "propertyNames",
    "items", "enum", "const", "anyOf", "not", "pattern", "minLength", "minimum", "maximum", "multipleOf",
    "minItems", "maxItems",
}  # fmt: skip
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "integer": (int,),
    "number": (int, float),
}  # fmt: skip


def wrong(value: Any, rule: Any, path: str = "") -> Iterator[str]:
    """Where and why a value is not valid."""
    assert set(rule) <= KNOWN, f"the validator does not know {set(rule) - KNOWN}"
    if "type" in rule:
        fits = isinstance(value, TYPES[rule["type"]]) and (rule["type"] == "boolean") >= isinstance(value, bool)
        if not fits:
            yield f"{path}: {value!r} is no {rule['type']}"
            return
    if "enum" in rule and value not in rule["enum"]:
        yield f"{path}: {value!r} is not one of {rule['enum']}"
    if "const" in rule and value != rule["const"]:
        yield f"{path}: {value!r} is not {rule['const']!r}"
    if "anyOf" in rule and all(any(wrong(value, one, path)) for one in rule["anyOf"]):
        yield f"{path}: {value!r} fits nothing"
    if "not" in rule and not any(wrong(value, rule["not"], path)):
        yield f"{path}: {value!r} is excluded"
    if isinstance(value, str):
        if "pattern" in rule and not re.search(rule["pattern"], value):
            yield f"{path}: {value!r} does not match"
        if len(value) < rule.get("minLength", 0):
            yield f"{path}: too short"
    if isinstance(value, int | float):
        if value < rule.get("minimum", value) or value > rule.get("maximum", value):
            yield f"{path}: {value!r} is out of bounds"
        if "multipleOf" in rule and value % rule["multipleOf"]:
            yield f"{path}: {value!r} is no multiple"
    if isinstance(value, list) and not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
        yield f"{path}: too few or too many"
    if isinstance(value, list) and "items" in rule:
        for index, item in enumerate(value):
            yield from wrong(item, rule["items"], f"{path}[{index}]")
    if isinstance(value, dict):
        for key, item in value.items():
            if "propertyNames" in rule:
                yield from wrong(key, rule["propertyNames"], f"{path}.{key}")
            inner = rule.get("properties", {}).get(key, rule.get("additionalProperties", {}))
            if inner is False:
                yield f"{path}.{key}: unknown"
            else:
                yield from wrong(item, inner, f"{path}.{key}")


def judged(text: str) -> list[str]:
    return list(wrong(tomllib.loads(text), SCHEMA))


# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((ROOT / "examples").rglob("*.toml")), ids=lambda file: file.name)
def test_the_examples_are_valid(file):
    data = tomllib.loads(file.read_text("utf-8"))
    if "node" in data:  # the others are scenarios
        assert list(wrong(data, SCHEMA)) == []


def test_some_examples_are_configurations():
    assert sum("[node]" in file.read_text("utf-8") for file in (ROOT / "examples").rglob("*.toml")) >= 2


def test_what_the_decoder_takes_is_valid(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("include = []\nversion = 1\n" + WHOLE, "utf-8")
    config.load(file, jid=compat.jid, words=commands.words())
    assert judged(file.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "attic"', "name = 3"),
        ('name = "attic"', 'nmae = "attic"'),
        ("[node]", "version = 99\n[node]"),
        ("[node]", 'include = "common.toml"\n[node]'),
        ("[node]", "[nodes]\n[node]"),
        ('jid = "attic@example.org"', 'jid = "attic@example.org"\nport = 70000'),
        ('jid = "attic@example.org"', 'jid = "attic@example.org"\nca_file = ""'),
        ('driver = "simulated"', 'driver = "rpigpio"'),
        ('buses = ["i2c", "w1:GPIO4"]', "buses = [2]"),
        ("[input.door]", "[input.Door]"),
        ('pin = "GPIO17"', 'pin = "GPIO28"'),
        ('pin = "GPIO17"', 'pin = "BOARD1"'),
        ('pin = "GPIO17"', 'pin = "GPIO17"\ndebounce = "20"'),
        ('pin = "GPIO17"', 'pin = "GPIO17"\ndebounce = 11'),
        ('pin = "GPIO17"', 'pin = "GPIO17"\nkind = "contcat"'),
        ('max_on = "2 min"', 'max_on = "2 minutes"'),
        ("min_off = 3", "min_off = -1"),
        ("dead_man = true", 'dead_man = "soon"'),
        ("confirm = false", 'confirm = "no"'),
        ('interlock = ["lamp"]', 'interlock = "lamp"'),
        ("maximum = 255", 'maximum = "255"'),
        ("initial = 0", 'initial = "restore"'),
        ("coil = 3", "coil = -1"),
        ("coil = 3", 'coil = 3\nwrite = "B{value}"'),
        ('sensor = "bus"', 'sensor = "bus"\npin = "GPIO4"'),
        ("long = 1.5", "long = -1"),
        ('double = "300ms"', 'double = "short"'),
        ('rate = "1/min"', "rate = 60"),
        ('heartbeat = "5min"', "heartbaet = 300"),
        ("multiply = 0.2794", 'multiply = "0.2794"'),
        ('delta = "2 %"', 'delta = "2 percent"'),
        ("median = 5", "median = 4"),
        ("valid = [0, 1e6]", "valid = 1e6"),
        ("clamp = [0, 5000]", "clamp = [0]"),
        ("clamp = [0, 5000]", 'clamp = ["0", "1"]'),
        ('stale = "1h"', "stale = 0.5"),
        ('driver = "system"', 'driver = "sytsem"'),
        ('every = "1min"\nlabel = "Pi"', 'evry = "1min"'),
        ("digits = 1", "digits = 10"),
        ("digits = 1", "digts = 1"),
        ('"anna@example.org" = "owner"', '"anna@example.org" = "boss"'),
        ('only = ["lamp"]', 'only = "lamp"'),
        ('notify = ["alarm"]', 'notify = ["alarms"]'),
        ('lang = "nl"', 'lang = "de"'),
        ('classes = ["alarm", "event"]', 'class = "alarm"'),
        ('when = "lamp == off"', "when = true"),
        ('severity = "info"', 'severity = "loud"'),
        ('max = "32MiB"', 'max = "32 megabytes"'),
        ('retain = "7d"', 'retain = "a week"'),
    ],
)  # fmt: skip
def test_what_the_decoder_refuses_key_by_key_is_not_valid(tmp_path, old, new):
    assert WHOLE.count(old) >= 1
    file = tmp_path / "node.toml"
    file.write_text(WHOLE.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError):
        config.load(file, jid=compat.jid, words=commands.words())
    assert judged(file.read_text("utf-8")) != []


def test_it_knows_every_table_and_driver():
    assert set(SCHEMA["properties"]) == {*config.TABLES, *hw_config.TABLES, *KEYS}
    drivers = SCHEMA["properties"]["sensor"]["additionalProperties"]["anyOf"]
    assert {one["properties"]["driver"]["const"] for one in drivers} == set(source.names())


def test_every_scalar_says_its_notation():
    """A scalar without a schema would let anything pass."""

    def scalars(rule):
        if isinstance(rule, dict):
            if str(rule.get("description", "")).startswith(("a ", "an ", "true", '"')) and "properties" not in rule:
                yield rule
            for inner in rule.values():
                yield from scalars(inner)
        elif isinstance(rule, list):
            for inner in rule:
                yield from scalars(inner)

    found = list(scalars(SCHEMA))
    assert len(found) > 20
    assert [rule for rule in found if not rule.keys() & {"anyOf", "enum", "pattern", "type"}] == []


def test_the_command_prints_it(capsys):
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
