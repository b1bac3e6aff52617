"""A run that hangs and that nobody ends: its runner only reports it, or nobody but its log shows it. Then the doctor is asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trainyard_shell as shell
from healing.told import Told, ask_doctor

if TYPE_CHECKING:
    from deploy_place import Look, Place
    from run_state.record import Run

CHECK = "run.hung"
EVERY_S = 300.0
"""Between two questions to the doctor about one silence: it reads all logs of the run."""
UNPROVEN = ("none", "unknown", "hang-unknown")


class Hanging:
    """Looks at one start of a run."""

    def __init__(self, place: Place, run: Run) -> None:
        self._place, self._run = place, run
        self._asked: float | None = None
        self.told: Told | None = None
        """The doctor's answer, once a hang is certain."""

    def __call__(self, look: Look) -> shell.Check | None:
        """The check that ends the watch; None while it works, or nobody knows."""
        seen = self._place.hangs(self._run, look)
        if seen is None or (self._asked is not None and time.monotonic() - self._asked < EVERY_S):
            return None
        self._asked = time.monotonic()
        try:
            told = ask_doctor(self._place, self._run, look.status["state"])
        except shell.SkillError as error:
            shell.progress(f"it looks as if it hung, and the doctor did not answer: {error}")
            return None
        if told.root.get("cause") in UNPROVEN and not self._place.sees_hangs:
            shell.progress(f"no step for long, and the doctor finds no reason: {seen}")
            return None
        self.told = told
        return shell.Check(CHECK, "fail", f"it hangs, and nobody ends it: {shell.clean(seen, 300)}; {told.sentence()}")
