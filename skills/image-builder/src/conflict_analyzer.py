# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "packaging>=24.0",
#   "PyYAML>=6.0.2",
#   "uv>=0.9",  # optional: asks the package index which versions go together
# ]
# ///
"""Find what will not work in a training image before it is built: a Dockerfile and requirements, judged by tables and by the package index."""

from __future__ import annotations

import trainyard_shell as shell

import click
from trainyard_seconds import Seconds


@shell.program("image-builder")
def cli() -> None:
    """Find conflicts in a project's Dockerfile and requirements before an image is built.

    uv asks the package index which versions go together, where it is installed and the index answers; dated tables judge the rest. Nothing
    of the project is run or built.
    """


@cli.command(
    epilog=shell.examples(
        "conflict_analyzer.py check . --instance-type p5.48xlarge",
        "conflict_analyzer.py check my-project --fix",
        "conflict_analyzer.py check my-project --dockerfile docker/Dockerfile --apply",
    )
)
@click.argument("folder")
@click.option("--instance-type", metavar="T", help="Where it shall run: p5.48xlarge, ml.g5.8xlarge, or a GPU (H100).")
@click.option("--dockerfile", metavar="PATH", help="Relative to FOLDER.  [default: Dockerfile]")
@click.option("--driver", metavar="V", help="NVIDIA driver of the nodes, such as 580.65.06.")
@click.option("--fix", is_flag=True, help="Print the changes that can be made as a diff; change nothing.")
@click.option("--apply", is_flag=True, help="Make these changes in FOLDER.")
@click.option("--dry-run", is_flag=True, help="With --apply: as --fix.")
@click.option("--offline", is_flag=True, help="Ask no package index; the tables judge alone.")
@click.option(
    "--index-timeout", default=30.0, show_default=True, type=Seconds(1, 600), help="Seconds for all questions to the index."
)
@click.option("--as-of", metavar="DATE", help="Judge as on this day, YYYY-MM-DD.  [default: today]")
def check(
    folder: str,
    as_of: str | None,
    instance_type: str | None,
    driver: str | None,
    dockerfile: str | None,
    index_timeout: float,
    offline: bool,
    **how: bool,
) -> shell.Result:
    """Judge FOLDER's Dockerfile and what it installs.

    Exit 0: nothing fails. Exit 1: something does, or what matters is unknown.
    """
    from conflicts import answer as conflict_answer
    from bases.answer import day
    from asked.files import open_folder
    from trainyard_gpus import target
    from image_project import read_project
    from conflicts.scene import scene

    goal = target(instance_type) if instance_type else None
    project = read_project(open_folder(folder), dockerfile)
    ask_s = 0.0 if offline else index_timeout
    found = scene(project, goal, conflict_answer.driver(driver), day(as_of), ask_s)
    return conflict_answer.answer(found, fix=how["fix"] or how["dry_run"], apply=how["apply"] and not how["dry_run"])


if __name__ == "__main__":
    cli()
