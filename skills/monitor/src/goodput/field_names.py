"""The account under the names that the field uses (ml-goodput-measurement), adding up to the same wall time.

| name | what is booked |
|---|---|
| productive | steps that still count, without what is below |
| accelerator_init | null: nothing tells it from the program's start, in which it is contained |
| program_startup | starting |
| data_loading | null: no record tells it, so it is contained in productive |
| checkpoint_save, checkpoint_restore | saving, restoring |
| evaluation | of steps with a validation loss, what they took beyond the median step; a part of productive before |
| wasted_progress | repeated |
| disruption | down and stalled |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from goodput.account import Account
    from goodput.history import History

FROM = {
    "program_startup": ("starting",),
    "checkpoint_save": ("saving",),
    "checkpoint_restore": ("restoring",),
    "wasted_progress": ("repeated",),
    "disruption": ("down", "stalled"),
}


def categories(history: History, account: Account) -> dict[str, float | None]:
    """Seconds by name; what is not null adds up to `account.wall_s`."""
    parts = account.parts
    evaluation = min(parts["productive"], _evaluation_s(history, account.stall_limit_s))
    named: dict[str, float | None] = {name: sum(parts[part] for part in own) for name, own in FROM.items()}
    return {
        "productive": parts["productive"] - evaluation,
        "accelerator_init": None,
        "data_loading": None,
        "evaluation": evaluation,
        **named,
    }


def _evaluation_s(history: History, stall_limit_s: float) -> float:
    """A step that was undone is wasted with its evaluation; what lies beyond the stall limit is booked as stalled."""
    steps, usual_s = history.steps, history.steps.median_step_s or 0.0
    rows = {row for row, _ in steps.val_loss if not steps.undone[row]}
    spent = (min(steps.step_s[row] - steps.blocked_s[row], stall_limit_s) - usual_s for row in rows)
    return sum(max(0.0, seconds) for seconds in spent)
