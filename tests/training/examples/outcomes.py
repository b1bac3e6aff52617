"""What a finished run of an example came to, and the samples that it was trained on."""

from __future__ import annotations

import itertools
import json
from typing import Any

from tests.training.exact.oracle import Outcome, differences, outcome_of
from tests.training.examples.trials import STEPS, Trial


def differing(run: Trial, reference: Trial) -> list[str]:
    """In what the two ended differently: parameters, optimizer, schedule, RNG, trainer's state, each step's record; [] is nothing."""
    return differences(_outcome(run), _outcome(reference))


def _outcome(run: Trial) -> Outcome:
    outcome = outcome_of(run.folder, STEPS)
    trainer = outcome.state["shared"]["objects"].get("trainer")
    if trainer is not None:
        trainer["log_history"] = _without_timing(json.loads(trainer["log_history"], parse_float=str))
    return outcome


def _without_timing(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the Trainer's log, what two runs can have in common; its last entry sums up the last start only."""
    entries = [entry for entry in history if "train_runtime" not in entry]
    return [
        {name: value for name, value in entry.items() if not name.endswith(("_runtime", "_per_second"))} for entry in entries
    ]


def trained_on(run: Trial, rank: int, samples_per_step: list[int]) -> list[int]:
    """The samples behind the steps that count: of each start those up to the step that the next one began from.

    What a start read beyond that was for steps that were lost with it, or read ahead.
    """
    begins = [*run.restored_steps(), STEPS]
    counts = [sum(samples_per_step[before:after]) for before, after in itertools.pairwise(begins)]
    return [sample for read, count in zip(run.seen(rank), counts, strict=True) for sample in read[:count]]
