"""The report: one HTML file that needs nothing else. Everything that came from a log is escaped."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from goodput.account import KINDS, Account, death_of
from goodput.summary import end_of
from run_folder.records import words
from run_report.curves import curves
from run_report.facts import how_it_failed, what_was_run
from run_report.given import given_plots
from run_report.timeline import timeline
from run_view.status import duration
from trainyard_shell import clean

if TYPE_CHECKING:
    from goodput.history import History
    from run_folder.records import EventLine
    from run_view.observe import Observation

TEMPLATE = Path(__file__).resolve().parents[2] / "assets" / "report.html"
MAX_EVENTS = 150
QUIET = ("snapshot", "committed", "removed", "training")
"""Events of every save: too many for the table, and drawn on the time line."""
BADGES = {"finished": "good", "running": "good", "failed": "bad", "lost": "bad", "orphaned": "bad"}
DETAILS = (
    *("incarnation", "attempt", "step", "steps", "seconds", "exit_code", "world_size", "total_steps", "state", "finished"),
    *("signal", "by", "reason", "reasons", "error", "tensors", "skipped", "delay_s"),
)
MARKS = (
    "Crosses: a death, or a save that was lost. Triangles: a checkpoint was restored. Squares: a stop was requested. Colours of the first "
    "row as in the table above."
)
MEANINGS = {
    "productive": "steps that still count, and what lies between them",
    "starting": "the first launch; a process until it begins to restore; from restored to the first step's begin",
    "saving": "a snapshot held the loop, or the script waited for its last checkpoint before it closed",
    "restoring": "reading and verifying a checkpoint",
    "repeated": "steps undone by going on from an older checkpoint, and the unfinished step of a death",
    "stalled": "the part of a pause beyond the stall limit",
    "down": "no process trains: after a death or a stop, and while the launcher ends",
}


def render(
    view: Observation, history: History, account: Account | None, summary: dict[str, Any], notes: list[str], stall_factor: float
) -> str:
    name = (view.runner.name if view.runner else "") or view.path.resolve().name
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=escape(clean(name, 120)),
        state=escape(view.state.name),
        state_class=BADGES.get(view.state.name, "open"),
        subtitle=escape(_subtitle(view)),
        tiles=_tiles(view, summary),
        notes="".join(f'<p class="warning">{escape(clean(note, 400))}</p>' for note in notes),
        times=_times(history, account, stall_factor),
        failed=how_it_failed(view),
        run=what_was_run(view),
        curves=curves(history) + given_plots(view.path, history),
        lives=_life_rows(history, account),
        events=_event_rows(history, account),
    )


def _subtitle(view: Observation) -> str:
    parts = [f"as of {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(view.now))}"]
    parts += [f"run id {view.runner.run_id}"] if view.runner else []
    return ", ".join([*parts, clean(view.state.evidence, 160)])


def _times(history: History, account: Account | None, stall_factor: float) -> str:
    note = f'<p class="note">{escape(_account_note(history, account, stall_factor))}</p>'
    if account is None:
        return f"<section><h2>Where the time went</h2>{note}</section>"
    table = f'<table class="account"><tbody>{_account_rows(account)}</tbody></table>'
    went = f'<section><h2>Where the time went</h2><div class="bar">{_bar(account)}</div>{table}{note}</section>'
    return f'{went}<section><h2>Time line</h2>{timeline(history, account)}<p class="note">{MARKS}</p></section>'


def _tiles(view: Observation, summary: dict[str, Any]) -> str:
    """Where a log has no times, what the runner knows: how long it ran, and how often it was started again."""
    runner = view.runner
    wall_s, restarts = summary["wall_s"], summary["kills_survived"]
    if wall_s is None and runner is not None and runner.started is not None:
        wall_s = max(0.0, (runner.ended or view.now) - runner.started)
    if restarts is None and runner is not None:
        restarts = runner.restarts
    of = f" of {summary['total_steps']:,}" if summary["total_steps"] else ""
    delays = summary["death_to_new_step_s"]
    kills = "unknown" if restarts is None else str(restarts)
    tiles = [
        ("steps", f"{summary['steps']:,}{of}"),
        ("loss, first to last", f"{_loss(summary['first_loss'])} → {_loss(summary['last_loss'])}"),
        ("goodput", _share(summary["goodput"])),
        ("wall time", duration(wall_s)),
        ("failures survived", kills),
        ("steps repeated", f"{summary['steps_repeated']:,}"),
        ("death to new step, longest", duration(max(delays)) if delays else "none" if kills == "0" else "unknown"),
    ]
    return "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in tiles)


def _loss(value: float | str | None) -> str:
    return "?" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f}%"


def _bar(account: Account) -> str:
    parts = [(kind, account.parts[kind] / account.wall_s) for kind in KINDS if account.wall_s > 0 and account.parts[kind] > 0]
    return "".join(
        f'<span class="b-{kind}" style="width:{100 * share:.3f}%" title="{kind} {100 * share:.1f}%"></span>'
        for kind, share in parts
    )


def _account_rows(account: Account) -> str:
    rows = [
        f'<tr><th scope="row"><i class="b-{kind}"></i>{kind}</th><td class="n">{duration(account.parts[kind])}</td>'
        f'<td class="n">{_share(account.parts[kind] / account.wall_s if account.wall_s > 0 else None)}</td>'
        f'<td class="meaning">{MEANINGS[kind]}</td></tr>'
        for kind in KINDS
    ]
    total = f'<tr class="total"><th scope="row">wall time</th><td class="n">{duration(account.wall_s)}</td><td class="n">100.0%</td><td></td></tr>'
    return "".join(rows) + total


def _account_note(history: History, account: Account | None, stall_factor: float) -> str:
    if account is None:
        return (
            "Unknown: the log has no times that could be used."
            if history.log and len(history.steps)
            else "Unknown: nothing has happened yet."
        )
    from_log = "From the times in the log, which does not tell saves and restores: they are in the other parts. "
    return (from_log if history.log else "") + (
        f"Goodput is productive time divided by wall time. The stall limit is {stall_factor:g} median step times, here "
        f"{duration(account.stall_limit_s)}. The parts add up to the wall time."
    )


def _since(moment: float | None, account: Account | None) -> str:
    return "" if moment is None or account is None else f"+{duration(max(0.0, moment - account.begin))}"


def _life_rows(history: History, account: Account | None) -> str:
    rows = []
    for index, life in enumerate(history.lives):
        following = history.lives[index + 1] if index + 1 < len(history.lives) else None
        first, end = life.rows
        wrote = f"{history.steps.step[first]:,} to {history.steps.step[end - 1]:,}" if end > first else "none"
        ended = end_of(history, life, following) or "no end recorded"
        if ended == "died":
            ended = f"died {_since(death_of(history, life, following), account)}".strip()
        restored = "" if life.restored_step is None else str(life.restored_step)
        cells = [
            life.incarnation,
            "" if life.attempt is None else life.attempt,
            _since(life.began, account),
            restored,
            wrote,
            ended,
        ]
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return "".join(rows[-MAX_EVENTS:])


def _event_rows(history: History, account: Account | None) -> str:
    told = [event for event in history.events if event.type not in QUIET]
    rows = [
        f'<tr><td class="n">{_since(event.time, account)}</td><td>{escape(clean(event.type, 40))}</td>'
        f'<td class="text">{escape(clean(_details(event), 300))}</td></tr>'
        for event in told[-MAX_EVENTS:]
    ]
    left = len(told) - len(rows)
    return (f'<tr><td></td><td colspan="2">{left} earlier events are in events.jsonl</td></tr>' if left else "") + "".join(rows)


def _details(event: EventLine) -> str:
    """The fields that its type has, as text."""
    values = [(name, getattr(event, name)) for name in DETAILS]
    return ", ".join(f"{name} {words(value)}" for name, value in values if value not in (None, [], ""))
