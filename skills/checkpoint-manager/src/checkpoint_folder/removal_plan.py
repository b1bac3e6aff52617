"""What `prune` would remove, and why everything else stays. Nothing is changed here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.look import CheckpointFolder
from checkpoint_folder.removal_words import best_check, said, whose_temporary
from checkpoint_folder.rows import row
from checkpoint_folder.verdict import Verdict, newest_intact, verify
from checkpoint_folder.words import shown, size_text
from checkpoint_format import MANIFEST, STATE, Entry, named_steps, rebuild_tiers

DEFAULT_KEEP_ROLLING, DEFAULT_KEEP_EPOCHS = 10, 5
_OWN_FILE = re.compile(r"shard-\d{5}-model-00001-of-00001\.safetensors|part-\d+\.json", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the caller asked for."""

    keep_rolling: int | None = None
    """Newest rolling steps to keep; None: those that tiers.json names."""
    keep_epochs: int | None = None
    aside: bool = False
    temporary: bool = False
    damaged: bool = False


@dataclass(frozen=True)
class Plan:
    """Every name in the folder with the decision about it."""

    remove: list[tuple[Entry, str]] = field(default_factory=list)
    keep: list[tuple[Entry, str]] = field(default_factory=list)
    tiers: dict[str, Any] = field(default_factory=dict)
    """tiers.json afterwards."""
    checks: list[shell.Check] = field(default_factory=list)
    intact: bool = True
    """False: no step verifies, so nothing may go."""
    would_free: list[dict[str, Any]] = field(default_factory=list)
    """What each option that was not given would remove besides."""

    def data(self, folder: CheckpointFolder, limit: int) -> dict[str, Any]:
        """The plan as `data` of the answer."""

        def lines(decided: list[tuple[Entry, str]]) -> list[dict[str, Any]]:
            full = [(row(entry, folder.root, {}), why) for entry, why in reversed(decided)]
            return [{"name": r["name"], "kind": r["kind"], "size": r["size"], "why": why} for r, why in full[:limit]]

        freed = sum(row(entry, folder.root, {})["size_bytes"] or 0 for entry, _ in self.remove)
        return {
            "folder": str(folder.root),
            "total_remove": len(self.remove),
            "total_keep": len(self.keep),
            "frees": size_text(freed),
            "frees_bytes": freed,
            "remove": lines(self.remove),
            "keep": lines(self.keep),
            "would_free": self.would_free,
            "tiers": self.tiers,
        }


@dataclass(frozen=True)
class Findings:
    """What was found out about the steps before anything is decided."""

    newest: int | None
    """The newest step that verifies."""
    bad: dict[str, Verdict]
    """Verdicts of the steps that do not verify, by folder name."""
    best: int | None
    """The step that is best now, damaged or not: it is not ours to replace."""
    doomed: set[str]
    """Damaged steps that may go: proven, ours, not best, and asked for."""


def make_plan(folder: CheckpointFolder, wish: Wish) -> Plan:
    """Decide about every name. Reads the newest step whole (all steps with `damaged`) to know what is intact."""
    found = _find_out(folder, wish)
    checks = [_as_warning(verdict.check()) for verdict in found.bad.values()]
    if found.newest is None:
        checks.append(shell.Check("prune.intact", "fail", "no step verifies, so nothing is removed"))
        kept = [(entry, "no step verifies: nothing is removed") for entry in folder.entries]
        return Plan(keep=kept, tiers=folder.tiers or {}, checks=checks, intact=False)
    tiers = _tiers_afterwards(folder, wish, found)
    named = named_steps(tiers)
    named.setdefault(found.newest, []).append("newest verified")
    plan = Plan(tiers=tiers, checks=checks)
    for entry in folder.entries:
        go, why = _decide(folder, entry, wish, named, found)
        (plan.remove if go else plan.keep).append((entry, why))
    plan.would_free.extend(_would_free(folder, wish, found, plan))
    plan.checks.extend(best_check(folder, found.best))
    return plan


def _would_free(folder: CheckpointFolder, wish: Wish, found: Findings, plan: Plan) -> list[dict[str, Any]]:
    """One row for each option that was not given, and for fewer rolling steps: what it would remove that stays now."""
    staying = [entry for entry, _ in plan.keep]
    rows = [
        _freed(folder, "--aside", [e for e in staying if e.kind == "aside"] if not wish.aside else []),
        _freed(folder, "--temporary", [e for e in staying if e.kind == "temporary"] if not wish.temporary else []),
        _freed(folder, "--damaged", [e for e in staying if _is_damaged(e, found)] if not wish.damaged else []),
    ]
    for option, tier in (("--keep-rolling 1", "rolling"), ("--keep-epochs 1", "epoch")):
        older = list(plan.tiers.get(tier, [])[:-1])
        kept_for = named_steps({key: value for key, value in plan.tiers.items() if key != tier})
        only = [
            e for e in staying if e.kind == "step" and e.step in older and e.step not in kept_for and e.step != found.newest
        ]
        rows.append(_freed(folder, option, [e for e in only if e.name not in found.bad]))
    return [each for each in rows if each["folders"]]


def _is_damaged(entry: Entry, found: Findings) -> bool:
    verdict = found.bad.get(entry.name)
    return (
        entry.kind == "step"
        and verdict is not None
        and verdict.status == "fail"
        and verdict.is_ours
        and entry.step != found.best
    )


def _freed(folder: CheckpointFolder, option: str, entries: list[Entry]) -> dict[str, Any]:
    free = [entry for entry in entries if entry.kind == "temporary" or not _foreign_names(folder.root / entry.name, entry)]
    size = sum(row(entry, folder.root, {})["size_bytes"] or 0 for entry in free)
    return {"option": option, "folders": len(free), "frees": size_text(size), "frees_bytes": size}


def _find_out(folder: CheckpointFolder, wish: Wish) -> Findings:
    intact, skipped = newest_intact(folder.root, folder.steps)
    verdicts = {verdict.name: verdict for verdict in skipped}
    for entry in folder.steps:
        if entry.name not in verdicts and not (intact and entry.name == intact.name) and (wish.damaged or entry.problem):
            verdicts[entry.name] = verify(folder.root, entry)
    bad = {name: verdict for name, verdict in verdicts.items() if verdict.status in ("fail", "unknown")}
    manifests = [entry.manifest for entry in folder.committed if entry.manifest]
    best = (folder.tiers or rebuild_tiers(manifests, keep_rolling=0, keep_epochs=0))["best"]
    best = best if any(entry.step == best for entry in folder.steps) else None
    doomed = {
        entry.name
        for entry in folder.steps
        if wish.damaged
        and entry.name in bad
        and bad[entry.name].status == "fail"
        and entry.step != best
        and bad[entry.name].is_ours
        and not _foreign_names(folder.root / entry.name, entry)
    }
    return Findings(intact.step if intact else None, bad, best, doomed)


def _as_warning(check: shell.Check) -> shell.Check:
    """The question of `prune` is not whether everything is intact."""
    return shell.Check(check.id, "warn", check.summary, check.evidence, check.fix)


def _tiers_afterwards(folder: CheckpointFolder, wish: Wish, found: Findings) -> dict[str, Any]:
    """tiers.json rebuilt from the manifests that stay, with the caller's numbers or else the steps that it names now."""
    manifests = [entry.manifest for entry in folder.committed if entry.manifest and entry.name not in found.doomed]
    rolling = len(manifests) if folder.tiers else DEFAULT_KEEP_ROLLING
    epochs = len(manifests) if folder.tiers else DEFAULT_KEEP_EPOCHS
    tiers = rebuild_tiers(
        manifests,
        keep_rolling=rolling if wish.keep_rolling is None else wish.keep_rolling,
        keep_epochs=epochs if wish.keep_epochs is None else wish.keep_epochs,
        finals=(folder.tiers or {}).get("final", []),
    )
    if not folder.tiers:
        return tiers
    # A step newer than tiers.json was committed by a run that died before it wrote the file: it counts as named.
    since = folder.tiers.get("latest") or 0
    for tier, number in (("rolling", wish.keep_rolling), ("epoch", wish.keep_epochs)):
        if number is None:
            tiers[tier] = [step for step in tiers[tier] if step in folder.tiers[tier] or step > since]
    if found.best is not None:
        rivals = [manifest for manifest in manifests if manifest["step"] == found.best or manifest["step"] > since]
        known = any(manifest["step"] == found.best for manifest in manifests)
        tiers["best"] = rebuild_tiers(rivals, keep_rolling=0, keep_epochs=0)["best"] if known else found.best
    return tiers


def _decide(
    folder: CheckpointFolder, entry: Entry, wish: Wish, named: dict[int, list[str]], found: Findings
) -> tuple[bool, str]:
    """(remove it?, why) for one name."""
    live = folder.holder.state == "alive"
    if entry.kind == "unknown":
        return False, "not written by trainyard"
    if entry.kind == "temporary":
        whose = whose_temporary(entry.name, folder.holder)
        if live:
            return False, f"{whose}; the run that holds the lock lives"
        return wish.temporary, _asked(whose, wish.temporary, "--temporary")
    if foreign := _foreign_names(folder.root / entry.name, entry):
        return False, f"holds what is not of the checkpoint: {', '.join(shown(name, 40) for name in foreign[:5])}"
    if entry.kind == "aside":
        return wish.aside, _asked("set aside when the run resumed from an older step", wish.aside, "--aside")
    assert entry.step is not None and found.newest is not None
    tiers = named.get(entry.step, [])
    if entry.name in found.bad:
        return _decide_bad(entry, found, wish)
    if tiers:
        return False, ", ".join(said(tier, entry) for tier in tiers)
    if live and entry.step > found.newest:
        return False, "newer than the newest verified one, and the run lives"
    return True, "no tier names it"


def _decide_bad(entry: Entry, found: Findings, wish: Wish) -> tuple[bool, str]:
    """(remove it?, why) for a step that does not verify."""
    verdict = found.bad[entry.name]
    problem = verdict.problems[0]
    if entry.step == found.best:
        return False, f"best, and damaged: {problem}"
    if verdict.status == "unknown":
        return False, f"cannot be judged: {problem}"
    if not verdict.is_ours:
        return False, f"not known to be ours: {problem}"
    return entry.name in found.doomed, _asked(f"damaged: {problem}", wish.damaged, "--damaged")


def _asked(why: str, wished: bool, option: str) -> str:
    return why if wished else f"{why}; {option} removes it"


def _foreign_names(path: Path, entry: Entry) -> list[str]:
    """Names in a checkpoint's folder that no save wrote; a file that the manifest does not list is somebody's."""
    listed = set((entry.manifest or {"files": {}})["files"]) | {MANIFEST, STATE}
    try:
        found = list(os.scandir(path))
    except OSError:
        return ["(cannot be read)"]
    known = [e.is_file(follow_symlinks=False) and (e.name in listed or bool(_OWN_FILE.fullmatch(e.name))) for e in found]
    return sorted(e.name for e, ours in zip(found, known, strict=True) if not ours)
