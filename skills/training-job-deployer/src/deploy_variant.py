"""`run job.yaml -- --lr 3e-4`: the same job with more arguments is a run of its own, NAME-2, NAME-3 and so on.

The note `.NAME-2.arguments` beside the run folder says whose number it is. The same call again finds it, and goes on with that run.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import deploy_ref
import trainyard_shell as shell
from deployment import Ref
from job_file import reading
from trainyard_files import Unusable, read_object

MOST = 10_000
LONGEST_NAME = 40


def resolve(given: str, state_dir: str | None, added: tuple[str, ...], *, claims: bool) -> Ref:
    """The run of this job file with `added` after its command. `claims`: its number is taken, not only named.

    Raises SkillError: what `reading.read` raises, and usage where `given` is not a job file.
    """
    ref = deploy_ref.resolve(given, state_dir)
    if ref.job_path is None:
        message = f"arguments after -- make a new run of a job file, and {given} is a run"
        raise shell.SkillError("usage", message, hint="run job.yaml -- ARGUMENTS")
    reading.read(ref.job_path, added=added)  # says what is wrong with it before a number is taken
    runs, base = ref.run_dir.parent, ref.run_dir.name
    for name in _names(base):
        taken = _arguments(_note(runs, name))
        if taken is None and not os.path.lexists(runs / name) and (not claims or _claim(runs, name, added)):
            taken = added
        if taken == added or (taken is None and _arguments(_note(runs, name)) == added):  # claimed by the same call meanwhile
            return replace(ref, run_dir=runs / name, added=added, name=_as_given(runs / name, state_dir))
    raise shell.SkillError("conflict", f"{runs} holds {MOST} runs of {base}", hint="--state-dir DIR, or remove old ones")


def _names(base: str) -> Iterator[str]:
    for number in range(2, MOST):
        suffix = f"-{number}"
        yield base[: LONGEST_NAME - len(suffix)].rstrip("-") + suffix


def _note(runs: Path, name: str) -> Path:
    return runs / f".{name}.arguments"


def _arguments(note: Path) -> tuple[str, ...] | None:
    with suppress(Unusable, OSError):
        told = (read_object(note, {"arguments": "a list of texts"}) or {}).get("arguments")
        return None if told is None else tuple(told)
    return None


def _claim(runs: Path, name: str, added: tuple[str, ...]) -> bool:
    """False where somebody was faster. The note appears as a whole, or not at all."""
    part = runs / f".{name}.{secrets.token_hex(4)}.tmp"
    try:
        runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(json.dumps({"arguments": list(added)}), encoding="utf-8")
        try:
            os.link(part, _note(runs, name))
        except FileExistsError:
            return False
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise shell.cannot_write(runs, error, "--state-dir puts the run elsewhere") from error
    return True


def _as_given(run_dir: Path, state_dir: str | None) -> str:
    """What the user types for this run: its name, where that is looked for from here, else its folder."""
    here = [place / ".trainyard" / "runs" for place in (Path.cwd(), *Path.cwd().parents)]
    return run_dir.name if state_dir or run_dir.parent in here else os.path.relpath(run_dir)
