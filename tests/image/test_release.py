"""The papers of the built image: Imager's manifest by its schema, the SBOM by CycloneDX's, and what openssl says."""

import json
import subprocess
from pathlib import Path

import pytest

from knoop_firmware import packages, release, sbom
from knoop_firmware.parts import extract, partitions

# What rpi-imager's doc/json-schema/os-list-schema.json (2026-08) asks of an entry, and allows where it is a choice.
TEXT = {"type": "string", "minLength": 1}
SIZE = {"type": "integer", "minimum": 1}
HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
SCHEMA = {
    "type": "object", "required": ["os_list"],
    "properties": {"os_list": {"type": "array", "minItems": 1, "items": {
        "type": "object",
        "required": ["name", "description", "icon", "url", "extract_size", "extract_sha256", "image_download_size",
                     "release_date", "devices"],
        "properties": {
            **dict.fromkeys(("name", "description", "icon", "url", "website", "architecture"), TEXT),
            **dict.fromkeys(("extract_size", "image_download_size"), SIZE),
            **dict.fromkeys(("extract_sha256", "image_download_sha256"), HASH),
            "release_date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
            "devices": {"type": "array", "minItems": 1, "items": TEXT},
            "init_format": {"enum": ["", "systemd", "cloudinit", "cloudinit-rpi", "rpi-preseed", "none"]},
            "capabilities": {"type": "array", "items": {"enum": [
                "rpi_connect", "secure_boot", "passwordless_sudo", "i2c", "spi", "onewire", "serial", "usb_otg",
            ]}},
        },
    }}},
}  # fmt: skip
_JUDGE = "import json, sys, jsonschema; jsonschema.validate(*map(json.load, map(open, sys.argv[1:])))"


@pytest.fixture(scope="module")
def beside(image):
    """The papers' paths, by their last words."""
    stem = image.name.removesuffix(".img")
    found = {path.name.removeprefix(stem): path for path in image.parent.glob(f"{stem}.*")}
    assert ".rpi-imager-manifest" in found, "this image was made without its papers: `make image` makes them"
    return found


@pytest.fixture(scope="module")
def root(image, tmp_path_factory):
    return extract(image, partitions(image)[1], tmp_path_factory.mktemp("release") / "root")


def test_the_manifest_is_one_that_imager_reads(beside, image, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    python = sbom.environment() / "bin" / "python"
    subprocess.run([python, "-c", _JUDGE, beside[".rpi-imager-manifest"], schema], check=True)
    (entry,) = json.loads(beside[".rpi-imager-manifest"].read_text())["os_list"]
    assert (entry["extract_size"], entry["extract_sha256"]) == (image.stat().st_size, release.sha256(image))
    assert entry["image_download_sha256"] == release.sha256(beside[".img.xz"])


def test_openssl_and_sha256sum_agree_with_the_papers(beside):
    folder = beside[".sha256"].parent
    subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", beside[".pub"], "-rawin", "-in", beside[".sha256"],
         "-sigfile", beside[".sha256.sig"]], check=True,
    )  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", beside[".sha256"]], check=True, cwd=folder)


def test_the_bill_of_materials_has_every_package_and_every_distribution(beside, root):
    sbom.judge(beside[".sbom.cdx.json"])
    document = json.loads(beside[".sbom.cdx.json"].read_text())
    urls = {component.get("purl", "") for component in document["components"]}
    assert {one.name for one in packages.installed(root)} <= {
        component["name"] for component in document["components"]
    }  # fmt: skip
    assert any(url.startswith("pkg:pypi/slixmpp@") for url in urls)
    assert any(url.startswith("pkg:deb/debian/linux-image-") for url in urls)
    assert str(Path.home()) not in beside[".sbom.cdx.json"].read_text()


def test_the_list_has_every_package_and_where_the_archive_has_it_the_hash(beside, root):
    rows = {one.name: one for one in packages.read(beside[".packages.tsv"])}
    assert {one.name for one in packages.installed(root)} <= set(rows)
    unpacked = {one.name for one in packages.read(root / "usr/share/knoop-image/unpacked.txt")}
    assert [name for name in unpacked if len(rows[name].sha256) != 64] == []
