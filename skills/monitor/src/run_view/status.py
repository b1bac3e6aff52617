"""What `status` and `watch` say, from one look at the run folder."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from run_folder.records import finite, shown
from run_view.hangs import hang_data

if TYPE_CHECKING:
    from log_reading.job_log import JobLog
    from run_folder.lines import Tally
    from run_view.observe import Observation

ALONE = "the log"
"""Source of the state of a log file without a run folder."""
SMOOTHED_OVER = 50
"""Steps: the smoothed loss is their mean."""


def status_data(view: Observation) -> dict[str, Any]:
    """Flat fields first; null means that the folder does not tell."""
    last, total, runner = view.last, view.total_steps, view.runner
    step = last.step if last else None
    data: dict[str, Any] = {
        "name": (runner.name if runner else "") or view.path.resolve().name,
        "state": view.state.name,
        "state_source": view.state.source,
        "state_evidence": view.state.evidence,
        "line": "",
        "step": step,
        "total_steps": total,
        "percent": round(100 * step / total, 1) if total and step is not None else None,
        "loss": shown(last.loss) if last else None,
        "loss_smoothed": _smoothed(view),
        "val_loss": next((shown(line.val_loss) for line in reversed(view.steps) if line.val_loss is not None), None),
        "tokens_per_s": _median([finite(line.tokens_per_s) for line in view.recent]),
        "step_s_median": view.median_step_s,
        "last_step_age_s": view.last_step_age_s,
        "eta_s": _eta_s(view, step),
        "attempts": _attempts(view),
        "restarts": _restarts(view),
        "max_restarts": runner.max_restarts if runner else None,
        "attempt": runner.attempt if runner else None,
        "reason": shell.clean(runner.reason) if runner and runner.reason else None,
        "last_failure": shell.clean(runner.last_failure) if runner and runner.last_failure else None,
        "exit_code": runner.exit_code if runner else None,
        "log": view.log.data() if view.log else None,
        **hang_data(view),
        "last_checkpoint": last_checkpoint(view, step or 0),
    }
    data["line"] = _line(data)
    return data


def last_checkpoint(view: Observation, step: int) -> dict[str, Any] | None:
    """The newest committed step by its name; whether it is intact is not looked at here."""
    found, event = view.checkpoints.steps, view.last_event("committed")
    if found:
        newest, when, source = max(found), found[max(found)], "checkpoints"
    elif event is not None and event.step is not None and view.checkpoints.problem:
        newest, when, source = event.step, event.time, "events.jsonl"
    else:
        return None
    tiers = {name: value for name, value in view.checkpoints.tiers.items() if value not in (None, [])}
    age_s, age_steps = max(0.0, view.now - when), max(0, step - newest)
    return {"step": newest, "age_s": age_s, "age_steps": age_steps, "source": source, "tiers": tiers}


def notes(view: Observation) -> list[str]:
    """What a reader should know about the records themselves."""
    found = [view.runner_problem, *(tally_note(tally) for tally in view.tallies)]
    if not view.steps:
        found.append("no step line yet")
    if view.log is not None:
        found += _log_notes(view.log, alone=view.state.source == ALONE)
    return [note for note in found if note]


def _log_notes(log: JobLog, *, alone: bool) -> list[str]:
    told = f"{'' if alone else 'the trainer writes no steps.jsonl: '}read from {log.file.name}"
    if log.format is None:
        return [
            f"{told}, where none of {log.lines} lines is in a known format (`monitor.pattern` in the job file, or `metrics --pattern`, reads others)"
        ]
    times = [] if log.has_times else ["the log has no times: ages are those of the file, and there is no goodput account"]
    return [f"{told}, format {log.format}", *times, *log.notes]


def tally_note(tally: Tally) -> str | None:
    text = tally.note()
    return f"{text} (first: {tally.first_unreadable})" if text else None


def duration(seconds: float | None) -> str:
    """Seconds for people: 0.35 s, 4.2 s, 3 min 20 s, 5 h 12 min, 3 d 4 h."""
    if seconds is None:
        return "unknown"
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s" if seconds >= 0.0005 else "0 s"
    for unit, size, small, small_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // small_size)} {small}"
    return f"{seconds:.0f} s"


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _smoothed(view: Observation) -> float | None:
    losses = [value for line in view.recent[-SMOOTHED_OVER:] if (value := finite(line.loss)) is not None]
    return statistics.fmean(losses) if losses else None


def _eta_s(view: Observation, step: int | None) -> float | None:
    """By the mean of the last steps, pauses included; only while the run goes on."""
    total, times = view.total_steps, [line.step_s for line in view.recent if line.step_s > 0]
    if not (view.state.name in ("running", "orphaned") or view.state.source == ALONE) or step is None:
        return None
    if not times or not total:
        return _eta_by_log(view.log, total, step) if view.log else None
    return max(0, total - step) * statistics.fmean(times)


def _eta_by_log(log: JobLog, total: int | None, step: int) -> float | None:
    """As the log says itself; else by the mean since the attempt began."""
    if log.eta_s is not None or not total or log.mean_step_s is None:
        return log.eta_s
    return max(0, total - step) * log.mean_step_s


def _attempts(view: Observation) -> int | None:
    if view.runner is not None:
        return view.runner.attempt + 1
    return len({event.attempt for event in view.events if event.type == "attempt"}) or None


def _restarts(view: Observation) -> int | None:
    """The supervisor's count, as every other screen shows it; without one, the incarnations after the first."""
    if view.runner is not None:
        return view.runner.restarts
    incarnations = [event.incarnation for event in view.events if event.incarnation]
    incarnations += [view.last.incarnation] if view.last else []
    return max((number - 1 for number in incarnations), default=None)


def _line(data: dict[str, Any]) -> str:
    """All of it in one sentence."""
    of = f" of {data['total_steps']} ({data['percent']:.0f}%)" if data["percent"] is not None else ""
    paused = " (paused)" if data["paused"] else ""
    where = "no step read yet" if data["step"] is None else f"step {data['step']}{of}"
    parts = [f"{data['state']}{paused}: {where}"]
    if data["loss"] is not None:
        parts.append(f"loss {data['loss']:.3f}" if isinstance(data["loss"], float) else f"loss {data['loss']}")
    if data["eta_s"] is not None:
        parts.append(f"{duration(data['eta_s'])} left")
    checkpoint = data["last_checkpoint"]
    if checkpoint or not data["log"]:  # another trainer's checkpoints are not known here
        parts.append(f"checkpoint at {checkpoint['step']}" if checkpoint else "no checkpoint")
    if data["hangs"]:
        parts.append(f"{data['hangs']} hang{'s' if data['hangs'] > 1 else ''}")
    if data["restarts"]:
        parts.append(f"{data['restarts']} restart{'s' if data['restarts'] > 1 else ''}")
    return ", ".join(parts)
