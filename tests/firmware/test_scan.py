"""An image carries no password, key, identity or trace of its maker: each that is put in is found, none is imagined."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from knoop_firmware import scan

KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
TRACE = b"/srv/builder/knoop"
SITE = "usr/lib/knoop/lib/python3.13/site-packages/knoop-0.1.0.dist-info"


@pytest.fixture
def root(tmp_path):
    """A small root as it shall be."""
    folder = tmp_path / "root"
    for name, text in {
        "etc/shadow": "root:*:20000:0:99999:7:::\nknoop:!*:20000::::::\nsshd:!:20000::::::\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nknoop:x:999:999::/var/lib/knoop:/usr/sbin/nologin\n",
        "etc/gshadow": "root:*::\nknoop:!::\ngpio:!*::knoop-hw\n",
        "etc/machine-id": "",
        "etc/hostname": "knoop\n",
        "etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: http://deb.debian.org/debian\n",
        f"{SITE}/RECORD": "knoop/__init__.py,sha256=abc,3\n../../../../bin/knoop,sha256=abc,3\n",
        "usr/bin/ssh-keygen": "-----BEGIN OPENSSH PRIVATE KEY-----\0%s\0-----BEGIN PRIVATE KEY-----\0",  # knows how
        "usr/share/doc/a.txt": "see https://example.org/path@2x and http://user:PASS@ is refused",
    }.items():
        put(folder, name, text)
    (folder / "etc/resolv.conf").symlink_to("../run/systemd/resolve/resolv.conf")
    (folder / "root/.ssh").mkdir(parents=True)  # Debian's, empty
    return folder


def put(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_clean_root_is_clean(root):
    assert scan.tree(root, left=[TRACE]) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("etc/shadow", "pi:$6$salt$hash:20000::::::\n", "etc/shadow: pi has a password; it must be locked"),
        ("etc/shadow", "root::20000::::::\n", "etc/shadow: root has no password at all; it must be locked"),
        ("etc/shadow-", "pi:$y$j9T$hash:20000::::::\n", "etc/shadow-: pi has a password; it must be locked"),
        ("etc/passwd", "root::0:0:root:/root:/bin/sh\n", "etc/passwd: root has no password at all; it must be locked"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n", "etc/machine-id: every card would have the same"),
        ("etc/hostname", "builder3\n", "etc/hostname: is the name of the machine that made the image"),
        ("var/lib/systemd/random-seed", b"\1\2", "var/lib/systemd/random-seed: every card would have the same"),
        ("var/lib/dbus/machine-id", "01", "var/lib/dbus/machine-id: is there before a card's first start"),
        ("etc/resolv.conf", "nameserver 10.1.2.3\n",
         "etc/resolv.conf: names the servers of the machine that made the image"),
        ("root/.ssh/authorized_keys", "ssh-ed25519 AAAA", "root/.ssh/authorized_keys: a key, or somebody's own"),
        ("home/pi/.netrc", "machine example.org", "home/pi/.netrc: a key, or somebody's own"),
        ("etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa", "etc/ssh/ssh_host_rsa_key.pub: a key, or somebody's own"),
        ("usr/share/x/server.pem", KEY, "usr/share/x/server.pem: has a private key at byte 0"),
        ("usr/share/x/server.pem", b"binary\0\xff" + KEY, "usr/share/x/server.pem: has a private key at byte 8"),
        ("etc/y.conf", "index = https://anna:geheim@packages.example.org/simple",
         "etc/y.conf: has a token or a password at byte 8"),
        ("usr/lib/x.pyc", b"\0\0" + TRACE + b"/node/x.py",
         "usr/lib/x.pyc: has a trace of the machine that made it (/srv/builder/knoop) at byte 2"),
        ("etc/apt/sources.list", "deb http://mirror.example.org/debian trixie main\n",
         "etc/apt/sources.list: http://mirror.example.org/debian is an archive of the machine that made the image"),
        ("etc/apt/apt.conf.d/01proxy", 'Acquire::http::Proxy "x";',
         "etc/apt/apt.conf.d/01proxy: is there before a card's first start"),
        ("etc/pip.conf", "[global]\n", "etc/pip.conf: is there before a card's first start"),
        ("etc/knoop/node.toml", "[account]\n", "etc/knoop/node.toml: is there before a card's first start"),
        ("etc/credstore/xmpp.password", "x", "etc/credstore/xmpp.password: is there before a card's first start"),
        (f"{SITE}/direct_url.json", '{"url": "file:///srv/dist/knoop.whl"}',
         f"{SITE}/direct_url.json: says that it was installed from file:///srv/dist/knoop.whl"),
        (f"{SITE}/RECORD", "/srv/x.py,sha256=abc,3\n",
         f"{SITE}/RECORD: names /srv/x.py, a path of the machine that made the image"),
        (f"{SITE}/RECORD", f"{'../' * 12}srv/x.py,,\n",
         f"{SITE}/RECORD: names {'../' * 12}srv/x.py, a path of the machine that made the image"),
    ],
)  # fmt: skip
def test_what_must_not_be_there_is_found(root, name, content, said):
    put(root, name, content)
    assert said in scan.tree(root, left=[TRACE])


def test_a_root_without_shadow_is_no_proof_that_all_is_locked(root):
    (root / "etc/shadow").unlink()
    assert scan.tree(root, left=[]) == [
        "etc/shadow: is not there, so nothing says that the accounts are locked"
    ]


def test_the_boot_partition_has_nobodys_account(tmp_path):
    put(tmp_path, "knoop.toml", '[account]\n# jid = "greenhouse@example.org"\n#[wifi]\n# ssid = "…"\n')
    put(tmp_path, "cmdline.txt", "console=tty0")
    assert scan.boot(tmp_path, left=[TRACE]) == []
    put(tmp_path, "knoop.toml", '[account]\njid = "greenhouse@example.org"\n  password = "geheim"\n')
    put(tmp_path, "claim.png", b"x")
    put(tmp_path, "initramfs.img", b"\0" + TRACE)
    assert scan.boot(tmp_path, left=[TRACE]) == [
        "claim.png: is written by a card's first start or by Imager, and is in no image",
        "knoop.toml: names a jid; it is an example, so comment that out",
        "knoop.toml: names a password; it is an example, so comment that out",
        "initramfs.img: has a trace of the machine that made it (/srv/builder/knoop) at byte 1",
    ]


def test_this_machines_checkout_is_a_trace_by_itself(root):
    put(root, "usr/lib/x", str(Path(__file__).parents[2]))
    assert [line for line in scan.tree(root) if line.startswith("usr/lib/x: has a trace")]


def test_the_command_says_it_and_its_status_tells(root):
    def said():
        return subprocess.run(
            [sys.executable, "-m", "knoop_firmware.scan", root], capture_output=True, text=True, check=False,
            cwd=Path(__file__).parents[2] / "firmware",
        )  # fmt: skip

    assert said().returncode == 0
    put(root, "etc/shadow", "pi:$6$salt$hash:20000::::::\n")
    assert (said().returncode, said().stdout) == (1, "etc/shadow: pi has a password; it must be locked\n")
