"""Where a restart begins: what a death would cost now, and what past restarts did cost.

A trainer with Trainyard's lines records where it went on. Of another one only the logs of its attempts tell: an attempt whose
first step is no later than the first step of all went back to the beginning.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from log_reading.reader import LogMetrics, read_log
from log_reading.source import job_logs
from run_folder.folder import log_pattern
from run_folder.records import words
from run_health.losses import more_often
from run_view.status import last_checkpoint
from trainyard_shell import Check, clean

if TYPE_CHECKING:
    from pathlib import Path

    from run_view.observe import Observation

END_BYTES = 256 << 10
"""Of each end of an attempt's log: enough for its first and its last step line."""
LOGS_READ = 20
ITS_OWN = "give the script Trainyard's lines, or start it with its own option that resumes"


@dataclass(frozen=True)
class RestartPoint:
    """`step`: where a restart would begin; None where only the script itself can know."""

    step: int | None
    done: int
    """The last step that was written."""
    from_zero: int = 0
    """Restarts that began again at step 0."""
    resumed_at: int | None = None
    """First step of the newest attempt that went on by means of the script's own."""
    is_read: bool = True
    """Whether a step was found in any log of a trainer without records."""

    def data(self) -> dict[str, Any]:
        return {"step": self.step, "restarts_from_step_0": self.from_zero}


def restart_point(view: Observation) -> RestartPoint:
    done = view.last.step if view.last else 0
    if view.log is not None:
        return _of_logs(view, done)
    newest = last_checkpoint(view, done)
    return RestartPoint(newest["step"] if newest else 0, done, _restored_nothing(view))


def _restored_nothing(view: Observation) -> int:
    """Starts that found nothing to restore although steps had been done before. `restore("none")` is a wish."""
    first = view.first.incarnation if view.first else None
    return sum(
        event.type == "restored" and event.step == 0 and event.requested != "none"
        for event in view.events
        if first is not None and (event.incarnation or 1) > first
    )


def _of_logs(view: Observation, done: int) -> RestartPoint:
    pattern = log_pattern(view.path)
    spans = [span for log in job_logs(view.path, view.runner)[-LOGS_READ:] if (span := _span(log, pattern))]
    from_zero, resumed_at = 0, None
    for (first, _), (_, reached) in zip(spans[1:], spans, strict=False):
        from_zero += first <= spans[0][0] < reached
        resumed_at = first if first > spans[0][0] else None
    return RestartPoint(None, done, from_zero, resumed_at, is_read=bool(spans))


def _span(log: Path, pattern: str | None) -> tuple[int, int] | None:
    """(first, last step) that the log of one attempt names; None where it names none."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(END_BYTES)
            file.seek(max(0, size - END_BYTES))
            tail = file.read(END_BYTES)
    except OSError:
        return None
    first, last = _steps(head, b"", pattern), _steps(tail if size <= END_BYTES else _whole_lines(tail), head, pattern)
    return (first[0], last[-1]) if first and last else None


def _whole_lines(tail: bytes) -> bytes:
    return tail.replace(b"\r", b"\n").partition(b"\n")[2]


def _steps(part: bytes, head: bytes, pattern: str | None) -> list[int]:
    found: LogMetrics = read_log(io.BytesIO(part), pattern=pattern, growing=True, head=head)
    return [] if found.table.step_source == "order" else list(found.table.step)


def restart_check(view: Observation) -> Check:
    """Warns where a restart began at step 0, or would."""
    name, point = "restart.point", restart_point(view)
    if point.from_zero:
        often = "1 restart" if point.from_zero == 1 else f"{point.from_zero} restarts"
        fix = ITS_OWN if view.log else more_often(view)
        return Check(name, "warn", f"{often} began again at step 0; what was done before was lost", _evidence(view), fix)
    if not point.is_read and view.runner is not None and view.runner.restarts:
        return _of_unread_steps(view.runner.restarts, view)
    if not point.done:
        return Check(name, "skipped", "no training step was written, so a restart loses none")
    if view.log is not None:
        return _of_another_trainer(point, view)
    if view.state.name == "finished":
        return _of_a_finished_run(view)
    if not point.step:
        unless = "unless the script saves and resumes by itself, a restart begins at step 0"
        text = f"no checkpoint is recorded: {unless} and repeats {point.done} steps"
        return Check(name, "warn", text, _evidence(view), more_often(view))
    return Check(name, "pass", f"a restart goes on from step {point.step}", f"the last step is {point.done}")


def skipped_check(view: Observation) -> Check:
    """A restore goes past damaged steps without a stop, so somebody has to hear of it."""
    name, last = "restore.skipped", view.last_event("restored")
    if last is None:
        return Check(name, "skipped", "nothing was restored yet")
    found = last.skipped if isinstance(last.skipped, list) else []
    if not found:
        return Check(name, "pass", "the last restore skipped no step")
    steps = ", ".join(str(each.get("step")) for each in found[:8] if isinstance(each, dict))
    began = f"the run went on from step {last.step}" if last.step else "the run began again at step 0"
    text = clean(f"the last restore skipped step {steps}, which is damaged: {began}", 300)
    fix = "look at that disk or volume; checkpoint-manager's verify says whether the other steps are intact"
    return Check(name, "warn", text, clean(words(found), 300), fix)


def goes_on(view: Observation) -> str:
    """What a resumed run will do, in words that hold for this one."""
    point = restart_point(view)
    if point.step:
        return f"it goes on from its newest checkpoint, step {point.step}"
    if point.step is None:
        return "it begins again at step 0, unless the script resumes by itself: no checkpoint of it is known here"
    return "it begins again at step 0: nothing that was saved is known here"


def _of_another_trainer(point: RestartPoint, view: Observation) -> Check:
    name, would = "restart.point", "would have begun" if view.state.ended else "begins"
    if point.resumed_at is not None:
        return Check(name, "pass", f"the last restart went on at step {point.resumed_at}, by the script's own means")
    text = f"no checkpoint of the script is known here: a restart {would} at step 0, unless the script resumes by itself"
    return Check(name, "warn", text, _evidence(view), ITS_OWN)


def _of_unread_steps(restarts: int, view: Observation) -> Check:
    """The script may have trained for days and said nothing that is known as a step."""
    often = "1 restart" if restarts == 1 else f"{restarts} restarts"
    text = f"{often}, and no step can be read in the logs: whether training began again at step 0 is not known"
    return Check("restart.point", "warn", text, _evidence(view), ITS_OWN)


def _of_a_finished_run(view: Observation) -> Check:
    name, commits = "restart.point", [event for event in view.events if event.type == "committed"]
    if commits and all(event.reasons == ["final"] for event in commits):
        text = "nothing was saved before the end: a death at any step would have begun again at step 0"
        return Check(name, "warn", text, f"the only save is that of the last step, {commits[-1].step}", more_often(view))
    if not commits and not view.checkpoints.steps:
        return Check(name, "warn", "the run finished and saved nothing", _evidence(view), more_often(view))
    return Check(name, "pass", "the run is finished, and was saved on its way")


def trained_check(view: Observation) -> Check:
    """Exit code 0 says that a program ended well, and not that it trained."""
    name = "run.trained"
    if view.state.name != "finished":
        return Check(name, "skipped", view.state.told)
    if view.last is not None:
        return Check(name, "pass", f"it reached step {view.last.step}")
    fix = "read its log: too few devices, no data, or a program that went on in the background?"
    read = f"none of the {view.log.lines} lines of {view.log.file.name} is a step" if view.log else "no step line was written"
    return Check(name, "warn", "it exited with 0, and no training step can be seen", read, fix)


def restart_warnings(view: Observation) -> list[str]:
    """What a restart costs, and whether anything was trained, in words; [] where all is well."""
    checks = [restart_check(view), trained_check(view)]
    return [check.summary for check in checks if check.status == "warn"]


def _evidence(view: Observation) -> str:
    if view.log is not None:
        return f"read from {view.log.file.name}"
    return view.checkpoints.problem or "no step folder with a manifest"
