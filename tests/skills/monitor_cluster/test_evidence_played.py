"""`collect` where a cluster refuses, goes away, or holds more than anybody can read: a folder in any case, and the rest is named."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from a_run import JOBS, ended_at, job, pod
from api_of_a_run import NAMESPACE, Api, log_of, nano, stamp, write_kubeconfig
from evidence_pods import TOKEN, collect, evidence, left_out

from tests.calling import SKILLS, call
from tests.components.cluster.door import Door

NODES = "/api/v1/nodes"


@pytest.fixture
def kubeconfig(api: Api, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path / "kubeconfig", api)


def _play(api: Api, nodes: int = 2, restarts: int = 1) -> float:
    """A job whose ranks have failed once, and run again."""
    began = time.time() - 600
    api.objects[f"{JOBS}/tiny"] = job(nodes=nodes, began=began)
    last = ended_at(began - 60, began - 1, 1)
    api.pods = [pod(rank, began=began, last=last, restarts=restarts) for rank in range(nodes)]
    for rank in range(nodes):
        name = str(api.pods[rank]["metadata"]["name"])
        api.objects[f"{NODES}/node-{rank}"] = {"metadata": {"name": f"node-{rank}", "uid": f"n{rank}"}, "status": {}}
        api.logs[(name, False)] = log_of([(began, f"rank {rank} begins"), (began + 1, f"HF_TOKEN={TOKEN}")])
        api.logs[(name, True)] = log_of([(began - 30, f"rank {rank}: RuntimeError: the first end")])
    return began


def test_refusals_are_named(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """Each with the rule that would allow it; logs of both starts and the pods are there."""
    _play(api)
    api.refused = ("nodes", "events", "resourcequotas")
    folder = tmp_path / "evidence"
    answer = collect(kubeconfig, NAMESPACE, "tiny", "--output", folder)
    missing = left_out(folder)
    for what, rule in (("nodes/node-0.json", '"nodes"'), ("objects/ResourceQuota-*.json", '"resourcequotas"')):
        assert rule in missing[what], missing
    assert any(what.startswith("events.json") and '"events"' in why for what, why in missing.items())
    for rank, name in enumerate(("tiny-master-0", "tiny-worker-0")):
        lines = (folder / "pods" / name / "pytorch.log").read_text().splitlines()
        assert lines[0].endswith(f"Z rank {rank} begins") and lines[1].endswith("Z HF_TOKEN=***")
        assert "the first end" in (folder / "pods" / name / "pytorch.previous.log").read_text()
    assert answer.data["left_out_total"] == len(missing) and not any("/secrets" in path for path in api.asked)


def test_events_have_expired(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """An empty list is not "nothing happened": it is said. With an event there is no such word."""
    _play(api)
    collect(kubeconfig, NAMESPACE, "tiny", "--output", tmp_path / "one")
    assert "for an hour" in left_out(tmp_path / "one")["events.json"]
    about = {"kind": "PyTorchJob", "name": "tiny"}
    api.events = [
        {"metadata": {"name": "e"}, "involvedObject": about, "message": f"\x1b[2J{TOKEN}", "lastTimestamp": stamp(time.time())}
    ]
    collect(kubeconfig, NAMESPACE, "tiny", "--output", tmp_path / "two")
    assert "events.json" not in left_out(tmp_path / "two")
    assert json.loads((tmp_path / "two/events.json").read_text())[0]["message"] == "***"


def test_a_gigabyte_in_one_pod(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """The head is read, the rest is asked for by its end: a few megabytes come, and both ends are there."""
    began, sent = _play(api, 1), []
    block = b"".join(f"{nano(began)} line {n:09d} of a long log\n".encode() for n in range(20_000))
    end = log_of([(began + 500, f"last {n}") for n in range(1000)])

    def log() -> Iterator[bytes]:
        ended = "tailLines" in api.asked[-1]
        for _ in range(0 if ended else (1 << 30) // len(block)):
            sent.append(len(block))
            yield block
        yield end

    api.logs[("tiny-master-0", False)] = log
    folder, before = tmp_path / "evidence", time.monotonic()
    collect(kubeconfig, NAMESPACE, "tiny", "--output", folder, "--max-file-mib", 1)
    kept = (folder / "pods/tiny-master-0/pytorch.log").read_bytes()
    assert kept.startswith(block[:60]) and kept.endswith(b"Z last 999\n") and len(kept) <= 1 << 20
    assert b" bytes left out ...]\n" in kept and sum(sent) < 64 << 20
    assert any("more than" in what for what in left_out(folder)) and time.monotonic() - before < 60


def test_a_line_of_a_hundred_megabytes(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """Binary bytes, controls, and no end of line: the lines around it stay."""
    began = _play(api, 1)

    def log() -> Iterator[bytes]:
        yield log_of([(began, "before \x1b]0;title\x07\x00")]) + f"{nano(began + 1)} ".encode()
        for _ in range(100):
            yield b"\xff\xfe\x00x" * (1 << 18)
        yield b"\n" + log_of([(began + 2, "after")])

    api.logs[("tiny-master-0", False)] = log
    collect(kubeconfig, NAMESPACE, "tiny", "--output", tmp_path / "evidence")
    kept = (tmp_path / "evidence/pods/tiny-master-0/pytorch.log").read_bytes()
    lines = kept.split(b"\n")
    assert lines[0].endswith(b"Z before ") and lines[-2].endswith(b"Z after") and len(kept) < 200_000
    assert not {0, 7, 27} & set(kept)


def test_the_api_server_goes_away(api: Api, tmp_path: Path) -> None:
    """In the middle of a log: what was read by then is a folder, the rest is named, and nobody waits for each of it."""
    began = _play(api, 64)
    door = Door("127.0.0.1", urlsplit(api.address).port or 0)
    door.open()
    real, api.address = api.address, f"http://127.0.0.1:{door.port}"
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api)
    api.address = real

    def log() -> Iterator[bytes]:
        yield log_of([(began, "half of it")]) * 100
        time.sleep(0.3)
        door.shut()
        gone.set()
        yield b"never seen\n"

    def late() -> Iterator[bytes]:
        gone.wait(30)
        yield b"never seen\n"

    gone = threading.Event()
    api.logs[("tiny-worker-7", False)] = log
    api.logs |= {(f"tiny-worker-{number}", False): late for number in range(40, 63)}
    folder, before = tmp_path / "evidence", time.monotonic()
    collect(kubeconfig, NAMESPACE, "tiny", "--output", folder)
    missing = left_out(folder)
    assert time.monotonic() - before < 60
    assert len([*(folder / "pods").iterdir()]) == 64 and (folder / "objects/PyTorchJob-tiny.json").exists()
    assert "half of it" in (folder / "pods/tiny-worker-7/pytorch.log").read_text()
    assert any(what.startswith("pods/tiny-worker-7/pytorch.log: what comes after") for what in missing), missing
    assert any("stopped answering" in why for why in missing.values()), missing
    assert (folder / "pods/tiny-master-0/pytorch.log").exists()


def test_512_ranks(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """All of them, each with its share of the folder, in a minute; nodes and events are listed, not asked for one by one. Exec, which
    is forbidden here, is asked for in the first pods only."""
    _play(api, 512, restarts=0)
    folder = tmp_path / "evidence"
    answer = collect(kubeconfig, NAMESPACE, "tiny", "--output", folder)
    assert answer.data["pods"] == 512 and len([*folder.glob("pods/*/pytorch.log")]) == 512
    assert [each["node_rank"] for each in evidence(folder)["pods"]] == [*range(512)]
    asked = [path for path in api.asked if "/log" not in path and "/exec" not in path]
    assert 0 < sum("/exec" in path for path in api.asked) < 64
    assert len([*(folder / "nodes").iterdir()]) == 512 and len(asked) < 30, asked


def test_logs_that_take_long_are_no_pause(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """Steps are as old as the reading of them, whatever comes after: the doctor takes more than ten seconds for a pause."""
    _play(api, 2, restarts=0)
    now = time.time()
    steps = [(now - 20 + number, f"step {number} loss 2.5 lr 0.001") for number in range(20)]
    api.logs[("tiny-master-0", False)] = lambda: [log_of(steps)]

    def slow() -> Iterator[bytes]:
        yield log_of(steps)
        time.sleep(12)

    api.logs[("tiny-worker-0", False)] = slow
    folder = tmp_path / "evidence"
    collect(kubeconfig, NAMESPACE, "tiny", "--output", folder)
    assert time.time() - evidence(folder)["time"] > 11
    assert call(SKILLS / "monitor" / "src" / "diagnose_training.py", "doctor", folder).data["root"]["cause"] == "none"


def test_credentials_end(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """In the middle: it is said once for each file, and nothing is asked any more."""
    began = _play(api, 40)
    api.token = "t"

    def log() -> Iterator[bytes]:
        api.token = "another"
        yield log_of([(began, "the last that was read")])

    api.logs[("tiny-master-0", False)] = log
    collect(kubeconfig, NAMESPACE, "tiny", "--output", tmp_path / "evidence")
    assert "the last that was read" in (tmp_path / "evidence/pods/tiny-master-0/pytorch.log").read_text()
    assert sum("Unauthorized" in why for why in left_out(tmp_path / "evidence").values()) > 30
    assert sum("/log" in path for path in api.asked) < 60


def test_a_name_that_is_nowhere(api: Api, kubeconfig: Path, tmp_path: Path) -> None:
    """No folder; two names, or none, are exit 2."""
    output = tmp_path / "evidence"
    assert collect(kubeconfig, NAMESPACE, "nobody", "--output", output, code=3).error["code"] == "not-found"
    collect(kubeconfig, NAMESPACE, code=2)
    collect(kubeconfig, NAMESPACE, "tiny", "--selector", "app=x", code=2)
    assert not output.exists() and not [*tmp_path.glob(".*")]
