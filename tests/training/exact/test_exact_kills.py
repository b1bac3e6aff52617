"""SIGKILL at seeded random wall-clock moments: the run ends bit for bit as the run that nobody disturbed, and leaves nothing.

Each kill is printed with its seed, its victim, the step and the phase that it hit (`pytest -s`, or the captured output).
`make soak` does the same for longer and with every configuration: DDP and FSDP2 on two and four ranks.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.exact.faults import Campaign, Fault
from tests.training.exact.runs import STEPS, Configuration, Run
from tests.training.forking import FULL_STARTS

SEED = 1
# Each kind of moment; sharded state. `make soak` has each victim, and in mid-save more than once.
PLAN = {
    Configuration("fsdp", 2): [
        Fault("one rank", "training"),
        Fault("all ranks", "saving"),
        Fault("supervisor", "any"),
        *([Fault("torchrun", "saving"), Fault("everything", "training")] if FULL_STARTS else []),
    ],
}


@pytest.fixture(scope="module", params=PLAN, ids=str)
def killed(
    request: pytest.FixtureRequest, reference: Callable[[Configuration], Run], tmp_path_factory: pytest.TempPathFactory
) -> Campaign:
    """A run that lived through its kills to the end; a second one where the first was too fast for all of them."""
    campaign = Campaign(reference(request.param), tmp_path_factory.mktemp("killed"), SEED)
    campaign.endure(PLAN[request.param])
    return campaign


def test_a_killed_run_ends_bit_for_bit_like_the_undisturbed_one(
    killed: Campaign, differing: Callable[[Run], list[str]]
) -> None:
    assert [differing(run) for run in killed.runs] == [[] for _ in killed.runs]


def test_every_kill_happened_and_the_one_in_mid_save_hit_a_save(killed: Campaign) -> None:
    plan = PLAN[killed.reference.configuration]
    assert [kill.victim for kill in killed.kills] == [fault.victim for fault in plan]
    phases = [kill.phase for kill, fault in zip(killed.kills, plan, strict=True) if fault.moment == "saving"]
    assert phases and all(phase.startswith("saving") for phase in phases)


def test_a_killed_run_leaves_no_process_lock_shared_memory_or_port(killed: Campaign) -> None:
    for run in killed.runs:
        run.status()
        assert run.leftovers() == []
    assert any(run.sockets for run in killed.runs), "no listening socket was ever seen: the check of ports would prove nothing"


def test_exit_0_comes_with_the_last_step_and_not_before(killed: Campaign) -> None:
    for run in killed.runs:
        exits = [event["exit_code"] for event in run.events("attempt-ended")]
        assert exits[-1] == 0 and 0 not in exits[:-1]
        assert [event["step"] for event in run.events("closed") if event["finished"]][-1] == STEPS


def test_no_restart_goes_back_further_than_to_the_newest_checkpoint(killed: Campaign) -> None:
    for run in killed.runs:
        committed = 0
        for event in run.events("restored", "committed"):
            if event["type"] == "restored":
                assert event["step"] >= committed and event["skipped"] == []
            committed = max(committed, event["step"])


def test_a_kill_costs_one_restart(killed: Campaign) -> None:
    """A restarted rank must not look for the dead ones. A new supervisor counts from 0: its own kills cost nothing more."""
    assert sum(run.record()["restarts"] for run in killed.runs) <= len(killed.kills)
    assert {event["restart_count"] for run in killed.runs for event in run.events("start")} == {0}


def test_the_step_lines_have_no_gap(killed: Campaign) -> None:
    for run in killed.runs:
        steps = [line["step"] for line in run.step_lines()]
        assert all(after <= before + 1 for before, after in itertools.pairwise([0, *steps]))


def test_the_oracle_sees_a_single_bit(
    tmp_path: Path, differing: Callable[[Run], list[str]], reference: Callable[[Configuration], Run]
) -> None:
    """Negative control: what the comparison would say of a run whose last checkpoint differs in one bit."""
    run = reference(next(iter(PLAN)))
    copy = Run(run.configuration, tmp_path / "run")
    shutil.copytree(run.folder, copy.folder)
    shard = sorted((copy.checkpoints / f"step_{STEPS:08d}").glob("*.safetensors"))[-1]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert len(differing(copy)) == 1 and "tensor shard" in differing(copy)[0]
