#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "numpy>=1.26",  # optional: only compare, export and convert read values
#   "xxhash>=3.5",  # optional: without it verification uses CRC-32 from the standard library
# ]
# ///
"""Inspect, verify and prune the checkpoint folder of a Trainyard run, and read the checkpoints of other tools, without torch.

FOLDER is the checkpoint folder, or a run folder with checkpoints/ in it. PATH is any checkpoint: a file or a folder.
"""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click

from any_format_verbs import add_verbs
from checkpoint_planner_options import options as planner_options

SCRIPT = "manage_checkpoints.py"
FOLDER = ".trainyard/runs/tiny-lm/checkpoints"
limit_option = click.option(
    "--limit", type=click.IntRange(0, 100_000), default=50, show_default=True, help="Rows printed at most."
)


@shell.program("checkpoint-manager")
def cli() -> None:
    """Inspect, verify and prune the checkpoint folder of a Trainyard run, and read the checkpoints of other tools, without torch.

    FOLDER is the checkpoint folder, or a run folder with checkpoints/ in it. PATH is any checkpoint: a file or a folder.
    """


@cli.command(
    "list", epilog=shell.examples(f"{SCRIPT} list .trainyard/runs/tiny-lm", f"{SCRIPT} list {FOLDER} --limit 5 --json")
)
@click.argument("folder")
@limit_option
def list_(folder: str, limit: int) -> shell.Result:
    """Every name in the folder, newest step first. Reads manifests and sizes, no shard: nothing here proves a checkpoint intact."""
    from checkpoint_folder import look, rows

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


@cli.command(epilog=shell.examples(f"{SCRIPT} latest .trainyard/runs/tiny-lm", f"{SCRIPT} latest {FOLDER} --quick"))
@click.argument("folder")
@click.option(
    "--verify/--quick",
    default=True,
    help="Read every byte (default), or compare sizes only: then the answer is unknown, exit 1.",
)
def latest(folder: str, verify: bool) -> shell.Result:
    """The newest step that verifies: what a restore takes. Says which newer ones were skipped, and why."""
    from checkpoint_folder import look
    from checkpoint_verdict import newest_intact

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
    # An older step verifies, so the answer is yes; what was skipped is a warning.
    checks = [shell.Check(each.id, "warn", each.summary, each.evidence) for each in checks]
    return shell.Result(data, checks=[best.check(), *checks])


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} verify .trainyard/runs/tiny-lm", f"{SCRIPT} verify {FOLDER} --all", f"{SCRIPT} verify {FOLDER} --step 400"
    )
)
@click.argument("folder")
@click.option("--step", type=click.IntRange(min=0), help="This step; without --step and --all: the newest.")
@click.option("--all", "everything", is_flag=True, help="Every step, and those set aside.")
@click.option("--quick", is_flag=True, help="Sizes only: never a pass, the answer is unknown and exit 1.")
@limit_option
def verify(folder: str, step: int | None, everything: bool, quick: bool, limit: int) -> shell.Result:
    """Read every byte and compare it with the manifest. Exit 0: all intact; 1: damaged or unknown, with file and reason.

    FOLDER may also be a checkpoint of another tool, file or folder: then every checksum that its format has is compared.
    """
    from any_format_verify import verify_other
    from checkpoint_folder import look
    from checkpoint_verdict import verify as judge

    if everything and step is not None:
        raise shell.SkillError("usage", "--step and --all exclude each other", hint=f"{SCRIPT} verify --help")
    if (other := verify_other(folder, {"step": step is not None, "all": everything, "quick": quick}, limit)) is not None:
        return other
    found = look(folder)
    chosen = [each for each in found.entries if each.kind in ("step", "aside")] if everything else found.steps[-1:]
    if step is not None:
        chosen = [found.entry_of(step)]
    if not chosen:
        raise shell.SkillError("not-found", f"no checkpoint in {found.root}", hint=f"{SCRIPT} list {folder}")
    verdicts = []
    for each in reversed(chosen):
        if everything:
            shell.progress(f"reading {each.name}")
        verdicts.append(judge(found.root, each, quick=quick))
    shown_first = sorted(verdicts, key=lambda verdict: verdict.status in ("pass", "skipped"))[:limit]
    counts = {status: sum(v.status == status for v in verdicts) for status in ("pass", "fail", "unknown", "skipped")}
    ok = counts["pass"] > 0 and not counts["fail"] and not counts["unknown"]
    verdict = "intact" if ok else "damaged" if counts["fail"] else "unknown"
    data = {"folder": str(found.root), "verdict": verdict, "total": len(verdicts), **counts}
    data["checkpoints"] = [v.row() for v in shown_first]
    next_ = [] if ok else [f"{SCRIPT} latest {folder}"]
    checks = [verdict.check() for verdict in shown_first]
    return shell.Result(data, checks=checks, next=next_, truncated=len(verdicts) > limit, ok=ok)


@cli.command(epilog=shell.examples(f"{SCRIPT} show .trainyard/runs/tiny-lm", f"{SCRIPT} show {FOLDER} --step 400 --limit 500"))
@click.argument("folder")
@click.option("--step", type=click.IntRange(min=0), help="This step; without it the newest committed one.")
@limit_option
def show(folder: str, step: int | None, limit: int) -> shell.Result:
    """One checkpoint: manifest, files and where they are, state.json, tensors with dtype and shape."""
    from checkpoint_folder import look
    from checkpoint_show import show as open_up

    found = look(folder)
    if step is None and not found.committed:
        raise shell.SkillError("not-found", f"no committed checkpoint in {found.root}", hint=f"{SCRIPT} list {folder}")
    entry = found.committed[-1] if step is None else found.entry_of(step)
    data = open_up(found, entry, limit)
    checks = [shell.Check(f"checkpoint.{entry.name}", "fail", entry.problem)] if entry.problem else []
    truncated = max(data["total_tensors"], data["total_files"]) > limit
    return shell.Result(data, checks=checks, next=[f"{SCRIPT} verify {folder} --step {entry.step}"], truncated=truncated)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} prune .trainyard/runs/tiny-lm --keep-rolling 2 --keep-epochs 1 --dry-run",
        f"{SCRIPT} prune {FOLDER} --keep-rolling 2 --keep-epochs 1 --yes",
        f"{SCRIPT} prune {FOLDER} --aside --temporary --yes",
    )
)
@click.argument("folder")
@click.option(
    "--keep-rolling",
    type=click.IntRange(0, 10**6),
    help="Newest rolling steps to keep; without it those in tiers.json, else 10.",
)
@click.option(
    "--keep-epochs",
    type=click.IntRange(0, 10**6),
    help="Newest ends of epochs to keep; without it those in tiers.json, else 5.",
)
@click.option("--aside", is_flag=True, help="Also remove steps set aside when a run resumed from an older one.")
@click.option("--temporary", is_flag=True, help="Also remove what a killed save or removal left (*.tmp).")
@click.option(
    "--damaged", is_flag=True, help="Also remove steps that do not verify; reads every step. Never the last one, never best."
)
@click.option("--holder-gone", is_flag=True, help="You made sure that the job which held the lock on another host has ended.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", is_flag=True, help="Carry the plan out.")
@limit_option
def prune(folder: str, holder_gone: bool, dry_run: bool, yes: bool, limit: int, **wishes: Any) -> shell.Result:
    """Remove steps that no tier names. Stays: the tiers, best, the newest that verifies, and whatever is not ours."""
    from checkpoint_folder import look
    from checkpoint_plan import Wish, make_plan
    from checkpoint_removal import carry_out

    found = look(folder)
    if not dry_run:
        _may_prune(found, folder, holder_gone)
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


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} plan --params 7e9 --optimizer adamw --dtype bf16 --nodes 4",
        f"{SCRIPT} plan --params 70B --nodes 32 --write-bandwidth 2GB/s --step-seconds 6 --usd-per-node-hour 60",
        f"{SCRIPT} plan --params 125M --gpus-per-node 2 --measure /fsx --step-seconds 0.4 --rolling-steps 100",
    )
)
@planner_options
def plan(**words: Any) -> shell.Result:
    """Before training: what checkpoints of a model take in bytes, memory, disk and seconds, and how often to save."""
    from checkpoint_planner import answer

    return answer(words)


def _folders(count: int) -> str:
    return f"{count} folder" if count == 1 else f"{count} folders"


def _may_prune(found: Any, folder: str, holder_gone: bool) -> None:
    """SkillError `conflict` unless nobody can be writing into the folder."""
    from pathlib import Path

    holder = found.holder
    dry = f"{SCRIPT} prune {folder} --dry-run shows the plan"
    if Path(folder).is_symlink() or found.root.is_symlink():
        raise shell.SkillError(
            "conflict", f"{folder} is a symbolic link", hint=f"name the folder itself: {found.root.resolve()}"
        )
    if holder.state == "alive":
        raise shell.SkillError(
            "conflict", f"process {holder.pid} of run {holder.run_id} lives and uses this folder", hint=f"stop it; {dry}"
        )
    if holder.state == "unreadable":
        raise shell.SkillError("conflict", "lock.json cannot be read: whose folder this is, is not known", hint=dry)
    if holder.state == "elsewhere" and not holder_gone:
        why = f"process {holder.pid} on {holder.host} holds the lock; whether it lives cannot be seen from here"
        raise shell.SkillError(
            "conflict", why, hint=f"prune on that host, or make sure it has ended and add --holder-gone; {dry}"
        )


def _folder_checks(found: Any) -> list[shell.Check]:
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


add_verbs(cli)

if __name__ == "__main__":
    cli()
