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

import os
from typing import Any

import click

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

    FOLDER may also be a checkpoint of another tool, file or folder: then every checksum that its format has, or a SHA256SUMS beside
    it, is compared. Every file of it is judged or listed as not judged; a pickle that names code is `unsafe`.
    """
    if everything and step is not None:
        raise shell.SkillError("usage", "--step and --all exclude each other", hint=f"{SCRIPT} verify --help")
    if record_it and quick:
        raise shell.SkillError("usage", "--quick verifies nothing that could be recorded", hint=f"{SCRIPT} verify --help")
    options = {"step": step is not None, "all": everything, "quick": quick, "record": record_it}
    if _is_other(folder):
        from checkpoint_formats.any_path import verify_other

        if (other := verify_other(folder, options, limit)) is not None:
            return other
    from checkpoint_folder.verbs import verify as answer

    return answer(folder, step, everything, quick, limit, record_it)


def _is_other(path: str) -> bool:
    """Is there something at the path that is no checkpoint folder of ours?"""
    if not os.path.isdir(path):
        return os.path.exists(path)
    from checkpoint_folder.look import is_ours

    return not is_ours(path)


@cli.command(epilog=shell.examples(f"{SCRIPT} show .trainyard/runs/tiny-lm", f"{SCRIPT} show {FOLDER} --step 400 --limit 500"))
@click.argument("folder")
@click.option("--step", type=click.IntRange(min=0), help="This step; without it the newest committed one.")
@limit_option
def show(folder: str, step: int | None, limit: int) -> shell.Result:
    """One checkpoint: manifest, files and where they are, state.json, tensors with dtype and shape; `verified` as in `list`."""
    from checkpoint_folder.show import answer

    return answer(folder, step, limit)


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
    """Remove steps that no tier keeps. Kept: the tiers, best, the newest that verifies, and what Trainyard did not write.

    The plan says why each thing stays, whose a *.tmp is, and under `would_free` what each option would remove besides.
    """
    from checkpoint_folder.verbs import prune as answer

    return answer(folder, holder_gone, dry_run, yes, limit, **wishes)


@cli.command(
    epilog=shell.examples(f"{SCRIPT} rollback .trainyard/runs/tiny-lm 400 --dry-run", f"{SCRIPT} rollback {FOLDER} 400 --yes")
)
@click.argument("folder")
@click.argument("step", type=click.IntRange(min=0))
@click.option("--holder-gone", is_flag=True, help="You made sure that the job which held the lock on another host has ended.")
@click.option("--dry-run", is_flag=True, help="Name the steps that would be set aside and change nothing.")
@click.option("--yes", is_flag=True, help="Set them aside.")
def rollback(folder: str, step: int, holder_gone: bool, dry_run: bool, yes: bool) -> shell.Result:
    """Set the steps after STEP aside, so that the next start goes on from STEP. STEP is verified first; no byte is removed.

    For a run whose newest checkpoints hold, or led to, something bad. `prune --aside` removes what was set aside.
    """
    from checkpoint_folder.rollback import rollback as answer

    return answer(folder, step, holder_gone, dry_run, yes)


class PlanVerb(click.Command):
    """Its options are made when they are asked for: no other verb needs the planner."""

    def get_params(self, context: click.Context) -> list[click.Parameter]:
        from checkpoint_planner.options import OPTIONS

        return [*OPTIONS, *super().get_params(context)]


@cli.command(
    cls=PlanVerb,
    epilog=shell.examples(
        f"{SCRIPT} plan --params 7e9 --optimizer adamw --dtype bf16 --nodes 4",
        f"{SCRIPT} plan --params 70B --nodes 32 --write-bandwidth 2GB/s --step-seconds 6 --usd-per-node-hour 60",
        f"{SCRIPT} plan --params 125M --gpus-per-node 2 --measure /fsx --step-seconds 0.4 --rolling-steps 100",
    ),
)
def plan(**words: Any) -> shell.Result:
    """Before training: what checkpoints of a model take in bytes, memory, disk and seconds, and how often to save."""
    from checkpoint_planner.plan import answer

    return answer(words)


@cli.command(epilog=shell.examples(f"{SCRIPT} inspect outputs/checkpoint-500", f"{SCRIPT} inspect model.pt --json"))
@click.argument("path")
@limit_option
def inspect(path: str, limit: int) -> shell.Result:
    """What a file or folder is: kind with evidence, step, sizes, parts and missing parts. Exit 1: unknown, or not complete."""
    from checkpoint_formats.inspection import inspect as answer

    return answer(path, limit)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} tensors model.safetensors --limit 5", f"{SCRIPT} tensors .trainyard/runs/tiny-lm/checkpoints"
    )
)
@click.argument("path")
@click.option("--prefix", default="", help="Only tensors whose name begins with this.")
@click.option("--others", is_flag=True, help="List what is no tensor, too.")
@limit_option
def tensors(path: str, prefix: str, others: bool, limit: int) -> shell.Result:
    """Name, dtype, shape and bytes of every tensor, of any format. Reads headers and pickles (as data), no values."""
    from checkpoint_formats.inspection import tensors as answer

    return answer(path, prefix, others, limit)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} compare step_00000400 step_00000450", f"{SCRIPT} compare step_00000400 exported --prefix-a model."
    )
)
@click.argument("a")
@click.argument("b")
@click.option("--prefix-a", default="", help="Only tensors of A whose name begins with this; it is left out of the name.")
@click.option("--prefix-b", default="", help="The same for B.")
@limit_option
def compare(a: str, b: str, prefix_a: str, prefix_b: str, limit: int) -> shell.Result:
    """Which tensors of two checkpoints differ, and by how much, whatever their formats. Exit 0: all equal bit for bit; 1: not."""
    from checkpoint_formats.compare import answer

    return answer(a, b, prefix_a, prefix_b, limit)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} export .trainyard/runs/tiny-lm exported --dry-run",
        f"{SCRIPT} export .trainyard/runs/tiny-lm exported --step 400 --config config.json",
    )
)
@click.argument("step_or_folder")
@click.argument("out")
@click.option("--step", type=click.IntRange(min=0), help="This step of the folder; without it the newest that verifies.")
@click.option(
    "--prefix", default="model.", show_default=True, help="Export what begins with this; it is left out of the names."
)
@click.option(
    "--max-shard-size", default="5GB", show_default=True, help="Bytes of tensors in one file at most, as 500MB or 2GiB."
)
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="A config.json to put beside the weights.")
@click.option("--dry-run", is_flag=True, help="Verify and print the plan; write nothing.")
def export(
    step_or_folder: str, out: str, step: int | None, prefix: str, max_shard_size: str, config: str | None, dry_run: bool
) -> shell.Result:
    """A Trainyard step's model weights as a new folder OUT in the layout of Hugging Face, with SHA256SUMS. Verifies every byte first."""
    from checkpoint_formats.export import answer

    return answer(step_or_folder, out, step, prefix, max_shard_size, config, dry_run)


@cli.command(
    epilog=shell.examples(
        f"{SCRIPT} convert model.pt model.safetensors --dry-run",
        f"{SCRIPT} convert last.ckpt model.safetensors --prefix state_dict.",
    )
)
@click.argument("source", metavar="IN")
@click.argument("out")
@click.option("--prefix", default="", help="Only tensors whose name begins with this; it is left out of the names.")
@click.option(
    "--accept",
    "accepted",
    multiple=True,
    help="Accept this name (module.name) in the pickle, though it is not one known to be harmless. May be repeated. "
    "A name that would run code is always refused, and nothing is run either way.",
)
@click.option("--dry-run", is_flag=True, help="Read and judge the input, print the plan; write nothing.")
@limit_option
def convert(source: str, out: str, prefix: str, accepted: tuple[str, ...], dry_run: bool, limit: int) -> shell.Result:
    """The tensors of a .pt, .pth, .bin or .ckpt as a new safetensors file OUT. Never unpickles; refuses a pickle that names code.

    Exit 1: OUT is written but lacks a tensor that was asked for (sparse, quantized, or of a type or name that safetensors does not allow);
    `left_out` names it. It also lists what is not a tensor or is outside --prefix; that does not change the exit code.
    """
    from checkpoint_formats.convert import answer

    return answer(source, out, prefix, accepted, dry_run, limit)


if __name__ == "__main__":
    cli()
