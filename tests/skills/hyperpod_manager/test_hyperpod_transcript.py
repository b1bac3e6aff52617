"""What SKILL.md shows of the verbs that act is printed by the stand-ins: the blocks that name this file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hp_call import NOBODY
from hp_kube import Kube, node
from test_hp_transcript import SKILL

from tests.components.aws import hyperpod
from tests.components.aws.running import Aws
from tests.e2e import test_transcripts as shown


def test_the_blocks_print_what_they_show(aws: Aws, kubernetes: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in shown.blocks_of(SKILL.read_text()) if block.not_run and Path(__file__).name in block.not_run]
    assert blocks
    hyperpod.make(aws)
    broken, in_use = hyperpod.ids(aws)
    kubernetes.nodes = [node(broken), node(in_use)]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "1", "controller": True}
    metadata = {"name": "job-0", "namespace": "theirs", "uid": "2", "ownerReferences": [owner]}
    spec = {"nodeName": f"hyperpod-{in_use}", "containers": [{"name": "main"}]}
    kubernetes.pods = [{"metadata": metadata, "spec": spec, "status": {"phase": "Running"}}]
    for name, value in {**NOBODY, **aws.environment, "KUBECONFIG": str(kubernetes.kubeconfig)}.items():
        monkeypatch.setenv(name, value)
    env = shown.environment(tmp_path, "hyperpod-manager") | {
        "BROKEN": broken,
        "IN_USE": in_use,
        "XDG_STATE_HOME": str(tmp_path),
    }
    problems = [
        shown.run_step(command, expected, env, tmp_path / "output") for block in blocks for command, expected in block.steps
    ]
    assert not any(problems), "\n".join(filter(None, problems))
