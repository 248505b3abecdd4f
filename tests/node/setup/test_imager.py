"""What Raspberry Pi Imager writes is taken for what it says; its texts are those of its own generator (2.0.11, 1.8)."""

import pytest

from knoop.setup import carrying, command, imager, moved, plan, wifi
from knoop.setup.machine import Machine

SSID = 'Café "7"'.encode()
PSK = wifi.key(SSID, "hunter2hunter2")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0x7hPq8CkXwH6dTqW3pQ0yV9bYt1mN5sRfGzLuKcEo anna@example.org"
PRESEED = f"""\
config_version = "1.0"

[system]
hostname = "greenhouse"

[user]
name = "anna"
password = "$y$j9T$salt$hashhashhash"
password_encrypted = true
groups = ["sudo"]

[ssh]
enabled = true
password_authentication = false
authorized_keys = [
  "{KEY}",
]

[wlan]
ssid = "Café \\"7\\""
password = "{PSK}"
password_encrypted = true
hidden = true
country = "nl"

[locale]
keymap = "us"
timezone = "Europe/Amsterdam"
"""
USER = f"""\
#cloud-config
manage_resolv_conf: false

hostname: greenhouse
manage_etc_hosts: true
packages:
- avahi-daemon
apt:
  preserve_sources_list: true
  conf: |
    Acquire {{
      Check-Date "false";
    }};
timezone: Europe/Amsterdam
keyboard:
  model: pc105
  layout: "us"
user:
  name: anna
  shell: /bin/bash
  lock_passwd: false
  passwd: "$y$j9T$salt$hashhashhash"
  ssh_authorized_keys:
    - "{KEY}"
  sudo: null
ssh_pwauth: false
runcmd:
  - [ systemctl, enable, --now, ssh ]
"""
NETWORK = f"""\
network:
  version: 2
  ethernets:
    eth0:
      dhcp4: true
      dhcp6: true
      optional: true
  wifis:
    wlan0:
      dhcp4: true
      regulatory-domain: "NL"
      access-points:
        "Caf\\xc3\\xa9 \\"7\\"":
          hidden: true
          password: "{PSK}"
      optional: true
"""
FIRSTRUN = f"""\
#!/bin/sh

set +e

CURRENT_HOSTNAME=$(cat /etc/hostname | tr -d " \\t\\n\\r")
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ]; then
   /usr/lib/raspberrypi-sys-mods/imager_custom set_hostname greenhouse
else
   echo greenhouse >/etc/hostname
fi
FIRSTUSER=$(getent passwd 1000 | cut -d: -f1)
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ]; then
   /usr/lib/raspberrypi-sys-mods/imager_custom enable_ssh -k '{KEY}'
else
   install -o "$FIRSTUSER" -m 700 -d "$FIRSTUSERHOME/.ssh"
fi
if [ -f /usr/lib/userconf-pi/userconf ]; then
   /usr/lib/userconf-pi/userconf 'anna' '$y$j9T$salt$hashhashhash'
else
   echo "$FIRSTUSER:$y$j9T$salt$hashhashhash" | chpasswd -e
fi
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ] && true; then
   /usr/lib/raspberrypi-sys-mods/imager_custom set_wlan  -h 'Café "7"' '{PSK}' 'NL'
else
cat >/etc/wpa_supplicant/wpa_supplicant.conf <<'WPAEOF'
country=NL
network={{
	ssid="Café "
	psk={PSK}
}}
WPAEOF
fi
if [ -f /usr/lib/raspberrypi-sys-mods/imager_custom ]; then
   /usr/lib/raspberrypi-sys-mods/imager_custom set_keymap 'us'
   /usr/lib/raspberrypi-sys-mods/imager_custom set_timezone 'Europe/Amsterdam'
fi
rm -f /boot/firstrun.sh
exit 0
"""
FORMATS = {
    "rpi-preseed": {"rpi-preseed.toml": PRESEED},
    "custom": {"custom.toml": PRESEED},
    "cloudinit-rpi": {"user-data": USER, "network-config": NETWORK},
    "systemd": {"firstrun.sh": FIRSTRUN},
}


def given(texts):
    return imager.read({name: text.encode() for name, text in texts.items()})


@pytest.mark.parametrize("texts", FORMATS.values(), ids=FORMATS)
def test_each_format_says_the_same(texts):
    found = given(texts)
    assert (found.hostname, found.zone, found.country, found.keys) == ("greenhouse", "Europe/Amsterdam", "NL", (KEY,))
    assert found.radios == (wifi.Radio(ssid=SSID, psk=PSK, hidden=True),)
    assert [note for note in found.notes if "nobody logs in here by password" in note] == found.notes
    assert len(found.notes) == 1


@pytest.mark.parametrize("texts", FORMATS.values(), ids=FORMATS)
def test_secrets_are_wiped_and_known_again(texts):
    found = given(texts)
    after = {}
    for name, text in texts.items():
        spans, every = imager.spans(text.encode(), found.secrets.get(name, ()))
        assert every
        after[name] = moved.wiped(text.encode(), spans).decode()
        assert len(after[name].encode()) == len(text.encode())
        assert PSK not in after[name]
        assert "hashhashhash" not in after[name]
    again = given(after)
    assert (again.hostname, again.keys, again.secrets) == ("greenhouse", (KEY,), {})
    assert again.moved == (SSID,)


@pytest.mark.parametrize("texts", FORMATS.values(), ids=FORMATS)
def test_it_is_the_machines_and_stays_when_the_card_changes(tmp_path, texts):
    machine = Machine(boot=tmp_path / "boot", root=tmp_path / "root")
    machine.boot.mkdir()
    for name, text in texts.items():
        (machine.boot / name).write_text(text, "utf-8")
    (machine.boot / "knoop.toml").write_text("# nothing yet\n", "utf-8")
    for account in ("", '[account]\njid = "greenhouse@example.org"\npassword = "correct horse battery"\n'):
        (machine.boot / "knoop.toml").write_text(account, "utf-8")
        assert command.taken(machine) == 0
        conf = (machine.root / plan.WPA).read_text("utf-8")
        assert wifi.keys_in(conf) == {SSID: PSK}
        assert (machine.root / carrying.KEYS).read_text("utf-8") == f"{KEY}\n"
        assert (machine.root / "etc/hostname").read_text("utf-8") == "greenhouse\n"
        assert str((machine.root / "etc/localtime").readlink()) == "/usr/share/zoneinfo/Europe/Amsterdam"
    assert 'name = "greenhouse"' in machine.node.read_text("utf-8")
    text = 'ssid = "Other"\npassword = "something else"\n'
    with (machine.boot / "knoop.toml").open("a", encoding="utf-8") as file:
        file.write(f"[wifi]\n{text}")
    assert command.taken(machine) == 0
    assert wifi.keys_in((machine.root / plan.WPA).read_text("utf-8")).keys() == {b"Other"}  # the owner's own file wins


def test_an_open_network_and_one_without_text_for_a_name():
    found = given({"rpi-preseed.toml": '[wlan]\nssid_hex = "fffe4142"\nhidden = false\n'})
    assert found.radios == (wifi.Radio(ssid=b"\xff\xfeAB"),)
    found = given({"network-config": NETWORK.replace(f'password: "{PSK}"', "auth:\n            key-management: none")})
    assert [radio.psk for radio in found.radios] == [""]


@pytest.mark.parametrize(("name", "text"), [
    ("rpi-preseed.toml", "[wlan\n"), ("rpi-preseed.toml", "wlan = 3\n"), ("user-data", "{a: [}"),
    ("user-data", "- 1\n"), ("firstrun.sh", "x/imager_custom set_wlan 'unclosed\n"),
    ("network-config", "network: 7\n"), ("user-data", "!!python/object/apply:os.abort []\n"),
    ("user-data", "users: [anna, {name: bram}]\nhostname: [1]\n"),
    ("rpi-preseed.toml", "\x00"), ("user-data", "[" * 3000),
])  # fmt: skip
def test_what_is_broken_is_left_out(name, text):
    found = given({name: text})
    assert not found.radios
    assert not found.keys
    assert not found.hostname


def test_a_script_is_read_and_never_run(tmp_path):
    mark = tmp_path / "ran"
    program = "/x/imager_custom"
    found = given({"firstrun.sh": f"{program} set_hostname $(touch {mark})\n{program} set_timezone `id`\n"})
    assert not mark.exists()
    assert (found.hostname[:5], found.zone) == ("touch", "")


@pytest.mark.parametrize(("name", "text"), [
    ("network-config", 'wifis:\n  wlan0:\n    access-points:\n      "Greenhouse":\n        password: "Greenhouse"\n'),
    ("rpi-preseed.toml", '[system]\nhostname = "greenhouse"\n[wlan]\nssid = "Greenhouse"\npassword = "Greenhouse"\n'),
    ("user-data", "hostname: anna\nuser:\n  name: anna\n  plain_text_passwd: anna\n"),
])  # fmt: skip
def test_a_password_that_is_also_a_name_is_wiped_and_the_name_stays(name, text):
    before = given({name: text})
    spans, every = imager.spans(text.encode(), before.secrets[name])
    assert every
    assert len(spans) == 1
    after = given({name: moved.wiped(text.encode(), spans).decode()})
    assert (after.hostname, [radio.ssid for radio in after.radios]) == (
        before.hostname, [radio.ssid for radio in before.radios],
    )  # fmt: skip
    assert not after.secrets
