"""What a node in safe mode says of it: to owners unasked, to whoever asks for more, in `status`. Pure."""

from __future__ import annotations

from knoop.command import N_, Reply, Sentence, Span
from knoop.health import SafeMode


def why(safe: SafeMode) -> Sentence:
    """What brought it there."""
    if safe.by_hand:
        return Sentence(N_("I was started so."))
    if safe.crashes:
        return Sentence(N_("I crashed {count} times shortly after I had started."), {"count": safe.crashes})
    return Sentence(N_("This machine went off {count} times shortly after I had started."), {"count": safe.cuts})


def last(safe: SafeMode) -> Sentence | None:
    """How the last of those crashes was; for owners of the whole node, since it may name any channel."""
    if not safe.crashes:
        return None
    if not safe.last:
        return Sentence(N_("The last time I was killed: for want of memory, or because I hung. The log may know."))
    return Sentence(N_("The last crash: {text}"), {"text": safe.last})


def until(safe: SafeMode, now_ns: int) -> Sentence:
    """When it is over."""
    if safe.until_ns is None:
        return Sentence(N_("That lasts until I am stopped."))
    span = Span(max(1, round((safe.until_ns - now_ns) / 1e9)))
    return Sentence(N_("In {span} I try to start as usual."), {"span": span})


def announced(safe: SafeMode, *, node: str, verbs: tuple[Sentence, ...], now_ns: int) -> Sentence:
    """What owners are told once."""
    text = N_("⚠ {node} is in safe mode. {why} I measure, switch and report nothing now, and answer {verbs}. {until}")
    return Sentence(text, {"node": node, "why": why(safe), "verbs": verbs, "until": until(safe, now_ns)})


def refused(safe: SafeMode, *, verbs: tuple[Sentence, ...], now_ns: int) -> Reply:
    """The answer to everything else."""
    text = N_("I am in safe mode, so I did nothing. {why} I only answer {verbs}. {until}")
    values = {"why": why(safe), "verbs": verbs, "until": until(safe, now_ns)}
    return Reply((Sentence(text, values),), ok=False)
