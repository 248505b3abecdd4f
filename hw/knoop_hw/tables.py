"""What `[board] [input.N] [output.N] [sensor.N]` may say: a frozen dataclass each, its fields the keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from knoop_hw import source, units
from knoop_hw.decode import Between, Scalar, Seconds
from knoop_hw.filters import NUMERIC, Options
from knoop_hw.model import Channel, Kind, Type
from knoop_hw.pins import Pin
from knoop_hw.remote_tables import DeadMan, Remote
from knoop_hw.scenario import World

# What desktops take for a double click and what telephones take for a long press are 400 to 500 ms; a hand on a
# wall switch is slower to let go, so that a press is long later.
DOUBLE_S, LONG_S = 0.4, 0.8
Bias = Literal["up", "down", "none"]
_TYPES: dict[Kind, Type] = {"contact": "boolean", "motion": "boolean", "button": "text", "counter": "number"}
_NOT_SAMPLED = "stale: a line tells its changes, and may rest for a year; only a sensor's value can be stale"
_NO_NUMBER = {
    "contact": "a contact is true or false", "motion": "motion is true or false",
    "button": "a button is clicked or held",
}  # fmt: skip
# A motion sensor drives its line high; one whose wire is off shall be at rest. What else there is connects to ground.
_BIAS: dict[Kind, Bias] = {"motion": "down"}


KERNEL_PWM = ("GPIO12", "GPIO13", "GPIO18", "GPIO19")  # the header's lines with the kernel's pulses (`pwm`)


def _driver(raw: Any) -> str:
    if raw not in {"gpiod", "lgpio", "simulated"}:
        raise ValueError(raw)
    return str(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardTable:
    """`[board]`: how lines are reached. `chip` is whose lines they are: a path, a name (`gpiochip0`) or a label.

    `buses` are those that take lines: what `bus.named` knows.
    """

    driver: Annotated[
        str, Scalar('"gpiod", "lgpio" or "simulated"', _driver, schema={"enum": ["gpiod", "lgpio", "simulated"]})
    ] = "gpiod"
    chip: str | None = None
    scenario: Path | None = None
    buses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a scenario for real lines, and a chip for none (ValueError)."""
        if self.chip is not None and self.driver == "simulated":
            raise ValueError("chip: a simulated board has none; leave it out")
        if self.scenario is not None and self.driver != "simulated":
            raise ValueError('scenario: only a simulated board has one; set driver = "simulated"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Options):
    """`rate = "l/min"` or `[input.N.rate]`: how fast a counter's pulses come, in a unit that goes with its total's.

    What was measured is said at once where it was quiet, else at most every 10 s unless said otherwise: as often as
    other telemetry.
    """

    SHORTHAND: ClassVar[str] = "unit"

    unit: str
    min_interval_s: Seconds | None = 10.0

    def __post_init__(self) -> None:
        """Refuse what is said of the total already (ValueError)."""
        Options.__post_init__(self)
        for name in ("offset", "multiply"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: a rate follows from its counter; give that '{name}'")
        if self.stale_s is not None:
            raise ValueError(_NOT_SAMPLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input(Options):
    """`[input.N]`. `pull` is the bias of the line; None: down for a motion sensor, up for all else.

    `active_low` None: true for a button that pulls its line down (pull = "up"), else false. `debounce_s` is
    how long a level must rest before it counts; 20 ms outlasts the bounce of common switches (1-10 ms) and is
    below the 30 ms that IEC 62053-31 guarantees for a meter's pulse. `double_s` and `long_s` are a button's: within
    how long after a click another press makes it a double one, and after how long a press is a long one; 0: never.
    `unit` and `rate` are a counter's: what `multiply` turns pulses into, and how fast they come.
    """

    name: str
    pin: Pin
    kind: Literal["contact", "motion", "button", "counter"] = "contact"
    pull: Bias | None = None
    active_low: bool | None = None
    debounce_s: Annotated[Seconds, Between(0, 10)] = 0.02
    double_s: Annotated[Seconds, Between(0, 5)] = DOUBLE_S
    long_s: Annotated[Seconds, Between(0, 60)] = LONG_S
    unit: str = ""
    rate: Rate | None = None

    def __post_init__(self) -> None:
        """Refuse what its kind cannot have (ValueError)."""
        Options.__post_init__(self)
        if self.stale_s is not None:
            raise ValueError(_NOT_SAMPLED)
        if self.kind != "counter":
            for name in (*NUMERIC, "digits", "unit", "rate"):
                if getattr(self, name) not in {None, ""}:
                    raise ValueError(f"{name}: {_NO_NUMBER[self.kind]}; only a counter has numbers")
        if self.kind == "button":
            for name in ("min_interval", "heartbeat"):
                if getattr(self, f"{name}_s") is not None:
                    raise ValueError(f"{name}: each gesture of a button is told, once; leave it out")
        elif (self.double_s, self.long_s) != (DOUBLE_S, LONG_S):
            key = "double" if self.double_s != DOUBLE_S else "long"
            raise ValueError(f'{key}: only a button is pressed; set kind = "button"')
        units.check(self.unit)
        if self.rate is not None and self.rate.unit not in (there := units.rates(self.unit)):
            go = f"with unit = '{self.unit}' go" if self.unit else "without a unit go"
            known = ", ".join(there) or "no rates"
            raise ValueError(f"rate: '{self.rate.unit}' does not say how fast that comes; {go} {known}")

    @property
    def line(self) -> tuple[object, ...]:
        """What the line is opened with: where this is the same, a reload leaves it open."""
        gestures = (self.double_s, self.long_s)
        return self.name, self.pin, self.kind, self.bias, self.inverted, self.debounce_s, gestures

    @property
    def bias(self) -> Bias:
        """What holds the line while nothing else does."""
        return self.pull or _BIAS.get(self.kind, "up")

    @property
    def inverted(self) -> bool:
        """Whether a low line means true."""
        return self.kind == "button" and self.bias == "up" if self.active_low is None else self.active_low

    def channels(self) -> tuple[tuple[Channel, Options], ...]:
        """As the agent sees it, each with the options that hold for it; a counter with a rate is two."""
        digits = self.digits if self.digits is not None else units.digits(self.unit) if self.unit else 0
        counts = self.kind == "counter"
        channel = Channel(
            name=self.name, kind=self.kind, type=_TYPES[self.kind], unit=self.unit,
            cls=self.cls or ("telemetry" if counts else "event"), label=self.label, aliases=self.aliases,
            digits=digits if counts else None,
        )  # fmt: skip
        if self.rate is None:
            return ((channel, self),)
        label = self.rate.label or (f"{self.label} rate" if self.label else "")
        rate = Channel(
            name=self.rate_name, kind=self.kind, type="number", unit=self.rate.unit, cls=self.rate.cls or "telemetry",
            label=label, aliases=(*(f"{alias} rate" for alias in self.aliases), *self.rate.aliases),
            digits=units.digits(self.rate.unit) if self.rate.digits is None else self.rate.digits,
        )  # fmt: skip
        return (channel, self), (rate, self.rate)

    @property
    def rate_name(self) -> str:
        """The channel that says how fast a counter's pulses come."""
        return f"{self.name}.rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Options):
    """`[output.N]`. `initial` is the level at start, `safe` the one at the end and when the dead man lets go.

    `interlock` names outputs that may not be on together with this one, `interlock_wait_s` how long after
    them it may come on. `pulse_s`: on always means on for so long; relays need 10 ms to close, so 20 ms is the least.
    `dead_man_s` (key `dead_man`: true = 2 s, or a time) is how long the agent may be silent. A `lock` is a switch
    whose on is unlocked, and that has `confirm` unless that says otherwise.
    """

    name: str
    pin: Pin
    kind: Literal["switch", "lock", "pwm"] = "switch"
    active_low: bool = False
    initial: Literal["off", "on", "restore"] = "off"
    safe: Literal["off", "on", "keep"] = "off"
    max_on_s: Annotated[Seconds, Between(0.1)] | None = None
    pulse_s: Annotated[Seconds, Between(0.02, 60)] | None = None
    min_off_s: Seconds = 0.0
    interlock: tuple[str, ...] = ()
    interlock_wait_s: Seconds = 0.0
    dead_man_s: DeadMan = None
    confirm: bool | None = None

    def __post_init__(self) -> None:
        """Refuse limits that contradict each other (ValueError)."""
        for name in (*NUMERIC, "min_interval_s", "stale_s"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name.removesuffix('_s')}: every change of an output is a reading; leave it out")
        if self.digits is not None and self.kind != "pwm":
            raise ValueError(f"digits: a {self.kind} is on or off; leave it out")
        if self.dead_man_s is not None and self.safe == "keep":
            raise ValueError('dead_man: needs a safe value; set safe to "off" or "on"')
        if self.max_on_s is not None and "on" in {self.safe, self.initial}:
            raise ValueError('max_on: contradicts initial or safe = "on", which has no end; leave one out')
        if self.min_off_s and self.safe == "on":
            raise ValueError('min_off: contradicts safe = "on", which does not wait; leave one out')
        if self.pulse_s is not None:
            self._as_pulse(self.pulse_s)
        if self.kind == "pwm" and (self.safe == "keep" or self.initial == "restore"):
            raise ValueError('kind: a pwm has no "keep" and no "restore"; say "off" or "on"')
        if self.interlock_wait_s and not self.interlock:
            raise ValueError("interlock_wait: needs 'interlock' with the outputs to wait for")

    def _as_pulse(self, pulse_s: float) -> None:
        if self.kind == "pwm":
            raise ValueError("pulse: a switch gives pulses; a pwm has a level, leave it out")
        for name in ("initial", "safe"):
            if getattr(self, name) != "off":
                raise ValueError(f'pulse: a pulse ends at off, always; leave out {name} = "{getattr(self, name)}"')
        if self.max_on_s is not None and self.max_on_s < pulse_s:
            raise ValueError("pulse: is longer than max_on; leave max_on out")

    @property
    def line(self) -> Output:
        """What the line and its limits are made of: where this is the same, a reload does not touch the output.

        How it is called is not in it, and neither are interlocks: those of one table hold for the other output, too.
        """
        words: dict[str, Any] = {option.name: option.default for option in fields(Options)}
        return replace(self, **words, confirm=None, interlock=(), interlock_wait_s=0.0)

    def channel(self) -> Channel:
        """As the agent sees it."""
        pwm = self.kind == "pwm"
        return Channel(
            name=self.name, kind=self.kind, type="number" if pwm else "boolean", unit="%" if pwm else "",
            cls=self.cls or "event", label=self.label, aliases=self.aliases, digits=(self.digits or 0) if pwm else None,
            minimum=0.0 if pwm else None, maximum=100.0 if pwm else None, writable=True, pulse_s=self.pulse_s,
            confirm=self.kind == "lock" if self.confirm is None else self.confirm,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorHead(Options):
    """The keys of `[sensor.N]` that are not the driver's."""

    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorField:
    """One value of a sensor, with the options that hold for it."""

    field: source.Field
    options: Options
    channel: Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """`[sensor.N]`: the driver, its own decoded `Config`, and its channels."""

    name: str
    driver: str
    config: Any
    fields: tuple[SensorField, ...]

    @property
    def device(self) -> tuple[object, ...]:
        """What the device is opened with: where this is the same, a reload leaves it open."""
        return self.driver, self.config, tuple((item.field, item.channel.name) for item in self.fields)

    def lacks(self) -> tuple[str, ...]:
        """What its driver sees is not there on this machine; each begins with its key."""
        look: Any = getattr(source.load(self.driver), "lacks", None)
        return tuple(look(self.config)) if look else ()

    def doubts(self) -> tuple[str, ...]:
        """What can be meant and seldom is; each begins with its key."""
        look: Any = getattr(source.load(self.driver), "doubts", None)
        return tuple(look(self.config)) if look else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it. `outputs` are lines of the board, `remotes` outputs that live in devices.

    `world` is the weather of a simulated board; `written` are the tables of `file` that say so.
    """

    board: BoardTable = BoardTable()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    remotes: tuple[Remote, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    world: World | None = None
    written: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    file: str = field(default="", compare=False)

    def within(self, world: World | None) -> Config:
        """The same in a world that has begun already."""
        sensors = (
            replace(sensor, config=replace(sensor.config, world=world)) if hasattr(sensor.config, "world") else sensor
            for sensor in self.sensors
        )
        return replace(self, world=world, sensors=tuple(sensors))

    def channels(self) -> tuple[Channel, ...]:
        """Every channel, in the order of the tables."""
        inputs = (channel for line in self.inputs for channel, _ in line.channels())
        written: tuple[Output | Remote, ...] = (*self.outputs, *self.remotes)
        outputs = (output.channel() for output in written)
        return (*inputs, *outputs, *(item.channel for sensor in self.sensors for item in sensor.fields))
