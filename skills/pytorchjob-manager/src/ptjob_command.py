"""From the command as written to the words of the container: `torchrun` stands for the launcher of the engine, and any other command
is a program that is watched over in its pod (assets/program.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trainyard_shell as shell
from trainyard_launchers import TORCHRUN, LauncherError

LAUNCH = ["python3", "-m", "trainyard.launch"]
"""One in every pod: starts the ranks, and starts them again in all pods when one fails."""
PROGRAM = Path(__file__).resolve().parent.parent / "assets" / "program.py"
HINTS = {
    "--nproc-per-node": "--procs N, before the --",
    "--nnodes": "--nodes N, before the --",
    "--max-restarts": "--max-restarts N, before the --",
    "--shutdown-timeout": "--grace-s S, before the --",
}
"""Where what an option of torchrun decides is said instead."""


@dataclass(frozen=True)
class Command:
    launched: bool
    rest: list[str]
    """What follows the launcher's name; the whole command where there is no launcher."""

    def words(self, launcher: list[str]) -> list[str]:
        """Of a PyTorchJob's container. A plain program gets a watcher in its pod, which counts: the operator makes a pod anew without end (20 in a
        minute; 1.9.4 counts failed pods against a backoffLimit of 0 only, and restarted containers under OnFailure only, where it
        deletes the pod, and with it the cause, as it fails the job)."""
        return [*launcher, *self.rest] if self.launched else ["python3", "-c", PROGRAM.read_text("utf-8"), *self.rest]


def understand(words: Sequence[str], nodes: int, procs: int) -> Command:
    """Raises SkillError usage: topology in the command, or a plain command for more than one process."""
    if words[:1] == ("torchrun",) or words[:1] == ["torchrun"]:
        return _launched(list(words[1:]))
    if list(words[:3]) in (["python", *LAUNCH[1:]], LAUNCH):
        return _launched(list(words[3:]))
    if nodes * procs > 1:
        message = f"{shell.clean(words[0], 60)!r} starts one process, and this job has {nodes} x {procs}"
        raise shell.SkillError("usage", message, hint="-- torchrun SCRIPT ARGS...; or --nodes 1 --procs 1")
    return Command(False, list(words))


def _launched(rest: list[str]) -> Command:
    try:
        TORCHRUN.script_position(rest)
    except LauncherError as error:
        if error.decides:
            hint = HINTS.get(TORCHRUN.option(error.option), "leave it out: the operator says where the pods meet")
            message = f"{error.option} in the command: the topology comes from outside"
            raise shell.SkillError("usage", message, hint=hint) from error
        hint = f"it may mean {', '.join(error.meant)}" if error.meant else "-- torchrun train.py --steps 400"
        raise shell.SkillError("usage", str(error), hint=hint) from error
    return Command(True, rest)
