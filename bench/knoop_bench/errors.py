"""What can go wrong around a node under observation.

BenchError(Exception)
├ ServerFailed(RuntimeError)     the private server is not installed, in use, or did not start
├ StageFailed(RuntimeError)      the demo's node or its files are not as they must be
├ LoginFailed(ConnectionError)   an observer did not get in: refused, or the certificate proves nothing
├ Refused(PermissionError)       a server or peer answered an observer's request with an error
└ NotSeen(AssertionError)        what an observer waited for did not come; the text lists what did
"""

from __future__ import annotations


class BenchError(Exception):
    """The root of this package's errors."""


class ServerFailed(BenchError, RuntimeError):
    """The private server cannot serve; the text says why and what to do."""


class StageFailed(BenchError, RuntimeError):
    """The demo cannot be set up, or its node ended; the text says why."""


class LoginFailed(BenchError, ConnectionError):
    """An observer could not log in; the text says what the server or the TLS library said."""


class Refused(BenchError, PermissionError):
    """A request was answered with an error; `condition` is its XMPP condition."""

    def __init__(self, condition: str, text: str) -> None:
        self.condition = condition
        super().__init__(text)


class NotSeen(BenchError, AssertionError):
    """An observation that was waited for did not come in time."""
