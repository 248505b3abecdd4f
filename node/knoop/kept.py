"""`[storage]`: how much is kept, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from knoop.alerts import Rule
from knoop_hw.decode import Seconds, Size, suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """`[storage]`: the most `readings.db` may take, and for how long delivered readings are kept.

    `retain_for` has other spans for some channels or devices, and for alerts: `alert`, `alert.NAME`.
    """

    max: Size = 64 * 1024 * 1024
    retain_s: Seconds = 30 * 86400.0
    retain_for: dict[str, Seconds] = field(default_factory=dict)

    def unknown(self, names: Collection[str], rules: Iterable[Rule]) -> Iterator[tuple[str, str]]:
        """Each name of `retain_for` that is no channel, device or alert, with what is wrong with it.

        One that was misspelled would keep for long what was to go soon.
        """
        known = {*names, "alert", *(f"alert.{rule.name}" for rule in rules)}
        for name in self.retain_for.keys() - known:
            yield name, f"there is no channel '{name}'; {suggest(name, sorted(known))}"
