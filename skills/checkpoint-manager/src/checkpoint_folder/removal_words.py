"""Why a name stays or may go, in words: what its tiers stand for, and whose a temporary folder is."""

from __future__ import annotations

import trainyard_shell as shell
from checkpoint_folder.holder import Holder
from checkpoint_folder.look import CheckpointFolder
from checkpoint_folder.words import shown
from checkpoint_format import Entry
from checkpoint_names import incarnation_inside


def said(tier: str, entry: Entry) -> str:
    """A tier's name, and what it stands for in this step."""
    manifest = entry.manifest or {}
    loss = manifest.get("val_loss")
    return {
        "best": f"best (validation loss {loss:g})" if isinstance(loss, int | float) else "best",
        "epoch": f"epoch (the end of epoch {manifest.get('epoch')})",
        "rolling": "rolling (one of the newest that are kept)",
        "final": "final (the last step of a finished training)",
    }.get(tier, tier)


def whose_temporary(name: str, holder: Holder) -> str:
    """Which save or removal left a folder, and whether its run lives, as far as the lock tells."""
    incarnation = incarnation_inside(name)
    run = f"run {shown(holder.run_id, 40)}" if holder.run_id else "a run that no lock.json names"
    state = {
        "alive": f"process {holder.pid} lives",
        "gone": f"process {holder.pid} is gone",
        "closed": "it has ended",
        "elsewhere": f"it is not known here whether process {holder.pid} on {shown(holder.host or '?', 60)} still runs",
    }.get(holder.state, "whether it lives is not known")
    if incarnation is None:
        return f"left by a removal of {run}; {state}"
    if holder.incarnation is None or incarnation == holder.incarnation:
        doing = "being written by" if holder.state == "alive" else "left by a save of"
        return f"{doing} {run}, incarnation {incarnation}; {state}"
    if incarnation < holder.incarnation:
        return (
            f"left by a save of {run}, incarnation {incarnation}, which is dead: incarnation {holder.incarnation} followed it"
        )
    return f"a save of incarnation {incarnation}, later than the lock's {holder.incarnation}: not by {run}, per lock.json"


def best_check(folder: CheckpointFolder, best: int | None) -> list[shell.Check]:
    """`best` is what the run says; it should be the least validation loss that is there."""
    losses = {entry.step: entry.manifest["val_loss"] for entry in folder.committed if entry.manifest}
    scored = {step: loss for step, loss in losses.items() if loss is not None and loss == loss}
    if not scored or best is None:
        return []
    least = min(scored, key=lambda step: (scored[step], step))
    mine = losses.get(best)
    if best == least or mine == scored[least]:
        return []
    told = "has no validation loss that can be read" if mine is None else f"has the validation loss {mine:g}"
    words = f"best is step {best}, which {told}; step {least} has the least, {scored[least]:g}"
    fix = f"best stays as tiers.json says; keep step {least} too if you want the least loss: restore('step:{least}') takes it"
    return [shell.Check("prune.best", "warn", words, None, fix)]
