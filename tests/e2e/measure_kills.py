"""Seconds from a kill to the first step and to the first new step, on the test cluster: `python -m tests.e2e.measure_kills [--kills 5]`.

Worker and master, container and pod, so many kills each, of one job of two nodes that trains the tiny language model: a PyTorchJob
(the operator makes the pod anew) or with `--engine trainjob` a TrainJob (the kubelet restarts a container in place, and backs off
longer and longer: CrashLoopBackOff; so there the container of the worker is killed in a row).
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.components.cluster.running import Cluster, session_cluster
from tests.e2e.cluster_job import ClusterJob

ROOT = Path(__file__).resolve().parents[2]
SKILLS = ROOT / "skills"
TRAIN = ["torchrun", "training/train.py", "--steps", "100000", "--data", "training/train.py", "--eval-interval", "1000"]
KILLS = ("worker container", "worker pod", "master container", "master pod")


def call(cluster: Cluster, script: str, *words: str) -> dict[str, Any]:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(
        [sys.executable, str(SKILLS / script), *words], capture_output=True, text=True, env=environment, timeout=120
    )
    document = json.loads(done.stdout)
    if not document["ok"]:
        raise SystemExit(f"{script} {words[0]}: {document}")
    return dict(document["data"])


def start(cluster: Cluster, namespace: str, name: str, engine: str) -> ClusterJob:
    run_id = secrets.token_hex(8)
    where = ["--run-id", run_id, "--namespace", namespace, "--json"]
    volume = call(
        cluster,
        "checkpoint-manager/src/manage_volumes.py",
        "ensure-volume",
        name,
        *where,
        "--storage-class",
        "test-shared",
        "--size",
        "1Gi",
        "--nodes",
        "2",
    )
    pods = [
        "--nodes",
        "2",
        "--procs",
        "1",
        "--cpu",
        "250m",
        "--memory",
        "2Gi",
        "--shm",
        "256Mi",
        "--node-selector",
        "type=real",
    ]
    settings = ["--grace-s", "20", "--max-restarts", "1000", "--env", "OMP_NUM_THREADS=1", "--env", "TRAINYARD_ROLLING_STEPS=5"]
    call(
        cluster, "pytorchjob-manager/src/manage_pytorchjob.py", "create", name, *where, "--engine", engine, "--image", "local.test/trainer:1",
        "--claim", volume["claim"], *pods, *settings, "--", *TRAIN,
    )  # fmt: skip
    return ClusterJob(cluster, namespace, name, run_id, volume["claim"])


def measure(job: ClusterJob, count: int, kinds: tuple[str, ...]) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {}
    job.wait_for_step(8)
    for number in range(count):
        for kind in kinds:
            role, _, what = kind.partition(" ")
            kill = job.kill_container if what == "container" else job.kill_pod
            one = job.recovery_after(lambda kill=kill, role=role: kill(role))  # type: ignore[misc]
            found.setdefault(kind, []).append(one)
            print(
                f"{number + 1} {kind}: {one['first_step_s']:.1f} s to the first step, {one['new_step_s']:.1f} s to a new one",
                flush=True,
            )
            job.wait_for_step(max(line["step"] for line in job.steps()) + 6)
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    lines = [
        "| killed | kills | first step, s (median, min-max) | first new step, s (median, min-max) | steps repeated |",
        "|---|---|---|---|---|",
    ]
    for kind, kills in found.items():
        cells = [
            f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"
            for values in ([one[key] for one in kills] for key in ("first_step_s", "new_step_s"))
        ]
        repeated = [int(one["repeated"]) for one in kills]
        lines.append(f"| {kind} | {len(kills)} | {' | '.join(cells)} | {min(repeated)}-{max(repeated)} |")
    return "\n".join(lines)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--kills", type=int, default=5, help="of each kind (default 5)")
    words.add_argument("--engine", choices=("pytorchjob", "trainjob"), default="pytorchjob")
    said = words.parse_args()
    kinds = KILLS if said.engine == "pytorchjob" else ("worker container",)
    namespace = f"kills-{secrets.token_hex(3)}"
    with session_cluster() as cluster:
        cluster.make_namespace(namespace)
        cluster.make_volumes(namespace, 1)
        try:
            print(table(measure(start(cluster, namespace, "kills", said.engine), said.kills, kinds)))
        finally:
            cluster.kubectl("delete", "namespace", namespace, "--wait=false")


if __name__ == "__main__":
    main()
