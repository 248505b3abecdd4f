"""What can go wrong in the agent.

NodeError(Exception)
├ LinkError(ConnectionError)      the way to the server is gone or refuses: rows stay, back off with jitter
│ ├ Unreachable                   nobody answers: exit 69 where a command needed the server
│ ├ Untrusted                     the certificate, its host or its dates: never retried with less care
│ └ LoginRefused                  the server knows us and says no: exit 77 when it is the first login
│   └ RegistrationRefused         the server makes no account for us, or not this one
├ Usage(ValueError)               arguments that do not go together, lack something or mean nothing: exit 2
├ Refusal(PermissionError)        a server refused one request (its XMPP condition is in the text)
└ StoreError(OSError)             a database that cannot be used, or a disk that is full
  └ NoAnswer                      a disk that hangs: what was begun may still be done
The hardware half's tree is in knoop_hw.errors; ConfigError (exit 78) is shared.
"""

from __future__ import annotations

from typing import Literal

Trouble = Literal["full", "failing", "other"]
# What the end of a try to log in, or of a link, may be the sign of: somebody on the way to the server, or at it.
Sign = Literal["certificate", "pin", "plaintext", "early", "mechanism", "proof", "stream"]


class NodeError(Exception):
    """The root of this package's errors."""


class LinkError(NodeError, ConnectionError):
    """The way to the server is gone; what was not acknowledged is still ours. `sign`: of an attack, where it may be."""

    def __init__(self, text: str, sign: Sign | None = None) -> None:
        self.sign = sign
        super().__init__(text)


class Unreachable(LinkError):
    """No server answers at the address; the text names it and the remedy."""


class Untrusted(LinkError):
    """Who answers does not prove to be the server; the text says why and what to do."""


class LoginRefused(LinkError):
    """The server refuses this account or offers no safe way to log in."""


class RegistrationRefused(LoginRefused):
    """The server makes no such account; `condition` is its XMPP condition, or "" where it was not even asked."""

    def __init__(self, condition: str, text: str) -> None:
        self.condition = condition
        super().__init__(text)


class Usage(NodeError, ValueError):
    """A command's arguments lack something, contradict each other, or mean nothing."""


class Refusal(NodeError, PermissionError):
    """The server or peer answered a request with an error; `condition` is its XMPP condition."""

    def __init__(self, condition: str, text: str) -> None:
        self.condition = condition
        super().__init__(text)


class StoreError(NodeError, OSError):
    """A database cannot be opened, read or written; the text names the file and the remedy.

    `reason`: there is no room, the disk does not do what it should, or it is not the disk's doing.
    """

    def __init__(self, text: str, reason: Trouble = "other") -> None:
        self.reason = reason
        super().__init__(text)


class NoAnswer(StoreError):
    """The disk has not answered in time: what was begun may still be done when it does."""
