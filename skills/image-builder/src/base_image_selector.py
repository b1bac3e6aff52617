# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "packaging>=24.0",
#   "PyYAML>=6.0.2",
# ]
# ///
"""Choose a base image for a training project from a dated table, with the reason and the runners-up."""

from __future__ import annotations

import trainyard_shell as shell

import click


@shell.program("image-builder")
def cli() -> None:
    """Choose the base image of a training project: AWS Deep Learning Containers, pytorch/pytorch, NVIDIA NGC.

    A dated table judges; no registry is asked.
    """


@cli.command(
    epilog=shell.examples(
        "base_image_selector.py select . --instance-type p5.48xlarge",
        "base_image_selector.py select my-project --torch '>=2.11,<2.12' --limit 5",
    )
)
@click.argument("folder")
@click.option("--instance-type", metavar="T", help="Where it shall run: p5.48xlarge, ml.g5.8xlarge, or a GPU (H100).")
@click.option("--python", metavar="V", help="Python, such as 3.12 or '>=3.11'.  [default: what the project asks for]")
@click.option("--torch", metavar="V", help="torch, such as 2.12 or '>=2.11,<2.12'.  [default: what the project asks for]")
@click.option("--limit", default=3, show_default=True, type=click.IntRange(1, 50), help="Runners-up to print.")
@click.option("--as-of", metavar="DATE", help="Judge as on this day, YYYY-MM-DD.  [default: today]")
def select(
    folder: str, instance_type: str | None, python: str | None, torch: str | None, limit: int, as_of: str | None
) -> shell.Result:
    """Name the base image that fits FOLDER.

    Exit 0: one fits. Exit 1: none does, `data.refused` says why.
    """
    from bases import answer as base_answer
    from bases.images import known
    from asked.files import open_folder
    from image_project import read_project

    project = read_project(open_folder(folder))
    needs = base_answer.needs(project, instance_type, python, torch, as_of)
    docker = project.docker
    last = docker.chain(docker.stages[-1])[-1] if docker else None
    return base_answer.answer(needs, limit, known(last.image) if last and not last.missing and last.image else None)


if __name__ == "__main__":
    cli()
