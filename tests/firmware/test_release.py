"""What lies beside an image: hashes and a signature that openssl checks, Imager's manifest, the list of packages."""

import json
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from knoop_firmware import packages, release
from knoop_firmware.packages import Package

EPOCH = 1_700_000_000
SIGNED = [f"knoop-0.1.0{end}" for end in (".img.xz", ".img", ".packages.tsv", ".sbom.cdx.json", ".rpi-imager-manifest")]
HASH = "8784eda966b189c777a384dac5ce009e8fc9b52d006926c5a013e7fa8aa688cc"
STATUS = """Package: libc6
Status: install ok installed
Architecture: arm64
Version: 2.41-12
Description: a library
 with a second line
 Version: that is no field

Package: gone
Status: deinstall ok config-files
Architecture: arm64
Version: 1.0

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.152
"""
LIST = f"""Package: libc6
Architecture: arm64
Version: 2.41-12
SHA256: {HASH}

Package: adduser
Architecture: all
Version: 3.153
SHA256: {"0" * 64}
"""


@pytest.fixture
def root(tmp_path):
    about = tmp_path / "root/usr/share/knoop-image"
    about.mkdir(parents=True)
    (about / "dpkg-status").write_text(STATUS)
    (about / "unpacked.txt").write_text(f"linux-image-arm64\t6.12.107-1\tarm64\t{'1' * 64}\n")
    return tmp_path / "root"


@pytest.fixture
def papers(root, tmp_path, monkeypatch):
    """Make the papers of a small image; the SBOM's tool comes over the network (tests/image/test_release.py)."""
    monkeypatch.setattr(release.sbom, "write", lambda _root, out, **_: out.write_text("{}\n"))
    folder = tmp_path / "out"

    def make(**environment):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        image, packed = folder / "knoop-0.1.0.img", folder / "knoop-0.1.0.img.xz"
        image.write_bytes(b"card" * 1000)
        packed.write_bytes(lzma.compress(image.read_bytes()))
        release.papers(packed, image, root, version="0.1.0", epoch=EPOCH, environment=environment)
        return folder

    return make


@pytest.fixture
def key(tmp_path):
    release.new_key(tmp_path / "release.key")
    return tmp_path / "release.key"


def entry(folder):
    (only,) = json.loads((folder / "knoop-0.1.0.rpi-imager-manifest").read_text())["os_list"]
    return only


def by_openssl(folder):
    """What docs/image.md tells people to type."""
    return subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "knoop-0.1.0.pub", "-rawin", "-in", "knoop-0.1.0.sha256",
         "-sigfile", "knoop-0.1.0.sha256.sig"], capture_output=True, text=True, check=False, cwd=folder,
    ).returncode  # fmt: skip


def test_openssl_and_sha256sum_say_that_all_is_as_it_was_signed(papers, key):
    folder = papers(KNOOP_SIGNING_KEY=str(key))
    assert by_openssl(folder) == 0
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "knoop-0.1.0.sha256"], check=True, cwd=folder)
    assert release.check(folder, folder / "knoop-0.1.0.pub") == (SIGNED, [])
    assert (folder / "knoop-0.1.0.pub").read_bytes() == release.signer(str(key)).public


def test_a_file_that_was_changed_is_found_and_so_is_a_list_that_was(papers, key):
    folder = papers(KNOOP_SIGNING_KEY=str(key))
    with (folder / "knoop-0.1.0.img.xz").open("ab") as packed:
        packed.write(b"x")
    wrong = ["knoop-0.1.0.img.xz: not the file that was signed"]
    assert release.check(folder, folder / "knoop-0.1.0.pub") == (SIGNED[1:], wrong)
    sums = folder / "knoop-0.1.0.sha256"
    sums.write_text(sums.read_text().replace("  knoop-0.1.0.img.xz", " *knoop-0.1.0.img.xz"))
    assert by_openssl(folder) != 0
    assert release.check(folder, folder / "knoop-0.1.0.pub") == ([], ["knoop-0.1.0.sha256: not signed with this key"])


def test_another_key_is_not_ours(papers, key, tmp_path):
    folder = papers(KNOOP_SIGNING_KEY=str(key))
    other = tmp_path / "other.pub"
    other.write_bytes(release.signer(None).public)
    assert release.check(folder, other) == ([], ["knoop-0.1.0.sha256: not signed with this key"])
    assert release.check(tmp_path, other) == ([], [f"{tmp_path}: nothing to check, there is no knoop-….sha256"])


def test_papers_of_which_nothing_else_is_there_are_not_called_right(papers, key, capsys):
    folder = papers(KNOOP_SIGNING_KEY=str(key))
    for name in SIGNED[1:]:
        (folder / name).unlink()
    arguments = ["check", str(folder), str(folder / "knoop-0.1.0.pub")]
    assert release.main(arguments) == 0
    assert capsys.readouterr().out == "knoop-0.1.0.img.xz: the file that was signed\n"
    (folder / SIGNED[0]).unlink()
    assert release.main(arguments) == 1
    assert capsys.readouterr().out == "none of the files that knoop-0.1.0.sha256 names is here\n"


def test_a_key_that_was_thrown_away_is_said_in_the_name_that_people_see(papers, key):
    assert entry(papers())["name"] == "Knoop 0.1.0 (trial build, signed with a key that was thrown away)"
    assert by_openssl(papers()) == 0
    assert entry(papers(KNOOP_SIGNING_KEY=str(key)))["name"] == "Knoop 0.1.0"


def test_the_manifest_describes_the_files_beside_it(papers, key):
    folder = papers(KNOOP_SIGNING_KEY=str(key), KNOOP_DOWNLOAD_URL="https://example.org/knoop/")
    image, packed = folder / "knoop-0.1.0.img", folder / "knoop-0.1.0.img.xz"
    said = entry(folder)
    assert said["url"] == "https://example.org/knoop/knoop-0.1.0.img.xz"
    assert (said["extract_size"], said["extract_sha256"]) == (4000, release.sha256(image))
    assert said["image_download_size"] == packed.stat().st_size
    assert said["image_download_sha256"] == release.sha256(packed)
    assert said["release_date"] == "2023-11-14"
    assert entry(papers())["url"] == packed.as_uri()  # Imager opens it where it was made


def test_papers_of_an_image_that_is_moved_name_where_it_will_be(papers, root, tmp_path):
    folder = papers()
    place = tmp_path / "image"
    release.papers(folder / "knoop-0.1.0.img.xz", folder / "knoop-0.1.0.img", root, version="0.1.0", epoch=EPOCH,
                   place=place, environment={})  # fmt: skip
    assert entry(folder)["url"] == (place / "knoop-0.1.0.img.xz").as_uri()
    folder.rename(place)
    assert release.check(place, place / "knoop-0.1.0.pub") == (SIGNED, [])


def test_a_key_that_others_may_read_or_of_another_kind_signs_nothing(key, tmp_path):
    key.chmod(0o640)
    with pytest.raises(ValueError, match="others may read this key"):
        release.signer(str(key))
    other = tmp_path / "other.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", other], check=True)
    other.chmod(0o600)
    with pytest.raises(ValueError, match="no Ed25519 key"):
        release.signer(str(other))


def test_a_key_with_a_passphrase_or_none_at_all_signs_nothing(tmp_path):
    locked, text = tmp_path / "locked.key", tmp_path / "text.key"
    text.write_text("no key")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:four", "-out", locked], check=True
    )
    for path in (locked, text):
        path.chmod(0o600)
        with pytest.raises(ValueError, match=f"^{path}: no Ed25519 key without a passphrase; "):
            release.signer(str(path))


def test_papers_without_a_signature_or_a_key_that_is_none_are_said_to_be_so(papers, key):
    folder = papers(KNOOP_SIGNING_KEY=str(key))
    (folder / "knoop-0.1.0.sha256.sig").unlink()
    said = ([], ["knoop-0.1.0.sha256: its signature is not there, knoop-0.1.0.sha256.sig"])
    assert release.check(folder, folder / "knoop-0.1.0.pub") == said
    (folder / "knoop-0.1.0.pub").write_text("no key")
    said = ([], [f"{folder}/knoop-0.1.0.pub: no Ed25519 key"])
    assert release.check(folder, folder / "knoop-0.1.0.pub") == said


def test_a_new_key_is_its_owners_alone_and_overwrites_none(key):
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError, match=f"^{key}: there is a file already, and no key is overwritten"):
        release.new_key(key)


def test_where_files_have_no_owner_no_key_is_made_and_none_is_left(tmp_path, monkeypatch, capsys):
    before = os.open
    card, home = tmp_path / "card.key", tmp_path / "home.key"
    with monkeypatch.context() as fat:
        fat.setattr(release.os, "open", lambda path, flags, _mode: before(path, flags, 0o755))
        for _ in range(2):  # the second time it was another mistake
            assert release.main(["key", str(card)]) == 1
            said = capsys.readouterr()
            assert (said.out, said.err.count("\n"), [*tmp_path.iterdir()]) == ("", 1, [])
            assert said.err.startswith(f"{card}: the file system there lets others read it")
            assert "name a file where chmod 600 works" in said.err
    assert release.main(["key", str(home)]) == 0
    assert capsys.readouterr().out.startswith("-----BEGIN PUBLIC KEY-----")


def test_a_key_that_could_not_be_written_whole_is_not_left(tmp_path, monkeypatch, capsys):
    handles = []

    def full(handle, mode):
        handles.append(handle)
        return Path("/dev/full").open(mode)

    monkeypatch.setattr(release.os, "fdopen", full)
    assert release.main(["key", str(tmp_path / "new.key")]) == 1
    os.close(handles[0])
    assert "No space left on device" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_the_list_of_packages_has_what_is_installed_and_what_was_unpacked(papers):
    rows = (papers() / "knoop-0.1.0.packages.tsv").read_text().splitlines()
    assert rows == [
        "# package\tversion\tarchitecture\tsha256 of the .deb",
        "adduser\t3.152\tall\t-",
        "libc6\t2.41-12\tarm64\t-",
        f"linux-image-arm64\t6.12.107-1\tarm64\t{'1' * 64}",
    ]


def test_hashes_are_those_of_the_archive_for_that_very_version(root, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/deb.debian.org_debian_dists_trixie_main_binary-arm64_Packages").write_text(LIST)
    assert packages.hashed(packages.installed(root), tmp_path / "lists") == [
        Package(name="adduser", version="3.152", architecture="all"),  # the archive has a newer one
        Package(name="libc6", version="2.41-12", architecture="arm64", sha256=HASH),
    ]


def test_our_own_package_is_hashed_where_it_lies(tmp_path):
    control = tmp_path / "deb/DEBIAN/control"
    control.parent.mkdir(parents=True)
    said = "Package: knoop\nVersion: 0.1.0-1\nArchitecture: arm64\nMaintainer: x <x@example.org>\nDescription: x\n"
    control.write_text(said)
    subprocess.run(["dpkg-deb", "--build", tmp_path / "deb", tmp_path / "knoop.deb"], check=True, capture_output=True)
    row = Package(name="knoop", version="0.1.0-1", architecture="arm64", sha256=release.sha256(tmp_path / "knoop.deb"))
    assert packages.of_deb(tmp_path / "knoop.deb") == row
    installed = [Package(name="knoop", version="0.1.0-1", architecture="arm64")]
    assert packages.hashed(installed, None, [row]) == [row]


def test_a_root_without_a_list_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no list of packages"):
        packages.installed(tmp_path)


def test_the_commands(papers, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "knoop_firmware.release", *arguments], capture_output=True, text=True, check=False,
            cwd=Path(__file__).parents[2] / "firmware",
        )  # fmt: skip

    made = run("key", tmp_path / "new.key")
    assert made.stdout.startswith("-----BEGIN PUBLIC KEY-----")
    folder = papers(KNOOP_SIGNING_KEY=str(tmp_path / "new.key"))
    (folder / "public.pem").write_text(made.stdout)
    said = "".join(f"{name}: the file that was signed\n" for name in SIGNED)
    assert run("check", folder, folder / "public.pem").stdout == said
    (folder / "knoop-0.1.0.img").write_bytes(b"")
    assert run("check", folder, folder / "public.pem").returncode == 1
    gone = run("check", folder, tmp_path / "gone.pem")
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)
    assert run().returncode == 2
