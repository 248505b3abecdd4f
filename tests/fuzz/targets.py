"""What `make fuzz` fuzzes: each target takes bytes and raises when something is found.

`share` is its part of the time. `inbound` has seeds and a mutator that knows XML; the grammars make of any bytes what
they make of chance (hypothesis), so that coverage leads them, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.fuzz import test_grammars
from tests.fuzz.inbound import HOW, Inbound
from tests.fuzz.material import ORDERS, PHRASES, SEEDS, SNIPPETS, VALUES

from knoop_hw.messages import decode, encode

CORPUS = Path(__file__).parent / "corpus"
WRAP = ("<r xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", "</r>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`open` is called once, in the process that fuzzes."""

    share: float
    longest: int
    open: Callable[[ExitStack], Callable[[bytes], object]]
    seeds: tuple[bytes, ...] = ()
    mutate: Callable[[bytes, int, int, Callable[[bytes, int], bytes]], bytes] | None = None


def mutated(data: bytes, most: int, seed: int, plainly: Callable[[bytes, int], bytes]) -> bytes:
    """Another input: a third of them with bytes changed, the others still XML with another meaning."""
    dice = random.Random(seed)
    made = _mutated(data, dice) if dice.random() > 0.33 else None
    return plainly(data, most) if made is None or len(made) > most else made


def _mutated(data: bytes, dice: random.Random) -> bytes | None:
    how, text = data[:2].ljust(2, b"\0"), data[2:]
    if dice.random() < 0.1:
        return bytes((dice.randrange(256), dice.randrange(256))) + text
    try:
        root = ET.fromstring(f"{WRAP[0]}{text.decode()}{WRAP[1]}")
    except (ET.ParseError, UnicodeDecodeError):
        return how + dice.choice(SEEDS).encode() if dice.random() < 0.3 else None
    for _ in range(dice.randint(1, 4)):
        _change(root, dice)
    return how + "".join(ET.tostring(stanza, encoding="unicode") for stanza in root).encode("utf-8", "replace")


def _change(root: ET.Element, dice: random.Random) -> None:
    elements = [element for element in root.iter() if element is not root]
    if not elements or dice.random() < 0.1:
        root.extend(_pieces(dice.choice(SEEDS)))
        return
    one = dice.choice(elements)
    match dice.randrange(9):
        case 0 | 1:
            name = dice.choice([*one.attrib, "from", "type", "id", "to"])
            one.set(name, dice.choice(VALUES))
        case 2:
            one.attrib.pop(dice.choice([*one.attrib, "id"]), None)
        case 3 | 4:
            one.text = dice.choice((*PHRASES, *VALUES))
        case 5:
            one.extend(_pieces(dice.choice(SNIPPETS)))
        case 6:
            other = dice.choice(elements)
            if one not in list(other.iter()):
                one.append(other)
        case 7:
            del one[:]
        case 8:
            bodies = [element for element in elements if element.tag.endswith("body")]
            if bodies:
                words = (dice.choice(bodies).text or "").split()
                words.insert(dice.randint(0, len(words)), dice.choice(PHRASES).split()[0])
                dice.choice(bodies).text = " ".join(words)


def _pieces(text: str) -> list[ET.Element]:
    try:
        return list(ET.fromstring(f"{WRAP[0]}{text}{WRAP[1]}"))
    except ET.ParseError:
        return []


def reworded(data: bytes, most: int, seed: int, plainly: Callable[[bytes, int], bytes]) -> bytes:
    """Another sentence: a third of them with bytes changed, the others of the same and other words."""
    dice = random.Random(seed)
    if dice.random() < 0.33:
        return plainly(data, most)
    said = data.decode("utf-8", "replace").split(" ")
    for _ in range(dice.randint(1, 3)):
        place = dice.randint(0, len(said))
        said[place : place + dice.randint(0, 1)] = dice.choice(test_grammars.SAID + test_grammars.NAMES).split(" ")
    return " ".join(said).encode("utf-8", "replace")[:most]


def _text(_stack: ExitStack) -> Callable[[bytes], object]:
    return lambda data: test_grammars.judge_chat(data.decode("utf-8", "replace"))


def _line(_stack: ExitStack) -> Callable[[bytes], object]:
    return _judge_line


def _judge_line(data: bytes) -> None:
    try:
        message = decode(data)
    except ValueError:
        return
    assert decode(encode(message)) == message


def _inbound(stack: ExitStack) -> Callable[[bytes], object]:
    return stack.enter_context(Inbound()).feed


def _grammar(test: object) -> Callable[[ExitStack], Callable[[bytes], object]]:
    return lambda _stack: test.hypothesis.fuzz_one_input


TARGETS = {
    "inbound": Target(
        share=0.55, longest=8000, open=_inbound, mutate=mutated,
        seeds=tuple(
            bytes((HOW.index(how), size)) + seed.encode()
            for seed in SEEDS for how, size in (("known", 0), ("stranger", 13), ("late", 0), ("login", 14))
        ),
    ),
    "text": Target(
        share=0.16, longest=300, open=_text, mutate=reworded, seeds=tuple(text.encode() for text in (*ORDERS, *PHRASES))
    ),
    "line": Target(
        share=0.02, longest=1000, open=_line, seeds=tuple(encode(message) for message in test_grammars.MADE)
    ),
    "chat": Target(share=0.08, longest=1024, open=_grammar(test_grammars.test_chat_acts_only_on_what_was_said)),
    "doubt": Target(share=0.05, longest=1024, open=_grammar(test_grammars.test_doubt_never_acts)),
    "stanzas": Target(share=0.06, longest=4096, open=_grammar(test_grammars.test_stanzas_move_nothing)),
    "config": Target(
        share=0.05, longest=4096, open=_grammar(test_grammars.test_a_configuration_is_one_or_a_config_error)
    ),
    "to_board": Target(share=0.03, longest=2048, open=_grammar(test_grammars.test_what_an_agent_may_say_to_a_board)),
    "from_board": Target(share=0.03, longest=2048, open=_grammar(test_grammars.test_what_a_board_may_say_to_an_agent)),
}  # fmt: skip
