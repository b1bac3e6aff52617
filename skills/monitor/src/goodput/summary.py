"""The summary of a run: a few figures under stable names, for the deployer's demo and for anybody's script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goodput.account import Account, death_of
from goodput.field_names import categories
from run_folder.records import shown

if TYPE_CHECKING:
    from goodput.history import History, Life
    from run_folder.records import EventLine


def end_of(history: History, life: Life, following: Life | None) -> str | None:
    """finished, stopped or died; None where no end was recorded."""
    if life.closed is not None:
        return "finished" if life.finished else "stopped"
    if following is not None and following.attempt == life.attempt and life.attempt is not None:
        return "died"  # the launcher went on
    told = _of_attempt(history, life.attempt)
    if told is None:
        until = following.began if following else float("inf")
        asked = any(life.began < event.time <= until for event in history.of_type("stop-requested"))
        return "stopped" if asked else "died" if death_of(history, life, following) is not None else None
    at = next((at for at, event in enumerate(told) if event.type == "attempt-ended"), None)
    run_ended = next((str(event.state) for event in told if event.type == "run-ended"), None)
    if any(event.type == "stop-requested" for event in told[:at]):  # after its end, the stop was not meant for it
        return "finished" if run_ended == "finished" else "stopped"
    if at is not None:
        return "finished" if told[at].exit_code == 0 else "died"
    if run_ended in ("finished", "stopped"):
        return run_ended
    return "died" if following is not None or run_ended else None


def _of_attempt(history: History, attempt: int | None) -> list[EventLine] | None:
    """What was recorded from the begin of this attempt to that of the next one, in the order of the file: clocks may jump."""
    told = history.of_type("attempt", "stop-requested", "attempt-ended", "run-ended")
    begins = [at for at, event in enumerate(told) if event.type == "attempt"]
    own = [at for at in begins if told[at].attempt == attempt]
    if attempt is None or not own:
        return None
    return told[own[-1] : next((at for at in begins if at > own[-1]), len(told))]


def was_stopped(history: History, life: Life, following: Life | None) -> bool:
    """A life that ended well, or that somebody asked to stop, was not killed."""
    return end_of(history, life, following) in ("finished", "stopped")


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


def summarize(history: History, account: Account | None, restarts: int | None = None) -> dict[str, Any]:
    """`steps` is the greatest step written; times are seconds.

    `restarts` is the supervisor's count, which begins anew when somebody resumes the run; without one, the starts after the
    first. `starts` counts all of the script, by whomever.
    """
    first_loss, last_loss = losses(history)
    summary = {
        "steps": max(history.steps.step, default=0),
        "total_steps": history.total_steps,
        "first_loss": first_loss,
        "last_loss": last_loss,
        "starts": history.starts(),
        "restarts": max(0, history.starts() - 1) if restarts is None else restarts,
        "kills_survived": len(deaths(history)),
        "steps_repeated": history.steps.repeated,
        "death_to_new_step_s": [round(value, 3) for value in death_to_new_step_s(history)],
        "goodput": account.goodput if account else None,
        "wall_s": account.wall_s if account else None,
        "categories": categories(history, account) if account else None,
        "account": dict(account.parts) if account else None,
    }
    if history.log is not None and (account is None or not history.events):  # a log alone does not tell a kill from a stop
        summary |= {"kills_survived": None, "death_to_new_step_s": []}
    return summary
