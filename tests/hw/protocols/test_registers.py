"""Registers: values against pymodbus's own conversion, the fewest requests, and what a table may say."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin as Theirs

from knoop_hw.protocols.registers import MOST_BITS, Block, Register, Write, pack, parts, plan, unpack, values, words_of

NUMBERS = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
ORDERS = ("big", "little")
LONG = 125


@given(st.sampled_from(NUMBERS), st.sampled_from(ORDERS), st.data())
def test_every_type_means_what_it_means_to_pymodbus(kind, order, data):
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=words_of(kind), max_size=words_of(kind)))
    ours = unpack(kind, order, words)
    theirs = Theirs.convert_from_registers(words, Theirs.DATATYPE[kind.upper()], word_order=order)
    if kind == "float32" and math.isfinite(theirs):
        assert struct.pack(">f", ours) == struct.pack(">f", theirs)
    else:
        assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    if math.isfinite(ours):
        assert unpack(kind, order, pack(kind, order, ours)) == ours


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_what_is_written_is_what_pymodbus_would_write(kind, order):
    theirs = Theirs.convert_to_registers(42, Theirs.DATATYPE[kind.upper()])
    assert list(pack(kind, order, 42)) == (theirs if order == "big" else theirs[::-1])


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_keeps_its_value_and_loses_the_digits_that_it_never_had(value):
    shown = unpack("float32", "big", pack("float32", "big", value))
    assert struct.pack(">f", shown) == struct.pack(">f", value)
    assert len(repr(abs(shown)).partition("e")[0].replace(".", "").strip("0")) <= 9


@pytest.mark.parametrize(
    ("register", "words", "value"),
    [
        ({}, [65535], 65535),
        ({"type": "int16"}, [0xFFFE], -2),
        ({"scale": 0.1}, [2305], 230.5),  # not 230.50000000000003
        ({"type": "uint32", "scale": 0.001}, [0x0012, 0xD687], 1234.567),
        ({"type": "uint32", "order": "little"}, [0xD687, 0x0012], 1234567),
        ({"type": "float32"}, [0x4366, 0x3334], 230.20001),  # Eastron's example of 230.2 V
        ({"type": "float32", "order": "little"}, [0x3334, 0x4366], 230.20001),
        ({"type": "float32"}, [0x7FC0, 0], None),  # not a number
        ({"type": "float32"}, [0xFF80, 0], None),  # infinite
        ({"type": "float64"}, [0x7FF0, 0, 0, 0], None),
        ({"type": "float64", "scale": 10}, [0x7FE0, 0, 0, 0], None),  # infinite when it is scaled
        ({"type": "float32", "missing": -9999}, [0xC61C, 0x3C00], None),
        ({"type": "int16", "missing": 0x8000}, [0x8000], None),
        ({"type": "int16", "missing": -32768}, [0x8000], None),
        ({"missing": -32768}, [0x8000], None),
        ({"missing": 0xFFFF}, [0xFFFF], None),
        ({"missing": 0xFFFF}, [0x7FFF], 0x7FFF),
        ({"type": "int32", "missing": 0x80000000}, [0x8000, 0], None),
        ({"type": "uint64", "missing": 0xFFFFFFFFFFFFFFFF}, [0xFFFF] * 4, None),
        ({"bit": 0}, [0b0100], False),
        ({"bit": 2}, [0b0100], True),
        ({"type": "bool"}, [0], False),
        ({"type": "bool"}, [256], True),
        ({"table": "coil"}, [1], True),
        ({"table": "discrete"}, [0], False),
    ],
)
def test_values(register, words, value):
    got = Register(at=0, **register).value(words)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("register", "text"),
    [
        ({"table": "coil", "type": "uint16"}, 'type: a coil is true or false; leave it out, or take table = "holding"'),
        ({"table": "discrete", "bit": 1}, "bit: a discrete is true or false"),
        ({"bit": 1, "type": "float32"}, "type: a bit is one of the 16 of a register"),
        ({"bit": 1, "scale": 0.1}, "scale: this value is true or false"),
        ({"type": "bool", "unit": "W"}, "unit: this value is true or false"),
        ({"order": "little"}, "order: a single register has no order"),
        ({"scale": 0}, "scale: 0 would make every value 0"),
        ({"unit": "Watt"}, "unit: 'Watt' is not a unit Knoop knows; "),
        ({"at": 65535, "type": "uint32"}, "at: 2 registers from 65535 on go beyond 65535"),
    ],
)
def test_what_contradicts_itself_is_refused(register, text):
    with pytest.raises(ValueError, match=text):
        Register(**{"at": 0, **register})


@pytest.mark.parametrize(
    ("register", "advice"),
    [
        ({"at": 40013}, "; a manual that says 40013 means at = 12"),
        ({"at": 400013}, None),  # is no address at all
        ({"at": 30001, "table": "input"}, "; a manual that says 30001 means at = 0"),
        ({"at": 10002, "table": "discrete"}, "; a manual that says 10002 means at = 1"),
        ({"at": 12}, ""),
        ({"at": 40013, "table": "input"}, ""),
        ({"at": 2, "table": "coil"}, ""),
    ],
)
def test_the_number_of_a_manual_is_known_for_what_it_is(register, advice):
    assert Register(**register).advice == advice if advice is not None else register["at"] > 0xFFFF


def test_neighbours_come_in_one_request():
    where = {"energy": 342, "voltage": 0, "power": 12, "current": 6}
    asked = {name: Register(at=at, table="input", type="float32") for name, at in where.items()}
    asked |= {"frequency": Register(at=70, type="float32"), "relay": Register(at=3, table="coil")}
    found = plan(asked, gap=8, most=LONG)
    assert [str(block) for block in found] == ["coil 3", "holding 70 to 71", "input 0 to 13", "input 342 to 343"]
    assert found[2].names == ("voltage", "current", "power")


registers = st.builds(
    Register, at=st.integers(0, 3000), table=st.sampled_from(["holding", "input", "coil", "discrete"])
)
wide = st.builds(Register, at=st.integers(0, 600), type=st.sampled_from(["uint32", "float64"]))


@settings(max_examples=60)
@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), registers | wide, max_size=30),
    st.integers(0, 100),
    st.integers(4, LONG),
)
def test_a_plan_reads_everything_once_within_what_a_request_may_hold(asked, gap, most):
    blocks = plan(asked, gap=gap, most=most)
    assert sorted(name for block in blocks for name in block.names) == sorted(asked)
    for block in blocks:
        assert block.count <= (MOST_BITS if block.table in {"coil", "discrete"} else most)
        items = [asked[name] for name in block.names]
        assert min(item.at for item in items) == block.at
        assert max(item.at + item.size for item in items) == block.at + block.count
        assert {item.table for item in items} == {block.table}
        smaller = parts(block, asked, most=most)
        assert sorted(name for part in smaller for name in part.names) == (
            sorted(block.names) if len(block.names) > 1 else []
        )
        assert all(len(part.names) < len(block.names) for part in smaller)


def test_each_value_is_taken_from_its_own_place():
    asked = {"a": Register(at=10), "b": Register(at=12, type="uint32"), "c": Register(at=12, bit=1)}
    [block] = plan(asked, gap=1, most=LONG)
    assert block == Block(table="holding", at=10, count=4, names=("a", "b", "c"))
    assert values(block, asked, [7, 99, 2, 1]) == {"a": 7, "b": 0x20001, "c": True}


@pytest.mark.parametrize(
    ("write", "text"),
    [
        ({}, "coil: give either coil = N or register = N"),
        ({"coil": 1, "register": 1}, "coil: give either"),
        ({"coil": 1, "scale": 0.1}, "coil: a coil is on or off; leave out type, order and scale"),
        ({"coil": 1, "kind": "number"}, "coil: a coil is on or off; a number needs register"),
        ({"register": 1, "order": "little"}, "order: a single register has no order"),
        ({"register": 65535, "type": "float32"}, "at: 2 registers"),
    ],
)
def test_a_write_that_contradicts_itself_is_refused(write, text):
    with pytest.raises(ValueError, match=text):
        Write(**write)


@pytest.mark.parametrize(
    ("write", "value", "words"),
    [
        ({"coil": 0}, True, (1,)),
        ({"coil": 0}, False, (0,)),
        ({"register": 0}, True, (1,)),
        ({"register": 0, "scale": 0.1}, True, (1,)),
        ({"register": 0, "kind": "number", "scale": 0.1}, 21.5, (215,)),
        ({"register": 0, "kind": "number", "type": "int16"}, -3, (0xFFFD,)),
        ({"register": 0, "kind": "number", "type": "uint32", "order": "little"}, 65536, (0, 1)),
    ],
)
def test_what_is_written(write, value, words):
    to = Write(**write)
    assert to.words(value) == words
    assert to.value(words) == value


@pytest.mark.parametrize(
    ("kind", "value"), [("uint16", -1), ("uint16", 65536), ("int16", 40000), ("float32", 1e39), ("uint32", math.inf)]
)
def test_what_does_not_fit_is_not_written(kind, value):
    with pytest.raises(ValueError, match=f"does not fit into {kind}"):
        Write(register=0, kind="number", type=kind).words(value)
