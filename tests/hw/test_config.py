"""The tables of the hardware half: what may be said, and how a mistake is told."""

from __future__ import annotations

import pytest

from knoop_hw import config, decode
from knoop_hw.filters import Delta
from knoop_hw.pins import BOARD, line_of


def load(text: str, file: str = "node.toml") -> tuple[config.Config, list[str]]:
    problems = []
    loaded = config.load(decode.parse(text, file), problems)
    return loaded, [str(problem) for problem in sorted(problems)]


SIMULATED = '[board]\ndriver = "simulated"\n'


def test_a_whole_house():
    loaded, problems = load(
        """
        [board]
        driver = "simulated"
        buses = ["w1:GPIO4", "i2c"]
        [input.door]
        pin = "BOARD11"
        label = "Front door"
        class = "alarm"
        debounce = "50ms"
        [input.bell]
        pin = "GPIO22"
        kind = "button"
        [input.rain]
        pin = "GPIO23"
        kind = "counter"
        multiply = 0.2794
        unit = "mm"
        [output.lamp]
        pin = "GPIO27"
        [output.fan]
        pin = "GPIO18"
        kind = "pwm"
        confirm = true
        [output.up]
        pin = "GPIO5"
        interlock = ["down"]
        interlock_wait = "2s"
        dead_man = true
        [output.down]
        pin = "GPIO6"
        dead_man = "5s"
        [sensor.air]
        driver = "simulated"
        every = "2s"
        label = "Attic"
        heartbeat = "5min"
        delta = "2 %"
        [sensor.air.temperature]
        delta = 0.2
        [sensor.pi]
        driver = "system"
        [sensor.meter]
        driver = "p1"
        device = "/dev/ttyUSB0"
        fields = ["power", "gas"]
        """
    )
    assert problems == []
    door, bell, rain, lamp, fan, _, _, temperature, humidity, *_ = loaded.channels()
    assert (door.name, door.type, door.cls, door.label, door.writable) == (
        "door",
        "boolean",
        "alarm",
        "Front door",
        False,
    )
    assert loaded.inputs[0].pin == "GPIO17"
    assert loaded.inputs[1].inverted
    assert (bell.cls, rain.type, rain.unit, rain.digits, rain.cls) == ("event", "number", "mm", 1, "telemetry")
    assert (lamp.writable, lamp.confirm, fan.confirm) == (True, False, True)
    assert (fan.minimum, fan.maximum, fan.unit) == (0.0, 100.0, "%")
    assert [output.interlock for output in loaded.outputs[2:]] == [("down",), ("up",)]
    assert [output.interlock_wait_s for output in loaded.outputs[2:]] == [2.0, 2.0]
    assert [output.dead_man_s for output in loaded.outputs[1:]] == [None, 2.0, 5.0]
    assert (temperature.name, temperature.label, temperature.unit) == ("air.temperature", "Attic temperature", "°C")
    options = [item.options for item in loaded.sensors[0].fields]
    assert [option.delta for option in options] == [Delta(0.2), Delta(2.0, relative=True)]
    assert [option.heartbeat_s for option in options] == [300.0, 300.0]
    assert humidity.unit == "%"
    assert [channel.name for channel in loaded.channels()[-2:]] == ["meter.power", "meter.gas"]


def test_aliases_of_a_channel_and_of_a_device():
    loaded, problems = load(
        SIMULATED
        + """
        [output.lamp]
        pin = "GPIO27"
        aliases = ["ganglamp", " licht in de gang "]
        [sensor.air]
        driver = "simulated"
        aliases = ["kas", "serre"]
        [sensor.air.temperature]
        aliases = ["kastemperatuur"]
        [sensor.pi]
        driver = "system"
        """
    )
    assert problems == []
    called = {channel.name: channel.aliases for channel in loaded.channels()}
    assert called["lamp"] == ("ganglamp", "licht in de gang")
    assert called["air.temperature"] == ("kas temperature", "serre temperature", "kastemperatuur")
    assert called["air.humidity"] == ("kas humidity", "serre humidity")
    assert called["pi.load"] == ()


@pytest.mark.parametrize("aliases", ["[]", '"deur"', '[""]', '[" "]', "[3]", f'["{"x" * 41}"]', str(["x"] * 11)])
def test_aliases_are_few_short_names(aliases):
    _, (problem,) = load(f'{SIMULATED}[input.door]\npin = "GPIO17"\naliases = {aliases}')
    assert "input.door.aliases: expected a list of 1 to 10 names in quotes, each of at most 40 characters" in problem
    assert load(f'{SIMULATED}[input.door]\npin = "GPIO17"\naliases = {["x" * 40] * 10}')[1] == []


def test_an_empty_file_is_a_board_without_anything():
    loaded, problems = load("")
    assert problems == []
    assert loaded.channels() == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[input.door]\npin = "GPIO17"\npul = "up"', "node.toml:3: input.door.pul: unknown key; did you mean 'pull'?"),
        ("[input.door]", "node.toml:1: input.door: 'pin' is missing"),
        (
            '[input.door]\npin = "BOARD11"\n[output.lamp]\npin = "GPIO17"',
            "node.toml:2: input.door.pin: GPIO17 is already taken by output.lamp",
        ),
        (
            '[board]\nbuses = ["w1:GPIO4"]\n[input.door]\npin = "GPIO4"',
            "node.toml:4: input.door.pin: GPIO4 is already taken by the bus w1:GPIO4",
        ),
        ('[board]\nbuses = ["can"]', "node.toml:2: board.buses[1]: unknown bus 'can'; expected i2c, spi or w1:GPIO4"),
        (
            '[input.door]\npin = "BOARD1"',
            'node.toml:2: input.door.pin: expected a line of the header such as "GPIO17" or "BOARD11", not "BOARD1"',
        ),
        (
            '[board]\ndriver = "gpiod"',
            (
                'node.toml:2: board.driver: expected "lgpio" or "simulated" '
                '(gpiod is not there yet, lgpio reaches the same lines), not "gpiod"'
            ),
        ),
        (
            '[input.alert]\npin = "GPIO17"',
            "node.toml:1: input.alert: 'alert' is what the agent's own channels begin with; choose another name",
        ),
        (
            '[input.door]\npin = "GPIO17"\n[sensor.door]\ndriver = "system"',
            "node.toml:3: sensor.door: the name is already taken by input.door; choose another",
        ),
        (
            '[input.Door]\npin = "GPIO17"',
            "node.toml:1: input.Door: a name is a lower-case letter, then letters, digits or _",
        ),
        (
            '[output.up]\npin = "GPIO5"\ninterlock = ["dwn"]\n[output.down]\npin = "GPIO6"',
            "node.toml:3: output.up.interlock[1]: there is no output 'dwn'; did you mean 'down'?",
        ),
        (
            '[output.up]\npin = "GPIO5"\ninterlock = ["up"]',
            "node.toml:3: output.up.interlock[1]: an output cannot be interlocked with itself",
        ),
        (
            '[output.up]\npin = "GPIO5"\ninitial = "on"\ninterlock = ["down"]\n'
            '[output.down]\npin = "GPIO6"\ninitial = "on"',
            'node.toml:7: output.down.initial: output.up has "on"; they are interlocked: set one to "off"',
        ),
        (
            '[output.up]\npin = "GPIO5"\nsafe = "on"\n[output.down]\npin = "GPIO6"\nsafe = "on"\ninterlock = ["up"]',
            'node.toml:6: output.down.safe: output.up has "on"; they are interlocked: set one to "off"',
        ),
        (
            '[output.up]\npin = "GPIO5"\nsafe = "on"\n[output.down]\npin = "GPIO6"\nsafe = "keep"\ninterlock = ["up"]',
            'node.toml:6: output.down.safe: output.up has "on"; they are interlocked: set one to "off"',
        ),
        (
            '[output.up]\npin = "GPIO5"\ndead_man = true\nsafe = "keep"',
            'node.toml:3: output.up.dead_man: needs a safe value; set safe to "off" or "on"',
        ),
        (
            '[output.up]\npin = "GPIO5"\ndead_man = "0.5s"',
            'node.toml:3: output.up.dead_man: expected true, false or a time from "1s" to "1h", not "0.5s"',
        ),
        (
            '[output.up]\npin = "GPIO5"\ndelta = 2',
            "node.toml:3: output.up.delta: every change of an output is a reading; leave it out",
        ),
        (
            '[output.up]\npin = "GPIO5"\nmax_on = "5s"\nsafe = "on"',
            'node.toml:3: output.up.max_on: contradicts initial or safe = "on"',
        ),
        (
            '[input.door]\npin = "GPIO5"\ndelta = "2 %"',
            "node.toml:3: input.door.delta: a contact is true or false; only a counter has numbers",
        ),
        (
            '[input.rain]\npin = "GPIO5"\nkind = "counter"\nunit = "mmm"',
            "node.toml:4: input.rain.unit: 'mmm' is not a unit Knoop knows; did you mean 'mm'?",
        ),
        (
            '[sensor.pi]\ndriver = "sytem"',
            "node.toml:2: sensor.pi.driver: there is no driver 'sytem'; did you mean 'system'?",
        ),
        ("[sensor.pi]", "node.toml:1: sensor.pi: 'driver' is missing"),
        (
            '[sensor.pi]\ndriver = "system"\nevry = "2s"',
            "node.toml:3: sensor.pi.evry: unknown key; did you mean 'every'?",
        ),
        (
            '[sensor.pi]\ndriver = "system"\n[sensor.pi.memry]\ndelta = 1',
            "node.toml:3: sensor.pi.memry: unknown key; did you mean 'memory'?",
        ),
        (
            '[sensor.pi]\ndriver = "system"\n[sensor.pi.memory]\ndelt = 1',
            "node.toml:4: sensor.pi.memory.delt: unknown key; did you mean 'delta'?",
        ),
        ('[sensor.meter]\ndriver = "p1"', "node.toml:1: sensor.meter: 'device' is missing"),
        (
            '[sensor.meter]\ndriver = "p1"\ndevice = "/dev/ttyUSB0"\nfields = ["pwer"]',
            "node.toml:4: sensor.meter.fields: 'pwer' is not a value of a meter; did you mean 'power'?",
        ),
        (
            '[sensor.a]\ndriver = "p1"\ndevice = "/dev/x"\n[sensor.b]\ndriver = "p1"\ndevice = "/dev/x"',
            "node.toml:6: sensor.b.device: /dev/x is already taken by sensor.a; a port has one reader",
        ),
        (
            '[sensor.air]\ndriver = "simulated"',
            'node.toml:2: sensor.air.driver: needs a simulated board; set [board] driver = "simulated"',
        ),
        ("input = 3", "node.toml:1: input: expected tables such as [input.door]"),
        ("[input]\ndoor = 3", "node.toml:2: input.door: expected a table, not 3"),
        ("board = 3", "node.toml:1: board: expected a table, not 3"),
        ("[sensor]\nair = 3", "node.toml:2: sensor.air: expected a table, not 3"),
        (
            '[board]\nscenario = "x.toml"',
            'node.toml:2: board.scenario: only a simulated board has one; set driver = "simulated"',
        ),
        (
            '[sensor.pi]\ndriver = "system"\nmedian = 4',
            "node.toml:3: sensor.pi.median: expected an odd number of samples from 1 to 99, not 4",
        ),
    ],
)
def test_one_mistake_one_sentence(text, problem):
    assert load(text)[1] == [problem]


@pytest.mark.parametrize("other", ['[output.lamp]\npin = "GPIO99"\n', ""], ids=["wrong itself", "not there"])
def test_an_interlock_with_an_output_that_is_wrong_is_no_second_mistake(other):
    """It was a traceback: the wait was left without the output to wait for."""
    fan = '[output.fan]\npin = "GPIO5"\ninterlock = ["lamp"]\ninterlock_wait = "1s"\n'
    assert len(load(fan + other)[1]) == 1


def test_interlocked_outputs_of_which_one_starts_on_and_outputs_that_are_not_interlocked_may_be_on():
    _, problems = load(
        '[output.up]\npin = "GPIO5"\ninitial = "on"\ninterlock = ["down"]\n[output.down]\npin = "GPIO6"\nsafe = "on"\n'
        '[output.lamp]\npin = "GPIO27"\ninitial = "on"\nsafe = "on"\n'
    )
    assert problems == []


def test_a_scenario_is_read_beside_the_configuration_and_its_mistakes_are_told_too(tmp_path):
    (tmp_path / "weather.toml").write_text('[[step]]\nat = "3s"\nline = "dor"\nvalue = true\n')
    text = SIMULATED + 'scenario = "weather.toml"\n[input.door]\npin = "GPIO17"\npul = "up"\n'
    _, problems = load(text, str(tmp_path / "node.toml"))
    assert problems == [
        f"{tmp_path}/node.toml:6: input.door.pul: unknown key; did you mean 'pull'?",
        f"{tmp_path}/weather.toml:3: step[1].line: 'dor' is not an input of this board; there are: door",
    ]


def test_an_absent_scenario(tmp_path):
    _, [problem] = load(SIMULATED + 'scenario = "none.toml"\n', str(tmp_path / "node.toml"))
    assert problem.startswith(f"{tmp_path}/none.toml: there is no such file")


def test_board_numbers_are_those_of_gpiozero():
    from gpiozero.pins.pi import PiBoardInfo

    header = PiBoardInfo.from_revision(0xA02082).headers["J8"]
    theirs = {number: pin.name for number, pin in header.pins.items() if pin.name.startswith("GPIO")}
    assert {number: f"GPIO{line}" for number, line in BOARD.items()} == theirs
    assert line_of("BOARD40") == "GPIO21"
