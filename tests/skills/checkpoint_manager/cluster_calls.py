"""Calls of the programs that talk to a cluster, as its administrator or as a user with exactly given permissions."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from made_checkpoints import ROOT, Answer

from tests.components.cluster.running import Cluster
from tests.training.forking import skill_run

SRC = ROOT / "skills" / "checkpoint-manager" / "src"
RUN_ID, OTHER_ID = "0123456789abcdef", "fedcba9876543210"
IMAGE = "local.test/python:3.11"
ON_REAL = ("--node-selector", "type=real")
"""For helper pods: on a pretended node exec would run on this machine."""


def command(program: str, namespace: str, words: tuple[Any, ...]) -> list[str]:
    return [sys.executable, str(SRC / program), *map(str, words), "--namespace", namespace]


def environment(cluster: Cluster, user: Path | None = None) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(user or cluster.kubeconfig)}


def called(program: str, cluster: Cluster, namespace: str, *words: Any, user: Path | None = None) -> Answer:
    """Run the program; its stdout must be one JSON document that fits the exit code."""
    done = skill_run(command(program, namespace, words), timeout=120, env=environment(cluster, user), cwd="/")
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0)
    return Answer(done.returncode, document, done.stderr)


def volumes(cluster: Cluster, namespace: str, *words: Any, user: Path | None = None) -> Answer:
    return called("manage_volumes.py", cluster, namespace, *words, user=user)


def ensure(cluster: Cluster, namespace: str, *words: Any, run_id: str = RUN_ID, user: Path | None = None) -> Answer:
    return volumes(cluster, namespace, "ensure-volume", "tiny", "--run-id", run_id, *words, user=user)


def check(answer: Answer, id: str) -> dict[str, Any]:
    """The check of that id; there must be one."""
    found = [each for each in answer.document["checks"] if each["id"] == id]
    assert len(found) == 1, (id, answer.document)
    return dict(found[0])


def claims(cluster: Cluster, namespace: str) -> list[str]:
    listed = cluster.get("persistentvolumeclaims", "", "--namespace", namespace)["items"]
    return sorted(each["metadata"]["name"] for each in listed)
