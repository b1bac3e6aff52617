"""One look at a run on a cluster: its records on the volume where a pod can read them, else the logs of its pods, in a folder here that
is a run folder to all of monitor's code; and what Kubernetes says beside it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster_run.attempts import event_lines, runner_json
from cluster_run.clock import Clocks, clocks_of, own_clock_note, with_pods_clock
from cluster_run.log_copy import LogCopies
from cluster_run.named import Named
from cluster_run.run import ClusterRun
from cluster_run.run_files import LARGE_BYTES, VolumeCopy, copy_run
from cluster_run.state import nodes_of, state_of
from run_folder.folder import read_runner
from run_folder.lines import Tally, decoded, tail_lines
from run_folder.records import EVENT
from run_view.observe import EVENTS_TAIL_BYTES, STALL_FACTOR, Observation, observe
from run_view.state import RunState

RECORDS = ("runner.json", "runner-spec.json", "steps.jsonl", "events.jsonl")


@dataclass(frozen=True)
class ClusterView:
    run: ClusterRun
    observation: Observation
    clocks: Clocks
    volume: VolumeCopy | None
    logs: LogCopies
    logs_read: bool
    tried: list[str]
    """What was tried in vain, and why it gave nothing."""

    @property
    def has_records(self) -> bool:
        """Whether steps could be read anywhere, had there been any."""
        return self.volume is not None or self.logs_read

    @property
    def complete(self) -> bool:
        return self.logs.complete and (self.volume is None or self.volume.complete)

    @property
    def source(self) -> str:
        """Where the figures come from, in words."""
        parts = [f"{self.volume.folder} through pod {self.volume.pod.name}"] if self.volume else []
        parts += [str(self.logs.words)] if self.logs_read and self.observation.log is not None else []
        return " and ".join(parts) or (str(self.logs.words) if self.logs_read else "nothing")

    def notes(self) -> list[str]:
        found = [own_clock_note(self.clocks)]
        if self.volume is None and self.logs_read:
            found.append(f"read from the {self.logs.words}: {'; '.join(self.tried[:2]) or 'no run folder on a volume'}")
        if self.logs_read and not self.logs.complete and self.observation.log is not None:
            found.append("the log is long: its beginning was not read")
        return [note for note in found if note] + (self.volume.problems if self.volume else [])


class Looker:
    """Looks at one run again and again; what was read stays in `folder`."""

    def __init__(self, named: Named, folder: Path) -> None:
        self.named, self.base = named, folder
        self.cluster = named.connect()
        self.logs: LogCopies | None = None
        self.folder = folder

    def look(self, *, stall_factor: float = STALL_FACTOR, whole_bytes: int = 0, tensorboard: bool = False) -> ClusterView:
        """Raises SkillError as find_run does."""
        run = self.named.found(self.cluster)
        self._begin(run)
        assert self.logs is not None
        self._write_pattern(run)
        clocks = clocks_of(run)
        volume, tried = copy_run(run, self.folder, whole_bytes=whole_bytes, tensorboard=tensorboard)
        if volume is not None:
            clocks = with_pods_clock(clocks, volume.pod, volume.now, volume.asked_s)
        logs_read = False
        if volume is None or not _has_trainers_records(self.folder):
            logs_read = self.logs.refresh(run, _attempts(self.folder), whole=whole_bytes > LARGE_BYTES)
            tried += self.logs.tried
        node = volume.pod.node if volume else self._node_of_logs(run)
        state = state_of(run, read_runner(self.folder)[0] if volume else None, clocks.now)
        if volume is None:
            self._write_records(run, state)
        view = observe(self.folder, now=clocks.at(node), stall_factor=stall_factor)
        view = replace(view, state=state)
        return ClusterView(run, view, clocks, volume, self.logs, logs_read, tried)

    def _begin(self, run: ClusterRun) -> None:
        name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in run.name)[:80].lstrip(".") or "run"
        self.folder = self.base / name
        self.folder.mkdir(exist_ok=True)
        if self.logs is None:
            self.logs = LogCopies(self.folder)
        for record in RECORDS:
            (self.folder / record).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def _write_pattern(self, run: ClusterRun) -> None:
        """Where a run here has the job file's monitor.pattern too."""
        if (pattern := pattern_of(run)) is not None:
            (self.folder / "run.json").write_text(json.dumps({"job": {"monitor": {"pattern": pattern}}}))

    def _node_of_logs(self, run: ClusterRun) -> str | None:
        assert self.logs is not None
        printed = next((pod for pod in run.pods if pod.name == self.logs.pod), run.first_pod)
        return printed.node if printed else None

    def _write_records(self, run: ClusterRun, state: RunState) -> None:
        """As a supervisor here would have written them."""
        assert self.logs is not None
        starts = self.logs.starts
        ended = state.name if state.ended and state.name != "lost" else None
        (self.folder / "events.jsonl").write_bytes(event_lines(starts, ended))
        reason = state.evidence if ended else None
        (self.folder / "runner.json").write_bytes(runner_json(run, starts, state.name, reason, nodes_of(run).restarts))


@contextmanager
def looker_at(named: Named) -> Iterator[Looker]:
    """The copies go when the block ends."""
    with tempfile.TemporaryDirectory(prefix="trainyard-monitor-") as folder:
        yield Looker(named, Path(folder))


def pattern_of(run: ClusterRun) -> str | None:
    """The job file's, as the engine has put it into the pods' environment."""
    containers = [each for pod in run.pods for each in pod.object["spec"].get("containers", []) if each.get("name") == pod.main]
    told = [
        one.get("value") for each in containers for one in each.get("env") or [] if one.get("name") == "TRAINYARD_LOG_PATTERN"
    ]
    return str(told[0]).replace("$$", "$") if told and told[0] else None


def _has_trainers_records(folder: Path) -> bool:
    if (folder / "steps.jsonl").exists():
        return True
    return any(event.source == "trainer" for event in _events(folder))


def _attempts(folder: Path) -> list[tuple[float, int]]:
    """(begin, number) of the attempts that a launcher on the volume has recorded."""
    return sorted(
        (event.time, event.attempt) for event in _events(folder) if event.type == "attempt" and event.attempt is not None
    )


def _events(folder: Path) -> list[Any]:
    return list(decoded(tail_lines(folder / "events.jsonl", EVENTS_TAIL_BYTES, tally := Tally("")), EVENT, tally))
