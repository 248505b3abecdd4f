"""A verb, what a person asks with it, and what it answers: data only, the same for chat, room and form.

A verb is one file in `commands/` that holds a `COMMAND`; the folder is the table. `role` has no default: a
verb without a stated right cannot be declared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from knoop.jid import Jid
from knoop.record import Record
from knoop_hw.clock import Clock
from knoop_hw.model import Channel

if TYPE_CHECKING:
    from knoop.access import Access, Role
    from knoop.alerts import Alerts
    from knoop.health import Health
    from knoop.state import State
    from knoop.store import Store


Takes = Literal["nothing", "text", "channels", "value", "span"]
Via = Literal["chat", "form", "room"]


def N_(message: str) -> str:  # noqa: N802 -- gettext's own name for "translate later"
    """Mark a sentence for translation; `text.Voice` translates it into the reader's language."""
    return message


@dataclass(frozen=True, slots=True)
class Sentence:
    """A translatable sentence and its values: `Sentence(N_("{channel} is {value}."), {"channel": …})`.

    Values may be text, numbers, a Channel (its label), a Record (its value with unit, in the reader's way), a
    `Span` (a duration), an `Instant` (a time), another Sentence, or a tuple of these (said with commas). With
    `plural`, the whole number in `values["count"]` chooses between `message` and `plural`: see `counted`.
    """

    message: str
    values: Mapping[str, Any] = field(default_factory=dict)
    plural: str = ""


def counted(one: str, many: str, count: int, /, **values: Any) -> Sentence:
    """A sentence about `count` things; both forms are found by the translation tools without `N_`."""
    return Sentence(one, {"count": count, **values}, plural=many)


@dataclass(frozen=True, slots=True)
class Span:
    """A duration in seconds, said as people say it: 3 d, 2 h, 5 min, 10 s."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Instant:
    """A time (UTC nanoseconds since 1970; None: not known), said locally, with the date when not today."""

    at_ns: int | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a verb answers: one sentence a line. `ok` is False when nothing was done because of the request."""

    lines: tuple[Sentence, ...]
    ok: bool = True


def say(message: str, /, **values: Any) -> Reply:
    """A reply of one sentence."""
    return Reply((Sentence(message, values),))


def refuse(message: str, /, **values: Any) -> Reply:
    """A reply of one sentence that says why nothing happened and what to do."""
    return Reply((Sentence(message, values),), ok=False)


def not_yours(command: Command) -> Reply:
    """What a person with rights hears who has not this one; a stranger hears nothing at all."""
    return refuse(N_("You may not {verb} here. An owner of this node can allow it."), verb=command.verb)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a named person asked, freshly, of this node.

    `sender` is the full JID that the server vouches for. `argument` is the text behind the verb. `channels` are
    the channel names that `argument` resolved to (see `parse`), `value` and `for_s` what to set and for how long.
    """

    sender: Jid
    verb: str
    argument: str = ""
    channels: tuple[str, ...] = ()
    value: bool | float | None = None
    for_s: float | None = None
    lang: str = "en"
    via: Via = "chat"
    encrypted: bool = False


class House(Protocol):
    """All that a verb may use. The agent is one; tests build another over the same parts."""

    name: str
    label: str
    run: str
    clock: Clock
    access: Access
    alerts: Alerts
    store: Store
    state: State

    @property
    def source(self) -> str:
        """Where people get the source of what runs here (AGPL-3.0 §13)."""
        ...

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Every channel of the board, by name."""
        ...

    @property
    def latest(self) -> Mapping[str, Record]:
        """The last record of each channel that has one."""
        ...

    def jid(self, text: str) -> Jid:
        """The address that `text` means, prepared; raises ValueError."""
        ...

    def health(self) -> Health:
        """How the node is, now."""
        ...

    def synced(self) -> bool:
        """Whether the wall clock can be right at all."""
        ...

    async def set(self, channel: str, value: bool | float, *, for_s: float | None, by: Jid) -> Record:
        """Move an output and return the level read back; raises knoop_hw.errors.SetRefused."""
        ...

    async def acknowledge(self, alert: str, *, by: Jid) -> None:
        """Say to everybody who was told of `alert` that a person has seen it."""
        ...

    def watch(self, watcher: Jid, channels: Sequence[str], *, for_s: float) -> None:
        """Send changes of `channels` to this chat for a while; replaces an earlier watch of the same chat."""
        ...

    def unwatch(self, watcher: Jid) -> int:
        """End the watch of this chat; returns how many channels it had."""
        ...

    async def rights_changed(self) -> None:
        """Let whitelist, presence and subscriptions follow the rights at once."""
        ...

    async def bench(self) -> Mapping[str, float]:
        """Measure this node on this board: stanzas_per_s, cpu_us_per_reading, pss_mb, ping_ms."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One verb. `usage` are examples to type; `summary` is a translatable half-sentence (`N_`).

    `takes` tells parser and form what stands behind the verb: nothing; free text; channels and perhaps a span
    of time; one output, its value and perhaps for how long; a span alone. `writes` is true when a request
    changes something that outlives its answer: it must be fresh, is audited, is never taken from a question.
    `aliases` are other words for the verb, in any language.
    """

    verb: str
    role: Role
    summary: str
    usage: tuple[str, ...]
    run: Callable[[Request, House], Awaitable[Reply]]
    takes: Takes = "nothing"
    writes: bool = False
    aliases: tuple[str, ...] = ()


def reading(channel: Channel, record: Record | None) -> Sentence:
    """What a channel is now, in one sentence."""
    if record is None:
        return Sentence(N_("{channel} has not reported yet."), {"channel": channel})
    if record.value is None:
        return Sentence(N_("{channel} has no value now ({value})."), {"channel": channel, "value": record})
    return Sentence(N_("{channel} is {value}."), {"channel": channel, "value": record})


def readable(request: Request, house: House) -> dict[str, Channel]:
    """The channels that the asking person may read; for them the others do not exist."""
    person = house.access.person(request.sender)
    if person is None:
        return {}
    return {n: c for n, c in house.channels.items() if person.reads(house.alerts.watched(n))}


def chosen(request: Request, house: House) -> list[Channel]:
    """The requested channels, in the order asked, without those that the person may not read."""
    mine = readable(request, house)
    return [mine[name] for name in request.channels if name in mine]
