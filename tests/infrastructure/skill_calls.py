"""Calling a skill's program with a kubeconfig, as a person of a team would."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from tests.infrastructure.kustomized import permissions
from tests.training.forking import skill_run

SKILLS = Path(__file__).resolve().parents[2] / "skills"
PROGRAMS = {
    "cluster-manager": "cluster-manager/src/manage_cluster.py",
    "pytorchjob-manager": "pytorchjob-manager/src/manage_pytorchjob.py",
    "ray-manager": "ray-manager/src/manage_ray.py",
    "monitor": "monitor/src/monitor_training.py",
    "volumes": "checkpoint-manager/src/manage_volumes.py",
    "pod-checkpoints": "checkpoint-manager/src/pod_checkpoints.py",
}
DEADLINE_S = 180


ON_KWOK = ["--node-selector", "type=kwok", "--toleration", '{"key": "kwok", "operator": "Exists"}']
"""Options of `create` for pods that only pretend to run."""
RUN_ID = "0123456789abcdef"


def call(kubeconfig: Path, skill: str, *words: str, exits: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """The document that one call prints. Fails where it ends with another exit code."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    began = time.monotonic()
    done = skill_run([sys.executable, str(SKILLS / PROGRAMS[skill]), *words], timeout=DEADLINE_S, env=environment)
    print(f"{time.monotonic() - began:6.1f} s  {skill} {' '.join(words)[:100]}: exit {done.returncode}")
    assert done.returncode in exits, f"{skill} {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr[-2000:]}"
    return dict(json.loads(done.stdout.splitlines()[-1]))


def printed_permissions(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    """What the checks that could not be made ask for; fails where one of them counts as a pass."""
    asked = set()
    for check in document["checks"]:
        if match := re.search(r'allows it: (\{"apiGroups.*\})', check["fix"] or ""):
            assert check["status"] in ("unknown", "warn"), check
            asked |= permissions([json.loads(match[1])])
    return asked
