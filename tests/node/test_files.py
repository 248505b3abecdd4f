"""What root makes beside a service's files becomes the service's, and nothing else does."""

import os

import pytest

from knoop import files


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give something away")
def test_root_hands_over_what_it_made_and_nothing_that_is_linked_to(tmp_path):
    folder, secret = tmp_path / "knoop", tmp_path / "secret"
    folder.mkdir()
    secret.touch()
    os.chown(folder, 12345, 54321)
    made, hard, soft, pipe, gone = (folder / name for name in ("state.db", "hard", "soft", "pipe", "gone"))
    made.touch()
    hard.hardlink_to(secret)
    soft.symlink_to(secret)
    os.mkfifo(pipe)
    files.hand_over([hard, soft, pipe, gone, made], folder)
    assert (made.stat().st_uid, made.stat().st_gid) == (12345, 54321)
    assert secret.stat().st_uid == 0
    assert {soft.lstat().st_uid, pipe.stat().st_uid} == {0}
