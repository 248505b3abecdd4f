"""The forms that people have before them: each belongs to one full JID, ends by itself, and their number is bounded."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from knoop.forms import Form
from knoop.jid import Jid

PER_PERSON = 5  # beyond that the oldest of theirs goes
IN_ALL = 50  # beyond that nobody gets one whose right is only their domain's
EXPIRES_S = 600.0  # somebody looks for their glasses; Movim's Close says nothing, so time must


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenForm:
    """What `sender` (full JID) is filling in for a verb, until a boottime."""

    sender: Jid
    verb: str
    form: Form
    until_ns: int = 0


class OpenForms:
    """Open forms by session id, the oldest first."""

    def __init__(self) -> None:
        self._forms: OrderedDict[str, OpenForm] = OrderedDict()

    def __len__(self) -> int:
        return len(self._forms)

    def put(self, session_id: str, form: OpenForm, now_ns: int, *, individual: bool) -> bool:
        """Open a form, or go on with the one of this id; False when there are too many and it is not `individual`.

        Who needs room loses their own oldest one, never somebody else's.
        """
        self._forms.pop(session_id, None)
        for name in [name for name, other in self._forms.items() if other.until_ns <= now_ns]:
            del self._forms[name]
        theirs = [name for name, other in self._forms.items() if other.sender.bare == form.sender.bare]
        full = len(self._forms) >= IN_ALL and not individual
        if full and not theirs:
            return False
        if full or len(theirs) >= PER_PERSON:
            del self._forms[theirs[0]]
        self._forms[session_id] = replace(form, until_ns=now_ns + round(EXPIRES_S * 1e9))
        return True

    def find(self, session_id: str) -> OpenForm | None:
        """The form of this id, also one whose time is over."""
        return self._forms.get(session_id)

    def keep(self, allowed: Callable[[Jid], bool]) -> None:
        """Forget the forms of all whom `allowed` does not want any more."""
        for name in [name for name, form in self._forms.items() if not allowed(form.sender)]:
            del self._forms[name]

    def close(self, session_id: str) -> None:
        """Forget it; one that is not there is forgotten."""
        self._forms.pop(session_id, None)


def new_id() -> str:
    """An id that nobody can guess: 192 bits."""
    return secrets.token_urlsafe(24)
