"""`down` ends the processes that were recorded, whole groups of them, and nobody else's; steps start in their order."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.components.cluster import build
from tests.components.cluster.leftovers import leftovers
from tests.components.cluster.place import Place, lock
from tests.components.cluster.running import Cluster
from tests.components.cluster.status import recorded
from tests.components.cluster.steps import ClusterError, Step, part, run_steps


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """One whose state and cache are this test's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = Place(8)
    for folder in ("pid", "log"):
        (place.state / folder).mkdir(parents=True)
    return place


def start(place: Place, name: str, script: str) -> None:
    """As the parts start a process."""
    words = f'. "{Path(build.__file__).parent}/env.sh"; start {name} sh -c "$0"'
    subprocess.run(["bash", "-c", words, script], check=True, env=place.environment(), timeout=30)


def test_a_recorded_process_ends_with_its_children(place: Place) -> None:
    start(place, "parent", "sleep 600 & wait")
    assert recorded(place) == {"parent": True}
    deadline = time.monotonic() + 30
    while len(leftovers(place)["processes"]) < 2 and time.monotonic() < deadline:  # the shell has its child a moment later
        time.sleep(0.05)
    assert len(leftovers(place)["processes"]) == 2
    Cluster(place).down()
    assert leftovers(place) == {}


def test_a_stranger_who_got_the_recorded_number_lives_on(place: Place) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        (place.state / "pid" / "etcd").write_text(f"{stranger.pid} 1\n")
        assert recorded(place) == {"etcd": False}
        Cluster(place).down()
        lives = stranger.poll() is None
        stranger.kill()
    assert lives
    assert not place.state.exists()


def test_a_process_that_nobody_recorded_is_found_by_its_mark_also_without_the_folder(place: Place, tmp_path: Path) -> None:
    start(place, "lost", "exec sleep 600")
    place.state.rename(tmp_path / "away")
    assert len(leftovers(place)["processes"]) == 1
    with subprocess.Popen(["sleep", "600"], env={**os.environ, "TRAINYARD_CLUSTER": f"{place.state}-other"}) as stranger:
        Cluster(place).down()
        lives = stranger.poll() is None
        stranger.kill()
    assert (lives, leftovers(place)) == (True, {})


def test_a_step_that_fails_ends_the_scripts_beside_it(place: Place, tmp_path: Path) -> None:
    slow, began = tmp_path / "slow.sh", tmp_path / "began"
    slow.write_text(f"#!/bin/sh\ntouch {began}\nsleep 600\n")
    slow.chmod(0o755)

    def fail() -> None:
        while not began.exists():
            time.sleep(0.01)
        raise ClusterError("broken")

    started = time.monotonic()
    with pytest.raises(ClusterError, match="broken"):
        run_steps([Step("broken", fail), Step("slow", part(place, str(slow)))])
    assert time.monotonic() - started < 60


def test_up_refuses_a_place_where_something_lies(place: Place) -> None:
    with pytest.raises(ClusterError, match="take it down first"):
        Cluster(place).up()
    assert place.state.exists()


def test_a_place_is_held_by_one_at_a_time(place: Place) -> None:
    with lock(place) or pytest.fail("not free"):
        assert lock(place) is None
        with lock(Place(7)) or pytest.fail("not free"):
            pass
    with lock(place) or pytest.fail("not free again"):
        pass


def test_trainer_without_jobset_is_refused() -> None:
    with pytest.raises(ValueError, match="needs jobset"):
        Cluster(Place(8), operators=("trainer",))


def test_what_waits_for_a_failed_step_is_not_run() -> None:
    ran: list[str] = []

    def fail() -> None:
        raise ClusterError("broken")

    steps = [
        Step("first", lambda: ran.append("first")),
        Step("second", fail, ("first",)),
        Step("third", lambda: ran.append("third"), ("second",)),
        Step("beside", lambda: ran.append("beside"), ("first",)),
    ]
    with pytest.raises(ClusterError, match="broken"):
        run_steps(steps)
    assert ran[0] == "first" and "third" not in ran
