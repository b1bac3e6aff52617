"""The verbs for checkpoints of any format: inspect, tensors, compare, export, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import trainyard_shell as shell

SCRIPT = "manage_checkpoints.py"
limit_option = click.option(
    "--limit", type=click.IntRange(0, 100_000), default=50, show_default=True, help="Rows printed at most."
)


def add_verbs(cli: shell.Program) -> None:
    """Put the verbs of this file on the program."""
    for name, function in (
        ("inspect", inspect),
        ("tensors", tensors),
        ("compare", compare),
        ("export", export),
        ("convert", convert),
    ):
        cli.command(name, epilog=shell.examples(*EXAMPLES[name]))(function)


EXAMPLES = {
    "inspect": (f"{SCRIPT} inspect outputs/checkpoint-500", f"{SCRIPT} inspect model.pt --json"),
    "tensors": (f"{SCRIPT} tensors model.safetensors --limit 5", f"{SCRIPT} tensors .trainyard/runs/tiny-lm/checkpoints"),
    "compare": (
        f"{SCRIPT} compare step_00000400 step_00000450",
        f"{SCRIPT} compare step_00000400 exported --prefix-a model.",
    ),
    "export": (
        f"{SCRIPT} export .trainyard/runs/tiny-lm exported --dry-run",
        f"{SCRIPT} export .trainyard/runs/tiny-lm exported --step 400 --config config.json",
    ),
    "convert": (
        f"{SCRIPT} convert model.pt model.safetensors --dry-run",
        f"{SCRIPT} convert last.ckpt model.safetensors --prefix state_dict.",
    ),
}


@click.argument("path")
@limit_option
def inspect(path: str, limit: int) -> shell.Result:
    """What a file or folder is: kind with evidence, step, sizes, parts and missing parts. Exit 1: unknown, or not complete."""
    from checkpoint_formats.kinds import recognise
    from checkpoint_formats.rows import found_checks, found_data

    found = recognise(Path(path))
    next_ = [] if found.kind == "unknown" else [f"{SCRIPT} verify {path}", f"{SCRIPT} tensors {path}"]
    rows = max(len(found.parts), len(found.inside), len(found.missing))
    return shell.Result(found_data(found, limit), checks=found_checks(found, limit), next=next_, truncated=rows > limit)


@click.argument("path")
@click.option("--prefix", default="", help="Only tensors whose name begins with this.")
@click.option("--others", is_flag=True, help="List what is no tensor, too.")
@limit_option
def tensors(path: str, prefix: str, others: bool, limit: int) -> shell.Result:
    """Name, dtype, shape and bytes of every tensor, of any format. Reads headers and pickles (as data), no values."""
    from checkpoint_folder.words import shown, size_text
    from checkpoint_formats.kinds import recognise
    from checkpoint_formats.rows import by_dtype
    from checkpoint_formats.tensors import newest_inside, tensors_of
    from tensor_reading.layout import LayoutError
    from torch_reading.pickle_values import PickleError

    found = newest_inside(recognise(Path(path)))
    try:
        listed = tensors_of(found)
    except (LayoutError, PickleError, OSError, ValueError) as error:
        raise shell.SkillError("usage", f"{path} is damaged: {error}", hint=f"{SCRIPT} verify {path}") from error
    chosen = [tensor for tensor in listed.tensors if tensor.name.startswith(prefix)]
    size = sum(tensor.size_bytes for tensor in chosen)
    data: dict[str, Any] = {
        "path": str(found.path),
        "kind": found.kind,
        "step": found.step,
        "total": len(chosen),
        "elements": sum(tensor.elements for tensor in chosen),
        "size": size_text(size),
        "size_bytes": size,
        "total_others": len(listed.others),
        "dtypes": by_dtype(chosen),
        "tensors": [
            {
                "tensor": shown(tensor.name),
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "bytes": tensor.size_bytes,
                **({"note": tensor.note} if tensor.note else {}),
            }
            for tensor in chosen[:limit]
        ],
    }
    if others:
        data["others"] = [{"name": shown(name), "is": shown(kind)} for name, kind in listed.others[:limit]]
    checks = [
        shell.Check("pickle.names", "warn", shell.clean(f"{each.name}: {each.why}", 400)) for each in listed.suspicions[:limit]
    ]
    return shell.Result(data, checks=checks, truncated=max(len(chosen), len(listed.others) * others) > limit)


@click.argument("a")
@click.argument("b")
@click.option("--prefix-a", default="", help="Only tensors of A whose name begins with this; it is left out of the name.")
@click.option("--prefix-b", default="", help="The same for B.")
@limit_option
def compare(a: str, b: str, prefix_a: str, prefix_b: str, limit: int) -> shell.Result:
    """Which tensors of two checkpoints differ, and by how much, whatever their formats. Exit 0: all equal bit for bit; 1: not."""
    from checkpoint_formats.compare import compare as differences_of
    from checkpoint_formats.compare import named, sorted_by_weight, summary
    from checkpoint_formats.kinds import recognise
    from checkpoint_formats.tensors import readable
    from tensor_reading.values import need_numpy

    need_numpy()
    found_a, found_b = recognise(Path(a)), recognise(Path(b))
    tensors_a, tensors_b = readable(found_a).tensors, readable(found_b).tensors
    try:
        found = list(differences_of(named(tensors_a, prefix_a, "A"), named(tensors_b, prefix_b, "B")))
    except OSError as error:
        raise shell.SkillError(
            "permission", f"{error.filename}: {error.strerror}", hint="read the files as their owner"
        ) from error
    counts, unequal = summary(found), sorted_by_weight(found)
    data: dict[str, Any] = {
        "a": a,
        "b": b,
        "kind_a": found_a.kind,
        "kind_b": found_b.kind,
        "total": len(found),
        **counts,
        "tensors": [each.row() for each in unequal[:limit]],
    }
    status = "pass" if not unequal else "unknown" if counts["unreadable"] == len(unequal) else "fail"
    words = f"{counts['equal']} of {len(found)} tensors are equal bit for bit"
    return shell.Result(data, checks=[shell.Check("compare.equal", status, words)], truncated=len(unequal) > limit)


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
    """A Trainyard step's model weights as a new folder OUT in the layout of Hugging Face. Verifies every byte first."""
    from checkpoint_formats.export import plan, size_of, write
    from checkpoint_formats.files_out import check_free

    check_free(Path(out))
    planned = plan(step_or_folder, step, prefix, size_of(max_shard_size))
    data = planned.data(Path(out))
    checks = planned.checks()
    if dry_run:
        return shell.Result(data, checks=checks)
    changed = write(planned, Path(out), Path(config) if config else None)
    return shell.Result(
        data, checks=checks, changed=changed, next=[f"{SCRIPT} compare {planned.step} {out} --prefix-a {prefix}"]
    )


@click.argument("source", metavar="IN")
@click.argument("out")
@click.option("--prefix", default="", help="Only tensors whose name begins with this; it is left out of the names.")
@click.option(
    "--accept", "accepted", multiple=True, help="A name in the pickle that you trust, as module.name; may be repeated."
)
@click.option("--dry-run", is_flag=True, help="Read and judge the input, print the plan; write nothing.")
@limit_option
def convert(source: str, out: str, prefix: str, accepted: tuple[str, ...], dry_run: bool, limit: int) -> shell.Result:
    """The tensors of a .pt, .pth, .bin or .ckpt as a new safetensors file OUT. Never unpickles; refuses a pickle that names code."""
    from checkpoint_formats.convert import plan, write
    from checkpoint_formats.files_out import check_free

    check_free(Path(out))
    planned = plan(Path(source), prefix, accepted)
    data = planned.data(Path(out), limit)
    checks, truncated = planned.checks(), len(planned.left_out) > limit
    if dry_run:
        return shell.Result(data, checks=checks, truncated=truncated)
    changed = write(planned, Path(out))
    next_ = [f"{SCRIPT} compare {source} {out}" + (f" --prefix-a {prefix}" if prefix else "")]
    return shell.Result(data, checks=checks, changed=changed, next=next_, truncated=truncated)
