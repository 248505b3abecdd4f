"""What the image is made of, package by package, with the hash of each .deb: for people, and for the SBOM's tool.

A row is the package, its version, its architecture and the SHA-256 of its .deb, separated by tabs. The hash is what the
archive's signed lists say of that version; `-` where they no longer have it, which happens when the archive moved on
between the day the root was installed and today.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from knoop_firmware.tools import run

UNKNOWN = "-"
STATUS = ("usr/share/knoop-image/dpkg-status", "var/lib/dpkg/status")  # in a finished image, in a root on its way
_APT_HELPER = "/usr/lib/apt/apt-helper"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One Debian package that is installed."""

    name: str
    version: str
    architecture: str
    sha256: str = UNKNOWN

    def __str__(self) -> str:
        return f"{self.name}\t{self.version}\t{self.architecture}\t{self.sha256}"


def installed(root: Path) -> list[Package]:
    """What dpkg says is installed in `root`, without hashes. Raises FileNotFoundError when it says nothing."""
    found = []
    for fields in _paragraphs(status(root).read_text("utf-8", "replace")):
        if fields.get("Status", "").endswith(" installed"):
            name, version, architecture = (fields.get(key, "") for key in ("Package", "Version", "Architecture"))
            found.append(Package(name=name, version=version, architecture=architecture))
    return sorted(found)


def status(root: Path) -> Path:
    """Where dpkg's list of `root` lies. Raises FileNotFoundError."""
    for name in STATUS:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(f"{root} has no list of packages: neither {' nor '.join(STATUS)}")


def hashed(packages: list[Package], lists: Path | None, others: Iterable[Package] = ()) -> list[Package]:
    """The same with hashes: from apt's `lists` and from `others`, which have theirs and are added."""
    known = _known(lists) if lists else {}
    rows = {(one.name, one.version, one.architecture): one for one in others}
    for one in packages:
        key = (one.name, one.version, one.architecture)
        given = rows[key].sha256 if key in rows else known.get(key, UNKNOWN)
        rows[key] = Package(name=one.name, version=one.version, architecture=one.architecture, sha256=given)
    return sorted(rows.values())


def of_deb(deb: Path) -> Package:
    """The row of a .deb that lies here: of ours, which is in nobody's archive."""
    name, version, architecture = (
        run("dpkg-deb", "--field", deb, field).decode().strip() for field in ("Package", "Version", "Architecture")
    )
    with deb.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Package(name=name, version=version, architecture=architecture, sha256=digest)


def read(table: Path) -> Iterator[Package]:
    """The rows of such a table."""
    for line in table.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version, architecture, sha256 = [*line.split("\t"), UNKNOWN][:4]
            yield Package(name=name, version=version, architecture=architecture, sha256=sha256)


def write(packages: list[Package], out: Path) -> None:
    """The table, with a line that says what its columns are."""
    rows = ("# package\tversion\tarchitecture\tsha256 of the .deb", *map(str, packages))
    out.write_text("".join(f"{row}\n" for row in rows), "utf-8")


def _known(lists: Path) -> Mapping[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for path in sorted(lists.rglob("*_Packages*")):
        # apt compresses its lists on some machines, and its own helper reads them however they are
        for fields in _paragraphs(run(_APT_HELPER, "cat-file", path).decode()):
            if "SHA256" in fields:
                found[fields["Package"], fields["Version"], fields["Architecture"]] = fields["SHA256"]
    return found


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Debian's control format (deb-control(5)); only a field's first line, which is all that we need."""
    for paragraph in text.split("\n\n"):
        fields = {}
        for line in paragraph.splitlines():
            if not line.startswith((" ", "\t")):
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if "Package" in fields:
            yield fields
