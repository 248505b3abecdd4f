"""The tables of the hardware half: what may be said, and how a mistake is told."""

from __future__ import annotations

import pytest

from knoop_hw import config, decode, source, units
from knoop_hw.filters import Delta, Options
from knoop_hw.pins import BOARD, line_of
from knoop_hw.source import Field


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


def test_a_button_says_gestures_and_a_counter_may_be_two_channels():
    loaded, problems = load(
        """
        [input.bell]
        pin = "GPIO22"
        kind = "button"
        double = 0
        long = "1s"
        [input.water]
        pin = "GPIO23"
        kind = "counter"
        label = "Water"
        aliases = ["meter"]
        class = "event"
        unit = "L"
        delta = 10
        rate = "L/min"
        [input.sun]
        pin = "GPIO24"
        kind = "counter"
        unit = "kWh"
        multiply = 0.001
        [input.sun.rate]
        unit = "W"
        label = "Roof"
        digits = 1
        min_interval = "1min"
        """
    )
    assert problems == []
    bell, water, flow, _, power = loaded.channels()
    assert (bell.kind, bell.type, bell.cls) == ("button", "text", "event")
    assert (loaded.inputs[0].double_s, loaded.inputs[0].long_s) == (0, 1)
    assert (water.cls, water.unit, flow.name, flow.cls, flow.unit) == ("event", "L", "water.rate", "telemetry", "L/min")
    assert (flow.kind, flow.type, flow.label, flow.aliases, flow.digits) == (
        "counter", "number", "Water rate", ("meter rate",), 1,
    )  # fmt: skip
    assert (power.name, power.label, power.digits) == ("sun.rate", "Roof", 1)
    (_, of_water), (_, of_flow) = loaded.inputs[1].channels()
    assert (of_water.delta, of_water.min_interval_s, of_flow.delta, of_flow.min_interval_s) == (
        Delta(10), None, None, 10,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("amount", "rate", "each"),
    [("l", "l/min", 60), ("L", "l/h", 3600), ("m³", "m³/h", 3600), ("l", "m³/h", 3.6), ("kWh", "W", 3.6e6),
     ("kWh", "kW", 3600), ("Wh", "W", 3600), ("GJ", "kW", 1e6), ("mm", "mm/h", 3600), ("m", "km/h", 3.6),
     ("m", "m/s", 1), ("", "1/min", 60), ("", "Hz", 1)],
)  # fmt: skip
def test_how_much_in_a_second_is_how_fast(amount, rate, each):
    assert units.per_second(amount, rate) == pytest.approx(each)


def test_every_rate_is_a_unit_and_every_amount_has_one():
    for amount in units.DIGITS:
        for rate in units.rates(amount):
            assert units.known(rate)
            assert units.per_second(amount, rate) > 0
    assert units.rates("°C") == ()
    with pytest.raises(KeyError):
        units.per_second("l", "W")


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


@pytest.mark.parametrize(("said", "wanted"), [("", True), ("confirm = true", True), ("confirm = false", False)])
def test_a_lock_is_a_switch_that_wants_a_code_unless_told_otherwise(said, wanted):
    loaded, problems = load(f'[output.lock]\npin = "GPIO5"\nkind = "lock"\npulse = "3s"\n{said}')
    [lock] = loaded.channels()
    assert (problems, lock.kind, lock.type, lock.confirm, lock.pulse_s) == ([], "lock", "boolean", wanted, 3.0)


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
        ('[board]\nbuses = ["can"]',
         "node.toml:2: board.buses[1]: unknown bus 'can'; expected i2c, i2c:bme280, spi, uart or w1:GPIO4"),
        ('[board]\nbuses = ["i2c", "w1:GPIO3"]',
         "node.toml:2: board.buses[2]: 'w1:GPIO3' needs GPIO3, which the bus i2c has; leave one of them out"),
        ('[board]\nbuses = ["uart"]\n[output.lamp]\npin = "GPIO14"',
         "node.toml:4: output.lamp.pin: GPIO14 is already taken by the bus uart"),
        (
            '[input.door]\npin = "BOARD1"',
            'node.toml:2: input.door.pin: expected a line of the header such as "GPIO17" or "BOARD11", not "BOARD1"',
        ),
        (
            '[board]\ndriver = "rpigpio"',
            'node.toml:2: board.driver: expected "gpiod", "lgpio" or "simulated", not "rpigpio"',
        ),
        (
            '[board]\ndriver = "simulated"\nchip = "gpiochip0"',
            "node.toml:3: board.chip: a simulated board has none; leave it out",
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
            '[input.bell]\npin = "GPIO5"\nkind = "button"\nheartbeat = "5min"',
            "node.toml:4: input.bell.heartbeat: each gesture of a button is told, once; leave it out",
        ),
        (
            '[input.bell]\npin = "GPIO5"\nkind = "button"\nmin_interval = "5s"',
            "node.toml:4: input.bell.min_interval: each gesture of a button is told, once; leave it out",
        ),
        (
            '[input.bell]\npin = "GPIO5"\nkind = "button"\nmultiply = 2',
            "node.toml:4: input.bell.multiply: a button is clicked or held; only a counter has numbers",
        ),
        (
            '[input.water]\npin = "GPIO5"\nkind = "counter"\nstale = "1h"',
            "node.toml:4: input.water.stale: a line tells its changes, and may rest for a year; "
            "only a sensor's value can be stale",
        ),
        (
            '[input.water]\npin = "GPIO5"\nkind = "counter"\nvalid = [100, 0]',
            "node.toml:4: input.water.valid: expected a low and a higher number such as [0, 100], not [100, 0]",
        ),
        (
            '[output.lamp]\npin = "GPIO5"\nstale = "1h"',
            "node.toml:3: output.lamp.stale: every change of an output is a reading; leave it out",
        ),
        (
            '[sensor.pi]\ndriver = "system"\nstale = "500ms"',
            'node.toml:3: sensor.pi.stale: expected at least 1s, not "500ms"',
        ),
        (
            '[sensor.pi]\ndriver = "system"\nclamp = [0, 10]\n[sensor.pi.load]\nvalid = [10, 20]',
            "node.toml:4: sensor.pi.load.clamp: valid = [10, 20] and clamp = [0, 10] have nothing in common, "
            "so that no value would be one that was measured",
        ),
        (
            '[sensor.pi]\ndriver = "system"\nmin_interval = "1min"\n[sensor.pi.load]\nheartbeat = "10s"',
            "node.toml:5: sensor.pi.load.heartbeat: is shorter than min_interval (1min), "
            "so that one of them is not kept; change one",
        ),
        (
            '[input.door]\npin = "GPIO5"\ndouble = "300ms"',
            'node.toml:3: input.door.double: only a button is pressed; set kind = "button"',
        ),
        (
            '[input.water]\npin = "GPIO5"\nkind = "counter"\nlong = 0',
            'node.toml:4: input.water.long: only a button is pressed; set kind = "button"',
        ),
        (
            '[input.door]\npin = "GPIO5"\nrate = "1/min"',
            "node.toml:3: input.door.rate: a contact is true or false; only a counter has numbers",
        ),
        (
            '[input.hall]\npin = "GPIO5"\nkind = "motion"\nunit = "l"',
            "node.toml:4: input.hall.unit: motion is true or false; only a counter has numbers",
        ),
        (
            '[input.water]\npin = "GPIO5"\nkind = "counter"\nunit = "kWh"\nrate = "l/min"',
            "node.toml:5: input.water.rate: 'l/min' does not say how fast that comes; with unit = 'kWh' go W, kW",
        ),
        (
            '[input.water]\npin = "GPIO5"\nkind = "counter"\nrate = "l/min"',
            "node.toml:4: input.water.rate: 'l/min' does not say how fast that comes; "
            "without a unit go 1/min, 1/s, 1/h, Hz",
        ),
        (
            '[input.heat]\npin = "GPIO5"\nkind = "counter"\nunit = "°C"\nrate = "W"',
            "node.toml:5: input.heat.rate: 'W' does not say how fast that comes; with unit = '°C' go no rates",
        ),
        (
            '[input.water]\npin = "GPIO5"\nkind = "counter"\nunit = "l"\n[input.water.rate]\nunit = "l/h"\noffset = 3',
            "node.toml:7: input.water.rate.offset: a rate follows from its counter; give that 'offset'",
        ),
        (
            '[output.up]\npin = "GPIO5"\ndelta = 2',
            "node.toml:3: output.up.delta: every change of an output is a reading; leave it out",
        ),
        (
            '[output.up]\npin = "GPIO5"\nmax_on = "5s"\nsafe = "on"',
            'node.toml:3: output.up.max_on: contradicts initial or safe = "on", which has no end; leave one out',
        ),
        (
            '[output.up]\npin = "GPIO5"\nmin_off = "5s"\nsafe = "on"',
            'node.toml:3: output.up.min_off: contradicts safe = "on", which does not wait; leave one out',
        ),
        (
            '[output.up]\npin = "GPIO5"\nsafe = "on"\n'
            '[output.down]\npin = "GPIO6"\ninterlock = ["up"]\ninterlock_wait = "2s"',
            "node.toml:3: output.up.safe: contradicts interlock_wait: an output that must go on does not wait; "
            'set safe = "off"',
        ),
        (
            '[output.gate]\npin = "GPIO12"\npulse = "500ms"\nkind = "pwm"',
            "node.toml:3: output.gate.pulse: a switch gives pulses; a pwm has a level, leave it out",
        ),
        (
            '[output.gate]\npin = "GPIO5"\npulse = "500ms"\ninitial = "restore"',
            'node.toml:3: output.gate.pulse: a pulse ends at off, always; leave out initial = "restore"',
        ),
        (
            '[output.gate]\npin = "GPIO5"\npulse = "500ms"\nsafe = "keep"',
            'node.toml:3: output.gate.pulse: a pulse ends at off, always; leave out safe = "keep"',
        ),
        (
            '[output.gate]\npin = "GPIO5"\npulse = "5s"\nmax_on = "1s"',
            "node.toml:3: output.gate.pulse: is longer than max_on; leave max_on out",
        ),
        (
            '[output.gate]\npin = "GPIO5"\npulse = "5ms"',
            'node.toml:3: output.gate.pulse: expected from 20ms to 1min, not "5ms"',
        ),
        (
            '[output.fan]\npin = "GPIO17"\nkind = "pwm"',
            "node.toml:2: output.fan.pin: GPIO17 has no pulses; take GPIO12, GPIO13, GPIO18 or GPIO19, "
            'or set [board] driver = "lgpio" (in software)',
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
        (
            "[sensor.pi]",
            "node.toml:1: sensor.pi: 'driver' is missing; it is one of command, hwmon, iio, lines, modbus, nmea, "
            "onewire, p1, simulated, system",
        ),
        (
            '[sensor.air]\ndriver = "bme280"',
            "node.toml:2: sensor.air.driver: there is no driver 'bme280'; it is read by "
            'driver = "iio", device = "bme280"',
        ),
        (
            '[sensor.air]\ndriver = "DHT22"',
            "node.toml:2: sensor.air.driver: there is no driver 'DHT22'; it is read by "
            'driver = "iio", device = "dht11"',
        ),
        (
            '[sensor.air]\ndriver = "sht31"',
            "node.toml:2: sensor.air.driver: there is no driver 'sht31'; it is read by "
            'driver = "hwmon", device = "sht3x"',
        ),
        (
            '[sensor.flow]\ndriver = "ds18b20"',
            "node.toml:2: sensor.flow.driver: there is no driver 'ds18b20'; it is read by driver = \"onewire\"",
        ),
        (
            '[output.dimmer]\npin = "GPIO5"\nkind = "number"',
            'node.toml:3: output.dimmer.kind: "number" is not one of switch, lock, pwm; a number lives in a device, '
            "which 'sensor' names; on a pin \"pwm\" has a level",
        ),
        (
            '[sensor.grid]\ndriver = "modbus"\ndevice = "/dev/x"\nslave = 3',
            "node.toml:4: sensor.grid.slave: unknown key; did you mean 'unit'?",
        ),
        (
            '[sensor.grid]\ndriver = "modbus"\ndevice = "/dev/x"\nhost = "10.0.0.5"',
            "node.toml:4: sensor.grid.host: unknown key; there is no Modbus TCP, as the half with the devices has no "
            "network; name a serial port in 'device'",
        ),
        (
            '[sensor.meter]\ndriver = "p1"\ndevice = "/dev/x"\nbaudrate = 9600',
            "node.toml:4: sensor.meter.baudrate: unknown key; a meter's speed and framing follow from its 'protocol'",
        ),
        (
            '[sensor.grid]\ndriver = "modbus"\ndevice = "/dev/x"\nregisters = { v = { at = 0, type = "float" } }',
            'node.toml:4: sensor.grid.registers.v.type: "float" is not one of uint16, int16, uint32, int32, uint64, '
            "int64, float32, float64, bool; did you mean 'float32'?",
        ),
        (
            '[sensor.grid]\ndriver = "modbus"\ndevice = "/dev/x"\nregisters = { v = 0 }',
            "node.toml:4: sensor.grid.registers.v: expected a table such as { at = 0 }, not 0",
        ),
        (
            '[sensor.a]\ndriver = "lines"\ndevice = "/dev/x"\npoll = \'READ\\n\'',
            "node.toml:4: sensor.a.poll: in single quotes \\n is two characters and no line end; use double quotes",
        ),
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


class TestDefaults:
    """What a driver would rather have, and what is said."""

    @pytest.fixture(autouse=True)
    def meter(self, monkeypatch):
        """The driver `system` with three values of its own."""
        sparing = Options(delta=Delta(2, relative=True), min_interval_s=10, heartbeat_s=300, stale_s=3600)
        fields = tuple(
            Field(name=name, type=kind, defaults=sparing)
            for name, kind in (("power", "number"), ("tariff", "text"), ("valve", "boolean"))
        )
        monkeypatch.setattr(source.load("system"), "fields", lambda config: fields)

    @staticmethod
    def options(text):
        loaded, problems = load(f'[sensor.meter]\ndriver = "system"\n{text}')
        assert problems == []
        return [item.options for item in loaded.sensors[0].fields]

    def test_they_hold_where_nothing_is_said_for_values_that_can_have_them(self):
        power, tariff, valve = self.options("")
        assert (power.delta, power.min_interval_s, power.heartbeat_s, power.stale_s) == (
            Delta(2, relative=True), 10, 300, 3600,
        )  # fmt: skip
        assert (tariff.delta, tariff.heartbeat_s, tariff.stale_s) == (None, 300, 3600)
        assert (valve.delta, valve.heartbeat_s, valve.stale_s) == (None, 300, None)

    def test_what_is_said_wins_key_by_key_and_a_field_over_its_sensor(self):
        power, tariff, _ = self.options("delta = 5\nmin_interval = 0\n[sensor.meter.power]\ndelta = 0\nheartbeat = 0")
        assert (power.delta, power.min_interval_s, power.heartbeat_s, power.stale_s) == (Delta(0), 0, 0, 3600)
        assert (tariff.delta, tariff.min_interval_s, tariff.heartbeat_s) == (None, 0, 300)

    def test_one_that_does_not_go_with_what_is_said_gives_way(self):
        power, *_ = self.options('min_interval = "10min"')
        assert (power.min_interval_s, power.heartbeat_s) == (600, None)

    def test_what_a_value_cannot_have_is_said_where_it_is_said_of_it_alone(self):
        _, problems = load(
            '[sensor.meter]\ndriver = "system"\nmedian = 3\nstale = "1d"\n'
            '[sensor.meter.tariff]\ndelta = 1\nstale = "1h"\n[sensor.meter.valve]\nstale = "1h"\n'
        )
        assert problems == [
            "node.toml:6: sensor.meter.tariff.delta: the value is text, and only a number can have this; leave it out",
            "node.toml:9: sensor.meter.valve.stale: the value is boolean, and only a number or text can have this; "
            "leave it out",
        ]
