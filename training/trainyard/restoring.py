"""Restore: rank 0 proposes a step, every rank verifies what it will read, and all agree or step down to the next."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from trainyard import checkpoint_contents as contents
from trainyard import checkpoint_format as fmt
from trainyard import checkpoint_forms as forms
from trainyard import codec, objects, reading, rng
from trainyard.agreement import Agreement
from trainyard.commit import set_aside
from trainyard.errors import MismatchError, RestoreError, TrainyardError
from trainyard.layout import Piece, local_piece
from trainyard.lock import Lock
from trainyard.modules import plain_name
from trainyard.patience import PATIENT, UNREADABLE, Patience, told
from trainyard.speaking import warn
from trainyard.targets import (
    Note,
    Targets,
    check_before,
    load_modules,
    load_optimizers,
    load_others,
    loaded_tensors,
    notes_on_lengths,
    targets,
)

REQUEST = re.compile(r"latest|best|none|epoch:\d+|step:\d+")


@dataclass
class Restored:
    """What a restore found."""

    step: int = 0
    requested: str = "latest"
    shared: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What came back, and not quite as it was."""


def effective_request(requested: str, lock: Lock) -> str:
    """An explicit choice holds for the first start of a run; its restarts go on from the newest step.

    A run is known by TRAINYARD_RUN_ID; a script started by hand restarts only under torchrun's own counter.
    """
    if REQUEST.fullmatch(requested) is None:
        raise RestoreError(f"restore({requested!r}): use latest, best, none, epoch:N or step:N")
    restarted = "TRAINYARD_RUN_ID" in os.environ or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
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
        raise RestoreError(f"{root} has no intact checkpoint {requested}; steps there: {_listed(steps)}")
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
    except fmt.DamagedError:
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
            there = _listed(other.step for other in known)
            raise RestoreError(f"{root}: the best checkpoint is damaged ({entry.problem}); steps there: {there}")
    best = fmt.rebuild_tiers((e.manifest for e in known if e.manifest), keep_rolling=1, keep_epochs=1)["best"]
    return [] if best is None else [best]


def _listed(steps: Iterable[int | None]) -> str:
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


@dataclass
class Prepared:
    """A verified step, ready to be applied."""

    checkpoint: reading.Checkpoint
    state: dict[str, Any]
    own: dict[str, Any]
    """What this rank's PerRank objects saved."""
    targets: Targets
    pieces: list[Piece]


def prepare(
    root: Path,
    step: int,
    things: objects.Objects,
    fingerprint: str | None,
    rank: int = 0,
    world_size: int = 1,
    owner: fmt.Owner | None = None,
    patience: Patience = PATIENT,
) -> Prepared:
    """Open and verify a step without changing anything. Raises DamagedError, OSError, MemoryError or MismatchError."""
    checkpoint = reading.open_checkpoint(root / fmt.step_name(step), owner, patience)
    state = checkpoint.state
    _check_generators(checkpoint, [str(rank)])
    _check_values(state)
    saved_print = checkpoint.manifest["data_fingerprint"]
    if fingerprint and saved_print and fingerprint != saved_print:
        raise MismatchError(
            f"the training data changed since step {step} ({saved_print} then, {fingerprint} now): its sample order would be another. "
            "Bring the old data back, or begin anew: another folder (TRAINYARD_CHECKPOINTS), or restore 'none', which sets these steps aside"
        )
    saved, own = state["shared"]["objects"], state["ranks"].get(str(rank), {}).get("objects", {})
    objects.reshard(things)
    objects.check_labels(things, saved)
    objects.check_forms(things, saved)
    objects.check_per_rank(things, saved, own, (len(state["ranks"]), world_size))
    objects.check_optimizers(things, saved)
    found = targets(things, saved, own, functools.partial(make_tensor, checkpoint))
    reading.check_tensors(checkpoint, found.tensors)
    check_before(things, saved, own, found)
    pieces = [local_piece(key, tensor.detach()) for key, tensor in found.tensors.items()]
    reading.verify(checkpoint, reading.files_for(checkpoint, pieces) - {fmt.STATE})
    reading.check_expanded(checkpoint, pieces)
    return Prepared(checkpoint, state, own, found, pieces)


def make_tensor(
    checkpoint: reading.Checkpoint, key: str, like: torch.Tensor | None, device: torch.device | None = None
) -> torch.Tensor:
    """A tensor to fill with a saved one: laid out as `like` where that has its shape. Its values are those of fresh memory."""
    if key not in checkpoint.manifest["tensors"]:
        raise fmt.DamagedError(f"{checkpoint.folder.name}: its state names tensor {key}, which it does not hold")
    dtype, shape = checkpoint.like(key)
    if like is not None and tuple(like.shape) == shape and (shape or isinstance(like, DTensor)):
        return torch.empty_like(like.detach(), dtype=dtype, device=None if isinstance(like, DTensor) else device)
    return torch.empty(shape, dtype=dtype, device=device)


def _check_generators(checkpoint: reading.Checkpoint, ranks: Iterable[str]) -> None:
    """Their states are loaded last, when everything else has changed: a state that torch refuses must be found before."""
    for rank in ranks:
        held = checkpoint.state["ranks"].get(rank)
        try:
            if held is not None:
                rng.check(codec.decode(held["rng"], dict[str, torch.Tensor]().__getitem__))
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise fmt.DamagedError(f"{fmt.STATE}: the generators of rank {rank} cannot be restored ({error})") from error


def _check_values(state: dict[str, Any]) -> None:
    """What only this runtime and torch can judge, before anything is changed. Raises MismatchError for a form of a newer writer."""
    for value, _ in contents.dicts_in(state):
        tag = next(iter(value)) if len(value) == 1 else ""
        if tag.startswith("$") and tag != "$tensor" and tag not in forms.FORMS:
            raise MismatchError(
                f"{fmt.STATE}: a form {tag} that this Trainyard does not know; resume with the newer one that saved it"
            )
        try:
            if tag in ("$device", "$dtype"):
                codec.decode(value, dict[str, torch.Tensor]().__getitem__)
        except (ValueError, RuntimeError) as error:
            raise fmt.DamagedError(f"{fmt.STATE}: {fmt.quoted(value[tag])} is not a {tag[1:]} of torch") from error


@torch.no_grad()
def apply(prepared: Prepared, things: objects.Objects, rank: int, note: Note) -> None:
    """Hand every object its state, those that may refuse first, and fill the tensors; RNG last, so that nothing uses it up in between.

    Raises MismatchError where an object refuses, or afterwards is not what was loaded.
    """
    saved, found = prepared.state["shared"]["objects"], prepared.targets
    live = {f"{label}.{plain_name(name)}" for label, state in found.modules.items() for name in state.in_place}
    for piece in prepared.pieces:
        if piece.key not in live:
            reading.fill(prepared.checkpoint, piece)
    load_others(things, saved, prepared.own, found, note)
    for piece in prepared.pieces:
        if piece.key in live:
            reading.fill(prepared.checkpoint, piece)
    load_optimizers(things, saved, found, note)
    finish_modules(prepared.checkpoint, saved, found, note)
    mine = prepared.state["ranks"].get(str(rank))
    if mine is None:
        rng.reseed(prepared.checkpoint.manifest["step"], rank)
    else:
        rng.restore(codec.decode(mine["rng"], found.tensors.__getitem__))


def restore(
    root: Path,
    requested: str,
    things: objects.Objects,
    agreement: Agreement,
    fingerprint: str | None,
    patience: Patience = PATIENT,
) -> Restored:
    """Collective. Bring `things` to the proposed step that verifies on every rank; step 0 when there is nothing to restore.

    Raises RestoreError when an explicit choice, or everything there is, is damaged, and when a step cannot be read, which says
    nothing about it; MismatchError when it is of another model.
    """
    result = Restored(requested=requested)
    steps = on_rank_0(agreement, lambda: patience.read(lambda: candidates(root, requested), root))
    owner = fmt.ANY_RUN if requested.startswith("step:") else None
    for step in steps:
        prepared, verdict = _try_prepare(root, step, things, fingerprint, agreement, owner, patience)
        verdicts = agreement.gather(verdict)
        mismatch = next((text for text in verdicts if text.startswith("mismatch")), None)
        if mismatch:
            raise MismatchError(mismatch.partition(": ")[2])
        damage = _words(verdicts, "damaged")
        if not damage and (unreadable := _words(verdicts, "unreadable")):
            raise RestoreError(
                f"{root}: step {step} cannot be read: {unreadable}. It may be intact, so nothing was changed. Start again when the disk "
                f"answers; if it never will, move {fmt.step_name(step)} out of this folder, and the next older step is taken"
            )
        if not damage:
            assert prepared is not None
            result.step, result.shared = step, prepared.state["shared"]
            _apply_together(prepared, things, agreement, result.notes)
            return result
        result.skipped.append({"step": step, "reason": damage})
    if result.skipped:
        reasons = "; ".join(f"step {entry['step']}: {entry['reason']}" for entry in result.skipped)
        if requested != "latest":
            others = [entry.step for entry in fmt.committed(fmt.scan(root)) if entry.step not in steps]
            raise RestoreError(f"{root}: checkpoint {requested} is damaged ({reasons}); other steps there: {_listed(others)}")
        raise RestoreError(f"{root}: no checkpoint is intact ({reasons}). To train from the beginning say so: restore('none')")
    return result


def finish_modules(checkpoint: reading.Checkpoint, saved: dict[str, Any], found: Targets, note: Note) -> None:
    """What was not filled in place goes through `load_state_dict`, and is then compared with the file. Raises MismatchError."""
    load_modules(saved, found, note)
    for key, tensor in loaded_tensors(found):
        if key not in found.left_out and not reading.matches(checkpoint, local_piece(key, tensor.detach())):
            raise MismatchError(
                f"{key} is not what was saved after load_state_dict of {key.partition('.')[0]}: "
                "its state_dict() and its load_state_dict do not belong together; end this process"
            )


class PartlyRestoredError(MismatchError):
    """An object refused its state when others had theirs already."""


def _apply_together(prepared: Prepared, things: objects.Objects, agreement: Agreement, notes: list[str]) -> None:
    """`apply`, of which every rank learns whether it worked on all: none trains with ranks that did not restore."""
    notes += notes_on_lengths(things, prepared.state["shared"]["objects"])
    failure: Exception | None = None
    try:
        apply(prepared, things, agreement.rank, notes.append)
    except (MismatchError, fmt.DamagedError, *UNREADABLE) as error:
        failure = error
    failures = [text for text in agreement.gather(told(failure) if failure else "") if text]
    if failures:
        raise PartlyRestoredError(failures[0]) from failure


def peek(root: Path, agreement: Agreement, patience: Patience = PATIENT) -> tuple[int, dict[str, Any]]:
    """(step, its objects' JSON) of the checkpoint that restore("latest") will choose; (0, {}) where there is none. Collective.

    For a trainer that must know the step before it makes its objects. Rank 0 verifies every file, so that no rank finds damage
    in this checkpoint later and steps down to another. Raises RestoreError when one cannot be read.
    """

    def newest() -> list[Any]:
        for step in patience.read(lambda: candidates(root, "latest"), root) if root.is_dir() else []:
            with contextlib.suppress(fmt.DamagedError):
                checkpoint = reading.open_checkpoint(root / fmt.step_name(step), patience=patience)
                reading.verify(checkpoint, set(checkpoint.manifest["files"]))
                _check_generators(checkpoint, checkpoint.state["ranks"])
                return [step, checkpoint.state["shared"]["objects"]]
        return [0, {}]

    step, found = on_rank_0(agreement, newest)
    return step, found


def _words(verdicts: list[str], kind: str) -> str:
    return "; ".join(sorted({text.partition(": ")[2] for text in verdicts if text.startswith(kind)}))


def _try_prepare(
    root: Path,
    step: int,
    things: objects.Objects,
    fingerprint: str | None,
    agreement: Agreement,
    owner: fmt.Owner | None,
    patience: Patience,
) -> tuple[Prepared | None, str]:
    try:
        return prepare(root, step, things, fingerprint, agreement.rank, agreement.world_size, owner, patience), ""
    except MismatchError as error:
        return None, f"mismatch: {error}"
    except fmt.DamagedError as error:
        return None, f"damaged: {error}"
    except UNREADABLE as error:
        return None, f"unreadable: {told(error)}"


def on_rank_0(agreement: Agreement, compute: Any) -> Any:
    """Rank 0's answer on every rank; its TrainyardError, or a read that failed, is raised on every rank."""
    outcome: dict[str, Any] = {}
    if agreement.rank == 0:
        try:
            outcome = {"value": compute()}
        except TrainyardError as error:
            outcome = {"error": str(error)}
        except (fmt.DamagedError, *UNREADABLE) as error:
            outcome = {"error": told(error)}
    outcome = agreement.broadcast(outcome)
    if "error" in outcome:
        raise RestoreError(outcome["error"])
    return outcome["value"]


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
