"""`knoop schema`: what node.toml may say, as JSON Schema for editors, made from what the decoder decodes with. Pure.

It knows each key by itself: names, types, choices, bounds. What keys must be to one another, and which must be there,
`knoop check` says: a file may be one of several (`include`).
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from knoop import config, rules
from knoop.kept import Storage
from knoop.network import Network
from knoop_hw import source, tables
from knoop_hw.decode import Between, Scalar, key_of
from knoop_hw.filters import Options
from knoop_hw.include import MIGRATIONS
from knoop_hw.remote_tables import Remote

DRAFT = "https://json-schema.org/draft/2020-12/schema"
CHANNEL = "^[a-z][a-z0-9_]*$"
ONE: Mapping[str, type[Any]] = {
    "node": config.Node, "xmpp": config.Xmpp, "publish": config.Publish, "storage": Storage,
    "network": Network,
    "board": tables.BoardTable,
}  # fmt: skip
MANY: Mapping[str, tuple[type[Any], str]] = {
    "people": (config.PersonTable, ""), "room": (config.Room, ""), "alert": (rules.AlertTable, CHANNEL),
    "input": (tables.Input, CHANNEL),
}  # fmt: skip
GIVEN = frozenset({"name", "world", "to"})  # fields of channels and drivers that no key sets

PLAIN: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}

Schema = dict[str, Any]


def schema() -> Schema:
    """The whole of it."""
    many = {table: _many(_table(kind, skip=GIVEN if names else ()), names) for table, (kind, names) in MANY.items()}
    files = {"type": "array", "items": {"type": "string", "minLength": 1}}
    return {
        "$schema": DRAFT,
        "title": "node.toml",
        "description": "The configuration of a Knoop node.",
        "type": "object",
        "properties": {
            "include": {**files, "description": "Files that give way to this one, relative to it."},
            "version": {"type": "integer", "minimum": 1, "maximum": len(MIGRATIONS) + 1},
            **{table: _table(kind) for table, kind in ONE.items()},
            **many,
            "output": _many({"anyOf": [_table(tables.Output, skip=GIVEN), *_remotes()]}, CHANNEL),
            "sensor": _many({"anyOf": [_sensor(name) for name in source.names()]}, CHANNEL),
        },
        "additionalProperties": False,
    }


def _many(entry: Schema, names: str) -> Schema:
    """A table of tables, whose names people choose."""
    pattern = {"propertyNames": {"pattern": names}} if names else {}
    return {"type": "object", "additionalProperties": entry, **pattern}


def _sensor(name: str) -> Schema:
    """`[sensor.NAME]` with this driver; every other key is the table of one of its fields."""
    driver = source.load(name)
    head, own = _table(tables.SensorHead), _table(driver.Config, skip=GIVEN)
    keys = {**head["properties"], **own["properties"], "driver": {"const": name}}
    field = _table(Options)
    text = inspect.getdoc(driver)
    return {**own, "description": _first(text or ""), "properties": keys, "additionalProperties": field}


def _remotes() -> Iterator[Schema]:
    """`[output.NAME]` in a device, for each driver that can write; `kind` is the output's own."""
    for name in source.names():
        if (write := getattr(source.load(name), "Write", None)) is not None:
            general, own = _table(Remote, skip=GIVEN), _table(write, skip={*GIVEN, "kind"})
            yield {**general, "properties": {**own["properties"], **general["properties"]}}


def _table(kind: type[Any], *, skip: Collection[str] = ()) -> Schema:
    """A dataclass as an object; one with a SHORTHAND also as that field's bare value."""
    hints = get_type_hints(kind, include_extras=True)
    keys = {
        key_of(field, hints[field.name]): _value(hints[field.name]) | _default(field)
        for field in fields(kind) if field.init and field.name not in skip
    }  # fmt: skip
    made: Schema = {
        "type": "object", "description": _first(inspect.getdoc(kind) or ""), "properties": keys,
        "additionalProperties": False,
    }  # fmt: skip
    shorthand: str | None = getattr(kind, "SHORTHAND", None)
    return made if shorthand is None else {"anyOf": [keys[shorthand], made]}


def _first(text: str) -> str:
    """The contract of a docstring, without Markdown."""
    return text.partition("\n")[0].replace("`", "")


def _default(field: Field[Any]) -> Schema:
    value = field.default
    shown = isinstance(value, str | bool) and value != ""
    return {"default": value} if value is not MISSING and shown else {}


def _value(hint: Any) -> Schema:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(args[0], args[1:])
    if origin in {Union, UnionType}:
        kinds = [_value(item) for item in args if item is not NoneType]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _value(args[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(args[1])}
    if isinstance(hint, type) and is_dataclass(hint):
        return _table(hint)
    if hint is Path:
        return {"type": "string", "minLength": 1}
    return {} if hint is Any else {"type": PLAIN[hint]}


def _annotated(kind: Any, extras: tuple[Any, ...]) -> Schema:
    scalar = next((item for item in extras if isinstance(item, Scalar)), None)
    limits = next((item for item in extras if isinstance(item, Between)), None)
    made = _value(kind) if scalar is None else {"description": scalar.expected, **scalar.schema}
    if limits is None:
        return made
    bounds = {"minimum": limits.low, "maximum": limits.high}
    bounds = {key: bound for key, bound in bounds.items() if bound is not None}
    if "anyOf" in made:  # a text with a unit is not compared
        made["anyOf"] = [{**one, **bounds} if one["type"] == "number" else one for one in made["anyOf"]]
        return made
    return {**made, **bounds}
