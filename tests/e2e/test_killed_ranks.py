"""A share of `python -m tests.e2e.killing.campaign`: one rank killed, whoever wrote the script, whatever started it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.killing.campaign import Campaign
from tests.e2e.killing.trial import Case
from tests.training.forking import FULL_STARTS

CASES = (
    Case("plain", False, 4, "torch.distributed.run, local-runner"),
    Case("HF Trainer", False, 2, "accelerate launch, local-runner"),
)
if FULL_STARTS:
    CASES += (
        Case("Lightning", True, 2, "trainyard.launch, two nodes"),
        Case("Lightning", False, 2, "torchrun c10d, two nodes"),
        Case("accelerate", True, 2, "torchrun, local-runner"),
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_job_comes_back_after_the_kill_of_a_rank(case: Case, tmp_path: Path) -> None:
    outcome = Campaign(tmp_path, seed=7, forks=True).endure(case, 0)
    assert outcome.killed_rank >= 0 and outcome.after_step > 0
    assert outcome.good, outcome
    assert outcome.starts == 2, "it was killed, and began once more"
