"""What SKILL.md shows of a cluster is printed by the test cluster: the blocks that name this file, run as tests/e2e runs the others."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cm_api import Api
from cm_nodes import nodes

from tests.components.cluster.running import Cluster

ROOT = Path(__file__).resolve().parents[3]
SKILL = ROOT / "skills" / "cluster-manager" / "SKILL.md"


def transcripts() -> ModuleType:
    """tests/e2e/test_transcripts.py, which is no package."""
    spec = importlib.util.spec_from_file_location("cm_transcripts", ROOT / "tests" / "e2e" / "test_transcripts.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_blocks_about_a_cluster_print_what_they_show(
    cluster: Cluster, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = transcripts()
    blocks = [block for block in shown.blocks_of(SKILL.read_text()) if block.not_run and Path(__file__).name in block.not_run]
    assert len(blocks) == 2
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    env = shown.environment(tmp_path, "cluster-manager")
    with nodes(api, 2, labels={"team": "research"}):
        problems = [
            shown.run_step(command, expected, env, tmp_path / "output") for block in blocks for command, expected in block.steps
        ]
    assert not any(problems), "\n".join(filter(None, problems))
