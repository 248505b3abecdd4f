"""Two runs at the same time never get the same port."""

import socket
import subprocess
import sys
from pathlib import Path

from knoop_bench.ports import LOOPBACK, free_ports

_ASK = "from knoop_bench.ports import free_ports; print(*free_ports(40), flush=True); input()"


def test_processes_that_have_not_listened_yet_do_not_share_a_port():
    others = [
        subprocess.Popen([sys.executable, "-c", _ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    try:
        given = [port for other in others for port in map(int, other.stdout.readline().split())]
    finally:
        for other in others:
            other.communicate("\n", timeout=10)
    given += free_ports(40)
    assert len(given) == 280
    assert len(set(given)) == len(given)


def test_a_port_in_use_is_not_given_and_more_than_a_block_can_be_had():
    held = []
    try:
        for port in free_ports(100):
            listener = socket.socket()
            listener.bind((LOOPBACK, port))
            held.append(listener)
        taken = {listener.getsockname()[1] for listener in held}
        assert not taken & set(free_ports(100))
    finally:
        for listener in held:
            listener.close()


def test_a_process_that_ends_complains_of_nothing():
    """The sockets that stand for its blocks stay open until then, on purpose."""
    asked = [sys.executable, "-X", "dev", "-c", _ASK]
    assert subprocess.run(asked, input="\n", capture_output=True, text=True, check=True).stderr == ""


def test_they_are_outside_what_the_kernel_gives_to_outgoing_connections():
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    assert not set(range(lowest, highest + 1)) & set(free_ports(20))
