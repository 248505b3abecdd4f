"""`<alerts xmlns='urn:knoop:1:room'>`: what nodes tell each other in a room about their alerts. Pure; docs/wire.md.

In a presence it says which alerts wait for a person and which lines are still to be said, in a message which alerts
the line is about. Anybody in the room can write one: what is read here is bounded, and never acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from knoop.room.gathering import MOST_ALERTS, Key, Shown

ROOM = "{urn:knoop:1:room}"
RAISED = "raised"
LONGEST_NAME = 64


def element(shown: Mapping[Key, Shown], severities: Mapping[str, str] | None = None) -> ET.Element:
    """The first MOST_ALERTS of these keys; `severities` of the alerts by name."""
    alerts = ET.Element(f"{ROOM}alerts")
    for (name, change), one in list(shown.items())[:MOST_ALERTS]:
        values = {"name": name}
        if severity := (severities or {}).get(name):
            values["severity"] = severity
        if change != RAISED:
            values["is"] = change
        if one.at_ns is not None:
            values["since"] = f"{datetime.fromtimestamp(one.at_ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
        if one.said:
            values["said"] = "true"
        ET.SubElement(alerts, f"{ROOM}alert", values)
    return alerts


def read(stanza: ET.Element) -> dict[Key, Shown]:
    """What a presence or message tells; nothing where it tells nothing, and what is odd is left out."""
    alerts = stanza.find(f"{ROOM}alerts")
    if alerts is None:
        return {}
    told: dict[Key, Shown] = {}
    for alert in list(alerts)[:MOST_ALERTS]:
        name, change = alert.get("name", ""), alert.get("is", RAISED)
        if alert.tag == f"{ROOM}alert" and 0 < len(name) <= LONGEST_NAME and len(change) <= LONGEST_NAME:
            told[name, change] = Shown(at_ns=_instant(alert.get("since", "")), said=alert.get("said") == "true")
    return told


def _instant(text: str) -> int | None:
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    except ValueError:
        return None
