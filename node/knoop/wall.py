"""Whether the wall clock is right, and when things end that were promised in its time. Pure: a Clock comes in.

A Raspberry Pi without a battery clock starts in 1970, at its image's build or at its last shutdown, and jumps to now
when a time server answers; it may never. Until the machine, or our XMPP server, says that the clock is right, nobody
is told a time. See docs/adr/0029.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from knoop_hw.clock import Clock

# A clock that has never been set shows 1970, or the image's build; this release is younger than either.
RELEASED_NS: Final = 1_790_000_000_000_000_000  # 2026-09-21
AGREE_S = 5.0  # commands are judged by seconds, and people compare times
STEP_S = 1.0  # time servers slew by at most 500 ppm (adjtimex(2)): this much between two looks was set
STEADY_S = 3600.0  # who set a clock wrong by hand has seen it by then; nothing is deleted by its time before
_LOOK_AGAIN_S = 1.0  # asking the kernel takes 0.2 ms, and `synced` is asked for each reading


class Wall:
    """The wall clock, judged. Once trusted it stays so while this process lives: what set it may be gone by then.

    The kernel, for one, calls a clock unsynchronised 9 h after the last answer of a time server.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trusted = False
        self._denied: tuple[int, int] | None = None  # boottime and offset at which the machine did not vouch for it
        self._offset_ns, self._set_ns = self.offset_ns, clock.boottime_ns()

    def follow(self, former: Wall) -> None:
        """Know what the judge of another configuration knew."""
        self._trusted = former._trusted
        self._offset_ns, self._set_ns = former._offset_ns, former._set_ns

    @property
    def offset_ns(self) -> int:
        """What to add to a boottime of now for the wall clock's time."""
        return self._clock.time_ns() - self._clock.boottime_ns()

    def synced(self) -> bool:
        """Whether the wall clock is right, as far as anybody here can tell."""
        if self._clock.time_ns() <= RELEASED_NS:
            return False
        if not self._trusted and not self._denied_just_now():
            self._trusted = self._clock.synced()
            self._denied = None if self._trusted else (self._clock.boottime_ns(), self.offset_ns)
        return self._trusted

    def agrees(self, ahead_s: float, rtt_s: float) -> bool:
        """Hear that it is so much ahead of our server's, asked within `rtt_s`; whether that is as good as equal."""
        agrees = abs(ahead_s) <= AGREE_S + rtt_s and self._clock.time_ns() > RELEASED_NS
        self._trusted = self._trusted or agrees
        return agrees

    def stepped_ns(self) -> int:
        """By how much it was set since this was asked last, 0 where it was not."""
        before_ns, self._offset_ns = self._offset_ns, self.offset_ns
        step_ns = self._offset_ns - before_ns
        if abs(step_ns) < STEP_S * 1e9:
            return 0
        self._set_ns = self._clock.boottime_ns()
        return step_ns

    def steady(self) -> bool:
        """Whether it is right and has not been set for so long that old readings may be deleted by it."""
        just_set = abs(self.offset_ns - self._offset_ns) >= STEP_S * 1e9
        return self.synced() and not just_set and self._clock.boottime_ns() - self._set_ns >= STEADY_S * 1e9

    def _denied_just_now(self) -> bool:
        if self._denied is None:
            return False
        at_ns, offset_ns = self._denied
        set_since = abs(self.offset_ns - offset_ns) >= STEP_S * 1e9
        return not set_since and self._clock.boottime_ns() - at_ns < _LOOK_AGAIN_S * 1e9


class Ends:
    """When what was promised in wall-clock time ends: `silence frost 1h` is an hour, however the clock is set in it.

    Each end is turned into a boottime when it is first asked for with a clock that is right.
    """

    def __init__(self, clock: Clock, *, synced: Callable[[], bool]) -> None:
        self._clock, self._synced = clock, synced
        self._pinned: dict[str, tuple[int, int]] = {}  # the promised end (UTC ns) and its boottime, by key

    def until_ns(self, key: str, promised_ns: int) -> int | None:
        """The end as the wall clock has it now (UTC nanoseconds); None when it is over, or nobody knows."""
        now_ns, wall_ns = self._clock.boottime_ns(), self._clock.time_ns()
        if self._pinned.get(key, (0, 0))[0] != promised_ns:
            if not self._synced():
                return None
            self._pinned[key] = (promised_ns, now_ns + promised_ns - wall_ns)
        end_ns = self._pinned[key][1]
        if end_ns <= now_ns:
            return None
        until_ns = wall_ns + end_ns - now_ns
        return promised_ns if abs(until_ns - promised_ns) < STEP_S * 1e9 else until_ns
