"""`ranks`: is one of them slow? For a run folder of this machine, or one that lies on a shared file system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trainyard_shell as shell
from hardware.net_sources import recorded
from hardware.slow_ranks import in_health, pace_of, slow_check
from run_folder.folder import open_run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from run_view.observe import Observation
    from trainyard_shell import Check


def ranks_result(run_dir: str, factor: float) -> shell.Result:
    return ranks_in(open_run_folder(run_dir), factor)


def ranks_in(folder: Path, factor: float) -> shell.Result:
    world, _ = recorded(folder)
    pace = pace_of(folder, world, factor)
    return shell.Result({"world_size": world, **pace.data()}, [slow_check(pace, world)])


def slow_check_of(view: Observation) -> Check:
    """For `health`."""
    world = next((event.world_size for event in reversed(view.events) if event.type == "start"), None)
    count = world if isinstance(world, int) else None
    return in_health(slow_check(pace_of(view.path, count), count, ended=view.state.ended))
