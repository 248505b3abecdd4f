"""The command line: arguments in, exit codes out.

0 ok · 1 findings or failed · 2 usage · 69 server absent · 74 I/O · 77 first login refused · 78 configuration ·
130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knoop import __version__, flags
from knoop.errors import LinkError, LoginRefused, NodeError, StoreError, Usage
from knoop_hw import logs
from knoop_hw.errors import ConfigError, DeviceError, Problem

if TYPE_CHECKING:
    from knoop.config import Config

EX_FAILED, EX_USAGE, EX_UNAVAILABLE, EX_IOERR, EX_NOPERM, EX_CONFIG, EX_INTERRUPTED = 1, 2, 69, 74, 77, 78, 130

BESIDE = "if that is knoop-hw, leave the lines to it: knoop run --board"
CONFIG = "the configuration (default: the first of ./node.toml, ~/.config/knoop/node.toml, /etc/knoop/node.toml)"


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(
        prog="knoop", description="A messaging node: lines, sensors and serial devices as XMPP.",
        epilog=flags.EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"knoop {__version__}")
    verbs = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str, *, config: str = CONFIG,
        verbose: str = "say more in the log (stderr)",
    ) -> argparse.ArgumentParser:  # fmt: skip
        made = verbs.add_parser(name, help=text, description=text, epilog=f"example:\n  {epilog}",
                                formatter_class=argparse.RawDescriptionHelpFormatter)
        made.set_defaults(run=run)
        made.add_argument("--config", type=Path, metavar="FILE", help=config)
        made.add_argument("--json", action="store_true", help="print one JSON object for scripts")
        made.add_argument("-v", "--verbose", action="store_true", help=verbose)
        return made

    made = verb("init", init, "Make a node: ask what is needed, make its account, write node.toml and a password file.",
                flags.INIT_EXAMPLES, config="the file to write (default: ./node.toml; for root, where the "
                "service is installed, /etc/knoop/node.toml)")
    flags.init(made)
    verb("check", check, "Validate the configuration and look for what it names; opens nothing.",
         "knoop check --config node.toml --json")
    verb("schema", schema, "Print what node.toml may say, as JSON Schema for editors.",
         "knoop schema > node.schema.json")
    made = verb("run", run, "Be the node until SIGTERM or Ctrl-C; SIGHUP takes over a changed node.toml.",
                "knoop run --config node.toml -v\n  knoop-hw & knoop run --board    the same in two processes")
    flags.run(made)
    made = verb("claim", claim, "Show the code that makes you the owner of a node that has none; also while it runs.",
                "knoop claim --png claim.png")
    flags.claim(made)
    made = verb("chat", chat, "Talk with a node as a person; reads lines, prints answers and events.",
                "knoop chat greenhouse@example.org --as anna@example.org")
    made.add_argument("node", metavar="NODE", help="the node's address")
    made.add_argument("--as", dest="person", required=True, metavar="JID", help="your own address")
    made.add_argument("--password-file", type=Path, metavar="FILE", help="your password (default: ask)")
    made.add_argument("--host", default="", help="your server's address, when DNS does not say it")
    made.add_argument("--port", type=int, default=0, help="and its port")
    made.add_argument("--ca-file", type=Path, metavar="FILE", help="the CA that signed your server's certificate")
    made = verb("audit", audit, "Show who asked this node for what, and what came of it; also while it runs.",
                "knoop audit --tail 50")
    flags.audit(made)
    made = verb("doctor", doctor, "Look at what a node stands on, from this machine to its server; say what to do.",
                "knoop doctor --offline")
    made.add_argument("--offline", action="store_true", help="this machine only, nothing over the network")
    made = verb("probe", probe, "Say what is on this machine: lines, buses, ports, sensors. Needs no node.toml.",
                flags.PROBE_EXAMPLES, verbose="read the kernel's sensors, too, and list every line")
    flags.probe(made)
    flags.others(verb, others)
    made = verb("bench", bench, "Measure stanzas/s, CPU per reading and memory on this board.",
                "knoop bench --quick --json > before.json; knoop bench --quick --against before.json")
    made.add_argument("--quick", action="store_true", help="about 5 s instead of a minute; ratios only")
    made.add_argument("--drivers", action="store_true", help="what each sensor driver costs instead, in CPU and memory;"
                      " needs neither node.toml nor sensors (90 s, or 15 with --quick)")
    made.add_argument("--local", action="store_true", help="against a private Prosody made for the occasion")
    made.add_argument("--against", type=Path, metavar="F", help="compare with an earlier report; exit 1 when worse")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; every failure is one sentence on stderr and an exit code."""
    given = sys.argv[1:] if argv is None else argv
    if not given:  # whoever types only the name wants to know what there is
        parser().print_help(sys.stderr)
        return EX_USAGE
    arguments = parser().parse_args(given)
    logs.configure(verbose=arguments.verbose)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except Usage as error:
        parser().error(str(error))
    except ConfigError as error:
        return _fail(arguments, EX_CONFIG, error, problems=[str(problem) for problem in error.problems])
    except LoginRefused as error:
        return _fail(arguments, EX_NOPERM, error)
    except LinkError as error:
        return _fail(arguments, EX_UNAVAILABLE, error)
    except (DeviceError, StoreError) as error:
        return _fail(arguments, EX_IOERR, error)
    except NodeError as error:
        return _fail(arguments, EX_FAILED, error)
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    except BrokenPipeError:  # `knoop … | head` closed the pipe; nothing is left to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EX_FAILED
    except OSError as error:
        if not error.filename:
            raise  # not the user's file, but a mistake of ours
        return _fail(arguments, EX_IOERR, StoreError(f"{error.filename}: {error.strerror}; see to it and start again"))
    return code


def _fail(arguments: argparse.Namespace, code: int, error: BaseException, **more: Any) -> int:
    if arguments.json:
        print(json.dumps({"ok": False, "exit": code, "error": str(error), **more}, ensure_ascii=False))
    for line in str(error).splitlines():
        print(f"knoop: {logs.printable(line, copied=code == EX_CONFIG)}", file=sys.stderr)
    return code


def _load(arguments: argparse.Namespace) -> Config:
    from knoop import commands, config
    from knoop.xmpp import compat
    from knoop_hw import places as common

    return config.load(common.search(arguments.config), jid=compat.jid, words=commands.words())


def _run_loop(work: Coroutine[Any, Any, int], loop: str = "auto") -> int:
    """Run on asyncio unless uvloop is asked for: 14 % less CPU there, 4 % more memory (docs/adr/0003)."""
    if loop == "uvloop":
        try:
            import uvloop
        except ImportError:
            problem = Problem("", 0, "node.loop", "uvloop is not installed; use 'auto', or: pip install uvloop")
            work.close()
            raise ConfigError([problem]) from None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    return asyncio.run(work)


def init(arguments: argparse.Namespace) -> int:
    """`knoop init`."""
    from knoop import init as command

    try:
        return command.init(arguments)
    except LinkError as error:
        raise _by_flag(error) from None


def _by_flag(error: LinkError) -> LinkError:
    """The same with its remedies in words of a command that has flags where a node has its node.toml."""
    text = str(error).replace(" or the credential 'xmpp.password'", "").replace("'xmpp.jid'", "--as")
    error.args = (re.sub(r"'xmpp\.(\w+)'", lambda key: f"--{key[1].replace('_', '-')}", text),)
    return error


def check(arguments: argparse.Namespace) -> int:
    """`knoop check`."""
    from knoop import check as command

    text, fine = command.check(_load(arguments), as_json=arguments.json)
    print(text)
    return 0 if fine else EX_FAILED


def schema(_arguments: argparse.Namespace) -> int:
    """`knoop schema`."""
    from knoop import toml_schema

    print(json.dumps(toml_schema.schema(), ensure_ascii=False, indent=2))
    return 0


def run(arguments: argparse.Namespace) -> int:
    """`knoop run`."""
    from knoop import places
    from knoop.serve import serve
    from knoop_hw import places as common

    def load() -> tuple[Config, str]:
        config = _load(arguments)
        return config, places.password(config)

    config, password = load()
    arguments.config = config.file  # a reload reads the same file, wherever another one turns up
    try:
        state = common.state_directory("knoop")
    except OSError as error:
        text = f"{error.filename}: {error.strerror}; make it a folder that user id {os.geteuid()} may write to"
        raise StoreError(text) from None
    board = common.board_socket(config.file) if arguments.board == Path() else arguments.board
    try:
        return _run_loop(serve(
            config, password=password, state=state, load=load, board=board, status=common.status_file(),
            safe=arguments.safe,
        ), config.node.loop)
    except DeviceError as error:
        if "in use by 'knoop " in str(error):  # as `lines` calls them
            raise DeviceError(f"{error}\n{BESIDE}") from None
        raise


def chat(arguments: argparse.Namespace) -> int:
    """`knoop chat`."""
    from knoop.terminal import converse
    from knoop.xmpp import compat
    from knoop.xmpp.account import Account

    try:
        person, node = compat.jid(arguments.person), compat.jid(arguments.node)
    except ValueError as error:
        parser().error(str(error))
    if bool(arguments.host) != bool(arguments.port):
        parser().error("--host and --port go together")
    if arguments.password_file:
        try:
            password = arguments.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([Problem(str(arguments.password_file), 0, "", f"cannot be read: {error}")]) from None
    elif not sys.stdin.isatty():
        parser().error("without a terminal there is nobody to ask: give --password-file")
    else:
        password = getpass.getpass(f"Password of {person.bare}: ")
    account = Account(jid=person, password=password, host=arguments.host, port=arguments.port,
                      ca_file=arguments.ca_file)
    try:
        return _run_loop(converse(account, node.bare))
    except LinkError as error:
        raise _by_flag(error) from None


def claim(arguments: argparse.Namespace) -> int:
    """`knoop claim`."""
    from knoop import claim as command

    return command.claim(arguments, _load(arguments))


def audit(arguments: argparse.Namespace) -> int:
    """`knoop audit`."""
    from knoop import audit as command
    from knoop_hw import places as common

    return command.audit(arguments, common.search(arguments.config))


def doctor(arguments: argparse.Namespace) -> int:
    """`knoop doctor`: each finding as it comes, then the problems once more."""
    from knoop import doctor as it
    from knoop_hw.clock import SystemClock

    config = _load(arguments)

    def tell(finding: it.Finding) -> None:
        if not arguments.json:
            print(it.as_line(finding), flush=True)

    findings = asyncio.run(
        it.examine(config, clock=SystemClock(), on_finding=tell, offline=arguments.offline)
    )
    fine = not any(finding.level == "problem" for finding in findings)
    if arguments.json:
        report = {"ok": fine, "file": str(config.file), "findings": it.as_data(findings)}
        print(json.dumps(report, ensure_ascii=False))
    else:
        print(f"\n{it.as_summary(findings)}")
    return 0 if fine else EX_FAILED


def probe(arguments: argparse.Namespace) -> int:
    """`knoop probe`."""
    from knoop import probe as command

    return command.probe(arguments)


def others(arguments: argparse.Namespace) -> int:
    """Those that are no part of a node's day: `knoop export`, `import`, `purge` and `setup`."""
    if arguments.command == "setup":
        from knoop.setup.command import setup as work
    elif arguments.command == "purge":
        from knoop.purging import purge as work
    elif arguments.command == "export":
        from knoop.moving import export as work
    else:
        from knoop.moving import bring as work
    return work(arguments)


def bench(arguments: argparse.Namespace) -> int:
    """`knoop bench`."""
    if arguments.drivers:
        return _bench_drivers(arguments)
    from knoop_bench import report

    against = report.read(arguments.against) if arguments.against else None
    if arguments.local:
        measured = asyncio.run(report.local(quick=arguments.quick))
    else:
        from knoop import places

        config = _load(arguments)
        measured = asyncio.run(report.own_server(config, places.password(config), quick=arguments.quick))
    print(report.as_json(measured) if arguments.json else report.as_text(measured, against))
    return EX_FAILED if against and report.worse(measured, against) else 0


def _bench_drivers(arguments: argparse.Namespace) -> int:
    from knoop_bench import drivers

    if arguments.local or arguments.against:
        raise Usage("--drivers asks no server and compares nothing; leave out --local and --against")
    measured = drivers.run(quick=arguments.quick)
    print(drivers.as_json(measured) if arguments.json else drivers.as_text(measured))
    return EX_FAILED if any(cost.error for cost in measured.drivers) else 0
