"""Which step a start goes on from: what is asked for, what is there to propose, and what is put out of the way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from trainyard import checkpoint_format as fmt
from trainyard.commit import set_aside
from trainyard.errors import DamagedError, RestoreError
from trainyard.lock import Lock
from trainyard.patience import told
from trainyard.speaking import warn

REQUEST = re.compile(r"latest|best|none|epoch:\d+|step:\d+")


def effective_request(requested: str, lock: Lock, restarts: int) -> str:
    """An explicit choice holds for the first start of a run; its restarts go on from the newest step.

    A run is known by TRAINYARD_RUN_ID; a script started by hand restarts only under torchrun's own counter, `restarts`.
    """
    if REQUEST.fullmatch(requested) is None:
        raise RestoreError(f"restore({requested!r}): use latest, best, none, epoch:N or step:N")
    restarted = "TRAINYARD_RUN_ID" in os.environ or restarts > 0
    if requested != "latest" and restarted and lock.origin and lock.origin["requested"] == requested:
        return "latest"
    return requested


def candidates(root: Path, requested: str) -> list[int]:
    """Steps to propose, best first. Raises RestoreError when an explicit choice is not there, OSError when the disk does not say."""
    if requested == "none":
        return []
    # Whoever asks for a step by its number takes it from any run; the lock remembers that (`origin`).
    owner = fmt.ANY_RUN if requested.startswith("step:") else None
    entries = fmt.scan(root, owner)
    if requested == "latest":
        return [fmt.step_of(entry.name) or 0 for entry in entries if _is_ours(root, entry)][::-1]
    kind, _, number = requested.partition(":")
    entries = [entry if kind == "step" and entry.step != int(number) else _known(root, entry, owner) for entry in entries]
    known = fmt.committed(entries)
    steps = [entry.step for entry in known if entry.step is not None]
    manifests = [entry.manifest for entry in known if entry.manifest is not None]
    if kind == "step":
        found = [step for step in steps if step == int(number)]
    elif kind == "epoch":
        found = [m["step"] for m in manifests if m["end_of_epoch"] and m["epoch"] == int(number)]
    else:
        found = _best(root, entries)
    if not found:
        raise RestoreError(f"{root} has no intact checkpoint {requested}; steps there: {listed(steps)}")
    return found[-1:]


def _known(root: Path, entry: fmt.Entry, owner: fmt.Owner | None) -> fmt.Entry:
    """The entry, intact or known to be damaged. Raises OSError where its manifest cannot be read.

    What that one says might be what is asked for, and the second best is not it.
    """
    if entry.kind != "step" or entry.manifest is not None:
        return entry
    folder = root / entry.name
    try:
        manifest = fmt.read_manifest(folder, owner)
        fmt.check_sizes(folder, manifest)
    except DamagedError:
        return entry
    return fmt.Entry(entry.name, entry.kind, manifest["step"], manifest)


def _best(root: Path, entries: list[fmt.Entry]) -> list[int]:
    """The step with the least validation loss, [] when none was validated.

    A damaged manifest tells no loss: then tiers.json says that the best one was there, and the second best is not it.
    """
    known = fmt.committed(entries)
    named = (fmt.read_tiers(root) or {}).get("best")
    for entry in entries:
        if named is not None and entry.name == fmt.step_name(named) and entry.manifest is None:
            there = listed(other.step for other in known)
            raise RestoreError(f"{root}: the best checkpoint is damaged ({entry.problem}); steps there: {there}")
    best = fmt.rebuild_tiers((e.manifest for e in known if e.manifest), keep_rolling=1, keep_epochs=1)["best"]
    return [] if best is None else [best]


def listed(steps: Iterable[int | None]) -> str:
    return ", ".join(map(str, steps)) or "none"


def _is_ours(root: Path, entry: fmt.Entry) -> bool:
    """A step, intact or damaged. A damaged one must be proposed and refused, or a run whose only checkpoint is damaged
    would begin again at step 0 without a word. A folder of that name with nothing of a checkpoint in it is somebody else's.
    """
    if entry.kind != "step":
        return False
    if entry.manifest is not None:
        return True
    try:
        names = os.listdir(root / entry.name)
    except FileNotFoundError:
        return False
    return any(name == fmt.MANIFEST or name.endswith(".safetensors") for name in names)


def set_newer_aside(root: Path, step: int, incarnation: int, damaged: set[int] | None = None) -> list[str]:
    """Rename every step after `step`, intact or not: a later commit must neither collide with it nor fall behind it.

    One that cannot be renamed (immutable, a mount point) is passed over if it is `damaged`: no start takes it. Raises RestoreError
    for an intact one: the next start would go on from there.
    """
    aside = []
    for entry in fmt.scan(root):
        if not _is_ours(root, entry) or (fmt.step_of(entry.name) or 0) <= step:
            continue
        try:
            aside.append(set_aside(root / entry.name, incarnation))
        except OSError as error:
            if fmt.step_of(entry.name) not in (damaged or set()):
                raise RestoreError(
                    f"{told(error)}: this step is newer than step {step} and cannot be set aside; move it away, or the next start takes it"
                ) from error
            warn(f"trainyard: {told(error)}: this damaged step cannot be set aside, and stays")
    return aside
