"""A verb, what a person asks with it, and what it answers: data only, the same for chat, room and form.

A verb is one file in `commands/` that holds a `COMMAND`; the folder is the table. `role` has no default: a
verb without a stated right cannot be declared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from knoop.disk import quiet
from knoop.jid import Jid
from knoop.record import Record
from knoop_hw.clock import Clock
from knoop_hw.model import Channel, Kind

if TYPE_CHECKING:
    from knoop.access import Access, Role
    from knoop.alarms import Alarms
    from knoop.alerts import Alerts
    from knoop.beside import Found
    from knoop.claiming import Claims
    from knoop.health import Health
    from knoop.knocks import Knocks
    from knoop.state import State
    from knoop.store import Store
    from knoop.telling import Telling

OLD_S = 600.0  # twice the usual heartbeat: from here on a value's age is part of its meaning
Takes = Literal["nothing", "text", "channels", "value", "span"]
Via = Literal["chat", "form", "room"]


def N_(message: str) -> str:  # noqa: N802 -- gettext's own name for "translate later"
    """Mark a sentence for translation; `text.Voice` translates it into the reader's language."""
    return message


@dataclass(frozen=True, slots=True)
class Sentence:
    """A translatable sentence and its values: `Sentence(N_("{channel} is {value}."), {"channel": …})`.

    Values may be text, numbers, a Channel (its label), a Record (its value with unit, in the reader's way), a `Span`,
    an `Instant`, another Sentence, or a tuple of these (said with commas). With `plural`, the whole number in
    `values["count"]` chooses between `message` and `plural`: see `counted`.
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
    """What a verb answers: one sentence a line. `ok` is False when nothing was done because of the request.

    `choices` are what was perhaps meant: whoever can hear the answer may offer them (`knoop.parse.choices`). `confirm`
    is what to say with a one-time code that has to come back first (`confirming`). A `passing` reply holds a secret:
    it is for the asking device only, and not stored on its way.
    """

    lines: tuple[Sentence, ...]
    ok: bool = True
    choices: tuple[Intent, ...] = ()
    confirm: Sentence | None = None
    passing: bool = False

    @property
    def asks_code(self) -> bool:
        """Whether nothing was done, and what would be waits for the code that this says."""
        return self.passing and not self.ok


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

    `sender` is the full JID that the server vouches for. `argument` is the text behind the verb. `channels` are the
    channel names that `argument` resolved to (see `parse`), `value` and `for_s` what to set and for how long.
    `heard_ns` is when it came (boottime), `stanza` the id of its stanza or '', `room` the room it was said in. `code`
    is a one-time code that came back, `confirmed` a wish whose code did.
    """

    sender: Jid
    verb: str
    argument: str = ""
    channels: tuple[str, ...] = ()
    value: bool | float | None = None
    for_s: float | None = None
    lang: str = "en"
    via: Via = "chat"
    room: str = ""
    heard_ns: int = 0
    stanza: str = ""
    code: str | None = None
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What was asked, before it is known who asked; the fields are those of `Request`."""

    verb: str
    argument: str = ""
    channels: tuple[str, ...] = ()
    value: bool | float | None = None
    for_s: float | None = None

    def request(self, who: Jid, *, lang: str = "en", via: Via = "chat", heard_ns: int = 0, stanza: str = "") -> Request:
        """The request that this person makes with it."""
        return Request(
            sender=who, verb=self.verb, argument=self.argument, channels=self.channels, value=self.value,
            for_s=self.for_s, lang=lang, via=via, heard_ns=heard_ns, stanza=stanza,
        )


class House(Protocol):
    """All that a verb may use. The agent is one; tests build another over the same parts."""

    name: str
    label: str
    run: str
    clock: Clock
    access: Access
    alerts: Alerts
    alarms: Alarms
    telling: Telling
    store: Store
    state: State
    claims: Claims
    knocks: Knocks
    own: Jid

    @property
    def source(self) -> str:
        """Where people get the source of what runs here (AGPL-3.0 §13)."""

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Every channel of the board, by name."""

    @property
    def latest(self) -> Mapping[str, Record]:
        """The last record of each channel that has one."""

    def jid(self, text: str) -> Jid:
        """The address that `text` means, prepared; raises ValueError."""

    def health(self) -> Health:
        """How the node is, now."""

    def synced(self) -> bool:
        """Whether the wall clock is right, as far as anybody here can tell."""

    async def set(self, channel: str, value: bool | float, *, for_s: float | None, by: Jid, heard_ns: int) -> Record:
        """Move an output and return the level read back; raises SetRefused, also when heard (boottime) too long ago."""

    async def acknowledge(self, alert: str, *, by: Jid) -> None:
        """Say to everybody who was told of `alert` that a person has seen it."""

    def watch(self, watcher: Jid, channels: Sequence[str], *, for_s: float) -> None:
        """Send changes of `channels` to this chat for a while; replaces an earlier watch of the same chat."""

    def unwatch(self, watcher: Jid) -> int:
        """End the watch of this chat; returns how many channels it had."""

    async def rights_changed(self) -> None:
        """Let whitelist, presence and subscriptions follow the rights at once."""

    async def recall(self) -> None:
        """Know anew what the disk has of rights, quiet times and silences."""

    async def bench(self) -> Mapping[str, float]:
        """Measure this node on this board: stanzas_per_s, cpu_us_per_reading, pss_mb, ping_ms."""

    async def examined(self) -> Sequence[Found]:
        """What a look at this machine finds. Raises TimeoutError where something hangs."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to choose in a form: `value` stands for it in the request, `label` is what people read."""

    value: str
    label: Sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question of a verb's form; its `kind` says what the answer is and where in the request it goes.

    `channels` (any number) become `Request.channels`. A `span` becomes `for_s`, or `value` False for “off”; of several
    spans the last one given counts. All others are joined to `argument` in their order, with `word` before those that
    have one: a `text`, an address (`jid`), a `count` from 1 to `most`, `one` or `many` of `choices`. With `choices` a
    span is chosen, too. `usual` is filled in already. Where `needed` choices are none, the form says `without`.
    """

    name: str
    label: str
    kind: Literal["text", "jid", "count", "one", "many", "channels", "span"] = "text"
    choices: Callable[[Request, House], Sequence[Choice]] | None = None
    needed: bool = False
    usual: str = ""
    most: int = 0
    word: str = ""
    without: str = N_("There is nothing to choose from now.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One verb. `usage` are examples to type; `summary` is a translatable half-sentence (`N_`).

    `takes` tells parser and form what stands behind the verb: nothing; free text; channels and perhaps a span
    of time; one output, its value and perhaps for how long; a span alone. `writes` is true when a request
    changes something that outlives its answer: it must be fresh, is audited, is never taken from a question.
    `aliases` are other words for the verb, in any language. `form` are the questions of its form (XEP-0050); None
    leaves them to `takes`, and without questions a form acts at once. `rooms`: where it may be said in a room: to one
    node by "name", also to "all" of them, or (empty) not at all, since its answer is one person's. `safe`: answered
    in safe mode, too, where there is neither board nor store.
    """

    verb: str
    role: Role
    summary: str
    usage: tuple[str, ...]
    run: Callable[[Request, House], Awaitable[Reply]]
    takes: Takes = "nothing"
    writes: bool = False
    aliases: tuple[str, ...] = ()
    form: tuple[Ask, ...] | None = None
    rooms: Literal["", "name", "all"] = ""
    safe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a value of one kind of channel is said: `now`, `aged`, `before` the last start, in an `alert`."""

    now: str = N_("{channel} is {value}.")
    aged: str = N_("{channel} is {value}, as of {age} ago.")
    before: str = N_("{channel} was {value} before the last start.")
    alert: str = N_("{head}: {channel} is {value}")


_PLAIN = Wording()
_WORDINGS: Mapping[Kind, Wording] = {
    "button": Wording(now=N_("{channel}: {value}."), aged=N_("{channel}: {value}, {age} ago.")),
    # A motion sensor is called as the place that it sees.
    "motion": Wording(
        now=N_("There is {value} in {channel}."), aged=N_("There is {value} in {channel}, as of {age} ago."),
        before=N_("There was {value} in {channel} before the last start."), alert=N_("{head}: {value} in {channel}"),
    ),
}  # fmt: skip


def wording(channel: Channel) -> Wording:
    """How this channel's values are said."""
    return _WORDINGS.get(channel.kind, _PLAIN)


def reading(channel: Channel, record: Record | None) -> Sentence:
    """What a channel is now, in one sentence."""
    if record is None:
        return Sentence(N_("{channel} has not reported yet."), {"channel": channel})
    if record.value is None:
        return Sentence(N_("{channel} has no value now ({value})."), {"channel": channel, "value": record})
    return Sentence(wording(channel).now, {"channel": channel, "value": record})


def dated(house: House, name: str) -> Sentence:
    """What a channel is, and since when where that is part of it."""
    channel, record = house.channels[name], house.latest.get(name)
    now = reading(channel, record)
    if record is None:
        return now
    values: dict[str, Any] = {"channel": channel, "value": record}
    if (age_s := _age_s(house, record)) is None:
        return Sentence(wording(channel).before, values)
    values["age"] = Span(age_s)
    if channel.kind == "button":  # when it was is the half of it
        return Sentence(wording(channel).aged, values | {"age": Span(max(1, round(age_s)))})
    return now if age_s < OLD_S else Sentence(wording(channel).aged, values)


def _age_s(house: House, record: Record) -> float | None:
    """Seconds since the reading; None when its clock cannot be compared with ours."""
    if record.boot == house.clock.boot_id:
        return (house.clock.boottime_ns() - record.boottime_ns) / 1e9
    if record.at_ns is None or not house.synced():
        return None
    age_s = (house.clock.time_ns() - record.at_ns) / 1e9
    return age_s if age_s >= 0 else None  # the clock was set back since


def readable(sender: Jid, house: House) -> dict[str, Channel]:
    """The channels that this person may read, and that may have something to say; for them no others exist."""
    if (person := house.access.person(sender)) is None:
        return {}
    return {n: c for n, c in house.channels.items() if person.reads(n) and not quiet(n, house.latest.get(n))}


def chosen(request: Request, house: House) -> list[Channel]:
    """The requested channels, in the order asked, without those that the person may not read."""
    mine = readable(request.sender, house)
    return [mine[name] for name in request.channels if name in mine]


def beyond(channel: Channel, value: float) -> Reply | None:
    """What somebody hears who asks for more or less than this output takes; None when it takes that."""
    if channel.minimum is not None and value < channel.minimum:
        return refuse(N_("{channel} takes at least {limit}."), channel=channel, limit=channel.minimum)
    if channel.maximum is not None and value > channel.maximum:
        return refuse(N_("{channel} takes at most {limit}."), channel=channel, limit=channel.maximum)
    return None
