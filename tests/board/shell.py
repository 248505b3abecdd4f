"""`python -m tests.board.shell COMMAND…`: boot an emulated board with this checkout's code, run a command in it, end.

    .venv/bin/python -m tests.board.shell python3 -c 'import gpiod; print(gpiod.Chip("/dev/gpiochip0").get_info())'
    .venv/bin/python -m tests.board.shell --drive '5=1 5=0' --file try.py python3 /root/try.py

`--file` puts files of the host into /root; `--drive` drives input lines, one change every `--pause` seconds, once the
command has said `--when` (default: READY). What output lines did is printed at the end. `--machine raspi3b` is a Pi.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.board.guest import boot


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.board.shell", description=__doc__.partition("\n")[0])
    parser.add_argument("--machine", choices=("virt", "raspi3b"), default="virt")
    parser.add_argument("--file", action="append", default=[], type=Path, help="a file to put into /root")
    parser.add_argument("--drive", default="", help="changes of input lines, such as '5=1 5=0'")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between them")
    parser.add_argument("--when", default="READY", help="drive once the command has said this")
    parser.add_argument("--within", type=float, default=300, help="seconds until the command must have ended")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="knoop-board-") as folder:
        began = time.monotonic()
        guest = boot(Path(folder), machine=options.machine)
        print(f"booted in {time.monotonic() - began:.1f} s: {dict(guest.ready)}", file=sys.stderr)
        try:
            for file in options.file:
                guest.write(f"/root/{file.name}", file.read_text("utf-8"), mode=0o755)
            program = guest.start(*options.command)
            if options.drive:
                program.says(options.when)
                for change in options.drive.split():
                    line, _, level = change.partition("=")
                    guest.lines.drive(int(line), level == "1")
                    time.sleep(options.pause)
            code = program.wait(options.within)
            print(program.log, end="")
            for change in guest.qtest.changes():
                went = "high" if change.level else "low"
                print(f"line {change.line} went {went} {change.at_s - began:.3f} s after the start", file=sys.stderr)
            return code
        finally:
            guest.close()


if __name__ == "__main__":
    sys.exit(main())
