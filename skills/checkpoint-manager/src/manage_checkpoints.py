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

from checkpoint_formats.verbs import add_verbs
from checkpoint_planner.options import options as planner_options

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
    """Every name in the folder, newest step first. Reads manifests and sizes, no shard: `verified` is what `verify --record` found."""
    from checkpoint_folder.verbs import list_ as answer

    return answer(folder, limit)


@cli.command(epilog=shell.examples(f"{SCRIPT} latest .trainyard/runs/tiny-lm", f"{SCRIPT} latest {FOLDER} --quick"))
@click.argument("folder")
@click.option(
    "--verify/--quick",
    default=True,
    help="Read every byte (default), or compare sizes only: then the answer is unknown, exit 1.",
)
def latest(folder: str, verify: bool) -> shell.Result:
    """The newest step that verifies: what a restore takes. Says which newer ones were skipped, and why."""
    from checkpoint_folder.verbs import latest as answer

    return answer(folder, verify)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} verify .trainyard/runs/tiny-lm",
        f"{SCRIPT} verify {FOLDER} --all --record",
        f"{SCRIPT} verify {FOLDER} --step 400",
    )
)
@click.argument("folder")
@click.option("--step", type=click.IntRange(min=0), help="This step; without --step and --all: the newest.")
@click.option("--all", "everything", is_flag=True, help="Every step, and those set aside.")
@click.option("--quick", is_flag=True, help="Sizes only: never a pass, the answer is unknown and exit 1.")
@click.option(
    "--record", "record_it", is_flag=True, help="Write the verdicts into verified.json in FOLDER, where `list` shows them."
)
@limit_option
def verify(folder: str, step: int | None, everything: bool, quick: bool, limit: int, record_it: bool) -> shell.Result:
    """Read every byte and compare it with the manifest. Exit 0: all intact; 1: damaged or unknown, with file and reason.

    FOLDER may also be a checkpoint of another tool, file or folder: then every checksum that its format has is compared.
    """
    from checkpoint_formats.verify import verify_other
    from checkpoint_folder.verbs import verify as answer

    if everything and step is not None:
        raise shell.SkillError("usage", "--step and --all exclude each other", hint=f"{SCRIPT} verify --help")
    if record_it and quick:
        raise shell.SkillError("usage", "--quick verifies nothing that could be recorded", hint=f"{SCRIPT} verify --help")
    options = {"step": step is not None, "all": everything, "quick": quick, "record": record_it}
    if (other := verify_other(folder, options, limit)) is not None:
        return other
    return answer(folder, step, everything, quick, limit, record_it)


@cli.command(epilog=shell.examples(f"{SCRIPT} show .trainyard/runs/tiny-lm", f"{SCRIPT} show {FOLDER} --step 400 --limit 500"))
@click.argument("folder")
@click.option("--step", type=click.IntRange(min=0), help="This step; without it the newest committed one.")
@limit_option
def show(folder: str, step: int | None, limit: int) -> shell.Result:
    """One checkpoint: manifest, files and where they are, state.json, tensors with dtype and shape; `verified` as in `list`."""
    from checkpoint_folder.look import look
    from checkpoint_folder.show import show as open_up

    found = look(folder)
    if step is None and not found.committed:
        raise shell.SkillError("not-found", f"no committed checkpoint in {found.root}", hint=f"{SCRIPT} list {folder}")
    entry = found.committed[-1] if step is None else found.entry_of(step)
    data = open_up(found, entry, limit)
    checks = [shell.Check(f"checkpoint.{entry.name}", "fail", data["problem"])] if data["problem"] else []
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
    from checkpoint_folder.verbs import prune as answer

    return answer(folder, holder_gone, dry_run, yes, limit, **wishes)


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
    from checkpoint_planner.plan import answer

    return answer(words)


add_verbs(cli)

if __name__ == "__main__":
    cli()
