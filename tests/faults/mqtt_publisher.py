"""Numbers from serial lines to MQTT, each with QoS 1: `python mqtt_publisher.py plain|kept PORT NAME=DEVICE…`.

`plain` is what somebody writes who has read the beginning of paho's documentation; `kept` is what paho has to offer
beyond it. Everything else here reads the lines.
"""

from __future__ import annotations

import os
import re
import sys
import time
import tty
from collections.abc import Iterator
from queue import SimpleQueue
from selectors import EVENT_READ, DefaultSelector
from threading import Event, Thread

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

POLL_S = 1.0
NUMBER = re.compile(rb"n=(\d+) ")


def plain(port: int, numbers: Iterator[tuple[str, str]]) -> None:
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for name, number in numbers:
        client.publish(f"{name}/n", number, qos=1)


def kept(port: int, numbers: Iterator[tuple[str, str]]) -> None:
    """The session is kept, nothing is refused, order is kept, and a dead link is found in 15 s instead of 90.

    Nothing is published until there is a connection: what is may overtake what waits for one (paho.mqtt.python #910).
    """
    client = Client(CallbackAPIVersion.VERSION2, client_id="publisher", clean_session=False)
    client.max_queued_messages_set(0)  # no bound, which is paho's default, too
    client.max_inflight_messages_set(1)
    client.reconnect_delay_set(min_delay=1, max_delay=5)
    connected, waiting = Event(), SimpleQueue[tuple[str, str]]()
    client.on_connect = lambda *_: connected.set()
    client.on_disconnect = lambda *_: connected.clear()

    def publish() -> None:
        while True:
            name, number = waiting.get()
            connected.wait()
            client.publish(f"{name}/n", number, qos=1)

    Thread(target=publish, daemon=True).start()
    client.connect_async("127.0.0.1", port, keepalive=10)  # it may not be there when we begin
    client.loop_start()
    for number in numbers:
        waiting.put(number)


CLIENTS = {"plain": plain, "kept": kept}


def said(devices: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What devices say, as they say it. They are asked every second, as Knoop's driver `lines` does."""
    files, rest = {}, dict.fromkeys(devices, b"")
    with DefaultSelector() as selector:
        for name, path in devices.items():
            files[name] = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            tty.setraw(files[name])
            selector.register(files[name], EVENT_READ, name)
        due_s = time.monotonic()
        while True:
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + POLL_S
                for file in files.values():
                    os.write(file, b"?")
            for key, _ in selector.select(max(0.0, due_s - time.monotonic())):
                *lines, rest[key.data] = (rest[key.data] + os.read(key.fd, 4096)).split(b"\n")
                for line in lines:
                    if found := NUMBER.match(line):
                        yield key.data, found[1].decode()


if __name__ == "__main__":
    kind, port, *pairs = sys.argv[1:]
    CLIENTS[kind](int(port), said(dict(pair.split("=", 1) for pair in pairs)))
