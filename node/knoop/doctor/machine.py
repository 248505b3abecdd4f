"""This machine: files, disk, clock, devices, temperature, power. Reads proc and sys, moves nothing, opens no device."""

from __future__ import annotations

import errno
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from knoop import places
from knoop.config import Config
from knoop.doctor.finding import Finding, not_looked_at, note, ok, problem, sentence
from knoop_hw import places as common
from knoop_hw import rights
from knoop_hw.clock import kernel_synchronised
from knoop_hw.errors import ConfigError
from knoop_hw.kernel import thermal

MIB, GIB = 2**20, 2**30
LEAST_FREE = 16 * MIB  # below it SQLite's journal and the log soon fail
LEAST_INODES = 100
HOT_C, WARM_C = 80.0, 70.0  # a Raspberry Pi slows down from 80 °C on (raspberrypi.com, "Frequency management")
THROTTLED = Path("sys/devices/platform/soc/soc:firmware/get_throttled")
# raspberrypi.com, "vcgencmd get_throttled": the same bits, 16 higher, say that it was so since the boot.
UNDER_VOLTAGE, CAPPED, SLOWED, WARM = (1 << bit for bit in range(4))
FORGETFUL = frozenset({"tmpfs", "ramfs", "overlay"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where to look, for tests: `root` holds dev, proc, run and sys. `user`: who opens the devices, if not this one."""

    root: Path = Path("/")
    state: Callable[[], Path] = lambda: common.state_directory("knoop")
    user: str = ""
    may: Callable[[Path, str], bool] = rights.may
    space: Callable[[Path], os.statvfs_result] = os.statvfs
    synchronised: Callable[[], bool | None] = kernel_synchronised
    installed: Callable[[str], bool] = lambda module: importlib.util.find_spec(module) is not None


def configuration(config: Config) -> Iterator[Finding]:
    """The file is valid, or we would not be here; passwords in it are worth hiding."""
    secret = [str(jid) for jid, room in config.rooms.items() if room.password]
    if secret and config.file.stat().st_mode & 0o077:
        yield note("configuration", f"{config.file} holds the password of {secret[0]}, and others can read it",
                   f"chmod 600 {config.file}")  # fmt: skip
    else:
        counts = f"{_many(len(config.hw.channels()), 'channel')}, {_many(len(config.people), 'person', 'people')}"
        yield ok("configuration", f"{config.file}: {counts}")


def password(config: Config) -> tuple[Finding, str | None]:
    """The finding, and the password from where the configuration says."""
    try:
        found = places.password(config)
    except ConfigError as error:
        return sentence("password", error.problems[0].text), None
    return ok("password", "there, and nobody else can read it"), found


def state(machine: Machine) -> Iterator[Finding]:
    """The folder of the databases can be written to."""
    try:
        folder = machine.state()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            yield ok("state", "the folder is ours; that it is full is told below")
            return
        remedy = f"make it a folder that {rights.us()} may write to, or look as the user that the node runs as"
        yield problem("state", f"{error.filename}: {error.strerror}", remedy)
    else:
        yield ok("state", f"{folder} can be written to")


def disk(machine: Machine, config: Config) -> Iterator[Finding]:
    """Room for what `[storage]` allows, on something that keeps it."""
    try:
        folder = machine.state()
        there = machine.space(folder)
    except OSError as error:
        yield not_looked_at("disk", f"{error.filename}: {error.strerror}")
        return
    free = there.f_bavail * there.f_frsize
    database = folder / "readings.db"
    wanted = config.storage.max - (database.stat().st_size if database.exists() else 0)
    kind = _file_system(machine, folder)
    for damaged in sorted(folder.glob("*.corrupt-?")):
        yield note("disk", f"{damaged} was damaged and set aside; what was in it is not in use",
                   "`dmesg` may say why; remove it when you need it no more")  # fmt: skip
    if there.f_flag & os.ST_RDONLY:
        remedy = "`dmesg` says why: an SD card that fails is made read-only; replace it, or mount it writable"
        yield problem("disk", f"the file system of {folder} is read-only", remedy)
    elif free < LEAST_FREE:
        text = f"{free // MIB} MiB are free at {folder}: soon nothing can be kept"
        yield problem("disk", text, "remove files, or move the state to a larger disk")
    elif there.f_files and there.f_favail < LEAST_INODES:
        yield problem("disk", f"{there.f_favail} files more are all that {folder} takes", "remove small files: `df -i`")
    elif free < wanted:
        text = f"{free // MIB} MiB are free at {folder}, but readings may come to take {wanted // MIB} MiB more"
        yield note("disk", text, f"lower 'max' in [storage] to \"{free // MIB // 2}MiB\", or make room")
    elif kind in FORGETFUL:
        yield note("disk", f"{folder} is on {kind}, which may be forgotten when the machine stops: so are readings, "
                   "rights given by chat and the audit log", "put the state on a disk that stays")  # fmt: skip
    else:
        room = f"{free // GIB} GiB" if free >= 10 * GIB else f"{free // MIB} MiB"
        yield ok("disk", f"{room} free at {folder}{f' ({kind})' if kind else ''}")


def clock(machine: Machine) -> Iterator[Finding]:
    """Somebody keeps the clock right."""
    if (machine.root / "run/systemd/timesync/synchronized").exists() or machine.synchronised():
        yield ok("clock", "kept right by a time server")
    else:
        yield note("clock", "nobody keeps this machine's clock right: times of readings drift, and a certificate seems "
                   "expired or not valid yet when it is far off", "sudo timedatectl set-ntp true")  # fmt: skip


def devices(machine: Machine, config: Config) -> Iterator[Finding]:
    """Every device that a sensor names is there and ours to open."""
    named = [(sensor.name, getattr(sensor.config, "device", None)) for sensor in config.hw.sensors]
    paths = [(f"sensor.{name}", path) for name, path in named if isinstance(path, Path)]
    if not paths:
        yield ok("devices", "no sensor names one")
    for owner, path in paths:
        if not _there(path):
            remedy = f"plug it in, or correct 'device' of [{owner}]; `ls /dev/serial/by-id` lists what is there"
            yield problem("devices", f"{owner}: {path} does not exist", remedy)
        elif not machine.may(path, machine.user):
            yield problem("devices", f"{owner}: {path} may not be opened by {rights.us(machine.user)}",
                          rights.remedy(path, machine.user))  # fmt: skip
        else:
            yield ok("devices", f"{owner}: {path} can be opened")


def lines(machine: Machine, config: Config) -> Iterator[Finding]:
    """A real board's lines can be reached."""
    used = len(config.hw.inputs) + len(config.hw.outputs)
    if not used:
        yield ok("lines", "no input or output uses one")
        return
    if config.hw.board.driver == "simulated":
        yield ok("lines", f"{used} of a simulated board")
        return
    chips = sorted((machine.root / "dev").glob("gpiochip*"))
    ours = [chip for chip in chips if machine.may(chip, machine.user)]
    simulate = 'to try without lines, set [board] driver = "simulated"'
    library = config.hw.board.driver  # it is called like the module that it needs
    if not machine.installed(library):
        yield problem("lines", f"{library} is not installed", f"pip install {library}; {simulate}")
    elif not chips:
        yield problem("lines", "there is no /dev/gpiochip*: this machine has no lines, or hides them", simulate)
    elif not ours:
        yield problem("lines", f"{chips[0]} may not be opened by {rights.us(machine.user)}",
                      rights.remedy(chips[0], machine.user))  # fmt: skip
    else:
        yield ok("lines", f"{used} in use, {ours[0]} can be opened")


def temperature(machine: Machine) -> Iterator[Finding]:
    """The hottest thermal zone."""
    found = [known for zone in thermal.zones(machine.root) if (known := zone.known()) is not None]
    if not found:
        yield not_looked_at("temperature", "this machine shows none")
        return
    hottest = max(found)
    if hottest >= HOT_C:
        yield problem("temperature", f"{hottest:.0f} °C: it slows itself down", "a heat sink, a fan, or more air")
    elif hottest >= WARM_C:
        yield note("temperature", f"{hottest:.0f} °C: from {HOT_C:.0f} °C on it slows itself down", "give it air")
    else:
        yield ok("temperature", f"{hottest:.0f} °C")


def power(machine: Machine) -> Iterator[Finding]:
    """A Raspberry Pi's firmware tells of too little voltage and of being slowed down."""
    try:
        bits = int((machine.root / THROTTLED).read_text("ascii"), 16)
    except (OSError, ValueError):
        yield not_looked_at("power", "only a Raspberry Pi tells of its power")
        return
    now, since = bits & 0xF, bits >> 16
    supply = "a power supply and a short cable made for this board; fewer devices on USB"
    if now & UNDER_VOLTAGE:
        yield problem("power", "the voltage is too low just now: SD cards are damaged by that", supply)
    elif now:
        slow = "slowed down" if now & (SLOWED | CAPPED) else "near its limit of temperature"
        yield problem("power", f"the processor is {slow} just now", "see 'temperature'; give it air")
    elif since & UNDER_VOLTAGE:
        yield note("power", "the voltage was too low since the start", supply)
    elif since:
        yield note("power", "the processor was slowed down since the start", "give it air")
    else:
        yield ok("power", "the voltage was right since the start")


def _file_system(machine: Machine, folder: Path) -> str:
    """The type of the file system that holds `folder` (proc_pid_mounts(5)), '' where that is unknown."""
    try:
        mounts = (machine.root / "proc/self/mounts").read_text("utf-8", "replace")
    except OSError:
        return ""
    whole, best, kind = folder.resolve(), -1, ""
    for line in mounts.splitlines():
        _, place, name, *_ = line.split(" ")
        mount = Path(place.replace(r"\040", " "))
        if whole.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), name
    return kind


def _there(path: Path) -> bool:
    """Whether it is there, as far as we may know: what is in a folder that is not for us may not be opened either."""
    try:
        return path.exists()
    except OSError:
        return True


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
