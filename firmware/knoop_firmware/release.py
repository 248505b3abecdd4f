"""What lies beside an image: its list of packages, its SBOM, Raspberry Pi Imager's manifest, hashes, and a signature.

    python -m knoop_firmware.release key NEW.key                 # an Ed25519 key; keep it where no builder is
    python -m knoop_firmware.release check FOLDER PUBLIC-KEY     # what docs/image.md does with sha256sum and openssl

KNOOP_SIGNING_KEY names the key's file. Without it a key is thrown away after use, and the manifest's name says so.
KNOOP_DOWNLOAD_URL is the folder on the web where all of it will be; without it the manifest names the file here.
Source: rpi-imager's doc/json-schema/os-list-schema.json of 2026-08; RFC 8032 for Ed25519.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from knoop_firmware import packages, sbom

PAPERS = (".packages.tsv", ".sbom.cdx.json", ".rpi-imager-manifest", ".sha256", ".sha256.sig", ".pub")
TRIAL = "trial build, signed with a key that was thrown away"
# Imager's words for boards. A Zero 2 W counts as a Pi 3, a 400 and a CM4 as a Pi 4.
DEVICES = ("pi3-64bit", "pi4-64bit")
ICON = "icons/cat_home_automation.png"  # one that Imager has itself
# Imager then writes `user-data` and `network-config` onto the card, of which knoop-setup takes what it can use.
INIT_FORMAT = "cloudinit"


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, and whether anybody will ever see its signature again."""

    key: Ed25519PrivateKey
    thrown_away: bool

    @property
    def public(self) -> bytes:
        """PEM, as openssl takes it."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def papers(
    packed: Path, image: Path, root: Path, *, version: str, epoch: int, lists: Path | None = None,
    own: Path | None = None, place: Path | None = None, environment: Mapping[str, str] = os.environ,
) -> list[Path]:
    """Write all of it beside `packed` (knoop-X.img.xz), which is `image` compressed and has `root` in it; the paths.

    `lists` are apt's, where the .debs' hashes are, and `own` is Knoop's .deb; of packages in neither the table has `-`
    but for those that were only unpacked. `place` is the folder that all of it is moved to afterwards, for the
    manifest. Raises RuntimeError, ValueError with a sentence.
    """
    there = signer(environment.get("KNOOP_SIGNING_KEY"))
    stem = packed.with_name(f"knoop-{version}")
    table, bill, manifest, sums, signature, public = (Path(f"{stem}{suffix}") for suffix in PAPERS)
    unpacked = root / "usr/share/knoop-image/unpacked.txt"
    others = [*packages.read(unpacked)] if unpacked.exists() else []
    others += [packages.of_deb(own)] if own else []
    packages.write(packages.hashed(packages.installed(root), lists, others), table)
    sbom.write(root, bill, version=version, epoch=epoch, extra=others)
    base = environment.get("KNOOP_DOWNLOAD_URL", "")
    here = (place or packed.parent).resolve() / packed.name
    url = f"{base.rstrip('/')}/{packed.name}" if base else here.as_uri()
    said = entry(packed, image, url=url, version=version, epoch=epoch, trial=there.thrown_away)
    manifest.write_text(json.dumps({"os_list": [said]}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    sums.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in (packed, image, table, bill, manifest)))
    signature.write_bytes(there.key.sign(sums.read_bytes()))
    public.write_bytes(there.public)
    return [table, bill, manifest, sums, signature, public]


def entry(packed: Path, image: Path, *, url: str, version: str, epoch: int, trial: bool) -> dict[str, object]:
    """What Raspberry Pi Imager shows and checks. Its `capabilities` are empty: buses are chosen in knoop.toml."""
    return {
        "name": f"Knoop {version}{f' ({TRIAL})' if trial else ''}",
        "description": "A messaging node: sensors and switches in your chat. Put knoop.toml onto the card, then start.",
        "icon": ICON,
        "url": url,
        "extract_size": image.stat().st_size,
        "extract_sha256": sha256(image),
        "image_download_size": packed.stat().st_size,
        "image_download_sha256": sha256(packed),
        "release_date": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d"),
        "devices": [*DEVICES],
        "architecture": "armv8",
        "init_format": INIT_FORMAT,
        "capabilities": [],
    }


def signer(path: str | None) -> Signer:
    """The key in a file, or one that nobody keeps. OSError; ValueError: no Ed25519 key, or others may read it."""
    if not path:
        return Signer(Ed25519PrivateKey.generate(), thrown_away=True)
    if Path(path).stat().st_mode & 0o077:
        raise ValueError(f"{path}: others may read this key; chmod 600 {path}, or make a new one if they may have")
    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # the first: it has a passphrase
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path}: no Ed25519 key without a passphrase; "  # noqa: TRY004 -- the file's content
                         "`python -m knoop_firmware.release key FILE` makes one")  # fmt: skip
    return Signer(key, thrown_away=False)


def new_key(path: Path) -> None:
    """Make one at `path`, for its owner's eyes only; whole or not at all.

    Raises FileExistsError rather than overwrite one; ValueError where files have no owner, as on FAT.
    """
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileExistsError(f"{path}: there is a file already, and no key is overwritten; name another") from None
    try:
        with os.fdopen(handle, "wb") as file:
            _owners_alone(path, os.fstat(handle).st_mode & 0o777)
            file.write(made)
    except BaseException:
        path.unlink()
        raise


def _owners_alone(path: Path, mode: int) -> None:
    if mode & 0o077:
        raise ValueError(f"{path}: the file system there lets others read it, whatever is asked for (mode {mode:04o}); "
                         "name a file where chmod 600 works, in your home for one")  # fmt: skip


def check(folder: Path, public: Path) -> tuple[list[str], list[str]]:
    """The files in `folder` that are what was signed with this key, and what is wrong with the others and the papers.

    A list of hashes of whose files none is there is wrong: nothing was checked.
    """
    try:
        key = load_pem_public_key(public.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        return [], [f"{public}: no Ed25519 key"]
    good: list[str] = []
    wrong: list[str] = []
    lists = sorted(folder.glob("knoop-*.sha256"))
    for sums in lists:
        signature = Path(f"{sums}.sig")
        if not signature.exists():
            wrong.append(f"{sums.name}: its signature is not there, {signature.name}")
            continue
        try:
            key.verify(signature.read_bytes(), sums.read_bytes())
        except InvalidSignature:
            wrong.append(f"{sums.name}: not signed with this key")
            continue
        lines = (line.partition("  ") for line in sums.read_text("utf-8").splitlines())
        there = {name: wanted for wanted, _, name in lines if (folder / name).exists()}
        if not there:
            wrong.append(f"none of the files that {sums.name} names is here")
        for name, wanted in there.items():
            if sha256(folder / name) == wanted:
                good.append(name)
            else:
                wrong.append(f"{name}: not the file that was signed")
    return good, wrong if lists else [f"{folder}: nothing to check, there is no knoop-….sha256"]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str]) -> int:
    try:
        return _main(arguments)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _main(arguments: Sequence[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "key":
        new_key(Path(arguments[1]))
        sys.stdout.write(signer(arguments[1]).public.decode())
        return 0
    if len(arguments) == 3 and arguments[0] == "check":
        good, wrong = check(Path(arguments[1]), Path(arguments[2]))
        print("\n".join(wrong or [f"{name}: the file that was signed" for name in good]))
        return 1 if wrong else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
