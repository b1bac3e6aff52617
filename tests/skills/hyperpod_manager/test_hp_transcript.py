"""What SKILL.md shows is printed by the stand-ins: the blocks that name this file, run as tests/e2e runs the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hp_call import NOBODY
from hp_kube import Kube, node
from test_hp_health import accelerated

from tests.components.aws import hyperpod
from tests.components.aws.running import Aws
from tests.e2e import test_transcripts as shown

SKILL = Path(__file__).resolve().parents[3] / "skills" / "hyperpod-manager" / "SKILL.md"


def test_the_blocks_print_what_they_show(aws: Aws, kubernetes: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in shown.blocks_of(SKILL.read_text()) if block.not_run and Path(__file__).name in block.not_run]
    assert blocks
    hyperpod.make(aws)
    one, two = hyperpod.ids(aws)
    kubernetes.nodes = [node(one), node(two, conditions=accelerated("NvidiaXID79Error"))]
    for name, value in {**NOBODY, **aws.environment, "KUBECONFIG": str(kubernetes.kubeconfig)}.items():
        monkeypatch.setenv(name, value)
    env = shown.environment(tmp_path, "hyperpod-manager")
    problems = [
        shown.run_step(command, expected, env, tmp_path / "output") for block in blocks for command, expected in block.steps
    ]
    assert not any(problems), "\n".join(filter(None, problems))
