"""`knoop check`: is node.toml right, and is everything there that it names? It opens nothing."""

from __future__ import annotations

import json
from pathlib import Path

from knoop import places
from knoop.access import Role
from knoop.alerts import Absence
from knoop.condition import Condition
from knoop.config import Config
from knoop.rules import OWN
from knoop_hw.errors import ConfigError


def check(config: Config, *, as_json: bool) -> tuple[str, bool]:
    """What there is to say about a valid `config`, and whether all that it names is there."""
    findings: list[str] = []
    try:
        places.password(config)
    except ConfigError as error:
        findings += [str(problem) for problem in error.problems]
    for sensor in config.hw.sensors:
        device = getattr(sensor.config, "device", None)
        if isinstance(device, Path) and not device.exists():  # what has a name instead may be away just now
            findings.append(
                f"{config.file}: sensor.{sensor.name}.device: {device} does not exist; plug it in or correct the path"
            )
        findings += [f"{config.file}: sensor.{sensor.name}.{lack}" for lack in sensor.lacks()]
    doubts = [f"{config.file}: sensor.{item.name}.{doubt}" for item in config.hw.sensors for doubt in item.doubts()]
    notes = [*map(str, config.notes), *doubts]
    if not any(person.role is Role.OWNER for person in config.people):
        notes.append(f"{config.file}: people: no owner is named here; unless somebody has claimed it, `knoop claim` "
                     "shows how")
    counts = {
        "inputs": len(config.hw.inputs), "outputs": len(config.hw.outputs) + len(config.hw.remotes),
        "sensors": len(config.hw.sensors), "people": len(config.people), "rooms": len(config.rooms),
        "alerts": sum(isinstance(rule.when, Condition) and rule != OWN for rule in config.rules),
    }
    own = [rule.name for rule in config.rules if isinstance(rule.when, Absence) or rule == OWN]
    if as_json:
        report = {"ok": not findings, "file": str(config.file), "findings": findings, **counts,
                  "own_alerts": own, "files": list(config.files), "notes": notes}  # fmt: skip
        return json.dumps(report), not findings
    summary = ", ".join(f"{what} {count}" for what, count in counts.items())
    summary += f" (and {', '.join(own)})" if own else ""
    said = (*notes, *(f"{file}: read, too" for file in config.files[1:]), *findings)
    last = f"{config.file}: {'valid, with findings' if findings else 'fine'}: {summary}"
    return "\n".join((*said, last)), not findings
