"""The verbs on a checkpoint folder that only pods can see."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_pods.call import Place, call, result_of
from checkpoint_pods.files import Receiver, is_file_name

RUN_FILES = ("steps.jsonl", "events.jsonl", "runner.json", "sample.txt")
"""What the job writes of small files (shared-docs/run-folder.md); logs are the manager's business (`logs`)."""
NOT_THE_JOBS = ("run.json", "runner-spec.json", "runner.lock", "supervisor.log", "report.html")
"""What the deployer, the local runner and the monitor write on this side: a job that writes one would replace theirs."""


def folder_or_raise(folder: str) -> str:
    if not folder.startswith("/") or len(folder) > 4000 or not folder.isprintable():
        hint = "as in /trainyard/tiny-lm-0123456789abcdef"
        raise shell.SkillError("usage", f"{shell.clean(folder, 80)!r} is no absolute path inside the container", hint=hint)
    return folder


def list_checkpoints_on_pod(place: Place, folder: str, limit: int) -> shell.Result:
    return result_of(call(place, "list", {"folder": folder, "limit": limit}), place)


def find_latest_checkpoint_on_pod(place: Place, folder: str, *, verify: bool = True) -> shell.Result:
    return result_of(call(place, "latest", {"folder": folder, "verify": verify}), place)


def verify_on_pod(place: Place, folder: str, **words: Any) -> shell.Result:
    return result_of(call(place, "verify", {"folder": folder, **words}), place)


def prune_on_pod(place: Place, folder: str, **words: Any) -> shell.Result:
    return _changed_on_pod(place, "prune", folder, words)


def rollback_on_pod(place: Place, folder: str, **words: Any) -> shell.Result:
    return _changed_on_pod(place, "rollback", folder, words)


def _changed_on_pod(place: Place, verb: str, folder: str, words: dict[str, Any]) -> shell.Result:
    if words["holder_gone"] and place.users:
        message = f"pod {place.users[0]} uses the claim: the lock's holder may live"
        raise shell.SkillError("conflict", message, hint="stop the run first, or without --holder-gone")
    return result_of(call(place, verb, {"folder": folder, **words}), place)


# --- fetch the small files of a run ----------------------------------------------------------------------------------


def names_or_raise(names: tuple[str, ...]) -> tuple[str, ...]:
    """The files that --files asks for; those of the monitor without it. Raises SkillError usage."""
    for name in names:
        if not is_file_name(name):
            raise shell.SkillError("usage", f"--files {shell.clean(name, 80)!r}: one plain name", hint="--files steps.jsonl")
        # lower: some file systems take RUN.JSON for run.json. With .tmp behind it, it is run.json before it is renamed.
        if name.lower().removesuffix(".tmp") in NOT_THE_JOBS:
            message = f"--files {name}: that file is written where the job was submitted, and never comes from a pod"
            raise shell.SkillError("usage", message, hint=f"the job's own: {', '.join(RUN_FILES)}, or what its script writes")
    return names or RUN_FILES


def fetch_files(
    place: Place, folder: str, out: Path, names: tuple[str, ...], *, limit_bytes: int, dry_run: bool
) -> shell.Result:
    """Copy the small files of a run folder, replacing older copies, so that the monitor can read them here."""
    arriving = out / f".fetching-{secrets.token_hex(4)}"
    receiver = Receiver(place, arriving, lambda name: name in names, dry_run=dry_run)
    try:
        words = {"folder": folder, "names": list(names), "limit_bytes": limit_bytes, "dry_run": dry_run}
        call(place, "files", words, on_bytes=receiver.feed)
        receiver.finish()
        changed = [] if dry_run else [_replaced(arriving / name, out / name) for name, _ in receiver.files]
    finally:
        receiver.close()
        shutil.rmtree(arriving, ignore_errors=True)
    rows = [{"name": name, "bytes": size} for name, size in receiver.files]
    missing = receiver.header.get("missing") or []
    data = {"out": str(out), "missing": missing, "files": rows, "place": place.row()}
    if not receiver.files:
        raise shell.SkillError("not-found", f"none of these files is in {folder}", hint="--files names others", data=data)
    return shell.Result(data, changed=[line for line in changed if line], next=[f"monitor_training.py status {out}"])


def _replaced(new: Path, old: Path) -> str:
    """Put `new` in the place of `old`; what changed, or nothing."""
    if old.is_file() and not old.is_symlink() and old.read_bytes() == new.read_bytes():
        return ""
    new.replace(old)
    return f"wrote {old}"
