"""QEMU's monitor (its docs/interop/qmp-spec): devices are plugged, pulled out and set from the host."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import Any


class Monitor:
    """One connection; may be asked from any thread."""

    def __init__(self, connected: socket.socket) -> None:
        self._line = connected
        self._file = connected.makefile("rwb", buffering=0)
        self._asking = threading.Lock()
        self._events: list[Any] = []
        self._heard()
        self.ask("qmp_capabilities")

    def ask(self, execute: str, **arguments: Any) -> Any:
        """A command's answer. Raises RuntimeError with QEMU's sentence, ConnectionError when QEMU is gone."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        with self._asking:
            self._file.write(json.dumps({"execute": execute, "arguments": named}).encode() + b"\n")
            while "event" in (answer := self._heard()):
                self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{execute}: {answer['error']['desc']}")
        return answer["return"]

    def plug(self, driver: str, name: str, **more: Any) -> None:
        """Add a device of this name."""
        self.ask("device_add", driver=driver, id=name, **more)

    def pull(self, name: str) -> None:
        """Take a device away; returns when it is gone."""
        self.ask("device_del", id=name)
        with self._asking:
            while not any(_deleted(event, name) for event in self._events):
                self._events.append(self._heard())
            self._events.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._line.close()

    def _heard(self) -> Any:
        line = self._file.readline()
        if not line:
            raise ConnectionError("the emulator is gone")
        return json.loads(line)


def _deleted(event: Any, name: str) -> bool:
    return bool(event["event"] == "DEVICE_DELETED" and event["data"].get("device") == name)
