"""The time line of the report: what the run did when, in rows under each other; positions are percent of the wall time."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from goodput.account import Account, death_of
from goodput.summary import was_stopped
from run_view.status import duration

if TYPE_CHECKING:
    from goodput.history import History

MAX_MARKS = 300
"""A row: of more marks every n-th is drawn."""


@dataclass(frozen=True)
class Mark:
    time: float
    style: str
    text: str


def timeline(history: History, account: Account) -> str:
    rows = [
        ("where the time went", _band(account)),
        ("incarnations", _lives(history, account)),
        ("deaths and restores", _marks(_turns(history), account)),
        ("checkpoints committed", _marks(_saves(history), account)),
    ]
    drawn = "".join(f'<p class="lane">{escape(name)}</p><svg class="row" height="18">{content}</svg>' for name, content in rows)
    return f'<div class="timeline">{drawn}{_scale(account)}</div>'


def _percent(time: float, account: Account) -> float:
    share = (time - account.begin) / account.wall_s if account.wall_s > 0 else 0.0
    return 100 * min(1.0, max(0.0, share))


def _bar(start: float, end: float, style: str, text: str, account: Account) -> str:
    left, right = _percent(start, account), _percent(end, account)
    width = max(right - left, 0.1)
    return f'<rect class="{style}" x="{left:.3f}%" width="{width:.3f}%" y="1" height="16"><title>{escape(text)}</title></rect>'


def _band(account: Account) -> str:
    """Rare kinds last, so that a short stall is not painted over by its neighbours' minimum width."""
    text = "{} {} from +{}"
    ordered = sorted(account.segments, key=lambda segment: segment[2] != "productive")
    return "".join(
        _bar(a, b, f"k-{kind}", text.format(kind, duration(b - a), duration(a - account.begin)), account)
        for a, b, kind in ordered
    )


def _lives(history: History, account: Account) -> str:
    bars = []
    for index, life in enumerate(history.lives[-MAX_MARKS:]):
        text = f"incarnation {life.incarnation}, attempt {life.attempt}"
        bars.append(_bar(life.began, max(life.last_sign, life.began), f"life{index % 2}", text, account))
    return "".join(bars)


def _turns(history: History) -> list[Mark]:
    marks = []
    for index, life in enumerate(history.lives):
        following = history.lives[index + 1] if index + 1 < len(history.lives) else None
        death = death_of(history, life, following)
        if death is not None and not was_stopped(history, life, following):
            marks.append(Mark(death, "death", f"incarnation {life.incarnation} died"))
        if life.restored is not None and life.restored_step:
            marks.append(Mark(life.restored, "restore", f"restored step {life.restored_step}"))
    stops = [Mark(event.time, "stop", "stop requested") for event in history.of_type("stop-requested")]
    stops += [Mark(event.time, "stop", str(event.reason)[:300]) for event in history.of_type("hang", "paused")]
    return marks + stops


def _saves(history: History) -> list[Mark]:
    good = [Mark(event.time, "commit", f"step {event.step} committed") for event in history.of_type("committed")]
    bad = [
        Mark(event.time, "death", f"{event.type} at step {event.step}") for event in history.of_type("save-failed", "rejected")
    ]
    return good + bad


def _marks(marks: list[Mark], account: Account) -> str:
    every = -(-len(marks) // MAX_MARKS) or 1
    return "".join(
        f'<svg x="{_percent(mark.time, account):.3f}%" overflow="visible"><path class="m-{mark.style}" d="{SHAPES[mark.style]}">'
        f"<title>{escape(mark.text)}</title></path></svg>"
        for index, mark in enumerate(marks)
        if index % every == 0 or mark.style != "commit"
    )


SHAPES = {
    "death": "M-5 4L5 14M-5 14L5 4",
    "restore": "M-5 14L0 4L5 14Z",
    "stop": "M-4 5H4V13H-4Z",
    "commit": "M0 3V15",
}


def _scale(account: Account) -> str:
    spots = [(share, duration(account.wall_s * share / 100)) for share in (0, 25, 50, 75, 100)]
    return '<div class="x">' + "".join(f'<span style="left:{share}%">{text}</span>' for share, text in spots) + "</div>"
