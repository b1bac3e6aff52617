"""logs: every line once, with its rank, through restarts and broken connections; pods of the real node."""

from __future__ import annotations

import time
from pathlib import Path

from ptjob_call import KWOK, PYTHON, REAL, Manager

from tests.components.cluster.door import door_to
from tests.components.cluster.running import Cluster

COUNTING = """
import os, signal, time, uuid
run, number, ended = uuid.uuid4().hex[:8], 0, []
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
signal.signal(signal.SIGUSR1, lambda *_: ended.append(1))
while not ended:
    print(run, number, flush=True)
    number += 1
    time.sleep(0.02)
print(run, number, "last", flush=True)
"""


def test_following_shows_every_line_once_through_cut_connections_and_a_new_pod(
    manager: Manager, cluster: Cluster, tmp_path: Path
) -> None:
    door, kubeconfig = door_to(cluster.kubeconfig, tmp_path)
    manager.create("counts", "--image", PYTHON, *REAL, command=("--", "python3", "-c", COUNTING))
    manager.until("running", "counts")
    following = Manager(kubeconfig, manager.namespace).start("logs", "counts", "--follow", "--lines", "5000")
    time.sleep(2)
    for _ in range(3):
        door.cut()
        time.sleep(1.2)
    cluster.kubectl("delete", "pod", "counts-master-0", "-n", manager.namespace)
    manager.until("running", "counts")
    door.shut()
    time.sleep(2)
    door.open()
    cluster.kubectl("exec", "counts-master-0", "-n", manager.namespace, "--", "kill", "-USR1", "1")
    done = manager.answer(following)
    door.shut()
    assert (done.code, done.data["state"]) == (0, "finished")
    runs: dict[str, list[int]] = {}
    for line in done.stream:
        assert line["type"] == "log" and line["rank"] == 0 and line["pod"] == "counts-master-0"
        prefix, run, number, *_ = line["line"].split()
        assert prefix == "[0]"
        runs.setdefault(run, []).append(int(number))
    assert len(runs) == 2
    for numbers in runs.values():
        assert numbers == list(range(len(numbers)))
    assert done.stream[-1]["line"].endswith("last")
    assert manager("status", "counts").data["restarts"] == 1


def test_the_container_before_the_restart_is_read_with_previous(manager: Manager) -> None:
    """A TrainJob's container is restarted within its pod."""
    code = (
        "import os, time; mark = '/dev/shm/mark'; again = os.path.exists(mark); open(mark, 'w').close(); "
        "print('again' if again else 'first'); time.sleep(600 if again else 0.5); os._exit(3)"
    )
    words = ("again", "--engine", "trainjob", "--image", PYTHON, *REAL)
    manager.create(*words, command=("--", "python3", "-c", code))
    deadline = time.monotonic() + 60
    while not (seen := manager("status", "again")).data["restarts"]:
        assert time.monotonic() < deadline, seen
    assert seen.data["state"] != "failed"
    assert manager("logs", "again", "--previous").data["lines"] == ["[0] first"]
    manager.until("running", "again")
    assert manager("logs", "again").data["lines"] == ["[0] again"]


def test_lines_of_all_ranks_come_by_time_and_one_rank_alone_when_asked(manager: Manager) -> None:
    manager.create("many", "--nodes", "3", *KWOK)
    manager.until("running", "many")
    lines = manager("logs", "many", "--lines", "600").data["lines"]
    assert {line.split()[0] for line in lines} == {"[0]", "[1]", "[2]"}
    one = manager("logs", "many", "--rank", "2", "--lines", "7").data["lines"]
    assert len(one) == 7 and all(line.startswith("[2] ") for line in one)
    missing = manager("logs", "many", "--rank", "3")
    assert (missing.code, missing.error["code"]) == (3, "not-found")
