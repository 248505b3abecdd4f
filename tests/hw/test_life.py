"""What is in the place of a lock must not hold up who takes it, nor be given away."""

import asyncio
import os

import pytest

from knoop_hw.life import in_a_thread, lock

BOUND_S = 20.0


async def test_a_pipe_is_said_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "lock")
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(OSError, match=r"is no ordinary file: '.*/lock'"):
            await in_a_thread(lambda: lock(tmp_path / "lock", taken="taken"), name="lock")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make what is somebody else's")
def test_the_services_lock_stays_the_services_and_what_it_links_to_stays_its_owners(tmp_path):
    os.chown(tmp_path, 12345, 12345)
    with lock(tmp_path / "lock", taken="taken"):
        assert (tmp_path / "lock").stat().st_uid == 12345
    secret = tmp_path / "secret"
    secret.touch()
    (tmp_path / "linked").hardlink_to(secret)
    with lock(tmp_path / "linked", taken="taken"):
        assert secret.stat().st_uid == 0
