"""Whether an element is what docs/wire.md says, judged by the RELAX NG schemas: for real traffic. Needs lxml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from lxml import etree

import knoop

SCHEMAS = Path(knoop.__file__).parent / "schema"


@cache
def schema(name: str) -> Any:
    """The compiled schema of a namespace's last word: `readings`, `state`, `about`."""
    return etree.RelaxNG(etree.parse(str(SCHEMAS / f"{name}.rng")))


def faults(element: ET.Element) -> list[str]:
    """What the schema of the element's namespace says against it; nothing when it is valid."""
    name = element.tag.removeprefix("{").partition("}")[0].removeprefix("urn:knoop:1:")
    if not (SCHEMAS / f"{name}.rng").exists() or name == "common":
        return [f"{element.tag}: no schema for this namespace"]
    judge = schema(name)
    if judge.validate(etree.fromstring(ET.tostring(element))):
        return []
    return [str(entry.message) for entry in judge.error_log]


def validate(element: ET.Element) -> None:
    """Raise AssertionError, with the reasons, when the element is not valid."""
    found = faults(element)
    if found:
        raise AssertionError("\n".join([*found, ET.tostring(element, encoding="unicode")]))
