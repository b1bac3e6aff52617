"""copy: one step from a volume that only pods can see to this machine, verified here, and never in the place of another one."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.verdict import Verdict, verify
from checkpoint_format import ANY_RUN, MANIFEST, DamagedError, Entry, read_manifest, step_of
from checkpoint_pods.call import Place, call
from checkpoint_pods.files import Receiver, announced, is_file_name


@dataclass(frozen=True)
class Identity:
    """Which checkpoint a step's folder holds, as its manifest says."""

    name: str
    run_id: str
    digest: str
    """SHA-256 of the manifest, which has the digest of every file in it: where it is equal the checkpoint is the same."""

    @classmethod
    def of(cls, name: str, manifest: dict[str, Any]) -> Identity:
        return cls(name, str(manifest.get("run_id")), str(manifest.get("digest")))

    @property
    def step(self) -> int | None:
        return step_of(self.name)

    def told(self) -> str:
        return f"of run {shell.clean(self.run_id, 40)} (its manifest {shell.clean(self.digest, 12)})"

    def row(self) -> dict[str, Any]:
        return {"run_id": shell.clean(self.run_id, 40), "manifest_sha256": shell.clean(self.digest, 64)}


def copy_step(place: Place, folder: str, step: int | None, out: Path, *, dry_run: bool) -> shell.Result:
    """Copy one step into `out`, verify it there, and only then give it its name. `step` None: the newest that verifies.

    What it is comes first, without its bytes: where `out` has it already nothing is sent. SkillError `conflict` where `out` has another.
    """
    began = time.monotonic()
    header = call(place, "step", {"folder": folder, "step": step, "dry_run": True})
    files = announced(header, place, is_file_name)
    offered = _step_in(header, files, place)
    if before := copied_before(out, offered):
        return before
    if dry_run:
        rows = [{"name": name, "bytes": size} for name, size in files]
        sizes = {"bytes": sum(size for _, size in files), "files": rows}
        return shell.Result({"step": offered.step, "run_id": offered.run_id, **sizes, "place": place.row()})
    # A helper pod lives for one --timeout, and finding the newest step that verifies may have taken most of it.
    left_s = max(1.0, place.timeout_s - (time.monotonic() - began))
    return _received(replace(place, timeout_s=left_s), folder, offered, out)


def copied_before(out: Path, offered: Identity) -> shell.Result | None:
    """The same call again: the same checkpoint counts if it verifies. None if nothing is there; else SkillError `conflict`."""
    there = out / offered.name
    if not os.path.lexists(there):
        return None
    try:
        held = Identity.of(offered.name, read_manifest(there, ANY_RUN))
    except (DamagedError, OSError) as error:
        raise _unfit(there, str(error)) from error
    if held != offered:
        message = f"{there} already holds this step {held.told()}; the one to copy is {offered.told()}; nothing was changed"
        data = {"step": offered.step, "there": held.row(), "offered": offered.row()}
        raise shell.SkillError("conflict", message, hint="another OUT_DIR for this one", data=data)
    verdict = verify(out, Entry(offered.name, "step", offered.step), owner=ANY_RUN)
    if verdict.status != "pass":
        raise _unfit(there, (verdict.problems or ("",))[0], verdict)
    return _copied(out, held, verdict, changed=[])


def _unfit(there: Path, problem: str, verdict: Verdict | None = None) -> shell.SkillError:
    message = f"{there} is there and does not verify: {problem}"
    return shell.SkillError(
        "conflict", message, hint="another OUT_DIR, or remove it", checks=[verdict.check()] if verdict else []
    )


def _received(place: Place, folder: str, offered: Identity, out: Path) -> shell.Result:
    arriving = out / f".copying-{secrets.token_hex(4)}"
    receiver = Receiver(place, arriving / "step", is_file_name)
    try:
        call(place, "step", {"folder": folder, "step": offered.step, "dry_run": False}, on_bytes=receiver.feed)
        receiver.finish()
        name = _step_in(receiver.header, receiver.files, place).name
        (arriving / "step").rename(arriving / name)
        verdict = verify(arriving, Entry(name, "step", step_of(name)), owner=ANY_RUN)
        if verdict.status != "pass":
            data = {"step": verdict.step, "path": None, "place": place.row()}
            return shell.Result(data, checks=[verdict.check()], ok=False)
        arrived = Identity.of(name, read_manifest(arriving / name, ANY_RUN))
        if before := copied_before(out, arrived):  # somebody else's copy was faster
            return before
        (arriving / name).rename(out / name)
        return _copied(out, arrived, verdict, changed=[f"copied {name} to {out / name}"])
    finally:
        receiver.close()
        shutil.rmtree(arriving, ignore_errors=True)


def _step_in(header: dict[str, Any], files: list[tuple[str, int]], place: Place) -> Identity:
    """The step that a container announces. Its name becomes a folder's here: nothing but step_00000400 and the like."""
    name = str(header.get("name"))
    if step_of(name) is None or not files or files[0][0] != MANIFEST:
        message = f"pod {place.pod} sent no step but {shell.clean(name, 80)!r}"
        raise shell.SkillError("unreachable", message, hint="the same call again")
    return Identity.of(name, header)


def _copied(out: Path, held: Identity, verdict: Verdict, changed: list[str]) -> shell.Result:
    data = {
        "step": verdict.step,
        "run_id": held.run_id,
        "path": str((out / verdict.name).resolve()),
        "files": verdict.files,
        "bytes": verdict.bytes_read,
        "algorithm": verdict.algorithm,
    }
    return shell.Result(data, checks=[verdict.check()], changed=changed, next=[f"manage_checkpoints.py show {out}"])
