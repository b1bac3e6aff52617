"""The verbs on a run's checkpoint folder, without the command line: here, and in a pod where there is no click (checkpoint_pods/inside.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.in_use import refuse_in_use
from checkpoint_folder.look import CheckpointFolder, look
from checkpoint_folder.removal import carry_out
from checkpoint_folder.removal_plan import Wish, make_plan
from checkpoint_folder.rows import rows
from checkpoint_folder.verdict import newest_intact, unlisted
from checkpoint_folder.verdict import verify as judge
from checkpoint_folder.verified import marks, record
from checkpoint_folder.words import shown
from checkpoint_format import ANY_RUN, VERIFIED, DamagedError, Entry, NotOursError, owner_of, read_manifest

SCRIPT = "manage_checkpoints.py"


def list_(folder: str, limit: int) -> shell.Result:
    """Every name in the folder, newest step first."""
    found = look(folder)
    everything = rows(found)
    data: dict[str, Any] = {
        "folder": str(found.root),
        "total": len(everything),
        "committed": len(found.committed),
        "pointer": found.pointer and shell.clean(found.pointer, 80),
        "run_id": found.holder.run_id and shell.clean(found.holder.run_id, 80),
        "lock": found.holder.state,
        "checkpoints": everything[:limit],
    }
    next_ = [f"{SCRIPT} latest {folder}"] if found.committed else []
    return shell.Result(data, checks=_folder_checks(found), next=next_, truncated=len(everything) > limit, ok=True)


def latest(folder: str, verify: bool) -> shell.Result:
    """The newest step that verifies; without `verify` the newest whose sizes are right."""
    found = look(folder)
    if not found.steps:
        raise shell.SkillError("not-found", f"no checkpoint in {found.root}", hint=f"{SCRIPT} list {folder}")
    best, skipped = newest_intact(found.root, found.steps, quick=not verify)
    data: dict[str, Any] = {
        "folder": str(found.root),
        "step": best.step if best else None,
        "path": str((found.root / best.name).resolve()) if best else None,
        "algorithm": best.algorithm if best else None,
        "skipped": [{"step": each.step, "reason": (each.problems or ("",))[0]} for each in skipped],
    }
    checks = [each.check() for each in skipped]
    if best is None:
        return shell.Result(data, checks=checks, next=[f"{SCRIPT} list {folder}"], ok=False)
    return shell.Result(data, checks=[best.check(), *(each.warning() for each in skipped)])


def verify(folder: str, step: int | None, everything: bool, quick: bool, limit: int, record_it: bool = False) -> shell.Result:
    """Every byte of the newest step, of one, or of all, against the manifest; `record_it` writes the verdicts into verified.json."""
    found = look(folder)
    chosen = [each for each in found.entries if each.kind in ("step", "aside")] if everything else found.steps[-1:]
    if step is not None:
        chosen = [found.entry_of(step)]
    if not chosen:
        raise shell.SkillError("not-found", f"no checkpoint in {found.root}", hint=f"{SCRIPT} list {folder}")
    owner = ANY_RUN if step is not None else owner_of(found.root)
    verdicts, before = [], []
    for each in reversed(chosen):
        if everything:
            shell.progress(f"reading {each.name}")
        before.append(marks(found.root / each.name))
        verdicts.append(judge(found.root, each, quick=quick, owner=owner))
    shown_first = sorted(verdicts, key=lambda verdict: verdict.status in ("pass", "skipped"))[:limit]
    counts = {status: sum(v.status == status for v in verdicts) for status in ("pass", "fail", "unknown", "skipped")}
    ok = counts["pass"] > 0 and not counts["fail"] and not counts["unknown"]
    verdict = "intact" if ok else "damaged" if counts["fail"] else "unknown"
    data = {"folder": str(found.root), "verdict": verdict, "total": len(verdicts), **counts}
    data["checkpoints"] = [v.row() for v in shown_first]
    others = [entry.name for entry in reversed(found.entries) if entry not in chosen]
    data |= {"others": len(others), "not_judged": [shown(name) for name in others[:limit]]}
    next_ = [] if ok else [f"{SCRIPT} latest {folder}"]
    checks = [verdict.check() for verdict in shown_first]
    checks += [check for each in chosen if (check := _unlisted(found.root, each))]
    if step is not None:
        checks += _of_another_run(found.root, chosen[0])
    changed = []
    if record_it:
        try:
            record(found.root, zip(verdicts, before, strict=True))
            changed = [f"wrote {VERIFIED}"]
        except OSError as error:  # the verdict stands without it
            checks.append(shell.Check("folder.verified", "warn", f"{VERIFIED} could not be written: {error.strerror}"))
    return shell.Result(data, checks=checks, changed=changed, next=next_, truncated=len(verdicts) > limit, ok=ok)


def _unlisted(root: Path, entry: Entry) -> shell.Check | None:
    """Files beside those of the checkpoint: the verdict does not speak of them."""
    names = [shown(name, 80) for name in unlisted(root / entry.name)]
    if not names:
        return None
    what = f"{len(names)} of its files are not listed in the manifest and were not judged, first: {names[0]}"
    return shell.Check(
        f"unlisted.{entry.name}", "warn", what, ", ".join(names[:20]), "no restore reads them; ask whose they are"
    )


def _of_another_run(root: Path, entry: Entry) -> list[shell.Check]:
    """A step asked for by its number is judged whoever wrote it, as a restore of step:N does."""
    try:
        read_manifest(root / entry.name)
    except NotOursError as error:
        return [shell.Check("checkpoint.run", "warn", shell.clean(str(error), 400))]
    except (DamagedError, OSError):
        pass
    return []


def prune(folder: str, holder_gone: bool, dry_run: bool, yes: bool, limit: int, **wishes: Any) -> shell.Result:
    """Remove steps that no tier names, once the plan is confirmed. `wishes` are the members of Wish."""
    found = look(folder)
    if not dry_run:
        refuse_in_use(found, folder, holder_gone, "prune")
    plan = make_plan(found, Wish(**wishes))
    data = plan.data(found, limit)
    truncated = max(len(plan.remove), len(plan.keep)) > limit
    same_tiers = found.tiers is None or plan.tiers == found.tiers
    if dry_run or not plan.intact or (not plan.remove and same_tiers):
        return shell.Result(data, checks=plan.checks, truncated=truncated)
    shell.confirm(yes, data, what=f"remove {_folders(len(plan.remove))} ({data['frees']}) and write tiers.json")
    changed: list[str] = []
    try:
        for change in carry_out(found, plan):
            shell.progress(change)
            changed.append(change)
    except (shell.SkillError, OSError) as error:
        code = getattr(error, "code", "permission" if isinstance(error, PermissionError) else "unreachable")
        hint = getattr(error, "hint", "the same command goes on where it stopped")
        raise shell.SkillError(code, f"{error}", hint=hint, data={**data, "changed": changed}) from error
    return shell.Result(data, checks=plan.checks, changed=changed, truncated=truncated)


def _folders(count: int) -> str:
    return f"{count} folder" if count == 1 else f"{count} folders"


def _folder_checks(found: CheckpointFolder) -> list[shell.Check]:
    """What a reader of the list should know about the folder itself."""
    names = {entry.name for entry in found.committed}
    checks = []
    if found.pointer is not None and found.pointer not in names:
        checks.append(
            shell.Check(
                "folder.latest",
                "warn",
                f"`latest` names {shell.clean(found.pointer, 80)}, which is no committed step",
                fix="none needed: a restore looks at the steps",
            )
        )
    damaged = [entry.name for entry in found.steps if entry.problem]
    if damaged:
        checks.append(
            shell.Check(
                "folder.damaged",
                "warn",
                f"{len(damaged)} damaged, newest {damaged[-1]}",
                fix="`latest` names the newest intact one",
            )
        )
    if found.committed and found.tiers is None:
        checks.append(
            shell.Check("folder.tiers", "warn", "tiers.json is missing or damaged", fix="the run writes it at its next commit")
        )
    return checks
