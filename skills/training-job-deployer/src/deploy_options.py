"""The arguments and options that several verbs of deploy.py share, and the run that they mean."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click
import trainyard_shell as shell

WEEK_S = 7 * 86400.0
TIMEOUT = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, max=10 * WEEK_S),
    default=WEEK_S,
    metavar="SECONDS",
    help="How long to watch; then exit 7, and the job goes on.",
)


def on_a_run(function: Callable[..., Any], *, required: bool = True) -> Callable[..., Any]:
    """The argument and the option that every verb on one run takes; the verb gets the `Ref` of that run."""

    @functools.wraps(function)
    def with_ref(*, run: str | None, state_dir: str | None, **options: Any) -> shell.Result:
        import deploy_ref

        ref = deploy_ref.newest(state_dir) if run is None else deploy_ref.resolve(run, state_dir)
        result: shell.Result = function(ref, **options)
        return result

    return _run_argument(with_ref, required)


on_newest = functools.partial(on_a_run, required=False)
"""For verbs that change nothing: without RUN it is the one that was started last."""


def on_a_job(*, claims: bool) -> Callable[..., Any]:
    """As `on_a_run`, with arguments after --: the job file with these is a separate run. `claims`: the verb makes it."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_ref(*, run: str, state_dir: str | None, added: tuple[str, ...], **options: Any) -> shell.Result:
            import deploy_ref
            import deploy_variant

            if added and "--" not in sys.argv:
                raise shell.SkillError(
                    "usage", f"unexpected: {shlex.join(added)}", hint="-- comes before arguments of the script"
                )
            takes = claims and not options.get("dry_run")
            variant = functools.partial(deploy_variant.resolve, added=added, claims=takes)
            result: shell.Result = function((variant if added else deploy_ref.resolve)(run, state_dir), **options)
            return result

        more = click.argument("added", metavar="[-- ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
        return _run_argument(more(with_ref), required=True)

    return decorate


def watching(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the verbs that watch."""
    detach = click.option("--detach", is_flag=True, help="Return once the job is submitted; exit 0 then means just that.")
    dry_run = click.option("--dry-run", is_flag=True, help="Print the plan and the call that would be made.")
    return detach(TIMEOUT(dry_run(function)))


def _run_argument(function: Callable[..., Any], required: bool) -> Callable[..., Any]:
    state_dir = click.option(
        "--state-dir", metavar="DIR", help="Where runs/NAME lies. Default: .trainyard beside the job file."
    )
    return click.argument("run", metavar="RUN" if required else "[RUN]", required=required)(state_dir(function))
