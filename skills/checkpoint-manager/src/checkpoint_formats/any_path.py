"""The two questions about any path: what is it, and is it intact?

A kind is said only where a format's own mark was found. What merely has a format's name is `unknown`, with `named_like`. How a verdict
comes about: verify_parts. What only folders need is imported when a folder is met.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from checkpoint_folder.words import shown, size_text
from checkpoint_formats.file_kinds import Found, recognise_file
from torch_reading.pickle_names import Suspicion

if TYPE_CHECKING:
    from checkpoint_formats.verify_parts import WholeVerdict

SCRIPT = "manage_checkpoints.py"
UNSAFE = "do not load it anywhere"


def recognise(path: Path) -> Found:
    """Look at a path: names, marks and headers; no tensor's bytes. SkillError when it is not there or cannot be read."""
    try:
        if path.is_dir():
            from checkpoint_formats.folder_kinds import recognise_folder

            return recognise_folder(path)
        if path.is_file():
            return recognise_file(path)
        if not path.exists():
            hint = "give a checkpoint's file or folder"
            raise shell.SkillError("not-found", f"no file or folder {shown(str(path))}", hint=hint)
    except PermissionError as error:
        raise shell.SkillError(
            "permission", f"{shown(str(error.filename))} cannot be read", hint=f"ls -ld {shown(str(error.filename))}"
        ) from error
    except (OSError, ValueError) as error:  # a name too long, a NUL in it, a disk that fails
        raise shell.SkillError("not-found", f"{shown(str(path))} cannot be used: {error}", hint="check the path") from error
    raise shell.SkillError("usage", f"{shown(str(path))} is neither a file nor a folder", hint="give a checkpoint's path")


# --- is it intact? ---


def verify_other(path: str, options: dict[str, Any], limit: int) -> shell.Result | None:
    """The answer of `verify` for a path that is no Trainyard checkpoint folder; None where it is a folder of nothing known."""
    found = recognise(Path(path))
    if found.kind == "unknown" and found.path.is_dir() and not found.parts:
        return None
    if used := next((name for name, value in options.items() if value), None):
        raise shell.SkillError("usage", f"--{used} is for a Trainyard checkpoint folder", hint=f"{SCRIPT} verify {path}")
    from checkpoint_formats.verify_parts import verify_found

    whole = verify_found(found)
    order = ("fail", "unknown", "pass", "skipped")
    shown_first = sorted(whole.parts, key=lambda part: order.index(part.answer.status))
    data: dict[str, Any] = {
        "path": path,
        "kind": found.kind,
        "verdict": whole.verdict,
        "step": found.step,
        "total": len(whole.parts),
        **{status: sum(part.answer.status == status for part in whole.parts) for status in order},
        "parts": [part.row() for part in shown_first[:limit]],
    }
    next_ = [f"{SCRIPT} inspect {path}"] if whole.verdict in ("damaged", "unsafe") else []
    return shell.Result(data, checks=checks(found, whole, limit), next=next_, truncated=len(whole.parts) > limit)


def checks(found: Found, whole: WholeVerdict, limit: int) -> list[shell.Check]:
    """One check for the whole, one for each part that is not fine, one for each pickle with names that are not harmless."""
    read = sum(part.answer.bytes_read for part in whole.parts)
    counts = {
        status: sum(part.answer.status == status for part in whole.parts) for status in ("pass", "fail", "unknown", "skipped")
    }
    first = next((part for status in ("fail", "unknown") for part in whole.parts if part.answer.status == status), None)
    compared = ", ".join(sorted({part.answer.how for part in whole.parts if part.answer.how and part.answer.status == "pass"}))
    summary = f"{found.kind}: {size_text(read)} in {counts['pass']} part(s) read and compared: {compared}"
    if whole.verdict != "intact":
        summary = f"{first.name}: {first.answer.problem}" if first else "nothing in it could be compared"
    status = {"intact": "pass", "damaged": "fail", "unsafe": "fail", "unknown": "unknown"}[whole.verdict]
    fix = {"damaged": "take another copy, or an older checkpoint", "unsafe": UNSAFE}.get(whole.verdict)
    all_checks = [shell.Check("checkpoint.intact", status, shell.clean(summary, 500), None, fix)]
    all_checks += pickle_checks([(part, suspicion) for part, suspicion in whole.suspicions], limit)
    return all_checks


def pickle_checks(found: list[tuple[str, Suspicion]], limit: int) -> list[shell.Check]:
    """One check for each name that is not known to be harmless, those that would run code first."""
    parts: dict[Suspicion, list[str]] = {}
    for part, suspicion in found:
        parts.setdefault(suspicion, []).append(part)
    all_checks = []
    for suspicion, named_by in sorted(parts.items(), key=lambda item: (not item[0].runs_code, item[0].name))[:limit]:
        more = f" and {len(named_by) - 1} more" if len(named_by) > 1 else ""
        text = shell.clean(f"{named_by[0]}{more}: its pickle names {suspicion.name}: {suspicion.why}", 500)
        fix = (
            UNSAFE
            if suspicion.runs_code
            else "load it only if you trust where it comes from; `convert --accept NAME` takes the tensors without running it"
        )
        all_checks.append(shell.Check("pickle.names", "fail" if suspicion.runs_code else "warn", text, None, fix))
    return all_checks
