"""The two ends between an agent and a board, of each kind there is: the same tests hold for all of them."""

from __future__ import annotations

import socket
from typing import Literal

from knoop_hw.link import Link, pair
from knoop_hw.sock import SocketLink

Kind = Literal["objects", "json", "socket"]
KINDS: tuple[Kind, ...] = ("objects", "json", "socket")


def ends(kind: Kind) -> tuple[Link, Link]:
    """(the agent's end, the board's end)."""
    if kind == "socket":
        agent, board = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return SocketLink(agent, peer="the hardware half"), SocketLink(board, peer="the agent")
    return pair(through_json=kind == "json")
