"""`run job.yaml -- --lr 3e-4`: the same job with more arguments is a separate run, NAME-2, NAME-3 and so on.

The note `.NAME-2.arguments` beside the run folder says whose number it is: two long names may be cut to the same one. The same call again finds it, and goes on with that run.
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
        note, wanted = _note(runs, name), (base, *added)
        is_free = _taken_by(note) is None and not os.path.lexists(runs / name)
        if is_free and claims:
            _claim(note, base, added)  # or the same call, or another one, was faster
        if (is_free and not claims) or _taken_by(note) == wanted:
            return replace(ref, run_dir=runs / name, added=added, name=_as_given(runs / name, state_dir))
    raise shell.SkillError("conflict", f"{runs} holds {MOST} runs of {base}", hint="--state-dir DIR, or remove old ones")


def _names(base: str) -> Iterator[str]:
    for number in range(2, MOST):
        suffix = f"-{number}"
        yield base[: LONGEST_NAME - len(suffix)].rstrip("-") + suffix


def _note(runs: Path, name: str) -> Path:
    return runs / f".{name}.arguments"


def _taken_by(note: Path) -> tuple[str, ...] | None:
    """The job's name and the arguments; None where nobody has taken this number, or its note is damaged."""
    with suppress(Unusable, OSError):
        told = read_object(note, {"job": "text", "arguments": "a list of texts"}) or {}
        return (told["job"], *told["arguments"]) if told.get("job") and told.get("arguments") else None
    return None


def _claim(note: Path, base: str, added: tuple[str, ...]) -> None:
    """The note appears as a whole, and only where there is none yet."""
    part = note.with_name(f"{note.name}.{secrets.token_hex(4)}.tmp")
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(json.dumps({"job": base, "arguments": list(added)}), encoding="utf-8")
        try:
            with suppress(FileExistsError):
                os.link(part, note)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise shell.cannot_write(note.parent, error, "--state-dir puts the run elsewhere") from error


def _as_given(run_dir: Path, state_dir: str | None) -> str:
    """What the user types for this run: its name, where that is looked for from here, else its folder."""
    here = [place / ".trainyard" / "runs" for place in (Path.cwd(), *Path.cwd().parents)]
    return run_dir.name if state_dir or run_dir.parent in here else os.path.relpath(run_dir)
