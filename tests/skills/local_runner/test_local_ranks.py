"""The supervisor looks for ranks while processes of the job come and go; what ends in the middle of a look is no reason to end itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tests.calling import SKILLS

LIVES = 300
LOOKS = 50


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(SKILLS / "local-runner" / "src"))
    import local_ranks

    return local_ranks


def test_a_process_that_ends_while_its_children_are_looked_for(ranks: object) -> None:
    """One life in ten met it: the process is gone between two reads of /proc."""
    for _ in range(LIVES):
        process = subprocess.Popen(["/bin/true"])
        ends = threading.Thread(target=process.wait)
        ends.start()
        for _ in range(LOOKS):
            assert ranks._children(process.pid) == []  # type: ignore[attr-defined]
        ends.join()


def test_control_the_children_of_one_that_lives_are_found(ranks: object) -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); sys.stdin.read(); p.kill()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert ranks._children(process.pid) == [child]  # type: ignore[attr-defined]
        assert ranks._children(os.getpid()).count(process.pid) == 1  # type: ignore[attr-defined]
    finally:
        process.communicate("")
