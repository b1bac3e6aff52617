"""Is the run fit? Each check asks one question of one look at the run folder. Unknown is never healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware.ranks_verb import slow_check_of
from run_health.hang import hang_check, stopped_check
from run_health.losses import loss_check
from run_health.progress import paused_check, progress_check
from run_health.records import clock_check, disk_check, files_check
from run_health.restart import restart_check, skipped_check, trained_check
from run_health.run_state import alive_check, budget_check, run_state_check
from run_health.saves import checkpoint_check, saves_check
from run_health.validation import validation_check

if TYPE_CHECKING:
    from run_health.limits import Limits
    from run_view.observe import Observation
    from trainyard_shell import Check


def health_checks(view: Observation, limits: Limits) -> list[Check]:
    stopped = stopped_check(view)
    return [
        stopped,
        run_state_check(view),
        alive_check(view),
        paused_check(stopped) or progress_check(view, limits),
        hang_check(view),
        slow_check_of(view),
        loss_check(view, limits),
        validation_check(view),
        checkpoint_check(view, limits),
        restart_check(view),
        skipped_check(view),
        trained_check(view),
        saves_check(view),
        budget_check(view),
        files_check(view),
        clock_check(view),
        disk_check(view),
    ]
