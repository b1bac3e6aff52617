"""Every example, killed with SIGKILL at seeded random moments and in mid-save, ends bit for bit like the run that nobody disturbed.

Dropout, shuffling and gradient accumulation are on. Each kill is printed with its seed, the step and what it hit (`pytest -s`).
"""

from __future__ import annotations

import itertools

import pytest

from tests.training.examples.campaigns import Campaign, require_libraries
from tests.training.examples.nursery import Nursery
from tests.training.examples.outcomes import differing, trained_on
from tests.training.examples.trials import ROLLING_STEPS, STEPS, Example, example, variant

SEED = 1
INTERRUPTIONS = {
    example("plain_loop"): ("kill", "save"),
    example("plain_loop", 2): ("kill",),
    example("accelerate_loop", 2): ("kill", "stop"),
    example("huggingface_trainer"): ("kill", "save"),
    example("huggingface_trainer", 2): ("save",),
    variant("huggingface-early-stopping", "huggingface_trainer"): ("kill",),
    example("lightning_trainer"): ("kill", "save"),
    example("lightning_trainer", 2): ("stop",),
    variant("lightning-by-epochs", "lightning_trainer"): ("kill", "kill"),
    variant("lightning-with-hooks", "lightning_trainer"): ("kill", "kill"),
    example("dcp_user", 2): ("kill", "save"),
}
EARLIEST = {example("huggingface_trainer", 2): 15}
"""In the second epoch, whose order is another: what is skipped must be skipped in that one, on both ranks."""
EPOCH_OF_ELEVEN = [4] * 10 + [2]
EPOCH_OF_TEN = [4] * 9 + [2]
"""Samples a rank is given in each step of an epoch: 21 batches of two on each of two ranks, two batches a step."""


def samples_per_step(example: Example) -> list[int]:
    """What one rank is trained on in each step."""
    of_libraries = example.kind in ("huggingface_trainer", "lightning_trainer")
    one_epoch = EPOCH_OF_ELEVEN if of_libraries and example.ranks == 2 else [4]
    one_epoch = EPOCH_OF_TEN if example.words == ("lightning-with-hooks",) else one_epoch
    return list(itertools.islice(itertools.cycle(one_epoch), STEPS))


@pytest.fixture(scope="module", params=INTERRUPTIONS, ids=str)
def campaign(request: pytest.FixtureRequest, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    require_libraries(request.param.kind)
    campaign = Campaign(nursery, request.param, tmp_path_factory.mktemp("example"), SEED)
    campaign.reference.finish_well()
    campaign.endure(*INTERRUPTIONS[request.param], earliest=EARLIEST.get(request.param, ROLLING_STEPS))
    return campaign


def test_a_killed_run_ends_bit_for_bit_like_the_undisturbed_one(campaign: Campaign) -> None:
    assert differing(campaign.run, campaign.reference) == []


def test_no_sample_is_lost_or_seen_twice(campaign: Campaign) -> None:
    counts, ranks = samples_per_step(campaign.example), range(campaign.example.ranks)
    expected = [trained_on(campaign.reference, rank, counts) for rank in ranks]
    assert [trained_on(campaign.run, rank, counts) for rank in ranks] == expected
    first_epoch = [sample for rank in ranks for sample in expected[rank][: sum(counts[:9])]]  # or most of it
    assert len(set(first_epoch)) == len(first_epoch) == 36 * len(ranks)


def test_the_interruptions_happened_and_the_run_went_on_from_a_checkpoint(campaign: Campaign) -> None:
    assert tuple(what for what, _ in campaign.told) == INTERRUPTIONS[campaign.example]
    begun = campaign.run.restored_steps()
    assert begun[0] == 0 and all(0 < step < STEPS for step in begun[1:])
    assert campaign.reference.restored_steps() == [0]


def test_the_step_records_are_whole(campaign: Campaign) -> None:
    steps = campaign.run.steps_told()
    assert all(after <= before + 1 for before, after in itertools.pairwise([0, *steps])) and steps[-1] == STEPS
    last = campaign.run.records()[-1]
    assert last["loss"] > 0 and last["lr"] >= 0
    evaluates = campaign.example.kind in ("huggingface_trainer", "lightning_trainer")
    assert evaluates == any("val_loss" in record for record in campaign.run.records())
