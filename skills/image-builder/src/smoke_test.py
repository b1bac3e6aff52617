# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
# ]
# ///
"""Start a built image once: does its Python start, do torch and others import, do two ranks sum a tensor."""

from __future__ import annotations

import trainyard_shell as shell

import click
from trainyard_seconds import Seconds


@shell.program("image-builder")
def cli() -> None:
    """The quick look at an image that was just built. For tests of its parts against a GPU and a job: the skill image-tester."""


@cli.command(
    epilog=shell.examples(
        "smoke_test.py run my-project:v1", "smoke_test.py run my-project:v1 --import trainyard --import numpy"
    )
)
@click.argument("image")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="To import besides torch; may be repeated.")
@click.option("--memory", default="4g", show_default=True, metavar="SIZE", help="Limit of the container, as docker takes it.")
@click.option("--timeout", default=600.0, show_default=True, type=Seconds(1, 1e6), help="Seconds for all of it.")
def run(image: str, imports: tuple[str, ...], memory: str, timeout: float) -> shell.Result:
    """Run IMAGE's python3 without rights and without a network.

    Exit 0: all of it works. Exit 1: something does not, or was not reached.
    """
    import re

    import image_naming
    from builders import guarded
    from smoke.running import smoke

    if not re.fullmatch(r"\d{1,12}[bkmgBKMG]?", memory):
        raise shell.SkillError("usage", f"--memory {shell.clean(memory, 40)!r} is not a size", hint="--memory 4g")
    try:
        return smoke(image_naming.reference(image), imports, memory, timeout)
    except KeyboardInterrupt:
        guarded.stop_all()
        raise


if __name__ == "__main__":
    cli()
