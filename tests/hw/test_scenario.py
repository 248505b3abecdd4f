"""The weather of a simulated board, and the script it plays."""

from __future__ import annotations

import itertools

import pytest

from knoop_hw import decode
from knoop_hw.clock import FakeClock
from knoop_hw.scenario import World, read


def scenario(text, *, lines=("door", "rain"), sensors=("air",)):
    problems = []
    document = decode.parse(text, "scenario.toml")
    made = read(document, problems, lines=frozenset(lines), sensors=frozenset(sensors))
    return made, [str(problem) for problem in sorted(problems)]


def world(text):
    made, problems = scenario(text)
    assert problems == []
    return World(made)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[[step]]\nat = "3s"\nline = "door"',
            "scenario.toml:1: step[1]: a line needs one of 'value', 'pulses' and 'press'",
        ),
        (
            '[[step]]\nat = "3s"\nline = "door"\nvalue = true\npress = "1s"',
            "scenario.toml:1: step[1]: a line needs one of 'value', 'pulses' and 'press'",
        ),
        (
            '[[step]]\nat = "3s"\nsensor = "air"\nco2 = 500\npress = "1s"',
            "scenario.toml:1: step[1]: a sensor has no 'value', 'pulses' or 'press'; "
            "give temperature, humidity, pressure, co2 or error",
        ),
        ('[[step]]\nat = "3s"', "scenario.toml:1: step[1]: name either a 'line' or a 'sensor'"),
        (
            '[[step]]\nat = "3s"\nline = "door"\nvalue = true\ntemperature = 3',
            "scenario.toml:1: step[1]: a line has no weather; give the quantities to a 'sensor'",
        ),
        (
            '[[step]]\nat = "3s"\nsensor = "air"',
            "scenario.toml:1: step[1]: a sensor needs temperature, humidity, pressure, co2 or error",
        ),
        (
            '[[step]]\nat = "3s"\nsensor = "air"\nerror = "EIO"',
            "scenario.toml:1: step[1]: 'error' and 'for' belong together",
        ),
        (
            '[[step]]\nat = "3s"\nsensor = "air"\nerror = "EOI"\nfor = "1s"',
            "scenario.toml:4: step[1].error: \"EOI\" is not one of EIO, ENODEV, ETIMEDOUT; did you mean 'EIO'?",
        ),
        (
            '[[step]]\nat = "3s"\nsensor = "aer"\ntemperature = 1',
            "scenario.toml:3: step[1].sensor: 'aer' is not a simulated sensor of this board; there are: air",
        ),
        (
            '[[step]]\nat = "3s"\nsensor = "air"\nhumidity = 101',
            "scenario.toml:4: step[1].humidity: expected from 0 to 100, not 101",
        ),
        (
            '[contact.dor]\nbounce = "5ms"',
            "scenario.toml:1: contact.dor: 'dor' is not an input of this board; there are: door, rain",
        ),
        (
            'repeat = "2s"\n[[step]]\nat = "3s"\nline = "door"\nvalue = true',
            "scenario.toml:3: step[1].at: never happens: it lies behind 'repeat'",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_located(text, problem):
    assert scenario(text)[1] == [problem]


async def test_a_sensor_lags_behind_the_air(clock):
    text = (
        '[sensor.air]\ntemperature = 20\nlag = "10s"\nnoise = 0\n[[step]]\nat = "5s"\nsensor = "air"\ntemperature = 0\n'
    )
    air = world(text)
    assert air.measure("air", clock=clock) == {"temperature": 20.0}
    await clock.advance(5)
    assert air.measure("air", clock=clock)["temperature"] == 20.0
    await clock.advance(10)  # one time constant: 1/e is left
    assert air.measure("air", clock=clock)["temperature"] == pytest.approx(20 / 2.71828, abs=0.01)
    await clock.advance(200)
    assert air.measure("air", clock=clock)["temperature"] == 0.0


async def test_noise_repeats_with_the_seed_and_is_of_the_right_size(clock):
    text = "seed = {}\n[sensor.air]\ntemperature = 20\n"
    one, same, other = world(text.format(1)), world(text.format(1)), world(text.format(2))
    series = []
    for _ in range(300):
        values = [w.measure("air", clock=clock)["temperature"] for w in (one, same, other)]
        assert values[0] == values[1]
        series.append(values)
        await clock.advance(1)
    assert any(first != third for first, _, third in series)
    spread = [first - 20 for first, *_ in series]
    assert 0.03 < (sum(x * x for x in spread) / len(spread)) ** 0.5 < 0.05
    assert all(round(first, 2) == first for first, *_ in series)


async def test_a_fault_lasts_as_long_as_it_says(clock):
    air = world('[sensor.air]\ntemperature = 20\n[[step]]\nat = "10s"\nsensor = "air"\nerror = "EIO"\nfor = "20s"\n')
    outcomes = []
    for _ in range(40):
        try:
            air.measure("air", clock=clock)
            outcomes.append("measured")
        except OSError as error:
            outcomes.append(error.strerror)
        await clock.advance(1)
    assert outcomes == ["measured"] * 10 + ["Input/output error"] * 20 + ["measured"] * 10


async def test_a_repeating_scenario_reads_the_same_a_week_later_and_as_fast():
    text = (
        'repeat = "60s"\n[sensor.air]\nnoise = 0\n[[step]]\nat = "0s"\nsensor = "air"\ntemperature = 20\n'
        '[[step]]\nat = "20s"\nsensor = "air"\ntemperature = -4\n'
    )
    early, late = FakeClock(), FakeClock()
    air, again = world(text), world(text)
    air.elapsed_s(early)
    again.elapsed_s(late)
    await early.advance(60 * 3 + 35)
    await late.advance(60 * 60 * 24 * 7 + 35)
    assert air.measure("air", clock=early) == pytest.approx(again.measure("air", clock=late), abs=0.02)


async def test_a_test_may_change_the_air_and_break_the_sensor(clock):
    air = world("[sensor.air]\ntemperature = 20\nlag = 0\nnoise = 0\n")
    air.tell("air", {"temperature": 5.0}, clock=clock)
    await clock.advance(1)
    assert air.measure("air", clock=clock) == {"temperature": 5.0}
    air.fail("air", "EIO", for_s=2, clock=clock)
    with pytest.raises(OSError, match="Input/output"):
        air.measure("air", clock=clock)
    await clock.advance(2)
    assert air.measure("air", clock=clock) == {"temperature": 5.0}


def test_a_sensor_nobody_speaks_of_has_temperature_and_humidity():
    assert World.empty().gives("air") == ("temperature", "humidity")


def test_steps_repeat_for_ever():
    made, _ = scenario('repeat = "10s"\n[[step]]\nat = "3s"\nline = "door"\nvalue = true\n')
    assert [at for at, _ in itertools.islice(made.steps(), 3)] == [3.0, 13.0, 23.0]
    assert next(made.steps(after_s=1000.0))[0] == 1003.0
