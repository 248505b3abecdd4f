"""A credential is there whole, in one place, and its secret is in no argument."""

import os
import stat

import pytest

from knoop import credential

NAME, SECRET = "xmpp.password", "correct horse ≠ battery"


def seals(command, given):
    """What systemd-creds does, as far as anybody outside can tell."""
    assert SECRET not in " ".join(command)
    assert command[-3:] == (f"--name={NAME}", "-", "-")
    return given.hex().encode() if command[1] == "encrypt" else bytes.fromhex(given.decode())


def absent(_command, _given):
    return None


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """The root of a machine that is this one, as far as the module can tell."""
    monkeypatch.setattr(credential, "ROOT", tmp_path)
    return tmp_path


def names(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_this_machine_can_encrypt_is_encrypted_and_comes_back(machine):
    file = credential.store(NAME, SECRET, root=machine, runner=seals)
    assert names(machine) == ["etc/credstore.encrypted/xmpp.password"]
    assert (file, mode(file), mode(file.parent)) == (machine / names(machine)[0], 0o600, 0o700)
    assert SECRET.encode() not in file.read_bytes()
    assert credential.read(NAME, root=machine, runner=seals) == SECRET


@pytest.mark.parametrize("runner", [absent, lambda command, _given: b"sealed" if command[1] == "encrypt" else b"other"])
def test_without_systemd_creds_or_where_it_does_not_open_again_it_is_roots_alone(machine, runner):
    file = credential.store(NAME, SECRET, root=machine, runner=runner)
    assert names(machine) == ["etc/credstore/xmpp.password"]
    assert (mode(file), mode(file.parent), file.read_text()) == (0o600, 0o700, SECRET)
    assert credential.read(NAME, root=machine, runner=absent) == SECRET


def test_for_another_root_nothing_is_encrypted_with_the_key_of_this_machine(tmp_path):
    assert credential.store(NAME, SECRET, root=tmp_path, runner=seals) == tmp_path / "etc/credstore/xmpp.password"


def test_there_is_one_of_a_name_and_the_newest_counts(machine):
    for runner, place in ((absent, "credstore"), (seals, "credstore.encrypted"), (absent, "credstore")):
        credential.store(NAME, SECRET, root=machine, runner=runner)
        assert names(machine) == [f"etc/{place}/xmpp.password"]


def test_one_that_another_machine_encrypted_says_so(machine):
    file = credential.store(NAME, SECRET, root=machine, runner=seals)
    with pytest.raises(OSError, match="not encrypted on this machine") as error:
        credential.read(NAME, root=machine, runner=absent)
    assert error.value.filename == str(file)


def test_what_is_removed_is_gone_and_nothing_is_no_secret(machine):
    assert credential.read(NAME, root=machine) is None
    assert credential.remove(NAME, root=machine) == []
    file = credential.store(NAME, SECRET, root=machine, runner=seals)
    file.with_name(f"{NAME}.old").write_text("kept", "utf-8")
    assert credential.remove(NAME, root=machine) == [file, file.with_name(f"{NAME}.old")]
    assert names(machine) == []


def test_what_hangs_or_fails_or_is_not_there_says_nothing(monkeypatch):
    assert credential.run(("/bin/cat",), b"through") == b"through"
    assert credential.run(("/bin/false",), b"") is None
    assert credential.run(("/nowhere/at/all",), b"") is None
    monkeypatch.setattr(credential, "LONGEST_S", 0.05)
    assert credential.run(("/bin/sleep", "30"), b"") is None


# In a mount namespace of its own, so that this machine gets no key that it has not asked for.
WITHIN = ("/usr/bin/unshare", "-m", "/bin/sh", "-c", 'mount --bind "$0" /var/lib/systemd && exec "$@"')


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have a systemd-creds of its own")
def test_systemd_creds_itself_takes_and_gives_it(machine):
    keys = machine / "keys"
    keys.mkdir()

    def runner(command, given):
        return credential.run((*WITHIN, str(keys), *command), given)

    file = credential.store(NAME, SECRET, root=machine, runner=runner)
    assert file == machine / "etc/credstore.encrypted/xmpp.password", "systemd-creds is there and works"
    assert credential.read(NAME, root=machine, runner=runner) == SECRET
    assert runner((*credential.DECRYPT, "--name=other", "-", "-"), file.read_bytes()) is None
    (keys / "credential.secret").unlink()
    with pytest.raises(OSError, match="not encrypted on this machine"):
        credential.read(NAME, root=machine, runner=runner)
