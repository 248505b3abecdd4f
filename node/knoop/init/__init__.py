"""`knoop init`: from a few questions, or flags, to a node that works: an account, `node.toml`, a password file.

Below /etc/knoop it is a node for the service, and the password a credential of systemd's. Nothing is written before
everything is known and proven; the files then appear together, or not at all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from knoop import claim, config, credential, installed
from knoop.commands import words
from knoop.errors import LinkError, NodeError, RegistrationRefused, StoreError, Usage
from knoop.init import setup
from knoop.init.ask import Terminal
from knoop.init.drafts import drafted
from knoop.init.interview import Interview, Plan, with_name
from knoop.jid import Jid
from knoop.xmpp import compat
from knoop.xmpp import register as registration
from knoop_hw import found, places
from knoop_hw.clock import SystemClock

EX_FAILED = 1


def init(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code. Raises Usage, LinkError, ConfigError, NodeError or KeyboardInterrupt."""
    asks = not (arguments.yes or arguments.json) and sys.stdin.isatty() and sys.stdout.isatty()
    terminal = Terminal() if asks else None
    target = _target(arguments)
    if terminal and installed.here() and not installed.may():
        terminal.say("Here it becomes a node of your own. For the service of this machine: sudo knoop init", "")
    done = False
    try:
        plan = _interview(arguments, terminal, _group(target)).plan()
        plan, written, kept = _make(plan, target, terminal)
        done = True
        return _report(plan, target, written, kept, arguments)
    except LinkError as error:
        if not done:
            error.args = (f"{error}. Nothing was written.",)
        raise
    except KeyboardInterrupt:
        said = f"Stopped; {target} is written." if done else "Stopped; nothing was written."
        print(f"\n{said}", file=sys.stderr)  # noqa: T201 -- for the person who stopped it
        raise


def _interview(arguments: argparse.Namespace, terminal: Terminal | None, group: int | None) -> Interview:
    """Ready to ask, knowing what is on this machine."""
    machine = found.machine()
    lines: setup.Lines = "none"
    if machine.chips:
        lines = "forbidden" if all(chip.closed for chip in machine.chips) else "usable"
    ports = tuple(
        setup.Port(device=str(port.device), perhaps_meter=port.perhaps_meter, usable=port.usable)
        for port in machine.serial if port.kind == "usb"
    )
    return Interview(arguments, terminal, lines=lines, ports=ports, group=group)


def _group(target: Path) -> int | None:
    """Whose the configuration of the service is; None for any other. Raises NodeError where none is installed."""
    if not installed.is_of(target):
        return None
    if (group := installed.group()) is None:
        raise NodeError(f"{target} is for the service, which is not installed here (there is no group "
                        f"'{installed.GROUP}'); install the package first, or name another folder")
    return group


def _target(arguments: argparse.Namespace) -> Path:
    if arguments.config and arguments.directory:
        raise Usage("--config names the file and --directory its folder: give one of them")
    target: Path = arguments.config or (arguments.directory or installed.default() or Path()) / "node.toml"
    if installed.is_of(target) and not installed.may():
        raise StoreError(f"{target} is for the service, which root sets up: sudo knoop init")
    if target.exists() and not arguments.force:
        raise NodeError(f"{target} is there already; --force writes a new one and keeps this as {target.name}.old")
    there = next(folder for folder in target.absolute().parents if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):  # better said before the questions
        raise StoreError(f"{there}: you may not write there; name another folder with --directory")
    return target


def _make(plan: Plan, target: Path, terminal: Terminal | None) -> tuple[Plan, list[Path], list[Path]]:
    """Make the account, then the files. Returns these and what was kept. Raises LinkError, StoreError."""
    while True:
        files = plan.files(target)
        with drafted(files) as publish:
            try:
                if plan.register:
                    asyncio.run(registration.register(plan.account, token=plan.token, clock=SystemClock()))
                kept = publish()
                if plan.group is not None:
                    credential.settle(next(iter(files)))
                return plan, [*files], kept
            except KeyboardInterrupt:
                print(f"\nThe account {plan.account.jid} may have been made.", file=sys.stderr)  # noqa: T201 -- as above
                raise
            except RegistrationRefused as refused:
                if refused.condition != "conflict" or terminal is None:
                    raise
                terminal.say("", str(refused))
        plan = _renamed(plan, terminal)


def _renamed(plan: Plan, terminal: Terminal) -> Plan:
    domain = plan.account.jid.domain
    why = "The name before the @; the node is called as before."

    def check(text: str) -> Jid:
        jid = with_name(f"{text}@{domain}")
        if str(jid) in plan.answers.owners:
            raise ValueError(f"{jid} is the owner; the node needs an account of its own")
        return jid

    jid = terminal.ask("Another name for the account", why, check)
    return replace(plan, account=replace(plan.account, jid=jid), answers=replace(plan.answers, jid=str(jid)))


def _report(
    plan: Plan, target: Path, written: list[Path], kept: list[Path], arguments: argparse.Namespace
) -> int:  # fmt: skip
    """Say what was written and, by the doctor, whether it works; returns the exit code."""

    def say(*lines: str) -> None:
        if not arguments.json:
            print("\n".join(lines), flush=True)  # noqa: T201 -- a command's output

    account, service = plan.account, plan.group is not None
    if plan.register:
        say("", f"Made the account {account.jid}.")
    mode = "; only root can read the password" if service else " (mode 600)"
    say("", f"Wrote {' and '.join(map(str, reversed(written)))}{mode}.", *(f"Kept {file}." for file in kept))
    well, findings = (True, []) if arguments.no_doctor else _examined(target, say)
    there = "" if target.resolve() == Path("node.toml").resolve() else f" --config {target}"
    start = installed.RESTART if kept else installed.START
    say("", f"Next: {start if service else f'knoop run{there}'}")
    shown = None
    if plan.answers.owners:
        say(f"Then write to {account.jid} from your chat app,", "once you have accepted its contact request. Try: help")
    elif (shown := _claim(target)) is not None:
        say("", *claim.said(shown))
    else:
        say("Then see how to become its owner: " + ("sudo knoop claim" if service else f"knoop claim{there}"))
    if arguments.json:
        told = {
            "ok": well, "jid": str(account.jid), "registered": plan.register, "written": list(map(str, written)),
            "kept": list(map(str, kept)), "findings": findings, **({"claim": shown.link} if shown else {}),
        }  # fmt: skip
        print(json.dumps(told, ensure_ascii=False))  # noqa: T201 -- a command's output
    return 0 if well else EX_FAILED


def _claim(target: Path) -> claim.Shown | None:
    """How to become the owner of what was made; None where the node itself has to say so."""
    made = config.load(target, jid=compat.jid, words=words())
    try:
        folder = places.state_of(target, "knoop")
        return asyncio.run(claim.offered(made, folder, again=False, clock=SystemClock()))
    except (NodeError, OSError) as error:  # a former node's state, which has an owner, or cannot be written
        print(f"knoop: {error}", file=sys.stderr)  # noqa: T201 -- what was made is made
        return None


def _examined(target: Path, say: Callable[..., None]) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the doctor has no problem with what was written, and what it found."""
    from knoop import doctor  # noqa: PLC0415 -- what questions do not need

    say("", "Does it work? knoop doctor says:")
    made = config.load(target, jid=compat.jid, words=words())
    findings = asyncio.run(doctor.examine(
        made, clock=SystemClock(), on_finding=lambda finding: say(doctor.as_line(finding)),
    ))  # fmt: skip
    say("", doctor.as_summary(findings))
    return all(finding.level != "problem" for finding in findings), doctor.as_data(findings)
