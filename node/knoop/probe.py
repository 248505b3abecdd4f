"""`knoop probe`: what is on this machine, its live values, and whether two lines do what Knoop relies on."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import textwrap
from contextlib import aclosing
from dataclasses import asdict

from knoop.errors import Usage
from knoop_hw import chips, found, places, selftest
from knoop_hw import probe as it
from knoop_hw.clock import SystemClock
from knoop_hw.errors import ConfigError, DeviceError
from knoop_hw.jumper import GpiodWire, SimulatedWire, Wire
from knoop_hw.logs import printable
from knoop_hw.pins import line_of
from knoop_hw.preflight import look, trouble
from knoop_hw.tables import Config

EX_FAILED, EX_INTERRUPTED = 1, 130
MARGIN = 12  # of a check's name in the self-test's table


def probe(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code. Raises Usage, ConfigError, DeviceError or KeyboardInterrupt."""
    if sum(map(bool, (arguments.toml, arguments.watch, arguments.selftest))) > 1:
        raise Usage("--toml, --watch and --selftest do not go together")
    if arguments.watch:
        from knoop import live  # noqa: PLC0415 -- what only watching needs: a board

        return live.watch(arguments, configured(arguments))
    if arguments.selftest:
        return _selftest(arguments)
    try:
        what = [it.checked(name) for name in arguments.name]
    except ValueError as error:
        raise Usage(str(error)) from None
    return _look(arguments, what)


def _look(arguments: argparse.Namespace, what: list[str]) -> int:
    try:
        config = configured(arguments)
    except (ConfigError, PermissionError):  # a folder that is not for us, too: `sudo -u knoop`, from our home
        if arguments.config:
            raise
        config = None  # what is wrong with it is for `knoop check`: this needs none
    there = found.machine(chip=config.board.chip if config else None, values=arguments.verbose)
    missing = it.absent(there, what)
    there = it.narrowed(there, what)
    if arguments.json:
        print(json.dumps(it.as_data(there, missing), ensure_ascii=False))  # noqa: T201 -- a command's output
    elif arguments.toml:
        print(it.as_toml(there), end="")  # noqa: T201 -- a command's output
    else:
        _say(it.as_text(there, what, verbose=arguments.verbose))
        if not what:
            _say("", "For node.toml (`knoop probe --toml`); a # in front is a choice of yours:", "")
            _say(textwrap.indent(it.as_toml(there), "  ", lambda line: bool(line.strip())).rstrip("\n"))
    return EX_FAILED if missing else 0


def _selftest(arguments: argparse.Namespace) -> int:
    wire = _wire(arguments)
    if not wire.simulated and not arguments.yes:
        if arguments.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise Usage("nobody can be asked here whether the line may be driven: give --yes")
        out, into = wire.names
        why = f"{out} will be driven high and low, and {into} listens. There must be nothing on these two lines but a "
        why += "wire between them, best with a resistor of 330 Ω to 1 kΩ, which saves the board from a mistake."
        _say(*textwrap.wrap(why, it.WIDTH), "")
        try:
            agreed = input(f"Drive {out}? [y/N] ").strip().lower() in {"y", "yes", "j", "ja"}
        except EOFError:
            agreed = False
        if not agreed:
            _say("Nothing was driven.")
            return EX_FAILED
    outcomes: list[selftest.Outcome] = []
    try:
        asyncio.run(_examine(wire, outcomes, quiet=arguments.json))
    except asyncio.CancelledError:  # SIGTERM
        return EX_INTERRUPTED
    well = not any(outcome.verdict == "no" for outcome in outcomes)
    sentence = selftest.verdict(outcomes, simulated=wire.simulated)
    if arguments.json:
        report = {"ok": well, "simulated": wire.simulated, "out": wire.names[0], "in": wire.names[1],
                  "verdict": sentence, "checks": [asdict(outcome) for outcome in outcomes]}  # fmt: skip
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201 -- a command's output
    else:
        _say("", sentence, "", "For a report:", *_report(wire, outcomes))
    return 0 if well else EX_FAILED


async def _examine(wire: Wire, outcomes: list[selftest.Outcome], *, quiet: bool) -> None:
    """Each check as it is done. SIGTERM ends as Ctrl-C does: with both lines at rest."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if not quiet:
        simulated = " (simulated: no line is moved)" if wire.simulated else ""
        _say(f"{wire.names[0]} → {wire.names[1]}{simulated}", "")
    async with aclosing(selftest.examine(wire, clock=SystemClock())) as checks:
        async for outcome in checks:
            outcomes.append(outcome)
            if not quiet:
                _say(_row(outcome))


def _row(outcome: selftest.Outcome) -> str:
    mark = "NO" if outcome.verdict == "no" else outcome.verdict
    return textwrap.fill(
        outcome.text, it.WIDTH, initial_indent=f"{mark:<6}{outcome.check:<{MARGIN}}",
        subsequent_indent=" " * (MARGIN + 6), break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _report(wire: Wire, outcomes: list[selftest.Outcome]) -> list[str]:
    """Lines to paste: the board, its kernel, and every figure."""
    board = "simulated lines" if wire.simulated else found.board() or "a board that does not say what it is"
    lines = [f"  {board}, kernel {found.kernel()}, {wire.names[0]} → {wire.names[1]}"]
    for outcome in outcomes:
        figures = ", ".join(f"{name} {_figure(value)}" for name, value in outcome.figures.items())
        lines.append(f"  {outcome.check}: {outcome.verdict}" + (f" ({figures})" if figures else ""))
    return lines


def _figure(value: float | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}"


def _wire(arguments: argparse.Namespace) -> Wire:
    """The two lines, real or of a simulated board. Raises Usage, or DeviceError for lines that are not free."""
    try:
        out, into = (line_of(name.upper()) for name in arguments.selftest)
    except ValueError as error:
        raise Usage(f"'{error}' is not a line such as GPIO17 or BOARD11") from None
    if out == into:
        raise Usage("two different lines are needed, with a wire between them")
    config = configured(arguments)
    if config is not None and config.board.driver == "simulated":
        return SimulatedWire((out, into), clock=SystemClock())
    taken = {line.pin: f"output.{line.name}" for line in config.outputs} if config else {}
    taken |= {line.pin: f"input.{line.name}" for line in config.inputs} if config else {}
    for name in (out, into):
        if name in taken:
            raise DeviceError(f"{name} is {taken[name]} of the configuration; take lines with nothing on them")
    machine = look(config.board.chip if config else None)
    for name in (out, into):
        if why := trouble(name, machine):
            raise DeviceError(why)
    lines = [(name, line.number) for name in (out, into) if (line := chips.line_of(name, machine.lines))]
    return GpiodWire(machine.chip.path, *lines)


def configured(arguments: argparse.Namespace) -> Config | None:
    """What node.toml says of lines, where there is one. Raises ConfigError for one that is wrong."""
    from knoop_hw.cli import load  # noqa: PLC0415 -- decoding is needed for this only

    try:
        file = places.search(arguments.config)
    except ConfigError:
        return None
    return load(file)


def _say(*lines: str) -> None:
    """Print lines with nothing in them that could steer the terminal: names come from cables and other programs."""
    for line in "\n".join(lines).split("\n"):
        print(printable(line), flush=True)  # noqa: T201 -- a command's output
