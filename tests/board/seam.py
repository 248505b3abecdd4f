"""An agent's place at the hardware half's socket, taken by the host: it beats, stores, sets, and keeps every reading.

It reads JSON itself, so that what it believes is what is on the wire.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.board.guest import BOUND_S, Guest

BEAT_S = 0.5


@dataclass(frozen=True, slots=True)
class Told:
    """A reading as it came."""

    seq: int
    value: Any
    quality: str
    at_ns: int


class Seam:
    """Connected as soon as somebody listens at `path`. `close` hangs up."""

    def __init__(self, guest: Guest, path: str, *, beat_s: float = BEAT_S) -> None:
        self._guest, self._beat_s = guest, beat_s
        self._stream = _dialled(guest, path)
        self._numbers = itertools.count(1)
        self._readings: dict[str, list[Told]] = {}
        self._answers: dict[int, Any] = {}
        self._news = threading.Condition()
        self._over = threading.Event()
        self.hello: Any = None
        self._thread = threading.Thread(target=self._live, name="seam", daemon=True)
        self._thread.start()

    def readings(self, channel: str) -> Sequence[Told]:
        """All of a channel's so far."""
        with self._news:
            return tuple(self._readings.get(channel, ()))

    def wait(self, channel: str, true: Callable[[Sequence[Told]], Any], within_s: float = BOUND_S) -> Sequence[Told]:
        """Return the channel's readings once `true` of them; AssertionError shows them when it is not."""
        with self._news:
            if not self._news.wait_for(lambda: true(self._readings.get(channel, [])), within_s):
                raise AssertionError(f"{channel}: not within {within_s:g} s: {self._readings.get(channel)}")
            return tuple(self._readings[channel])

    def wait_value(self, channel: str, value: Any, within_s: float = BOUND_S) -> Sequence[Told]:
        """Return when the channel's last reading has this value."""
        return self.wait(channel, lambda told: told and told[-1].value == value, within_s)

    def set(self, channel: str, value: bool | float, **more: Any) -> Any:
        """Set an output; returns the message that answers."""
        number = next(self._numbers)
        asked_ns = self._guest.boottime_ns()
        self._say({"m": "set", "id": number, "channel": channel, "value": value, "by": "anna@example.org",
                   "asked_ns": asked_ns, **more})  # fmt: skip
        with self._news:
            if not self._news.wait_for(lambda: number in self._answers, BOUND_S):
                raise AssertionError(f"no answer to set {channel} {value}")
            return self._answers[number]

    def wait_replaced(self) -> None:
        """Return when somebody else has taken the place."""
        deadline = time.monotonic() + BOUND_S
        while not self._stream.closed:
            assert time.monotonic() < deadline, "nobody came"
            time.sleep(0.02)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._stream.close()

    def _say(self, message: Any) -> None:
        self._stream.say(json.dumps(message) + "\n")

    def _live(self) -> None:
        read, beat_s = 0, 0.0
        while not self._over.wait(0.02) and not self._stream.closed:
            lines = self._stream.lines[read:]
            read += len(lines)
            upto = None
            with self._news:
                for line in lines:
                    upto = self._hear(json.loads(line)) or upto
                self._news.notify_all()
            try:
                if upto:
                    self._say({"m": "stored", "upto": upto})
                if time.monotonic() > beat_s:
                    self._say({"m": "beat"})
                    beat_s = time.monotonic() + self._beat_s
            except RuntimeError:
                return  # it hung up

    def _hear(self, message: Any) -> int | None:
        match message["m"]:
            case "hello":
                self.hello = message
            case "readings":
                for item in message["items"]:
                    told = Told(item["seq"], item.get("value"), item["quality"], item["boottime_ns"])
                    self._readings.setdefault(item["channel"], []).append(told)
                return int(message["upto"])
            case "leaving":
                pass  # `stored` goes at once anyway
            case _:
                self._answers[message["id"]] = message
        return None


def _dialled(guest: Guest, path: str) -> Any:
    deadline = time.monotonic() + BOUND_S
    while True:
        try:
            return guest.dial(path)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
