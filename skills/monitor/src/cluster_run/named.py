"""What the caller names: a run folder here, or a run on a cluster by its name, its job's name, or a selector of its pods.

@cli.command()
@named.options                                   # [RUN] --selector --namespace --context --cluster-id
def gpu(run: Named) -> shell.Result:
    found = run.find()                           # a ClusterRun
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import trainyard_shell as shell

if TYPE_CHECKING:
    from cluster_run.run import ClusterRun
    from trainyard_cluster import Cluster

KIND_WORDS = frozenset(
    [
        "pytorchjob",
        "pytorchjobs",
        "trainjob",
        "trainjobs",
        "hyperpodjob",
        "hyperpodpytorchjob",
        "hyperpodpytorchjobs",
        "rayjob",
        "rayjobs",
        "raycluster",
        "rayclusters",
        "job",
        "jobs",
    ]
)
"""What may stand before a job's name: KIND/NAME (kinds.py has the kinds; here nothing of a cluster is imported yet)."""


@dataclass(frozen=True)
class Named:
    text: str | None
    """None where only --selector is given."""
    selector: str | None = None
    namespace: str | None = None
    context: str | None = None
    cluster_id: str | None = None

    @property
    def is_on_cluster(self) -> bool:
        """A path that is there is a run folder, unless an option of the cluster is given; what can be no name is a path too."""
        if self.text is None or any((self.selector, self.namespace, self.context, self.cluster_id)):
            return True
        kind, _, name = self.text.rpartition("/")
        return not os.path.lexists(self.text) and _is_name(name) and (not kind or kind.lower() in KIND_WORDS)

    @property
    def folder(self) -> str:
        """The path of a run here."""
        return self.text or ""

    @property
    def words(self) -> str:
        """As it stands in a next command."""
        given = {"--selector": self.selector, "-n": self.namespace, "--context": self.context, "--cluster-id": self.cluster_id}
        return " ".join(
            [*([shlex.quote(self.text)] if self.text else []), *(f"{k} {shlex.quote(v)}" for k, v in given.items() if v)]
        )

    def connect(self) -> Cluster:
        """Raises SkillError: not-found (no folder, and no cluster either), credentials, conflict, usage, dependency."""
        try:
            import kubernetes  # noqa: F401 - only a run on a cluster needs it
            import trainyard_kube as kube
        except ImportError as error:
            hint = "python -m pip install 'kubernetes>=35,!=36.0.0' PyYAML 'urllib3>=2' 'websocket-client>=1.8'"
            raise shell.SkillError("dependency", f"a run on a cluster needs a package: {error}", hint=hint) from error
        try:
            return kube.connect(kube.Where(self.context, self.namespace, self.cluster_id))
        except shell.SkillError as error:
            raise self._with_folder(error) from error

    def find(self) -> ClusterRun:
        """Raises SkillError as `find_run` and `connect` do."""
        return self.found(self.connect())

    def found(self, cluster: Cluster) -> ClusterRun:
        """The same on a cluster that is connected already."""
        from cluster_run.find import find_run

        try:
            return find_run(cluster, self.text, self.selector)
        except shell.SkillError as error:
            raise self._with_folder(error) from error

    def _with_folder(self, error: shell.SkillError) -> shell.SkillError:
        """A mistyped folder is looked for on the cluster too: both are told."""
        if self.text is None or error.code != "not-found" or any((self.selector, self.namespace, self.context)):
            return error
        message = f"{self.text} does not exist here; {error}"
        hint = f"deploy.py list names the runs of a job file; {error.hint}"
        return shell.SkillError("not-found", message, hint=hint, data=error.data, checks=error.checks)


def _is_name(text: str) -> bool:
    import re

    return re.fullmatch(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?", text) is not None and Path(text).suffix not in (
        ".log",
        ".txt",
        ".gz",
    )


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """[RUN] and the options of the cluster, handed over as `run`. Neither RUN nor --selector is exit 2."""

    def with_run(
        *args: Any,
        run: str | None,
        selector: str | None,
        namespace: str | None,
        context: str | None,
        cluster_id: str | None,
        **words: Any,
    ) -> Any:
        if run is None and selector is None:
            hint = f"{click.get_current_context().command_path} --help"
            raise shell.SkillError(
                "usage", "Missing argument 'RUN': a run folder, or the name of a run on a cluster", hint=hint
            )
        if run is not None and selector is not None:
            raise shell.SkillError("usage", "RUN and --selector exclude each other", hint="leave one of them out")
        return function(*args, run=Named(run, selector, namespace, context, cluster_id), **words)

    with_run.__name__, with_run.__doc__ = function.__name__, function.__doc__
    with_run.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    added = [
        click.argument("run", required=False),
        click.option("--selector", "-l", metavar="LABELS", help="On a cluster: the run whose pods have these labels."),
        click.option("--namespace", "-n", metavar="NAME", help="On a cluster. Default: the context's."),
        click.option("--context", metavar="NAME", help="Of the kubeconfig. Default: the current one."),
        click.option("--cluster-id", metavar="HEX", help="Refuse (exit 5) where the context leads to another cluster."),
    ]
    for option in reversed(added):
        option(with_run)
    return with_run
