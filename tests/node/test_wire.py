"""docs/wire.md, the schemas and the reader say the same."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.wire import faults, validate

from knoop import payload

DOC = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
EXAMPLES = [ET.fromstring(text) for text in re.findall(r"```xml\n(.*?)```", DOC, re.DOTALL)]
READABLE = [example for example in EXAMPLES if example.tag.endswith(("readings", "state"))]
REQUESTS = [example for example in EXAMPLES if example.tag.endswith("history") and "complete" not in example.attrib]
GROWING = [example for example in EXAMPLES if example not in REQUESTS]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.tag.rpartition(":")[2])
def test_every_example_is_valid(example):
    validate(example)


@pytest.mark.parametrize("example", READABLE, ids=lambda example: example.tag.rpartition(":")[2])
def test_every_example_can_be_read(example):
    assert payload.parse_readings(example)


def test_there_are_examples_of_every_payload():
    assert {example.tag for example in EXAMPLES} == {
        "{urn:knoop:1:readings}readings", "{urn:knoop:1:state}state", "{urn:knoop:1:about}about",
        "{urn:knoop:1:history}history",
    }  # fmt: skip


@pytest.mark.parametrize("example", GROWING, ids=lambda example: example.tag.rpartition(":")[2])
def test_what_is_unknown_is_allowed_and_ignored(example):
    grown = deepcopy(example)
    for element in list(grown.iter()):
        element.set("colour", "blue")
        element.set("{urn:example}taste", "sweet")
    stranger = ET.SubElement(grown, "{urn:example}more", deep="yes")
    ET.SubElement(stranger, "{urn:example}inside").text = "words"
    validate(grown)
    if example in READABLE:
        assert payload.parse_readings(grown) == payload.parse_readings(example)


def test_a_reading_nobody_can_tell_apart_is_refused():
    example = deepcopy(EXAMPLES[0])
    del example[0].attrib["seq"]
    assert faults(example)
    with pytest.raises(ValueError, match="without seq"):
        payload.parse_readings(example)


NAMES = ["run", "at", "clock", "boot", "boottime", "channel", "seq", "unit", "dt", "class", "quality"]
VALUES = [
    *("", "0", "1", "-5", "1e3", "unsynced", "missing", "error", "ok", "alarm", "k3v9q2xa", "door", "Door"),
    *("a.b.c", "2026-11-22T10:15:03Z", "2026-11-22 10:15", "true", " 7", "٣"),
]
TEXTS = ["", " ", "1", "-0.5", "1e5", ".5", "5.", "+1", "true", "TRUE", "NaN", "٣", " 3", "words"]


@st.composite
def _broken(draw: st.DrawFn) -> ET.Element:
    """An example with up to three random changes; often no longer valid."""
    element = deepcopy(draw(st.sampled_from(READABLE)))
    for _ in range(draw(st.integers(1, 3))):
        target = draw(st.sampled_from(list(element.iter())))
        match draw(st.integers(0, 5)):
            case 0:
                target.attrib.pop(draw(st.sampled_from(NAMES)), None)
            case 1 | 2:
                target.set(draw(st.sampled_from(NAMES)), draw(st.sampled_from(VALUES)))
            case 3:
                target.text = draw(st.sampled_from(TEXTS))
            case 4:
                namespace = element.tag.partition("}")[0]
                target.tag = f"{namespace}}}{draw(st.sampled_from(['number', 'boolean', 'text', 'readings', 'blob']))}"
            case 5:
                target.append(deepcopy(draw(st.sampled_from(list(element)))) if len(element) else ET.Element("x"))
    return element


@given(_broken())
def test_what_the_schema_refuses_the_reader_refuses(element):
    """So a client without lxml, such as the tour, may judge by `parse_readings` alone."""
    if faults(element):
        with pytest.raises(ValueError):
            payload.parse_readings(element)
