"""The image's software bill of materials: CycloneDX 1.6 by syft, of Debian's packages and of Python's distributions.

    python -m knoop_firmware.sbom ROOT out.sbom.cdx.json

syft and the judge of what it writes lie in an environment of their own, build/sbom, from firmware/requirements.txt with
hashes. What is looked at is not the root itself, which has no dpkg any more, but what says what is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from knoop_firmware import packages
from knoop_firmware.packages import Package

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "firmware" / "requirements.txt"
ENVIRONMENT = ROOT / "build" / "sbom"
VERSION = "1.6"
_JUDGE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1], encoding="utf-8").read())
sys.exit(str(wrong) if wrong else 0)
"""


def write(root: Path, out: Path, *, version: str, epoch: int, extra: Collection[Package] = ()) -> None:
    """Have the SBOM of `root` written and judged. `extra`: packages that dpkg does not know, the kernel's for one.

    The same bytes for the same root, version and epoch. Raises RuntimeError when syft fails, when the result is no
    CycloneDX, or when a package or a distribution that is in the root is not in it.
    """
    tool = environment()
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "root"
        distributions = _extract(root, seen, extra)
        _run(tool / "bin" / "syft", "scan", f"dir:{seen}", "--source-name", "knoop-image", "--source-version", version,
             "--output", f"cyclonedx-json@{VERSION}={out}",
             "--override-default-catalogers", "dpkg-db-cataloger,python-installed-package-cataloger")  # fmt: skip
    document = json.loads(out.read_text("utf-8"))
    debian = {one.name for one in (*packages.installed(root), *extra)}
    missing = sorted({*map(_normal, {*distributions, *debian})}
                     - {_normal(component["name"]) for component in document["components"]})  # fmt: skip
    if missing:
        raise RuntimeError(f"The SBOM does not have {', '.join(missing)}")
    out.write_text(json.dumps(_repeatable(document, epoch), indent=1, ensure_ascii=False) + "\n", "utf-8")
    judge(out)


def judge(sbom: Path) -> None:
    """Raises RuntimeError when this is no CycloneDX 1.6, by CycloneDX's own schema."""
    _run(environment() / "bin" / "python", "-c", _JUDGE, str(sbom))


def environment() -> Path:
    """Where syft is; installed first if it is not, or if what shall be there has changed."""
    mark = ENVIRONMENT / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text("ascii") != wanted:
        _run(Path(sys.executable), "-m", "venv", "--clear", str(ENVIRONMENT))
        _run(ENVIRONMENT / "bin" / "pip", "--quiet", "--disable-pip-version-check", "install", "--require-hashes",
             "--only-binary", ":all:", "--requirement", str(REQUIREMENTS))  # fmt: skip
        mark.write_text(wanted, "ascii")
    return ENVIRONMENT


def _extract(root: Path, seen: Path, extra: Collection[Package]) -> set[str]:
    """Copy what tells of packages to `seen`; the names of the Python distributions among it."""
    said = packages.status(root).read_text("utf-8", "replace").rstrip("\n")
    added = "".join(
        f"\n\nPackage: {one.name}\nStatus: install ok installed\nVersion: {one.version}\n"
        f"Architecture: {one.architecture}\nMaintainer: Debian <debian-devel@lists.debian.org>"
        for one in extra if one.name not in {there.name for there in packages.installed(root)}
    )  # fmt: skip
    (seen / "var/lib/dpkg").mkdir(parents=True)
    (seen / "var/lib/dpkg/status").write_text(f"{said}{added}\n", "utf-8")
    kept = [root / "usr/lib/os-release", *root.glob("usr/share/doc/*/copyright"),
            *root.glob("usr/lib/**/*.dist-info/METADATA"), *root.glob("usr/lib/**/*.dist-info/RECORD")]  # fmt: skip
    for path in kept:
        if path.is_file():
            (seen / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, seen / path.relative_to(root))
    return {_named(path) for path in kept if path.name == "METADATA"}


def _named(metadata: Path) -> str:
    lines = metadata.read_text("utf-8", "replace").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("Name:"))


def _normal(name: str) -> str:
    """As Python's packaging compares names (PEP 503); syft writes them so."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _repeatable(document: dict[str, Any], epoch: int) -> dict[str, Any]:
    """Without what differs from run to run: a number by chance, the time of day, and where we worked."""
    document["metadata"]["component"]["bom-ref"] = "knoop-image"  # made from the path of a folder that is gone
    document["metadata"]["timestamp"] = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document.pop("serialNumber", None)
    content = json.dumps(document, sort_keys=True)
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"}


def _run(program: Path, *arguments: str) -> None:
    # syft asks its maker's server for a newer syft unless told not to
    env = {**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    done = subprocess.run((program, *arguments), capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{program.name}: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    write(Path(arguments[0]), Path(arguments[1]), version="unreleased", epoch=int(os.environ["SOURCE_DATE_EPOCH"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
