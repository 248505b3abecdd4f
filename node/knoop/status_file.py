"""`status.json`: how the node is, for programs on this machine (docs/machine.md). No secret, reading or person."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

from knoop.health import Health
from knoop.payload import timestamp
from knoop_hw.clock import Clock

log = logging.getLogger(__name__)

SCHEMA = 1
EVERY_S = 10.0  # a file older than three of these is of a node that was killed, or hangs
MODE = 0o640


class StatusFile:
    """Written on each change and every EVERY_S, by a rename: a reader finds the whole of one or of the next."""

    def __init__(self, path: Path, *, name: str) -> None:
        self._path, self._name = path, name
        self._told: tuple[object, ...] = ()
        self._told_ns = 0
        self._last: Health | None = None
        self._failed = self._dated = False

    def begun(self) -> None:
        """The run before this one has ended, however: what it said last is no word about this one."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: %s; until this node writes there it says how the run before was", self._path,
                        error.strerror or error)  # fmt: skip

    def tell(self, health: Health, *, now_ns: int, at_ns: int | None) -> None:
        """The node is so now; times are boottime and UTC (None while that is unknown)."""
        self._last, self._dated = health, at_ns is not None
        changing = replace(health, link_since_s=0, uptime_s=0, backlog=0, away_s=None)
        told = (changing, health.away_s is None, bool(health.backlog), at_ns is None)
        if told != self._told or now_ns - self._told_ns >= EVERY_S * 1e9:
            self._told, self._told_ns = told, now_ns
            self._write(health, now_ns=now_ns, at_ns=at_ns)

    def stopped(self, clock: Clock) -> None:
        """The last word of a clean end, with the wall clock's time if that was known to be right."""
        if (last := self._last) is not None:
            health = replace(last, stopped=True, link_up=False, link_since_s=0 if last.link_up else last.link_since_s)
            self._write(health, now_ns=clock.boottime_ns(), at_ns=clock.time_ns() if self._dated else None)

    def _write(self, health: Health, *, now_ns: int, at_ns: int | None) -> None:
        said = {
            "schema": SCHEMA, "level": health.level, "at": None if at_ns is None else timestamp(at_ns),
            "boottime_s": round(now_ns / 1e9, 1),  # tells its age also where no clock is right
            "node": self._name, "version": health.version, "pid": os.getpid(),
            "uptime_s": round(health.uptime_s), "link": {"up": health.link_up, "for_s": round(health.link_since_s)},
            "alerts": list(health.alarms), "unacknowledged": health.unacknowledged, "missing": list(health.faulty),
            "waiting": health.backlog, "lost": health.dropped, "storage": health.storage or None,
            "hardware_away_s": None if health.away_s is None else round(health.away_s),
        }  # fmt: skip
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            beside.unlink(missing_ok=True)  # of one that was killed while it wrote
            file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
            try:
                os.fchmod(file, MODE)  # whatever the umask is
                os.write(file, json.dumps(said, ensure_ascii=False).encode() + b"\n")
            finally:
                os.close(file)
            beside.replace(self._path)
        except OSError as error:
            if not self._failed:
                log.warning("%s: %s; nobody can read there how the node is", self._path, error.strerror or error)
            self._failed = True
        else:
            self._failed = False
