"""`knoop-hw`: the half with the devices, in a process of its own. Arguments in, exit codes out.

0 ok · 2 usage · 74 I/O · 78 configuration · 130 Ctrl-C while it starts.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from knoop_hw import __version__, logs
from knoop_hw.errors import ConfigError, DeviceError, Problem

if TYPE_CHECKING:
    from knoop_hw.tables import Config

EX_IOERR, EX_CONFIG, EX_INTERRUPTED = 74, 78, 130
# asyncio and hashlib load OpenSSL where it is there and take its absence well (`try: import ssl`): 5 MB that a half
# without a network never needs. shutil and zipfile (by way of gpiozero) do so with two compressors: 0.3 MB.
NOT_HERE = ("ssl", "_hashlib", "_bz2", "_lzma")

EXAMPLES = """\
examples:
  knoop-hw                        open the lines of node.toml and wait for `knoop run --board`
  knoop-hw --config attic.toml --socket attic.sock
                                  another node, another socket
  knoop-hw --safe                 take every output to its safe level, and end
                                  (ExecStopPost= of the unit, after a kill)

SIGHUP takes over a changed node.toml, SIGTERM ends with safe outputs.
Its other half: knoop run --board
"""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="knoop-hw", description="The hardware half of Knoop: lines and sensors, no network.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"knoop-hw {__version__}")
    made.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: the first of "
                      "./node.toml, ~/.config/knoop/node.toml, /etc/knoop/node.toml)")
    made.add_argument("--socket", type=Path, metavar="PATH", help="where the agent finds us (default: "
                      "/run/knoop/board.sock for /etc/knoop, else $XDG_RUNTIME_DIR/knoop/board.sock)")
    made.add_argument("--state", type=Path, metavar="DIR", help="what is remembered (default: ~/.local/state/knoop-hw)")
    made.add_argument("--safe", action="store_true", help="take every output to its safe level, and end: "
                      "those that were open last, whatever the configuration says since")
    made.add_argument("-v", "--verbose", action="store_true", help="say more in the log (stderr)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Be the hardware half; every failure is a sentence on stderr and an exit code."""
    arguments = parser().parse_args(argv)
    logs.configure(verbose=arguments.verbose)
    for module in NOT_HERE:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # None means: not there (the import system)
    try:
        return _run(arguments)
    except ConfigError as error:
        return _fail(EX_CONFIG, *map(str, error.problems))
    except DeviceError as error:
        return _fail(EX_IOERR, *str(error).splitlines())
    except OSError as error:
        if not error.filename:
            raise  # not the user's file, but a mistake of ours
        return _fail(EX_IOERR, f"{error.filename}: {error.strerror}; see to it and start again")
    except KeyboardInterrupt:  # while it starts: later it is a stop
        return EX_INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    import asyncio  # behind what main does to ssl

    from knoop_hw import places, serve

    file, state = places.search(arguments.config), _state(arguments.state)
    if arguments.safe:
        return asyncio.run(serve.make_safe(file, load=lambda: load(file), state=state))
    return asyncio.run(
        serve.serve(
            load(file), load=lambda: load(file), socket=arguments.socket or places.board_socket(file),
            passed=places.passed_socket(), state=state,
        )
    )


def load(file: Path) -> Config:
    """This half's tables; the others' are not read. Raises ConfigError with every problem at once."""
    from knoop_hw import config, include

    problems: list[Problem] = []
    loaded = config.load(include.load(file), problems)
    if problems:
        raise ConfigError(problems)
    return loaded


def _state(given: Path | None) -> Path:
    from knoop_hw import places

    try:
        if given is None:
            return places.state_directory("knoop-hw")
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}; make it a folder that user id {os.geteuid()} may write to"
        raise DeviceError(text) from None
    return given


def _fail(code: int, *lines: str) -> int:
    for line in lines:
        print(f"knoop-hw: {logs.printable(line, copied=code == EX_CONFIG)}", file=sys.stderr)
    return code
