"""RESTART_OLDER: which checkpoint to go on from, and the command that does it. How much of a run is given up is its user's to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from deploy_place import CHECKPOINTS
from deploy_siblings import call

if TYPE_CHECKING:
    from deploy_place import Place
    from deployment import Ref
    from run_state.record import Run

SHOWN = 5


def how_to_go_back(ref: Ref, place: Place, run: Run) -> dict[str, Any]:
    """`steps`: committed ones older than the newest, newest first; None where they cannot be seen from here."""
    steps = _older_steps(place)
    how = ref.command("resume", "--from-step", str(steps[0]) if steps else "STEP")
    return {"steps": steps, "look": place.checkpoint_list(run), "how": how}


def in_words(older: dict[str, Any]) -> str:
    steps = older["steps"]
    which = (
        f"older checkpoints: step {', '.join(str(each) for each in steps)}"
        if steps
        else "older checkpoints: see " + older["look"]
    )
    return f"{which}; {older['how']} verifies that one, sets the newer ones aside and starts the run"


def _older_steps(place: Place) -> list[int] | None:
    if not (place.run_dir / "checkpoints").is_dir():
        return None
    try:
        rows = call(CHECKPOINTS, ["list", str(place.run_dir), "--json"]).or_raise().data.get("checkpoints")
    except shell.SkillError:
        return None
    good = [row for row in rows or [] if isinstance(row, dict) and isinstance(row.get("step"), int) and not row.get("problem")]
    return [row["step"] for row in good[1 : 1 + SHOWN]]
