"""What must be in no image: a password, a key, an identity, or a trace of the machine that made it.

    python -m knoop_firmware.scan IMAGE.img         # or a folder that is an image's root; exit status 0 clean, 1 not

It looks at every file of the root, the boot partition (the initramfs unpacked) and the data partition.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from knoop_firmware.parts import extract, partitions
from knoop_firmware.recipe import CHECKOUT
from knoop_firmware.tools import run, scratch

# A key, not a program that knows how one begins: a whole line of base64 follows.
_KEY = rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*(?:[A-Za-z-]+: [^\n]*\n)*\s*[A-Za-z0-9+/=]{40}"
_TOKENS = (
    rb"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])", rb"gh[pousr]_[A-Za-z0-9]{36}", rb"glpat-[A-Za-z0-9_-]{20}",
    rb"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{20}",
    rb"https?://[^\s/@:'\"<>{}\\]{2,40}:[^\s/@'\"<>{}\\]{2,60}@[a-z0-9]",  # a name and a password in an address
)  # fmt: skip
# Names that are somebody's: what they hold does not matter.
_PERSONAL = re.compile(
    r"(.*/)?(authorized_keys2?|\.ssh|\.netrc|\.pgpass|\.pypirc|\.npmrc|\.gitconfig|\.git-credentials|\.bash_history|"
    r"\.python_history|id_(rsa|ecdsa|ed25519|dsa)|ssh_host_\w+_key(\.pub)?|credential\.secret|random-seed)"
)
_PLACES = (  # never there before a card's first start
    "etc/knoop/node.toml", "etc/credstore/*", "etc/credstore.encrypted/*", "var/lib/knoop/*", "var/lib/knoop-hw/*",
    "etc/wpa_supplicant/*.conf", "etc/pip.conf", "root/.config/pip/*", "root/.cache", "etc/apt/auth.conf*",
    "etc/apt/apt.conf.d/*proxy*", "var/lib/dbus/machine-id", "var/log/journal/*",
)  # fmt: skip
_WRITTEN_BY_SETUP = ("knoop-errors.txt", "claim.png", "user-data", "network-config", "firstrun.sh", "custom.toml",
                     "rpi-preseed.toml")  # fmt: skip
_SECRET_KEYS = re.compile(rb"^\s*(jid|password|invite|psk|ssid|key|token)\s*=\s*\S", re.MULTILINE)
_ARCHIVES = re.compile(r"deb\.debian\.org|security\.debian\.org|archive\.raspberrypi\.(org|com)")
_URL = re.compile(r"(?:https?|ftp|file)://[^\s\]]+")
_ENVIRONMENT = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "pip_index_url", "pip_extra_index_url",
                "pip_find_links", "uv_index_url", "uv_default_index")  # fmt: skip
OUR_NAME = "knoop"  # what every card is called until its owner says otherwise
SHORTEST_TRACE = 6  # a host called `pi` is in every second file


def traces() -> list[bytes]:
    """What this machine would leave in an image: the checkout's path, its name, proxies and registries it uses."""
    found = {str(CHECKOUT), platform.node(), str(Path.home()) if Path.home() != Path("/root") else ""}
    found |= {value for key, value in os.environ.items() if key.lower() in _ENVIRONMENT}
    for config in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
        if config.is_file():
            found |= {*_URL.findall(config.read_text("utf-8", "replace"))}
    return sorted(one.encode() for one in found if len(one) >= SHORTEST_TRACE and one != "localhost")


def image(path: Path, *, left: Iterable[bytes] | None = None) -> list[str]:
    """What is wrong with an image, a line each; empty when it is clean. `left`: traces, this machine's by default."""
    with scratch("knoop-scan-") as work:
        folders = {part.name: extract(path, part, work / part.name) for part in partitions(path)}
        found = tree(folders["system"], left=left)
        found += boot(folders["boot"], left=left)
        found += [f"data/{path.relative_to(folders['data'])}: the data partition is empty before a card's first start"
                  for path in sorted(folders["data"].iterdir())]  # fmt: skip
    return found


def tree(root: Path, *, left: Iterable[bytes] | None = None) -> list[str]:
    """The same of the folder that is an image's root."""
    checks: Sequence[Callable[[Path], Iterator[str]]] = (_accounts, _identity, _places, _sources, _distributions)
    return [*(line for check in checks for line in check(root)), *_contents(root, _patterns(left))]


def boot(folder: Path, *, left: Iterable[bytes] | None = None) -> list[str]:
    """The same of what is on the boot partition."""
    found = [f"{name}: is written by a card's first start or by Imager, and is in no image"
             for name in _WRITTEN_BY_SETUP if (folder / name).exists()]  # fmt: skip
    example = folder / "knoop.toml"
    if example.exists():
        found += [f"knoop.toml: names a {match[1].decode()}; it is an example, so comment that out"
                  for match in _SECRET_KEYS.finditer(example.read_bytes())]  # fmt: skip
    found += _contents(folder, _patterns(left))
    for packed in sorted(folder.glob("initramfs*")):
        if packed.read_bytes()[:4] == b"\x28\xb5\x2f\xfd":
            raw = run("zstd", "-dc", packed)
            found += [f"{packed.name}: {what}" for what in _said(raw, _patterns(left))]
    return found


def _accounts(root: Path) -> Iterator[str]:
    for name, column in (("passwd", 1), ("shadow", 1), ("shadow-", 1), ("gshadow", 1), ("gshadow-", 1)):
        path = root / "etc" / name
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            fields = line.split(":")
            given = fields[column] if len(fields) > column else ""
            locked = given.startswith(("!", "*")) or (given == "x" and not name.startswith("shadow"))
            if not locked and not (name.startswith("gshadow") and not given):
                what = "a password" if given else "no password at all"
                yield f"etc/{name}: {fields[0]} has {what}; it must be locked"
    if not (root / "etc/shadow").is_file():
        yield "etc/shadow: is not there, so nothing says that the accounts are locked"


def _identity(root: Path) -> Iterator[str]:
    for name in ("etc/machine-id", "var/lib/systemd/random-seed"):
        path = root / name
        if path.is_file() and path.read_bytes().strip() not in {b"", b"uninitialized"}:
            yield f"{name}: every card would have the same"
    host = root / "etc/hostname"
    if host.is_file() and host.read_text("utf-8").strip() not in {"", OUR_NAME}:
        yield "etc/hostname: is the name of the machine that made the image"
    resolver = root / "etc/resolv.conf"
    if resolver.is_file() and not resolver.is_symlink() and "nameserver" in resolver.read_text("utf-8", "replace"):
        yield "etc/resolv.conf: names the servers of the machine that made the image"


def _places(root: Path) -> Iterator[str]:
    for pattern in _PLACES:
        for path in sorted(root.glob(pattern)):
            if not _is_empty(path):
                yield f"{path.relative_to(root)}: is there before a card's first start"
    for folder, names, files in os.walk(root):
        for name in sorted((*names, *files)):
            where = str((Path(folder) / name).relative_to(root))
            if _PERSONAL.fullmatch(where) and not _is_empty(root / where):
                yield f"{where}: a key, or somebody's own"


def _is_empty(path: Path) -> bool:
    """Whether this is a folder of nothing; Debian's sshd makes /root/.ssh."""
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _sources(root: Path) -> Iterator[str]:
    for path in sorted(path for kind in ("list", "sources", "conf") for path in root.glob(f"etc/apt/**/*.{kind}")):
        for url in _URL.findall(path.read_text("utf-8", "replace")):
            if not _ARCHIVES.match(url.partition("://")[2]):
                yield f"{path.relative_to(root)}: {url} is an archive of the machine that made the image"


def _distributions(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.dist-info/direct_url.json")):
        url = json.loads(path.read_text("utf-8")).get("url", "")
        yield f"{path.relative_to(root)}: says that it was installed from {url}"
    for path in sorted(root.rglob("*.dist-info/RECORD")):
        site = path.parent.parent
        for line in path.read_text("utf-8").splitlines():
            name = line.partition(",")[0].strip('"')
            if name.startswith("/") or not (site / name).resolve().is_relative_to(root.resolve()):
                yield f"{path.relative_to(root)}: names {name}, a path of the machine that made the image"


def _patterns(left: Iterable[bytes] | None) -> list[tuple[str, re.Pattern[bytes]]]:
    given = traces() if left is None else [*left]
    found = [("a private key", re.compile(_KEY)), ("a token or a password", re.compile(b"|".join(_TOKENS)))]
    if given:
        found.append(("a trace of the machine that made it", re.compile(b"|".join(map(re.escape, given)))))
    return found


def _contents(root: Path, patterns: list[tuple[str, re.Pattern[bytes]]]) -> Iterator[str]:
    for folder, _, files in os.walk(root):
        for path in (Path(folder) / name for name in sorted(files)):
            if path.is_symlink() or not path.is_file() or not path.stat().st_size:
                continue
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for what in _said(content, patterns):
                    yield f"{path.relative_to(root)}: {what}"


def _said(content: bytes | mmap.mmap, patterns: list[tuple[str, re.Pattern[bytes]]]) -> Iterator[str]:
    for what, pattern in patterns:
        if match := pattern.search(content):
            # A secret is not repeated in what is printed; a path of this machine is what one looks for.
            where = f" ({match[0].decode('utf-8', 'replace')})" if what.startswith("a trace") else ""
            yield f"has {what}{where} at byte {match.start()}"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(arguments[0])
    found = tree(path) if path.is_dir() else image(path)
    print("\n".join(found) or "Clean: no password, no key, no identity, no trace of the machine that made it.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
