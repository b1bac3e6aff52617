"""RESTART_OLDER: which checkpoint to go on from, and how. Nothing in the runtime chooses one from outside, so nobody does it unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from deploy_siblings import call

if TYPE_CHECKING:
    from deploy_place import Place
    from run_state.record import Run

LIST = ("checkpoint-manager", "manage_checkpoints.py")
SHOWN = 5


def how_to_go_back(place: Place, run: Run) -> dict[str, Any]:
    """`steps`: committed ones older than the newest, newest first; None where they cannot be seen from here."""
    steps, look = _older_steps(place), place.checkpoint_list(run)
    wanted = str(steps[0]) if steps else "STEP"
    how = f"restore('step:{wanted}') in the script instead of restore(), then resume; it holds for that start, restarts after it take the newest"
    return {"steps": steps, "look": look, "how": how}


def in_words(older: dict[str, Any]) -> str:
    steps = older["steps"]
    which = (
        f"older checkpoints: step {', '.join(str(each) for each in steps)}"
        if steps
        else "older checkpoints: see " + older["look"]
    )
    return f"{which}; {older['how']}"


def _older_steps(place: Place) -> list[int] | None:
    if not (place.run_dir / "checkpoints").is_dir():
        return None
    try:
        rows = call(LIST, ["list", str(place.run_dir), "--json"]).or_raise().data.get("checkpoints")
    except shell.SkillError:
        return None
    good = [row for row in rows or [] if isinstance(row, dict) and isinstance(row.get("step"), int) and not row.get("problem")]
    return [row["step"] for row in good[1 : 1 + SHOWN]]
