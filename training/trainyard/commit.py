"""Rank 0's half of a save: wait for all parts, merge, seal, rename into place, drop what no tier names."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainyard import checkpoint_contents as contents
from trainyard import checkpoint_format as fmt
from trainyard.errors import DamagedError, SaveError
from trainyard.files import fsync_folder, is_leftover, remove_folder, write_atomically, write_durably
from trainyard.lock import Lock
from trainyard.patience import look_afresh, told
from trainyard.shard import Part, part_path, read_part
from trainyard.store import Problems, Rejected, StepInfo

FIRST_POLL_S, LONGEST_POLL_S = 0.001, 0.05


def wait_for_parts(
    folder: Path,
    world_size: int,
    incarnation: int,
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Part]:
    """The parts of all ranks. Raises SaveError on a rank's error or after `timeout_s`.

    A part that cannot be read is waited for like one that is not there: on NFS it is seen late, and by a handle that may be stale.
    """
    deadline, parts, poll_s, unread = clock() + timeout_s, dict[int, Part](), FIRST_POLL_S, ""
    while True:
        for rank in range(world_size):
            try:
                part = None if rank in parts else read_part(folder, rank, incarnation)
            except OSError as error:
                unread = f"; {told(error)}"
                continue
            if part and part.error:
                raise SaveError(f"rank {rank}: {part.error}")
            if part:
                parts[rank] = part
        if len(parts) == world_size:
            return [parts[rank] for rank in range(world_size)]
        if clock() > deadline:
            missing = sorted(set(range(world_size)) - set(parts))
            raise SaveError(f"no part from rank {', '.join(map(str, missing))} after {timeout_s:.0f} s{unread}")
        sleep(poll_s)
        look_afresh(folder)
        poll_s = min(2 * poll_s, LONGEST_POLL_S)


def commit(folder: Path, parts: list[Part], shared: dict[str, Any], info: StepInfo, lock: Lock) -> int:
    """Seal the temporary folder and rename it to its step; returns the checkpoint's bytes. It is durable when this returns."""
    nonfinite = [key for part in parts for key in part.nonfinite]
    if nonfinite:
        raise Rejected(info.step, nonfinite)
    held = {"format": 1, "shared": shared, "ranks": {str(part.rank): part.state for part in parts}}
    state = fmt.canonical(held)
    files = {fmt.shard_name(part.rank, len(parts)): part.file for part in parts}
    manifest = {
        "format": fmt.FORMAT,
        "version": fmt.VERSION,
        "step": info.step,
        "epoch": info.epoch,
        "end_of_epoch": info.end_of_epoch,
        "val_loss": info.val_loss,
        "reasons": sorted(info.reasons),
        "data_fingerprint": info.data_fingerprint,
        "run_id": lock.run_id,
        "incarnation": lock.incarnation,
        "world_size": len(parts),
        "time": time.time(),
        "files": {**files, fmt.STATE: fmt.digest_of(state)},
        "tensors": {key: entry for part in parts for key, entry in part.tensors.items()},
    }
    _check_readable(manifest, held, len(state))
    for part in parts:
        part_path(folder, part.rank).unlink(missing_ok=True)  # NFS may send a removal twice
    write_durably({folder / fmt.STATE: state, folder / fmt.MANIFEST: fmt.seal(manifest)})
    fsync_folder(folder)
    _rename_into_place(folder, info.step, lock)
    return sum(entry["size"] for entry in manifest["files"].values())  # type: ignore[attr-defined]


def _check_readable(manifest: dict[str, Any], state: dict[str, Any], state_bytes: int) -> None:
    """What no reader would take is not committed: the older steps are better. Raises SaveError."""
    problem = fmt.manifest_problem(manifest) or contents.state_problem(state, manifest)
    if state_bytes > fmt.MAX_STATE_BYTES:
        problem = f"{fmt.STATE} has {state_bytes} bytes, readers take at most {fmt.MAX_STATE_BYTES}"
    if problem:
        raise SaveError(f"step {manifest['step']} could not be restored: {problem}; not committed")


def _rename_into_place(folder: Path, step: int, lock: Lock) -> None:
    final = folder.with_name(fmt.step_name(step))
    if not lock.still_held():
        raise SaveError(f"step {step}: another start of this run has taken {folder.parent} over")
    is_own = _is_own(final, lock)
    aside = (
        set_aside(final, lock.incarnation) if os.path.lexists(final) else None
    )  # damaged, or somebody else's: never overwritten
    folder.rename(final)
    fsync_folder(final.parent)
    if aside and is_own:
        with contextlib.suppress(OSError):  # the step is durable: what cannot be removed stays aside
            remove_folder(final.with_name(aside))


def _is_own(final: Path, lock: Lock) -> bool:
    """This start has saved the step before: it was told again, with its evaluation, and what is saved now replaces that."""
    try:
        manifest = fmt.read_manifest(final)
    except (DamagedError, OSError):
        return False
    return bool(manifest["run_id"] == lock.run_id and manifest["incarnation"] == lock.incarnation)


def set_aside(folder: Path, incarnation: int) -> str:
    """Rename a step out of the way, keeping its bytes; returns its new name."""
    for name in [f"{folder.name}.aside-e{incarnation}", *(f"{folder.name}.aside-e{incarnation}-{i}" for i in range(1, 1000))]:
        if not (folder.parent / name).exists():
            folder.rename(folder.parent / name)
            return name
    raise SaveError(f"{folder}: a thousand copies were set aside already")


def apply_retention(root: Path, *, newest: int, keep_rolling: int, keep_epochs: int) -> tuple[list[int], Problems]:
    """Point `latest` to `newest`, write tiers.json, remove the committed steps that no tier names; returns the steps removed.

    Damaged and foreign folders are not counted and not touched: only what verifies can be known to be superfluous. What cannot be
    done is passed over: one folder that cannot be removed must not fill the disk with all that come after it. Raises OSError when
    the folder cannot be listed.
    """
    problems: Problems = {}
    with _passing_over(problems, fmt.LATEST):
        write_atomically(root / fmt.LATEST, f"{fmt.step_name(newest)}\n".encode())
    entries = fmt.committed(fmt.scan(root))
    manifests = [entry.manifest for entry in entries if entry.manifest is not None]
    finals = (fmt.read_tiers(root) or {}).get("final", [])
    tiers = fmt.rebuild_tiers(manifests, keep_rolling=keep_rolling, keep_epochs=keep_epochs, finals=finals)
    with _passing_over(problems, fmt.TIERS):
        write_atomically(root / fmt.TIERS, fmt.canonical(tiers) + b"\n")
    named, removed = fmt.named_steps(tiers), list[int]()
    for entry in entries:
        if entry.step is not None and entry.step not in named:
            with _passing_over(problems, entry.name):
                remove_folder(root / entry.name)
                removed.append(entry.step)
    return removed, problems


@contextlib.contextmanager
def _passing_over(problems: Problems, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problems[name] = told(error)


def mark_final(root: Path, step: int) -> None:
    """A committed step turned out to be the last of a training: keep it when the training is made longer."""
    tiers = fmt.read_tiers(root)
    if tiers is not None and step not in tiers.get("final", []):
        final = sorted({*tiers.get("final", []), step})[-fmt.KEEP_FINAL :]
        write_atomically(root / fmt.TIERS, fmt.canonical({**tiers, "final": final}) + b"\n")


def clean_temporary(root: Path, before_step: int | None = None) -> Problems:
    """Remove what killed or failed saves and removals left: all of it (lock freshly taken), or that of older steps.

    Once all parts of a step are there, no rank writes to an older one; a newer one may already have begun. What cannot be removed
    stays: nobody reads it, and it is no reason not to train.
    """
    problems: Problems = {}
    for entry in fmt.scan(root):
        step = int(entry.name[len("step_") :].partition(".")[0]) if entry.kind == "temporary" else 0
        if entry.kind == "temporary" and (before_step is None or step < before_step):
            with _passing_over(problems, entry.name):
                remove_folder(root / entry.name)
    if before_step is None:
        for path in root.glob(".*"):
            if is_leftover(path.name, fmt.OWN_FILES):
                with _passing_over(problems, path.name):
                    path.unlink()
    return problems
