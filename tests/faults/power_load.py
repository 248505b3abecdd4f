"""What a node does to its two files, and what it was told is safe: `python -m tests.faults.power_load KIND FOLDER`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from knoop import readings_sql
from knoop.record import Record
from knoop.state import State
from knoop.state_tables import AlertRow
from knoop.store import Store
from knoop.unreceived import Note

RUN, BOOT = "k3v9q2xa", "6f1c2a54-0a5b-4a6e-9a53-1b2c3d4e5f60"
PERSON = "anna@example.org"
SINKS = ("pubsub", f"chat:{PERSON}")
TELEMETRY = tuple(f"room{number}.temperature" for number in range(5))
OFFSET_NS = 1_795_342_503 * 10**9
ROUNDS = 260
UNSYNCED = 40  # so many rounds the clock is not right
MAX_BYTES = 1024 * 1024  # with a write-ahead log of 128 pages: many checkpoints
SMALL_BYTES = 128 * 1024  # less than the old tables and the new ones need beside each other: VACUUM comes after


def said(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\n".encode())


def entries(number: int) -> list[tuple[Record, tuple[str, ...]]]:
    """What comes in a round: telemetry, an event, and an alarm in every tenth."""
    kinds = [(channel, "telemetry", ()) for channel in TELEMETRY] + [("door", "event", SINKS)]
    if number % 10 == 0:
        kinds.append(("alert.frost", "alarm", SINKS))
    at_ns = None if number <= UNSYNCED else OFFSET_NS + number * 10**9
    return [
        (
            Record(
                run=RUN, channel=channel, seq=number // 10 if cls == "alarm" else number, cls=cls, type="number",
                value=number / 8, boot=BOOT, boottime_ns=number * 10**9, at_ns=at_ns,
            ),
            sinks,
        )
        for channel, cls, sinks in kinds
    ]  # fmt: skip


async def readings(folder: Path) -> None:
    """Rounds of readings; every seventh time what waits is delivered."""
    readings_sql.PLACE_ROWS = 150
    async with Store.open(folder / "readings.db", max_bytes=MAX_BYTES) as store:
        for number in range(1, ROUNDS + 1):
            await store.add(entries(number))
            said("kept", number)
            if number == UNSYNCED:
                await store.correct(BOOT, OFFSET_NS)
            if number % 7 == 0:
                said("delivering", number)
                for sink in SINKS:
                    await store.delivered(sink, [one.row for one in await store.pending(sink, limit=99)])
    said("closed", ROUNDS)


async def upgrade(folder: Path) -> None:
    """A store of an older version is opened."""
    async with Store.open(folder / "readings.db", max_bytes=SMALL_BYTES):
        said("kept", 0)


async def state(folder: Path) -> None:
    """Rounds of all that people say."""
    async with State.open(folder / "state.db") as opened:
        for number in range(1, ROUNDS + 1):
            action = f"set lamp {number}"
            await opened.audit(
                at_ns=number, who="anna@example.org", action=action, result="ok", via="chat", encrypted=True
            )
            said("audit", number)
            await opened.save_alerts([AlertRow(name, "raised", number, "Anna") for name in ("frost", "door")])
            said("alerts", number)
            note = Note(PERSON, f"{RUN}-alert.frost-{number}", "alert.frost", "raised", "Frost!", at_ns=number)
            received = [(PERSON, f"{RUN}-alert.frost-{number - 3}")]
            await opened.save_unreceived([note], received, {PERSON: number})
            said("noted", number)
            if number % 3 == 0:
                await opened.grant(f"bram{number % 6}@example.org", "operator", [f"lamp{number}"])
                said("grant", number)
                await opened.silence("frost", number, "Anna")
                said("silence", number)


if __name__ == "__main__":
    asyncio.run({"readings": readings, "upgrade": upgrade, "state": state}[sys.argv[1]](Path(sys.argv[2])))
