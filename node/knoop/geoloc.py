"""Where the node is, as one element that other people's clients know. Pure.

Source: XEP-0080 1.10 (User Location), table 1 for names and units, §5 for how often. An empty element says that there
is no place to tell any more, as in the other formats of this kind (XEP-0107, XEP-0118).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree import ElementTree as ET

from knoop import payload
from knoop.record import Record
from knoop_hw.model import Channel

GEOLOC: Final = "http://jabber.org/protocol/geoloc"  # the element's namespace, and the node's name
MINE: Final = "knoop"  # the item's id: what another client of this account published is not ours to take away
_REST = {  # value of the sensor → element, and how much of its unit each unit of a channel is
    "altitude": ("alt", {"m": 1.0, "km": 1000.0}),
    "course": ("bearing", {"°": 1.0}),
    "speed": ("speed", {"m/s": 1.0, "km/h": 1 / 3.6}),
}


def missing(sensor: str, channels: Iterable[Channel]) -> str:
    """What is wrong with `sensor` as the one that knows where it is; "" when it is one."""
    numbers = {channel.name for channel in channels if channel.type == "number"}
    if {f"{sensor}.latitude", f"{sensor}.longitude"} <= numbers:
        return ""
    able = sorted(
        name.removesuffix(".latitude") for name in numbers
        if name.endswith(".latitude") and name.removesuffix("latitude") + "longitude" in numbers
    )  # fmt: skip
    known = f"expected one of {', '.join(able)}" if able else "there is none; a sensor with the driver 'nmea' has them"
    return f"'{sensor}' is no sensor with the values latitude and longitude; {known}"


def place(
    sensor: str, channels: Mapping[str, Channel], latest: Mapping[str, Record], *, run: str
) -> ET.Element | None:
    """Where `sensor` is, from the last records of this `run` of the board; None while that is not known.

    What an earlier run saw is no present. `timestamp` is left out while the clock is not set.
    """

    def said(name: str) -> tuple[float, Record] | None:
        channel = f"{sensor}.{name}"
        record = latest.get(channel)
        if record is None or record.run != run or channel not in channels:
            return None
        value = record.value
        return None if value is None or isinstance(value, bool | str) else (value, record)

    latitude, longitude = said("latitude"), said("longitude")
    if latitude is None or longitude is None or abs(latitude[0]) > 90 or abs(longitude[0]) > 180:
        return None
    values = {"lat": payload.number(latitude[0]), "lon": payload.number(longitude[0])}
    for name, (tag, factors) in _REST.items():
        if (found := said(name)) is not None and (factor := factors.get(channels[f"{sensor}.{name}"].unit)):
            values[tag] = payload.number(round(found[0] * factor, 2))
    times = [at_ns for _, record in (latitude, longitude) if (at_ns := record.at_ns) is not None]
    if times:
        values["timestamp"] = payload.timestamp(max(times))
    element = nowhere()
    for tag in sorted(values):  # the schema's order
        ET.SubElement(element, f"{{{GEOLOC}}}{tag}").text = values[tag]
    return element


def nowhere() -> ET.Element:
    """That there is no place to tell."""
    return ET.Element(f"{{{GEOLOC}}}geoloc")


def moved(before: ET.Element | None, now: ET.Element) -> bool:
    """Whether `now` is another place, or the first one; speed and time alone are no news."""
    return before is None or any(
        before.findtext(f"{{{GEOLOC}}}{tag}") != now.findtext(f"{{{GEOLOC}}}{tag}") for tag in ("lat", "lon")
    )
