"""Small folders of evidence, in the form that `collect` writes, for the doctor to judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RUNS = {"running": {"startedAt": "2026-09-21T10:00:00Z"}}
STEPS = "".join(f"[rank0]: step {number}/100 loss 2.{number}\n" for number in range(1, 9))
PEER = "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.7]:33450."


class Folder:
    """Evidence of pods `job-worker-N` on nodes `node-N`, `procs` ranks on each."""

    def __init__(self, path: Path, pods: int = 2, procs: int = 2, **about: Any) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        rows = [{"name": f"job-worker-{each}", "node": f"node-{each}", "node_rank": each} for each in range(pods)]
        base = {"format": 1, "time": 1790000000.0, "run": "tiny", "job": "PyTorchJob/job", "world_size": pods * procs}
        self.write("evidence.json", {**base, "procs_per_node": procs, "pods": rows, "left_out": [], **about})

    def write(self, name: str, document: Any) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))

    def pod(self, number: int, log: str | None = None, phase: str = "Running", state: Any = RUNS, **status: Any) -> None:
        name = f"job-worker-{number}"
        statuses = [{"name": "pytorch", "state": state, "lastState": {}}] if state else []
        document = {
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"nodeName": f"node-{number}", "containers": [{"name": "pytorch"}]},
            "status": {"phase": phase, "containerStatuses": statuses, **status},
        }
        self.write(f"pods/{name}/pod.json", document)
        if log is not None:
            self.write(f"pods/{name}/pytorch.log", log)

    def node(self, number: int, ready: str = "True", reason: str = "KubeletReady", labels: Any = None) -> None:
        condition = {"type": "Ready", "status": ready, "reason": reason, "message": ""}
        metadata = {"name": f"node-{number}", "labels": labels or {}}
        self.write(f"nodes/node-{number}.json", {"kind": "Node", "metadata": metadata, "status": {"conditions": [condition]}})

    def events(self, *rows: tuple[str, str, str, str]) -> None:
        """(kind, name, reason, message)."""
        about = [({"kind": kind, "name": name}, reason, message) for kind, name, reason, message in rows]
        self.write(
            "events.json", [{"involvedObject": whom, "reason": reason, "message": message} for whom, reason, message in about]
        )

    def pending(self, message: str) -> None:
        for number in (0, 1):
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            self.pod(number, None, "Pending", None, conditions=[condition])


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-09-21T10:00:00Z"}}


def error(rank: int, text: str) -> str:
    """An uncaught exception, as torch's excepthook prints it."""
    lines = ["Traceback (most recent call last):", '  File "/app/train.py", line 12, in <module>', "    main()", text]
    return "".join(f"[rank{rank}]: {line}\n" for line in lines)


def timed_out(rank: int, seq: int = 808, op: str = "ALLREDUCE") -> str:
    """NCCL's watchdog."""
    sizes = "NumelIn=9801523, NumelOut=9801523, Timeout(ms)=600000"
    return (
        f"[rank{rank}]:[E626 06:24:44.903881913 ProcessGroupNCCL.cpp:616] [Rank {rank}] Watchdog caught collective operation timeout: "
        f"WorkNCCL(SeqNum={seq}, OpType={op}, {sizes}) ran for 600020 milliseconds before timing out.\n"
        f"[rank{rank}]:[E626 06:24:44.906457629 ProcessGroupNCCL.cpp:1785] [PG ID 0 PG GUID 0(default_pg) Rank {rank}] Exception (either an "
        f"error or timeout) detected by watchdog at work: {seq}, last enqueued NCCL work: 811, last completed NCCL work: {seq - 1}.\n"
    )


def killed(rank: int, procs: int = 2) -> str:
    """torchrun's last message: the rank was ended by SIGKILL."""
    return (
        f"E1130 01:34:42.518000 30487 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: -9) local_rank: "
        f"{rank % procs} (pid: {1000 + rank}) of binary: /usr/bin/python\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n=====\nRoot Cause (first observed failure):\n[0]:\n"
        f"  time      : 2026-11-30_01:34:42\n  host      : h\n  rank      : {rank} (local_rank: {rank % procs})\n"
        f"  exitcode  : -9 (pid: {1000 + rank})  (SIGKILL)\n  error_file: <N/A>\n"
        f"  traceback : Signal 9 (SIGKILL) received by PID {1000 + rank}\n=====\n"
    )
