"""Which faults happen when: a function of a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

WIRE = "wire"
LONG_EVERY = 10  # of those that can last, so many short ones for each long one
LONG_S = (25.0, 40.0)  # a half-open link is found within 30 s: some of these are found, some are not

# What can happen to each: (kind, whether it can be a long one). A cut that lasts is a cut, however long; a stall that
# lasts ends the link, and one that does not is none of its business.
ON_THE_WIRE = (
    ("cut", False), ("reset", False), ("stall", True), ("stall up", True), ("stall down", True), ("swallow", True),
    ("throttle", False), ("delay", False),
)  # fmt: skip
AMOUNTS = {"reset": " after {:g} bytes", "throttle": " to {:g} B/s", "delay": " by {:g} s"}
ON_A_PROCESS = (("kill", False), ("stop", True))


Card = tuple[str, str, bool]  # kind, target, whether it can be a long one


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`kind` happens to `target` at `at_s` for `for_s`. `amount`: bytes (reset), bytes/s (throttle), s (delay)."""

    number: int
    kind: str
    target: str
    at_s: float
    for_s: float
    amount: float = 0.0

    @property
    def name(self) -> str:
        """What it is counted as."""
        return _named(self.kind, self.target)

    @property
    def until_s(self) -> float:
        return self.at_s + self.for_s

    def __str__(self) -> str:
        how = AMOUNTS.get(self.kind, "").format(self.amount)
        return f"{self.name}{how} for {self.for_s:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long one lasts and how long it is quiet after it, in seconds, each between two bounds."""

    for_s: tuple[float, float]
    quiet_s: tuple[float, float]
    long: bool = True


MINUTES = Pace(for_s=(0.2, 3.0), quiet_s=(1.0, 4.0))  # of `make faults`: 200 in 20 minutes
SECONDS = Pace(for_s=(0.4, 1.0), quiet_s=(0.1, 0.5), long=False)  # of `make test`: one of each kind


def kinds(targets: Sequence[str]) -> list[Card]:
    """Everything that can happen to these."""
    return [
        (kind, target, lasting)
        for target in targets for kind, lasting in (ON_THE_WIRE if target == WIRE else ON_A_PROCESS)
    ]  # fmt: skip


def plan(
    seed: int, *, count: int, targets: Sequence[str], pace: Pace = MINUTES, but: Collection[str] = ()
) -> list[Fault]:
    """`count` faults, one after another, each kind as often as any other; those named in `but` never."""
    rng = random.Random(seed)
    found: list[Fault] = []
    now_s = rng.uniform(*pace.quiet_s)
    lasting = 0
    cards = [card for card in kinds(targets) if _named(*card[:2]) not in but]
    for kind, target, can_last in _deck(rng, cards):
        if len(found) == count:
            break
        lasting += can_last
        long = pace.long and can_last and lasting % LONG_EVERY == 0
        for_s = round(rng.uniform(*(LONG_S if long else pace.for_s)), 2)
        found.append(Fault(
            number=len(found) + 1, kind=kind, target=target, at_s=round(now_s, 2), for_s=for_s,
            amount=_amount(rng, kind),
        ))  # fmt: skip
        now_s += for_s + rng.uniform(*pace.quiet_s)
    return found


def _named(kind: str, target: str) -> str:
    return kind if target == WIRE else f"{kind} {target}"


def _deck(rng: random.Random, cards: Sequence[Card]) -> Iterator[Card]:
    """All of them, shuffled, again and again."""
    while True:
        yield from rng.sample(cards, len(cards))


def _amount(rng: random.Random, kind: str) -> float:
    match kind:
        case "reset":
            return rng.randrange(1, 1_500)  # an item is about 700
        case "throttle":
            return rng.choice((300, 1_000, 10_000))  # a GSM modem, a bad one, what Debian's Prosody allows a client
        case "delay":
            return round(rng.uniform(0.2, 2.0), 2)
    return 0.0
