"""`why`: the doctor's answer about this run, with this program's own commands as the next ones."""

from __future__ import annotations

from typing import Any

import deploy_place
import trainyard_shell as shell
from deploy_place import ABSENT, UNFINISHED, Place
from deployment import Ref
from healing.older import how_to_go_back
from healing.policy import kind_of
from healing.told import Told, ask_doctor, with_ledger
from run_state import store
from run_state.record import Run


SHOWN = 3


def why(ref: Ref, attempt: int | None = None) -> shell.Result:
    """`attempt`: None is the newest. Raises SkillError: not-found, and those of `ask_doctor`."""
    run, place, status = the_run(ref)
    told = ask_doctor(place, run, status["state"], gone=place.is_gone(status), attempt=attempt)
    if (told.data.get("attempts") or 0) > 1:
        told = with_ledger(place, run, told)
    root, kind = told.root, kind_of(told)
    data: dict[str, Any] = {
        "name": run.name,
        "run_id": run.run_id,
        "state": status["state"],
        **{key: root.get(key) for key in ("cause", "title", "rank", "node")},
        "restart": kind if root.get("cause") != "none" else None,
        "lines": root.get("evidence", []),
        "do": root.get("do"),
        "earlier": earlier_ends(told),
        "ledger": told.ledger.get("why"),
        **{key: told.data[key] for key in ("others", "attempts", "attempt", "outcome", "notes") if key in told.data},
        "run_dir": str(ref.run_dir),
    }
    if kind == "RESTART_OLDER":
        data["older"] = how_to_go_back(ref, place, run)
    next_ = next_calls(ref, status["state"], told, place, run, kind) if attempt is None else [ref.command("why")]
    return shell.Result(data=data, checks=told.checks, next=next_, ok=True)


def earlier_ends(told: Told) -> list[dict[str, Any]]:
    """Why the attempts before the newest one ended, the newest of them first: what a run that goes on has survived."""
    ends = [row for row in told.attempts[:-1] if row.get("cause") != "none"][: -SHOWN - 1 : -1]
    return [{key: row.get(key) for key in ("attempt", "cause", "rank", "last_step", "text")} for row in ends]


def the_run(ref: Ref) -> tuple[Run, Place, dict[str, Any]]:
    """Raises SkillError: not-found (no run, or nothing was submitted), conflict (the job there is another run's)."""
    run = store.load(ref.run_dir)
    if run is None:
        raise shell.SkillError("not-found", f"no run in {ref.run_dir}", hint=f"{ref.command('run')} starts it")
    place = deploy_place.of(run.target, ref.run_dir)
    status = place.status(run)
    if status["state"] == ABSENT and not run.restarts:
        raise shell.SkillError("not-found", f"{run.name} was never submitted", hint=ref.command("run"))
    return run, place, status


def next_calls(ref: Ref, state: str, told: Told, place: Place, run: Run, kind: str) -> list[str]:
    """What to do now, with the verbs of this program. `kind`: what a restart would bring."""
    node, command = told.root.get("node"), ref.command
    if state == "finished":
        return [command("report")]
    if told.root.get("cause") == "none":
        return [command("status")] if state not in ("stopped", "gone") else [command("resume")]
    if state in ("stopped", "gone"):
        return [command("logs"), command("resume")]
    alive = state != "failed" and state not in UNFINISHED
    again = command("resume") if state == "failed" else command("run")
    calls = [command("logs")]
    if alive:
        calls.append(command("stop"))
        again = command("resume")
    if kind == "STOP":
        return [*calls, f"{again}   (only after the cause is corrected)"]
    if kind == "RESTART_OLDER":
        return [*calls, how_to_go_back(ref, place, run)["how"]]
    if kind == "RESTART_ELSEWHERE":
        return [*calls, *place.repairs(run, node if isinstance(node, str) else None), again]
    return [*calls, again, command("watch", "--restart")]
