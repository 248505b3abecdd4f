"""What a login met that may be an attack: in the audit log at once, and said to the owners over the next good link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knoop.command import N_, Instant, Sentence
from knoop.disk import FAILED, REFUSED
from knoop.errors import LinkError, LoginRefused, Sign

if TYPE_CHECKING:
    from knoop.execution import Execution
    from knoop.household import Household
    from knoop.presence import Presence

# Between two sentences of one kind: who can attack once a minute must not fill the owners' chats. The next one counts.
TELL_EVERY_S = 3600.0
AGAIN_S = 60.0  # when the link went before the server had it: whoever cuts links must not fill chats by that, either
TICK_S = 1.0

WHAT: Mapping[Sign, str] = {
    "certificate": N_("a server that said it was {server} had a certificate that proves nothing"),
    "pin": N_("a server that said it was {server} had another certificate than the one you named"),
    "plaintext": N_("a server that said it was {server} wanted to talk without good encryption"),
    "early": N_("somebody spoke on the way to {server} before anything was proven"),
    "mechanism": N_("{server} wanted a login that would have given my password away"),
    "proof": N_("a server that said it was {server} did not know my password"),
    "stream": N_("{server} sent what no XMPP server sends"),
}
ONCE = N_(
    "Careful ({first}): {what}. I broke off and did not say my password. If nobody changed the server, somebody may "
    "have stood between us."
)
OFTEN = N_(
    "Careful ({first} to {last}, {times} times): {what}. I broke off and did not say my password. If nobody changed "
    "the server, somebody may have stood between us."
)


@dataclass(slots=True)
class _Met:
    """One kind of sign, since the owners were told last. Instants are boottime, nanoseconds."""

    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    not_before_ns: int = 0


class Vigil:
    """Remembers signs: of each kind how often, and when first and last. There are as many kinds as `Sign` has."""

    def __init__(
        self, house: Household, presence: Presence, *, note: Callable[..., object],
        announce: Callable[[Sentence], None],
    ) -> None:  # fmt: skip
        """`note` writes a line of the audit log (`Execution.note`): who, what, how it ended, `via`."""
        self.count = 0  # of all signs and refused logins, since the start
        self._house, self._presence, self._note, self._announce = house, presence, note, announce
        self._met: dict[Sign, _Met] = {}

    def follow(self, former: Vigil) -> None:
        """Go on where another one ended."""
        self.count, self._met = former.count, former._met

    def counts(self, execution: Execution) -> Mapping[str, float]:
        """What `Storage` counts on: what was refused or not even heard, and what failed."""
        refused = execution.refused + self._house.admission.left_out
        return {REFUSED: refused, FAILED: execution.failed + self.count}

    def met(self, error: LinkError) -> None:
        """A try to log in was refused, or ended with a sign, or a link did.

        A line in the audit log for the first of each sign since it was told.
        """
        self.count += error.sign is not None or isinstance(error, LoginRefused)
        if error.sign is None:
            return
        now_ns = self._house.clock.boottime_ns()
        met = self._met.setdefault(error.sign, _Met())
        if not met.count:
            met.first_ns = now_ns
            self._audit(f"broken off ({error.sign}): {error}")
        met.count, met.last_ns = met.count + 1, now_ns

    async def run(self) -> None:
        """Tell over every good link, until cancelled."""
        while True:
            await self._house.clock.sleep(TICK_S)
            with suppress(LinkError):  # it is told again over the next one
                await self.tell()

    async def tell(self) -> None:
        """Say to the owners what they have not heard of yet, and forget it when the server has that.

        Raises LinkError when the link went meanwhile.
        """
        session, now_ns = self._presence.session, self._house.clock.boottime_ns()
        due = {sign: met.count for sign, met in self._met.items() if met.count and now_ns >= met.not_before_ns}
        if session is None or not due:
            return
        for sign in due:
            self._announce(self._sentence(sign))
            self._met[sign].not_before_ns = now_ns + int(AGAIN_S * 1e9)
        await session.ping()  # its answer comes behind what was said before it
        for sign, count in due.items():
            met = self._met[sign]
            if count > 1:
                self._audit(f"broken off ({sign}): {count} times, and now the owners are told")
            met.count, met.first_ns = met.count - count, met.last_ns  # what came meanwhile is told next time
            met.not_before_ns = now_ns + int(TELL_EVERY_S * 1e9)

    def _sentence(self, sign: Sign) -> Sentence:
        met = self._met[sign]
        values = {
            "what": Sentence(WHAT[sign], {"server": self._house.config.jid.domain}), "times": met.count,
            "first": self._instant(met.first_ns), "last": self._instant(met.last_ns),
        }
        return Sentence(ONCE if met.count == 1 else OFTEN, values)

    def _audit(self, result: str) -> None:
        self._note(self._house.config.jid.bare, "log in", result, via="login")

    def _instant(self, at_ns: int) -> Instant:
        now_ns = self._house.now_ns
        return Instant(None if now_ns is None else now_ns - (self._house.clock.boottime_ns() - at_ns))
