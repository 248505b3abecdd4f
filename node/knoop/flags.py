"""The flags of those commands that have many: names and help, nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

EXAMPLES = """\
examples:
  knoop init                      a node in a few questions
  knoop check                     is node.toml right, is everything there?
  knoop doctor                    do machine, network and server work?
  knoop probe                     what is on this machine: lines, buses, ports
  knoop run --config attic.toml   be the node, until Ctrl-C or SIGTERM
  knoop claim                     become the owner of a node that has none
  knoop chat attic@example.org --as anna@example.org
                                  talk with a node from this terminal
  knoop bench --quick             measure this board against your own server

Each command has more: knoop init --help
"""
INIT_EXAMPLES = """knoop init
  knoop init --invite invite.txt
  knoop init --yes --name attic --owner anna@example.org --publish off \\
      --jid attic@example.org --password-file secret"""
PROBE_EXAMPLES = """knoop probe                          what is on this machine
  knoop probe i2c GPIO17               only that; exit code 1 without it
  knoop probe --toml > found.toml      sections for node.toml
  knoop probe --watch                  node.toml's inputs and sensors, live
  knoop probe --watch GPIO17 --pull up
                                       a line, without any node.toml
  knoop probe --selftest GPIO17 GPIO27
                                       what this board does, with a wire
                                       between these two"""


def run(made: argparse.ArgumentParser) -> None:
    """Those of `knoop run`."""
    made.add_argument("--board", nargs="?", type=Path, const=Path(), metavar="SOCKET", help="leave lines and sensors "
                      "to knoop-hw, which listens there (default: /run/knoop/board.sock for /etc/knoop, else "
                      "$XDG_RUNTIME_DIR/knoop/board.sock)")
    made.add_argument("--safe", action="store_true", help="safe mode: open no lines and no sensors, log in, and answer "
                      "status, log and doctor; what a node does by itself that crashed five times")


def claim(made: argparse.ArgumentParser) -> None:
    """Those of `knoop claim`."""
    flag = made.add_argument
    flag("--again", action="store_true", help="a new code, also where there are owners: for one who lost their account")
    flag("--png", type=Path, metavar="FILE", help="keep it as a picture, too")
    flag("--state", type=Path, metavar="DIR", help="the node's state (default: as knoop run finds it)")


def audit(made: argparse.ArgumentParser) -> None:
    """Those of `knoop audit`."""
    made.add_argument("--tail", type=int, default=20, metavar="N", help="so many lines (default: 20; 0: all)")
    made.add_argument("--state", type=Path, metavar="DIR", help="the node's state (default: as knoop run finds it)")


def probe(made: argparse.ArgumentParser) -> None:
    """Those of `knoop probe`."""
    flag = made.add_argument
    flag("name", nargs="*", metavar="NAME", help="only this: a line (GPIO17, BOARD11), or lines, i2c, spi, w1, pwm, "
         "serial, sensors, cameras; with --watch a line or a channel of node.toml")
    flag("--toml", action="store_true", help="print sections for node.toml, and nothing else")
    flag("--watch", action="store_true", help="show live values until Ctrl-C; outputs are never opened")
    flag("--pull", choices=("up", "down", "none"), default="none", help="for lines that node.toml does not have, with "
         "--watch: the resistor in the chip (default: none)")
    flag("--selftest", nargs=2, metavar=("OUT", "IN"), help="join two free lines by a wire, best with a resistor of "
         "330 Ω to 1 kΩ, and see what this board does; OUT is driven high and low")
    flag("-y", "--yes", action="store_true", help="do not ask before OUT is driven")


def init(made: argparse.ArgumentParser) -> None:
    """Those of `knoop init`."""
    flag = made.add_argument
    flag("-y", "--yes", action="store_true", help="never ask; so does --json, and a missing terminal")
    flag("--name", help="the node's name, a lower-case word")
    flag("--label", help="how people read it (default: the name)")
    flag("--lang", choices=("en", "nl"), help="what it speaks")
    flag("--jid", help="the address of its own account")
    flag("--password-file", type=Path, metavar="FILE", help="where the account's password is read from")
    flag("--register", action="store_true", help="make the account, on a server where whoever asks gets one")
    flag("--invite", metavar="FILE", help="make the account with the invite in this file (-: standard input), "
         "xmpp:…?register;preauth=…")
    flag("--owner", action="append", metavar="JID", help="whom it obeys; may be given more than once")
    flag("--claim", action="store_true", help="nobody yet: who sends it the code that is shown becomes its owner")
    flag("--publish", choices=("pep", "off"), help="whether readings are kept on the server")
    flag("--room", metavar="JID", help="a group chat in which to say alarms")
    flag("--simulated", action="store_true", help="a simulated board, to try it without hardware")
    flag("--directory", type=Path, metavar="DIR", help="or the folder to write node.toml into (default: here)")
    flag("--force", action="store_true", help="write although there is a node.toml; it is kept as node.toml.old")
    flag("--no-doctor", action="store_true", help="do not look whether it works")
    flag("--host", default="", help="the server's address, when DNS does not say it")
    flag("--port", type=int, default=0, help="and its port")
    flag("--ca-file", type=Path, metavar="FILE", help="the CA that signed the server's certificate")
    flag("--fingerprint", default="", metavar="SHA256", help="or the one certificate that is right")


def others(verb: Callable[..., argparse.ArgumentParser], run: Callable[[argparse.Namespace], int]) -> None:
    """`knoop export`, `knoop import`, `knoop purge` and `knoop setup` with theirs."""
    export = verb("export", run, "Put a node into one file, for another card; also while it runs.",
                  "knoop export greenhouse.tar.gz")
    export.add_argument("file", type=Path, metavar="FILE", help="the archive to write, mode 600")
    bring = verb("import", run, "Put a node out of its file onto this machine; the old one must be off.",
                 "knoop import greenhouse.tar.gz --config /etc/knoop --state /var/lib/knoop",
                 config="its node.toml here, or the folder for it (default: here)")
    bring.add_argument("file", type=Path, metavar="FILE", help="what knoop export wrote. It says whom the node obeys: "
                       "take only your own")
    for made in (export, bring):
        made.add_argument("--force", action="store_true", help="replace what is there already")
    purge = verb("purge", run, "Delete what a node has kept; it must be off.",
                 "knoop purge --server --configuration\n  knoop purge --person bram@example.org --server")
    flag = purge.add_argument
    flag("--person", metavar="JID", help="only what is about this person")
    flag("--server", action="store_true", help="also at the server: pub-sub nodes with their items, roster, block list")
    flag("--account", action="store_true", help="and the account itself, with all that the server keeps of it")
    flag("--configuration", action="store_true", help="also node.toml and the files beside it that it names, the "
         "password's too")
    flag("-y", "--yes", action="store_true", help="do not ask")
    for made in (export, bring, purge):
        made.add_argument("--state", type=Path, metavar="DIR", help="where the node remembers (default: as "
                          "knoop run finds it); DIR-hw beside it is the hardware half's")
    setup = verb("setup", run, "Take over what lies on the card of Knoop's own image: knoop.toml, Imager's files.",
                 "knoop setup --boot card --root machine     into a folder, to see what it does")
    flag = setup.add_argument
    flag("--boot", type=Path, default=Path("/boot/firmware"), metavar="DIR", help="the card's partition that any "
         "computer shows (default: /boot/firmware)")
    flag("--root", type=Path, default=Path("/"), metavar="DIR", help="the machine's folders (default: /); with another "
         "one nothing of this machine is touched, and no program is run")
    what = setup.add_mutually_exclusive_group()
    what.add_argument("--account", action="store_true", help="make the account that an invite in knoop.toml is for; "
                      "needs the network")
    what.add_argument("--claim", action="store_true", help="have the picture of the claim's code on the "
                      "card until there is an owner")
