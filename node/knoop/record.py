"""A reading as the agent keeps and sends it: with its run, its boot, its class and, once known, its time."""

from __future__ import annotations

from dataclasses import dataclass

from knoop_hw.model import Class, Quality, Type, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One reading, addressed for the world.

    `identity` (`run-channel-seq`) is the outbox key, the dedupe key and the id on the wire. `at_ns` is UTC
    nanoseconds since 1970, None while the clock has never been synced. `boottime_ns` compares only within `boot`.
    `row` is the store's key once there is one.
    """

    run: str
    channel: str
    seq: int
    cls: Class
    type: Type
    value: Value
    unit: str = ""
    quality: Quality = "ok"
    boot: str
    boottime_ns: int
    at_ns: int | None
    row: int = 0

    @property
    def identity(self) -> str:
        """What makes this reading recognisable as a repeat."""
        return f"{self.run}-{self.channel}-{self.seq}"
