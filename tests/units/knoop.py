"""Knoop in a container without the package: units, users and rules from systemd/, and the code of this checkout."""

from __future__ import annotations

from pathlib import Path

from tests.units import roots
from tests.units.nspawn import Container

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNITS = ("knoop-board.socket", "knoop-board.service", "knoop-hw.service", "knoop.service")
HALVES = ("knoop-hw.service", "knoop.service")
CONFIG = "/etc/knoop/node.toml"
# As the package's own: isolated from the environment and from the folder in which it is started.
PROGRAM = """\
#!/usr/bin/python3 -I
import sys
sys.path[:0] = ["/usr/lib/knoop/node", "/usr/lib/knoop/hw", "/usr/lib/knoop/libraries"]
from {module} import main
sys.exit(main())
"""


def container(suite: str, folder: Path) -> Container:
    """A Debian that has Knoop's files; `install` makes the rest once it is booted."""
    binds = {"/usr/lib/knoop/node": ROOT / "node", "/usr/lib/knoop/hw": ROOT / "hw",
             "/usr/lib/knoop/libraries": roots.libraries(suite)}
    made = Container(roots.root(suite), folder, binds=binds)
    for unit in UNITS:
        made.prepare(f"/usr/lib/systemd/system/{unit}", (SYSTEMD / unit).read_text("utf-8"))
    made.prepare("/usr/lib/udev/rules.d/60-knoop.rules", (SYSTEMD / "60-knoop.rules").read_text("utf-8"))
    for kind in ("sysusers", "tmpfiles"):
        made.prepare(f"/usr/lib/{kind}.d/knoop.conf", (SYSTEMD / f"knoop.{kind}").read_text("utf-8"))
    for name, module in (("knoop", "knoop.cli"), ("knoop-hw", "knoop_hw.cli")):
        made.prepare(f"/usr/bin/{name}", PROGRAM.format(module=module), mode=0o755)
    return made


def install(debian: Container) -> None:
    """Users and folders, as the package's postinst makes them, and the halves enabled."""
    debian.run("systemd-sysusers", "knoop.conf")
    debian.run("install", "-d", "-m", "0750", "-o", "root", "-g", "knoop", "/etc/knoop")
    debian.run("systemd-tmpfiles", "--create", "knoop.conf")
    debian.run("systemctl", "enable", "--quiet", "knoop-board.socket", *HALVES)


def configure(debian: Container, text: str) -> None:
    debian.write(CONFIG, text, mode=0o640, owner="root:knoop")


def drop_in(debian: Container, unit: str, text: str) -> None:
    """What `systemctl edit` writes."""
    debian.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
    debian.run("systemctl", "daemon-reload")
