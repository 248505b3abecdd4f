"""Answers → the text of a commented `node.toml`. Pure; whatever the answers hold, the text decodes to them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from knoop_hw.toml_text import comment, quoted

Lines = Literal["usable", "forbidden", "simulated", "none"]  # "forbidden": there, but not for this user


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A serial port: its device's path; `perhaps_meter`: its cable looks like a smart meter's; `usable` by us."""

    device: str
    perhaps_meter: bool = False
    usable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All that `knoop init` asks and finds. `owners` are bare addresses; `password_file` is relative to the file.

    Without one the password is systemd's credential, and the node a service.
    """

    name: str
    label: str
    lang: Literal["en", "nl"]
    jid: str
    password_file: str
    owners: tuple[str, ...]
    publish: Literal["pep", "off"]
    host: str = ""
    port: int = 0
    ca_file: str = ""
    fingerprint: str = ""
    room: str = ""
    lines: Lines = "none"
    ports: tuple[Port, ...] = ()


def node_name(text: str) -> str:
    """A node's name out of a host's name, or "" when there is none in it."""
    name = re.sub(r"[^a-z0-9_-]", "-", text.partition(".")[0].lower())
    return re.sub(r"^[^a-z]+|-+$", "", name)[:31].rstrip("-")


def server_sees(domain: str) -> tuple[str, ...]:
    """What whoever runs the server can see, in lines; said before it is asked what to publish."""
    return (
        *textwrap.wrap(
            f"Nothing here is end-to-end encrypted yet. Whoever runs {domain} can read what you and the node write, and"
            " sees who writes when; servers often keep chats for weeks. Readings can also be published there:", 79,
        ),
        "  y  pep: at the node's own account, for the apps and machines of those who may",
        "     read everything. The server keeps the newest readings, and events and",
        "     alarms until somebody removes them.",
        "  n  off: nothing is published. Readings leave only as answers and alarms.",
    )


def node_toml(answers: Answers) -> str:
    """The whole file: what was answered, what was found, and the next steps as comments to uncomment."""
    parts = (_node, _xmpp, _people, _room, _lines, _sensors, _alerts, _publish)
    return "\n\n".join("\n".join(part(answers)) for part in parts) + "\n"


def _node(answers: Answers) -> Iterator[str]:
    yield "# Made by `knoop init`. Change what you like; `knoop check` says whether it is right."
    yield "# A # before a key or a table makes it an offer: take the # away to have it."
    yield ""
    yield "[node]"
    yield from _keys(
        ("name", answers.name, "what it is called in rooms; a lower-case word"),
        ("label", answers.label, "how people read it"),
        ("lang", answers.lang, "what it speaks to whoever has no language of their own: en or nl"),
    )


def _xmpp(answers: Answers) -> Iterator[str]:
    yield "[xmpp]                          # the node's own account"
    yield from _keys(("jid", answers.jid, ""))
    if answers.password_file:
        yield from _keys(("password_file", answers.password_file, "mode 600; never put the password here"))
    else:
        yield "# Its password is the service's: the credential 'xmpp.password' of systemd."
    if answers.host:
        yield from _keys(("host", answers.host, "where the server is; without it DNS says so"))
        yield from _keys(("port", answers.port, ""))
    if answers.ca_file:
        yield from _keys(("ca_file", answers.ca_file, "who signed the server's certificate"))
    if answers.fingerprint:
        yield from _keys(("fingerprint", answers.fingerprint, "SHA-256 of the one certificate that is right"))


def _people(answers: Answers) -> Iterator[str]:
    if not answers.owners:
        yield "[people]                        # nobody yet: who sends it the code of `knoop claim` is its owner"
        yield '#"anna@example.org" = "owner"'
    else:
        yield "[people]                        # nobody else gets an answer"
    for owner in answers.owners:
        yield f'{quoted(owner)} = "owner"'
    yield '#"bram@example.org" = "operator"   # may also switch; a "viewer" only reads'


def _room(answers: Answers) -> Iterator[str]:
    mark = "" if answers.room else "#"
    yield f"{mark}[room.{quoted(answers.room or 'alarms@rooms.example.org')}]   # a group chat to be in"
    yield f'{mark}classes = ["alarm"]             # what is said there'


def _lines(answers: Answers) -> Iterator[str]:
    if answers.lines == "simulated":
        yield "[board]"
        yield 'driver = "simulated"            # lines and sensors are made up; leave this out on a real board'
        mark = ""
    else:
        mark = "#"
        if answers.lines == "forbidden":
            yield "# There are GPIO lines, but this user may not use them: `sudo adduser USER gpio`, then log in again."
        elif answers.lines == "none":
            yield "# No GPIO lines were found on this machine. On a Raspberry Pi, lines are tables like these:"
        else:
            yield "# Something on the 40-pin header? Lines are tables like these:"
    yield ""
    yield f"{mark}[input.door]"
    yield f'{mark}label = "Front door"'
    yield f'{mark}pin = "GPIO17"                  # a contact between this pin and ground'
    yield ""
    yield f"{mark}[output.lamp]"
    yield f'{mark}label = "Lamp"'
    yield f'{mark}pin = "GPIO27"'


def _sensors(answers: Answers) -> Iterator[str]:
    yield "[sensor.machine]"
    yield 'driver = "system"               # this machine: load, memory, disk, uptime, its temperature'
    yield 'every = "1min"'
    yield "memory.delta = 1                # say nothing new below a change of 1 %"
    if answers.lines == "simulated":
        yield ""
        yield "[sensor.air]"
        yield 'driver = "simulated"            # temperature and humidity'
        yield 'label = "Air"'
        yield "temperature.delta = 0.5"
        yield "humidity.delta = 2"
    ports = sorted(answers.ports, key=lambda port: not port.perhaps_meter)
    for number, port in enumerate(ports, 1):
        yield ""
        yield f"# Found: {comment(port.device)}"
        if port.perhaps_meter:
            yield "# The cable of a smart meter often calls itself so. If it is one:"
        else:
            yield "# If it is a smart meter's P1 cable:"
        yield f"#[sensor.meter{number if number > 1 else ''}]"
        yield '#driver = "p1"'
        yield f"#device = {quoted(port.device)}"
        if not port.usable:
            yield "# This user may not open it yet: `sudo adduser USER dialout`, then log in again."


def _alerts(_: Answers) -> Iterator[str]:
    yield "[alert.disk_full]               # calls for you when this is so for a minute"
    yield 'when = "machine.disk > 90"'
    yield 'for = "1min"'


def _publish(answers: Answers) -> Iterator[str]:
    yield "# pep: the server keeps readings for the apps of those who may read them all; off: they leave in chat only."
    yield "[publish]"
    yield from _keys(("pubsub", answers.publish, ""))


def _keys(*keys: tuple[str, str | int, str]) -> Iterable[str]:
    for key, value, why in keys:
        line = f"{key} = {value if isinstance(value, int) else quoted(value)}"
        yield f"{line:<31} # {why}" if why else line
