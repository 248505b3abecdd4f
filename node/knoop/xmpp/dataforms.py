"""Data forms as XML (XEP-0004, with the value types of XEP-0122), and what was filled in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from knoop.forms import MOST_CHOICES, Field, Form

DATA = "{jabber:x:data}"
VALIDATE = "{http://jabber.org/protocol/xdata-validate}"
MAX_FIELDS = 50  # in what is submitted; ours have at most four
MAX_VALUES = 2 * MOST_CHOICES


def element(form: Form, *, notice: Sequence[str] = ()) -> ET.Element:
    """The form to fill in; `notice` are lines above it. A note beside it would hide it in Movim."""
    x = ET.Element(f"{DATA}x", {"type": "form"})
    ET.SubElement(x, f"{DATA}title").text = form.title
    for line in notice:
        ET.SubElement(x, f"{DATA}instructions").text = line
    x.extend(_field(field) for field in form.fields)
    return x


def result(title: str, label: str, lines: Sequence[str]) -> ET.Element:
    """An answer of several lines. One text of many lines: of the kinds of fields, every client shows this one whole."""
    x = ET.Element(f"{DATA}x", {"type": "result"})
    ET.SubElement(x, f"{DATA}title").text = title
    field = ET.SubElement(x, f"{DATA}field", {"var": "answer", "type": "text-multi", "label": label})
    for line in lines:
        ET.SubElement(field, f"{DATA}value").text = line
    return x


def submitted(x: ET.Element) -> dict[str, tuple[str, ...]]:
    """What was filled in, by field; raises ValueError for what is no submitted form. Unknown fields are kept."""
    if x.get("type") != "submit":
        raise ValueError("not a submitted form")
    values: dict[str, tuple[str, ...]] = {}
    for field in x.findall(f"{DATA}field"):
        var = field.get("var", "")
        if not var or var in values:
            raise ValueError("a field without a name, or twice")
        values[var] = tuple("".join(value.itertext()) for value in field.findall(f"{DATA}value"))
        if len(values) > MAX_FIELDS or sum(map(len, values.values())) > MAX_VALUES:
            raise ValueError("more than any of our forms asks for")
    return values


def _field(field: Field) -> ET.Element:
    made = ET.Element(f"{DATA}field", {"var": field.var, "type": field.kind, "label": field.label})
    if field.needed:
        ET.SubElement(made, f"{DATA}required")
    for value in field.values:
        ET.SubElement(made, f"{DATA}value").text = value
    for option in field.options:
        ET.SubElement(ET.SubElement(made, f"{DATA}option", {"label": option.label}), f"{DATA}value").text = option.value
    if field.datatype:
        validate = ET.SubElement(made, f"{VALIDATE}validate", {"datatype": field.datatype})
        ends = {"min": field.least, "max": field.most}
        ET.SubElement(validate, f"{VALIDATE}range", {k: f"{v:.15g}" for k, v in ends.items() if v is not None})
    return made
