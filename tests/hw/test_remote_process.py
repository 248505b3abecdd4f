"""A real `knoop-hw` and a device on a pty that obeys and answers: what it is told from the first start to the end."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import threading
import time
import tty
from contextlib import suppress
from pathlib import Path

from tests.hw.test_cli import hardware, running

from knoop_hw.messages import Done, Set
from knoop_hw.sock import connect

BOUND_S = 10.0
TABLES = """
[sensor.arduino]
driver = "lines"
device = "{device}"
[sensor.arduino.values]
temperature = {{ pattern = '^T=(\\d+)$', unit = "°C" }}
[output.pump]
sensor = "arduino"
write = "P{{value}}\\n"
answer = '^P=(\\d)$'
initial = "on"
{more}
[output.dimmer]
sensor = "arduino"
write = "D{{value:03d}}\\n"
kind = "number"
minimum = 0
maximum = 255
"""


class Arduino(threading.Thread):
    """Says its temperature, does what it is told, answers for the pump; `heard` is every line that it was told."""

    def __init__(self, device: Path) -> None:
        super().__init__(daemon=True)
        self.heard: list[str] = []
        self._device = device
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        device.unlink(missing_ok=True)
        device.symlink_to(os.ttyname(slave))
        os.close(slave)
        self._pulled = False
        self.start()

    def run(self) -> None:
        rest = b""
        while not self._pulled:
            ready, _, _ = select.select([self._master], [], [], 0.02)
            with suppress(OSError):  # nobody has opened it
                rest += os.read(self._master, 4096) if ready else b""
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    self.heard.append(line.decode())
                    if line.startswith(b"P"):
                        os.write(self._master, b"P=%b\n" % line[1:])
                if not ready:
                    os.write(self._master, b"T=20\n")
                continue
            time.sleep(0.02)
        os.close(self._master)

    def pull(self) -> None:
        self._device.unlink(missing_ok=True)  # first: the number of the pty soon is somebody else's
        self._pulled = True
        self.join()

    def wait(self, *lines: str) -> None:
        """Until it has heard exactly these, in this order."""
        end = time.monotonic() + BOUND_S
        while self.heard != list(lines) and time.monotonic() < end:
            time.sleep(0.01)
        assert self.heard == list(lines)


async def told(socket: Path, **values: float) -> dict[str, tuple[object, str]]:
    """What is wished for over the socket, and the readings that answer."""
    link, answers = connect(socket, peer="the hardware half"), {}
    async with asyncio.timeout(BOUND_S):
        for number, (name, value) in enumerate(values.items()):
            now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            await link.send(Set(id=number, channel=name, value=value, by="anna@example.org", asked_ns=now_ns))
            while not isinstance(answer := await link.receive(), Done):
                pass
            answers[name] = answer.reading.value, answer.reading.quality
    await link.close()
    return answers


def test_what_a_device_is_told_from_the_first_start_to_the_last_end(tmp_path):
    device, file = tmp_path / "arduino", tmp_path / "node.toml"
    file.write_text(TABLES.format(device=device, more=""))
    arduino = Arduino(device)
    with running(tmp_path) as (process, says):
        arduino.wait("P1")  # a start: the initial level
        answers = asyncio.run(told(tmp_path / "knoop" / "board.sock", pump=False, dimmer=7))
        assert answers == {"pump": (False, "ok"), "dimmer": (7.0, "estimate")}
        arduino.wait("P1", "P0", "D007")
        file.write_text(TABLES.format(device=device, more='label = "Pump"'))
        process.send_signal(signal.SIGHUP)
        says("the new configuration is taken")
        arduino.wait("P1", "P0", "D007")  # only what it is called
        file.write_text(TABLES.format(device=device, more='dead_man = "1h"'))
        process.send_signal(signal.SIGHUP)
        says("the new configuration is taken")
        arduino.wait("P1", "P0", "D007", "P0", "P1")  # its own table: safe, then initial
        process.kill()
    arduino.wait("P1", "P0", "D007", "P0", "P1")
    done = hardware(tmp_path, "--config", "node.toml", "--safe")
    assert (done.returncode, done.stderr) == (0, "")
    arduino.wait("P1", "P0", "D007", "P0", "P1", "P0")
    arduino.heard.clear()
    with running(tmp_path) as (process, says):
        arduino.wait("P1")
        arduino.pull()
        says("was unplugged")
        other = Arduino(device)
        says("is back")
        other.wait("P1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND_S) == 0
        other.wait("P1", "P0")
    assert hardware(tmp_path, "--config", "node.toml", "--safe").returncode == 0
    other.wait("P1", "P0", "P0")
    other.pull()
    done = hardware(tmp_path, "--config", "node.toml", "--safe")
    assert done.returncode == 74
    assert "output.pump: sensor.arduino: " in done.stderr
    assert "plug it in" in done.stderr
