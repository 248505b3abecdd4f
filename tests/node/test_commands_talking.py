"""docs/talking.md is what the node really answers: its conversations are held here and compared.

After a change of sentences: `.venv/bin/python tests/node/test_commands_talking.py` writes the page anew.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from knoop.access import Role
from knoop.commands import table

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.node.house import ANNA, BRAM, CLEO, DIRK, STRANGER, GreenHouse, greenhouse

PAGE = Path(__file__).parents[2] / "docs" / "talking.md"

HEAD = """\
# Talking to a node

<!-- Written by tests/node/test_commands_talking.py, which holds these conversations and compares. Do not edit. -->

Any XMPP app will do: write to the node as you would to a person. It answers those whom its owner named; to
everybody else it is silent.

- **Ask with a name, or the beginning of one.** `temp` reads every temperature. A question mark never hurts.
  Or ask as you would a person: `how warm is it in the attic?`, `lamp and pump`.
- **Set with a whole name and a value.** `lamp on`, `pump 40`, `turn the lamp on for 10s`, `stop the pump`. The answer
  is what was read back.
- **Doubt never acts.** What reads like a question, a negation, a condition or a quotation moves nothing; nor does a
  name in part, a name with a slip, or a sentence with a word or a sign the node does not know. You get a sentence
  instead, often
  with what you might have meant.
- **Choose by number.** Where several things fit, the node asks `which one do you mean, 1 …, 2 …?`. Say `2`, `the
  second` or the name. To `did you mean “…”?` say `yes` or `1`. Only your very next message in that chat counts, within
  two minutes; after anything else the question is forgotten. In a room the node asks without numbers: say it whole.
- **A code for what matters.** An output with `confirm = true` does not move at once: you are told six digits, and send
  them back within 30 s, from the same device: `482160` or `4 8 2 1 6 0`, and nothing else in that message. Each code
  counts once; after three wrong ones there is none for a minute. In a form it has a page of its own.
- **Times** are `50ms 10s 5min 2h 1d`, also `10 s`, `5 minutes`, `half an hour`, `2 uur`, `anderhalf uur`. `8 uur` and
  `voor 8 uur` may be a time of day, so the node asks before it sets anything: say `gedurende 8 uur`.
- English and Dutch are both understood, always. The node answers in your language: `lang` in `[people]`.

## What things are called

A channel answers to its name (`hall_lamp`, also typed `hall lamp`), to its `label`, and to each of its `aliases`. Give
it those that people at home use, in every language they speak:

```toml
[output.hall_lamp]
pin = "GPIO27"
label = "Hall light"
aliases = ["ganglamp", "licht in de gang"]

[sensor.pi]
driver = "system"
aliases = ["computer"]     # of a sensor: before the name of each field, "computer temperature"

[sensor.pi.disk]
aliases = ["schijf"]       # of one field
```

Case, accents and articles do not matter. Each of these is a whole name: `ganglamp aan` acts. One alias names one
channel; `knoop check` says where two clash, or where one is a word of a sentence, like `aan`.
"""

ENGLISH = (
    ("Reading", ANNA, ["lamp", "temp", "is the front door open?", "how warm is the air?", "lamp and pump", "status"]),
    (
        "Setting", ANNA,
        ["lamp on", "set lamp off for 10s", "turn the lamp on for half an hour", "pump 40%", "pump 140",
         "turn on the café lights", "stop the heating, thanks"],
    ),
    (
        "Doubt never acts", ANNA,
        ["lamp on?", "don't switch the lamp on", "lamp on if it rains", "lamp and pump on", "door on"],
    ),
    ("An output with a one-time code", ANNA, ["gate on", "482160", "482160", "gate off for 1h", "482 160"]),
    ("Which one?", ANNA, ["relay off", "2", "relay off", "café lights", "lmp on", "yes", "yes", "café off", "1"]),
    ("What was", ANNA, ["history door 24h", "history air temp 2h", "watch temp for 2h", "unwatch"]),
    ("Alerts", ANNA, ["@frost", "status", "ack frost", "silence frost 1h", "silence frost off", "quiet 2h",
                           "quiet off"]),
    (
        "People", ANNA,
        ["allow eve@example.org operator only lamp", "who", "revoke eve@example.org", "log 3", "about"],
    ),
    ("For a viewer (Cleo)", CLEO, ["lamp on", "help"]),
    ("For somebody who may only read the door (Dirk)", DIRK, ["door", "lamp", "status"]),
    ("For a stranger", STRANGER, ["lamp on", "help"]),
)  # fmt: skip
DUTCH = (
    ("Lezen", BRAM, ["lamp", "temp", "staat de lamp aan?", "is de voordeur dicht?", "hoe vochtig is het?", "stand"]),
    (
        "Schakelen", BRAM,
        ["lamp aan", "zet de lamp uit voor 5 minuten", "zet de lamp een kwartier aan", "kachel uit",
         "pump op 40 procent", "pump 140", "gate aan", "4 8 2 1 6 0"],
    ),
    ("Bij twijfel niets", BRAM, ["lamp aan?", "zet de lamp niet aan", "lamp en pump aan", "door aan"]),
    (
        "Welke?", BRAM,
        ["relay uit", "de tweede", "kachle uit", "ja", "ja", "lamp aan voor 8 uur", "ja graag"],
    ),
    ("Wat was", BRAM, ["geschiedenis door 24 uur", "volg temp voor 2 uur", "ontvolg"]),
    ("Alarmen", BRAM, ["@frost", "stand", "bevestig frost", "demp frost 1 uur", "stil 2 uur", "stil uit"]),
    ("Hulp", BRAM, ["help", "hulp zet"]),
)


async def conversation(house: GreenHouse, who, lang: str, said: list[str]) -> list[str]:
    """What was said and answered. `@frost` is no message: the greenhouse freezes and the node speaks up."""
    lines = []
    for text in said:
        await house.clock.advance(20)
        if text == "@frost":
            await house.report("air.temperature", -0.4)
            lines.append("  " + house.voice(lang).event(house.alert_record(house.transitions[-1]), house.alerts))
            continue
        lines.append(f"> {text}")
        lines += [f"  {line}" for line in (await answer(house, who, text, lang)).splitlines()]
    return lines


async def answer(house: GreenHouse, who, text: str, lang: str) -> str:
    reply = await house.hear(who, text)
    if reply is None:
        return "(no answer)" if lang == "en" else "(geen antwoord)"
    await house.state.audit(
        at_ns=house.clock.time_ns(), who=str(who.bare), action=text, result="done" if reply.ok else "refused",
        via="chat", encrypted=False,
    )  # fmt: skip
    return house.voice(lang).render(reply)


def verbs() -> list[str]:
    lines = ["| verb | who | also | for example |", "|---|---|---|---|"]
    for command in sorted(table().values(), key=lambda c: (c.role, c.verb)):
        also = " ".join(f"`{word}`" for word in command.aliases)
        examples = " · ".join(f"`{text}`" for text in command.usage)
        lines.append(f"| `{command.verb}` | {command.role} | {also} | {examples} |")
    return lines


async def page(folder: Path) -> str:
    parts = [HEAD, "## The verbs\n", "Each role may all that the one before it may: viewer, operator, owner.\n"]
    parts += ["\n".join(verbs()), ""]
    for title, lang, chapters in (("A conversation", "en", ENGLISH), ("Een gesprek", "nl", DUTCH)):
        parts.append(f"## {title}\n")
        async with greenhouse(folder / lang) as house:
            for heading, who, said in chapters:
                parts += [f"### {heading}\n", "```", *await conversation(house, who, lang, said), "```", ""]
    return "\n".join(parts)


async def test_the_page_is_what_the_node_answers(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "nl").mkdir()
    fresh = await page(tmp_path)
    assert fresh == PAGE.read_text(encoding="utf-8"), "run `.venv/bin/python tests/node/test_commands_talking.py`"


def test_every_verb_has_a_role_on_the_page():
    assert all(f"| `{command.verb}` | {command.role} |" in "\n".join(verbs()) for command in table().values())
    assert Role.NONE not in {command.role for command in table().values()}


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        for lang in ("en", "nl"):
            (Path(folder) / lang).mkdir()
        PAGE.write_text(asyncio.run(page(Path(folder))), encoding="utf-8")
