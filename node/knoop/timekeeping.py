"""Finding out whether the wall clock is right, and what follows when it becomes so or is set. Judging is `wall`'s."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from knoop.errors import LinkError, Refusal, StoreError
from knoop.wall import AGREE_S, RELEASED_NS
from knoop.xmpp import servertime
from knoop.xmpp.session import Session

if TYPE_CHECKING:
    from knoop.household import Household

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between looks while the clock is not right: a reading should not wait for its time
WATCH_S = 10.0  # and afterwards, for a clock that is set
ASK_S = 6 * 3600.0  # the server is asked again so seldom: what sets a clock is the machine's business
ASK_TIMEOUT_S = 5.0  # publishing waits for it at a login; it is one short answer
REMEDY = "timedatectl shows whether a time server is asked"


class Timekeeping:
    """Keeps a house's `wall` judged; `session` is the present one, None without."""

    def __init__(self, house: Household, *, session: Callable[[], Session | None]) -> None:
        self._house = house
        self._session = session
        self._asked_ns = house.clock.boottime_ns()

    async def run(self) -> None:
        """Notice when the clock becomes right, or is set, until cancelled."""
        house = self._house
        was_right: bool | None = None
        while True:
            step_ns = house.wall.stepped_ns()
            if step_ns:
                log.warning("this machine's clock was set: it is %+.0f s to before, and says %s", step_ns / 1e9,
                            self._shown())  # fmt: skip
            session = self._session()
            if session is not None and not house.synced() and (step_ns or self._long_ago()):
                await self.ask(session)
            right = house.synced()
            if right != was_right:
                self._say(right, was_right=was_right)
                if right:
                    await self._date()
            if right and (step_ns or not was_right):
                await self._keep_promises()
            was_right = right
            await house.clock.sleep(WATCH_S if right else LOOK_S)

    def asking_first(self, serve: Callable[[Session], Awaitable[None]]) -> Callable[[Session], Awaitable[None]]:
        """`serve`, with a question before it where it is needed: what is then published carries its time."""

        async def serving(session: Session) -> None:
            if not self._house.synced():
                await self.ask(session)
                if self._house.synced():
                    await self._date()
            await serve(session)

        return serving

    async def ask(self, session: Session) -> None:
        """Compare with our server's time. Who does not answer says nothing about our clock."""
        house = self._house
        self._asked_ns = house.clock.boottime_ns()
        with suppress(LinkError, Refusal):
            apart = await servertime.apart(session, clock=house.clock, timeout_s=ASK_TIMEOUT_S)
            if not house.wall.agrees(apart.ahead_s, apart.rtt_s):
                ahead = "ahead of" if apart.ahead_s > 0 else "behind"
                log.warning(
                    "this machine's clock is %.0f s %s %s's, and nothing here has set it: readings carry no time until "
                    "they agree within %g s, or until something sets it (%s)",
                    abs(apart.ahead_s), ahead, session.jid.domain, AGREE_S, REMEDY,
                )  # fmt: skip

    def _long_ago(self) -> bool:
        return self._house.clock.boottime_ns() - self._asked_ns >= ASK_S * 1e9

    def _say(self, right: bool, *, was_right: bool | None) -> None:
        if right and was_right is not None:
            log.info("this machine's clock is right: %s", self._shown())
        elif not right and self._house.clock.time_ns() <= RELEASED_NS:
            log.warning("this machine's clock is wrong, it says %s: readings carry no time, and no certificate is "
                        "valid yet, until something sets it (%s)", self._shown(), REMEDY)  # fmt: skip
        elif not right:
            log.info("nothing has set this machine's clock yet, it says %s: readings carry no time until something "
                     "does, or our server's agrees (%s)", self._shown(), REMEDY)  # fmt: skip

    def _shown(self) -> str:
        return f"{datetime.fromtimestamp(self._house.clock.time_ns() / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"

    async def _date(self) -> None:
        """Give what was measured in this boot before now its time."""
        house = self._house
        assert house.router is not None, "nobody logs in or looks before it is there"
        try:
            if dated := await house.router.date(house.clock.boot_id, house.wall.offset_ns):
                log.info("%d readings from before the clock was right have their time now", dated)
        except StoreError as error:
            log.error("readings from before the clock was right stay without a time: %s", error)

    async def _keep_promises(self) -> None:
        """What was promised until a time still lasts as long: also after a restart, which knows only that time."""
        try:
            await self._house.alarms.keep_promises()
            await self._house.telling.keep_promises()
        except StoreError as error:
            log.error("silences and quiet times may end early or late after a restart: %s", error)
