#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "kubernetes>=35,!=36.0.0",
#   "msgspec>=0.19",
#   "PyYAML>=6.0.2",
#   "urllib3>=2.0",
#   "websocket-client>=1.8",
#   "xxhash>=3.5",  # optional: without it a copy is verified with CRC-32
# ]
# ///
"""The checkpoints of a run on a cluster, seen from a running pod (--pod) or from a helper pod on the claim (--claim).

RUN_DIR is a path in the container: /trainyard/NAME-RUNID, or a checkpoint folder. The container needs Python 3.11, nothing else.
"""

from __future__ import annotations

import trainyard_shell as shell

from pathlib import Path
from typing import Any

import click

import trainyard_kube as kube
from checkpoint_pods.place import Target, options, place_of

SCRIPT = "pod_checkpoints.py"
RUN_DIR = "/trainyard/tiny-lm-0123456789abcdef"
FROM_POD, FROM_CLAIM = "--pod tiny-lm-master-0", "--claim tiny-lm-01234567 --image my/trainer:1"
limit_option = click.option(
    "--limit", type=click.IntRange(0, 100_000), default=50, show_default=True, help="Rows printed at most."
)


@shell.program("checkpoint-manager")
def cli() -> None:
    """The checkpoints of a run on a cluster, seen from a running pod (--pod) or from a helper pod on the claim (--claim).

    RUN_DIR is a path in the container: /trainyard/NAME-RUNID, or a checkpoint folder. The container needs Python 3.11, nothing else.
    """


@cli.command(
    "list", epilog=shell.examples(f"{SCRIPT} list {RUN_DIR} {FROM_POD}", f"{SCRIPT} list {RUN_DIR} {FROM_CLAIM} --limit 5")
)
@click.argument("run_dir")
@limit_option
@options
def list_(where: kube.Where, target: Target, run_dir: str, limit: int) -> shell.Result:
    """Every name in the folder, newest step first. Reads manifests and sizes, no shard."""
    from checkpoint_pods.verbs import folder_or_raise, list_checkpoints_on_pod

    folder = folder_or_raise(run_dir)
    with place_of(where, target) as place:
        return list_checkpoints_on_pod(place, folder, limit)


@cli.command(epilog=shell.examples(f"{SCRIPT} latest {RUN_DIR} {FROM_POD}", f"{SCRIPT} latest {RUN_DIR} {FROM_CLAIM} --quick"))
@click.argument("run_dir")
@click.option("--verify/--quick", default=True, help="Read every byte (default), or sizes only: unknown, exit 1.")
@options
def latest(where: kube.Where, target: Target, run_dir: str, verify: bool) -> shell.Result:
    """The newest step that verifies: what a restore takes. Says which newer ones were skipped, and why."""
    from checkpoint_pods.verbs import find_latest_checkpoint_on_pod, folder_or_raise

    folder = folder_or_raise(run_dir)
    with place_of(where, target) as place:
        return find_latest_checkpoint_on_pod(place, folder, verify=verify)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} verify {RUN_DIR} {FROM_POD} --step 400", f"{SCRIPT} verify {RUN_DIR} {FROM_CLAIM} --all --timeout 7200"
    )
)
@click.argument("run_dir")
@click.option("--step", type=click.IntRange(min=0), help="This step; without --step and --all: the newest.")
@click.option("--all", "everything", is_flag=True, help="Every step, and those set aside.")
@click.option("--quick", is_flag=True, help="Sizes only: never a pass, the answer is unknown and exit 1.")
@limit_option
@options
def verify(where: kube.Where, target: Target, run_dir: str, step: int | None, everything: bool, **words: Any) -> shell.Result:
    """Read every byte, inside the container, and compare it with the manifest. Exit 1: damaged or unknown."""
    from checkpoint_pods.verbs import folder_or_raise, verify_on_pod

    folder = folder_or_raise(run_dir)
    if everything and step is not None:
        raise shell.SkillError("usage", "--step and --all exclude each other", hint=f"{SCRIPT} verify --help")
    with place_of(where, target) as place:
        return verify_on_pod(place, folder, step=step, everything=everything, **words)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} prune {RUN_DIR} {FROM_CLAIM} --keep-rolling 2 --keep-epochs 1 --dry-run",
        f"{SCRIPT} prune {RUN_DIR} {FROM_CLAIM} --keep-rolling 2 --keep-epochs 1 --yes",
    )
)
@click.argument("run_dir")
@click.option("--keep-rolling", type=click.IntRange(0, 10**6), help="Newest rolling steps to keep; else those in tiers.json.")
@click.option("--keep-epochs", type=click.IntRange(0, 10**6), help="Newest ends of epochs to keep; else those in tiers.json.")
@click.option("--aside", is_flag=True, help="Also steps set aside when a run resumed from an older one.")
@click.option("--temporary", is_flag=True, help="Also what a killed save or removal left (*.tmp).")
@click.option("--damaged", is_flag=True, help="Also steps that do not verify; reads every step.")
@click.option("--holder-gone", is_flag=True, help="You made sure that the pod which held the lock has ended.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", is_flag=True, help="Carry the plan out.")
@limit_option
@options
def prune(where: kube.Where, target: Target, run_dir: str, dry_run: bool, yes: bool, **words: Any) -> shell.Result:
    """Remove steps that no tier keeps. Kept: the tiers, best, the newest that verifies, and what Trainyard did not write."""
    from checkpoint_pods.verbs import folder_or_raise, prune_on_pod

    folder = folder_or_raise(run_dir)
    with place_of(where, target, writes=yes and not dry_run) as place:
        return prune_on_pod(place, folder, dry_run=dry_run, yes=yes, **words)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} rollback {RUN_DIR} 400 {FROM_CLAIM} --dry-run", f"{SCRIPT} rollback {RUN_DIR} 400 {FROM_CLAIM} --yes"
    )
)
@click.argument("run_dir")
@click.argument("step", type=click.IntRange(min=0))
@click.option("--holder-gone", is_flag=True, help="You made sure that the pod which held the lock has ended.")
@click.option("--dry-run", is_flag=True, help="Name the steps that would be set aside and change nothing.")
@click.option("--yes", is_flag=True, help="Set them aside.")
@options
def rollback(
    where: kube.Where, target: Target, run_dir: str, step: int, dry_run: bool, yes: bool, **words: Any
) -> shell.Result:
    """Set the steps after STEP aside, so that the next start goes on from STEP. STEP is verified first; no byte is removed."""
    from checkpoint_pods.verbs import folder_or_raise, rollback_on_pod

    folder = folder_or_raise(run_dir)
    with place_of(where, target, writes=yes and not dry_run) as place:
        return rollback_on_pod(place, folder, step=step, dry_run=dry_run, yes=yes, **words)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} copy {RUN_DIR} latest ./copies {FROM_CLAIM}",
        f"{SCRIPT} copy {RUN_DIR} 400 ./copies {FROM_POD} --timeout 7200",
    )
)
@click.argument("run_dir")
@click.argument("step")
@click.argument("out_dir")
@click.option("--dry-run", is_flag=True, help="Say which files would come; write none.")
@options
def copy(where: kube.Where, target: Target, run_dir: str, step: str, out_dir: str, dry_run: bool) -> shell.Result:
    """Copy STEP (a number, or latest: the newest that verifies) to OUT_DIR/step_N here and verify the copy. Exit 1: it differs.

    Another checkpoint under that name in OUT_DIR is exit 5: one of another run, or the same step saved again.
    """
    from checkpoint_pods.copy_step import copy_step
    from checkpoint_pods.verbs import folder_or_raise

    folder = folder_or_raise(run_dir)
    if step != "latest" and not (step.isascii() and step.isdigit() and len(step) < 19):
        raise shell.SkillError("usage", f"{shell.clean(step, 40)!r} is no step", hint="a number, or latest")
    with place_of(where, target) as place:
        return copy_step(place, folder, None if step == "latest" else int(step), Path(out_dir), dry_run=dry_run)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} fetch {RUN_DIR} ./tiny-lm {FROM_POD}", f"{SCRIPT} fetch {RUN_DIR} ./tiny-lm {FROM_CLAIM} --files steps.jsonl"
    )
)
@click.argument("run_dir")
@click.argument("out_dir")
@click.option(
    "--files",
    "names",
    metavar="NAME",
    multiple=True,
    help="These files only; may be given again. Default: what the monitor reads.",
)
@click.option("--max-mib", type=click.IntRange(1, 1 << 20), default=512, show_default=True, help="No larger file is taken.")
@click.option("--dry-run", is_flag=True, help="Say which files would come; write none.")
@options
def fetch(
    where: kube.Where, target: Target, run_dir: str, out_dir: str, names: tuple[str, ...], max_mib: int, dry_run: bool
) -> shell.Result:
    """Copy the small files of the run folder (steps.jsonl, events.jsonl, ...) to OUT_DIR, for the monitor; again: what has changed."""
    from checkpoint_pods.verbs import fetch_files, folder_or_raise, names_or_raise

    folder, chosen = folder_or_raise(run_dir), names_or_raise(names)
    with place_of(where, target) as place:
        return fetch_files(place, folder, Path(out_dir), chosen, limit_bytes=max_mib << 20, dry_run=dry_run)


if __name__ == "__main__":
    cli()
