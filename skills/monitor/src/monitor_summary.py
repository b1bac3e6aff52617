"""The summary of a run: a few figures under stable names, for the deployer's demo and for anybody's script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goodput_account import Account, death_of
from monitor_records import shown

if TYPE_CHECKING:
    from goodput_history import History, Life


def was_stopped(history: History, life: Life, following: Life | None) -> bool:
    """A life that closed, or that somebody asked to stop, was not killed."""
    until = following.began if following else float("inf")
    asked = any(life.began < event.time <= until for event in history.of_type("stop-requested"))
    return asked or life.closed is not None


def deaths(history: History) -> list[tuple[float, int]]:
    """(time of death, row of the next life's first line) of every life that was killed and followed by another."""
    pairs = zip(history.lives, history.lives[1:], strict=False)
    return [
        (death_of(history, life, following) or life.last_sign, following.rows[0])
        for life, following in pairs
        if not was_stopped(history, life, following)
    ]


def death_to_new_step_s(history: History) -> list[float]:
    """For each death that a new step followed: seconds to the end of the first step greater than any before the death."""
    steps, seconds, greatest, scanned = history.steps, [], 0, 0
    for death, row in deaths(history):
        greatest = max(greatest, max(steps.step[scanned:row], default=0))
        scanned = max(scanned, row)
        new = next((i for i in range(row, len(steps)) if steps.step[i] > greatest), None)
        if new is not None:
            seconds.append(max(0.0, steps.time[new] - death))
    return seconds


def losses(history: History) -> tuple[float | str | None, float | str | None]:
    loss = history.steps.loss
    return (shown(loss[0]), shown(loss[-1])) if len(loss) else (None, None)


def summarize(history: History, account: Account | None) -> dict[str, Any]:
    """`steps` is the greatest step written; `restarts` counts starts after the first; times are seconds."""
    first_loss, last_loss = losses(history)
    return {
        "steps": max(history.steps.step, default=0),
        "total_steps": history.total_steps,
        "first_loss": first_loss,
        "last_loss": last_loss,
        "restarts": max(0, history.starts() - 1),
        "kills_survived": len(deaths(history)),
        "steps_repeated": history.steps.repeated,
        "death_to_new_step_s": [round(value, 3) for value in death_to_new_step_s(history)],
        "goodput": account.goodput if account else None,
        "wall_s": account.wall_s if account else None,
        "account": dict(account.parts) if account else None,
    }
