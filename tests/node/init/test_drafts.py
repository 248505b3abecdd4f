"""All files or none, and never one that somebody else could read meanwhile."""

import os
import stat

import pytest

from knoop.errors import StoreError
from knoop.init.drafts import Draft, drafted

SECRET = Draft(text="secret\n", mode=0o600)
PLAIN = Draft(text="plain\n", mode=0o644)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_they_appear_together(tmp_path):
    folder = tmp_path / "new" / "deep"
    with drafted({folder / "a": SECRET, folder / "b": PLAIN}) as publish:
        assert not {"new/deep/a", "new/deep/b"} & {*names(tmp_path)}
        assert [mode(path) for path in sorted(folder.iterdir())] == [0o600, 0o644]
        assert publish() == []
    assert names(tmp_path) == ["new", "new/deep", "new/deep/a", "new/deep/b"]
    assert ((folder / "a").read_text(), mode(folder / "a"), mode(folder / "b")) == ("secret\n", 0o600, 0o644)


@pytest.mark.parametrize("why", [None, KeyboardInterrupt, ValueError])
def test_nothing_is_left_without_a_word_or_after_a_fault(tmp_path, why):
    (tmp_path / "a").write_text("former")
    try:
        with drafted({tmp_path / "a": SECRET, tmp_path / "new" / "b": PLAIN}):
            if why:
                raise why
    except (KeyboardInterrupt, ValueError):
        assert why
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "former"


def test_a_folder_that_others_use_meanwhile_stays(tmp_path):
    with drafted({tmp_path / "new" / "a": SECRET}):
        (tmp_path / "new" / "theirs").touch()
    assert names(tmp_path) == ["new", "new/theirs"]


def test_what_was_there_is_kept_with_its_mode_and_nothing_kept_is_overwritten(tmp_path):
    file = tmp_path / "a"
    file.write_text("first")
    file.chmod(0o640)
    kept = []
    for text in ("second", "third"):
        with drafted({file: Draft(text=text, mode=0o600)}) as publish:
            kept += publish()
    assert [path.name for path in kept] == ["a.old", "a.old2"]
    assert [path.read_text() for path in (*kept, file)] == ["first", "second", "third"]
    assert [mode(path) for path in (*kept, file)] == [0o640, 0o600, 0o600]


def test_a_secret_that_stays_the_same_is_not_left_twice(tmp_path):
    file = tmp_path / "a"
    file.write_text("secret\n")
    with drafted({file: Draft(text="secret\n", mode=0o600, keep=False)}) as publish:
        assert publish() == []
    assert (names(tmp_path), mode(file)) == (["a"], 0o600)


def test_a_folder_that_cannot_be_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name a folder you may write to with --directory"), drafted(
        {tmp_path / "a": SECRET, tmp_path / "file" / "b": PLAIN}
    ):
        pass
    assert names(tmp_path) == ["file"]


def test_nobody_else_can_read_it_at_any_time(tmp_path):
    former = os.umask(0)
    try:
        with drafted({tmp_path / "a": SECRET}):
            assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
    finally:
        os.umask(former)


def test_a_folder_for_a_secret_is_ones_own_and_a_file_may_be_for_a_group(tmp_path):
    secret, shared = tmp_path / "store" / "secret", tmp_path / "etc" / "shared"
    drafts = {secret: Draft(text="s", mode=0o600, private=True), shared: Draft(text="p", mode=0o640, group=os.getgid())}
    with drafted(drafts) as publish:
        publish()
    assert [mode(path) for path in (secret.parent, secret, shared)] == [0o700, 0o600, 0o640]
    assert shared.stat().st_gid == os.getgid()
