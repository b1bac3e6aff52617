"""The plumbing of the skill programs that talk to a Kubernetes API server: which cluster, whose an object is, what it says of itself.

`make kit` copies this file byte for byte into the src/ of each skill that imports it; edit it in skills/kit/ only.

    import trainyard_kube as kube

    @cli.command()
    @kube.options                                    # --context, --namespace, --cluster-id
    def nodes(where: kube.Where) -> shell.Result:
        cluster = kube.connect(where)
        names = [kube.name(node) for node in cluster.list("/api/v1/nodes")]
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import trainyard_kubeconfig
import trainyard_shell as shell
from trainyard_cluster import Cluster as Cluster
from trainyard_refusal import ApiError as ApiError
from trainyard_refusal import Object as Object
from trainyard_refusal import may_return as may_return
from trainyard_refusal import noted as noted
from trainyard_refusal import unknown as unknown

MANAGED = "app.kubernetes.io/managed-by"
RUN, RUN_ID = "trainyard.dev/run", "trainyard.dev/run-id"
DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


# --- which cluster -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Where:
    """What the caller said about the cluster: as kubectl takes it, plus the identity of the cluster that is expected."""

    context: str | None = None
    namespace: str | None = None
    cluster_id: str | None = None


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--context, --namespace and --cluster-id of a verb, handed over as `where`."""

    def with_where(*args: Any, context: str | None, namespace: str | None, cluster_id: str | None, **kwargs: Any) -> Any:
        where = Where(context, namespace, cluster_id)
        result = function(*args, where=where, **kwargs)
        if isinstance(result, shell.Result):
            result.next = [_there(line, where) for line in result.next]
        return result

    with_where.__name__, with_where.__doc__ = function.__name__, function.__doc__
    with_where.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    added = [
        click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: the current one."),
        click.option("--namespace", "-n", metavar="NAME", help="Default: the context's, in a pod its own, else default."),
        click.option("--cluster-id", metavar="HEX", help="Refuse (exit 5) where the context leads to another cluster."),
    ]
    for option in reversed(added):
        option(with_where)
    return with_where


def _there(line: str, where: Where) -> str:
    """A next command of this program, said to the same cluster and namespace as this one was."""
    program, words = click.get_current_context().find_root().command, line.split()
    verbs = program.commands if isinstance(program, click.Group) and words[:1] == [program.name] else {}
    verb = verbs.get(" ".join(words[1:2]))
    if verb is None or not any(option.name == "cluster_id" for option in verb.params):
        return line
    said = {"--context": where.context, "-n": where.namespace, "--cluster-id": where.cluster_id}
    return " ".join([line, *(f"{flag} {shlex.quote(value)}" for flag, value in said.items() if value and flag not in words)])


def connect(where: Where) -> Cluster:
    """The cluster that `where` names. Makes no request. Raises SkillError: not-found, credentials, conflict, usage."""
    access = trainyard_kubeconfig.load(where.context)
    namespace = where.namespace or access.namespace or "default"
    name_or_raise("namespace", namespace, DNS_LABEL)
    cluster = Cluster(access, namespace, lambda: trainyard_kubeconfig.load(access.context))
    if where.cluster_id and where.cluster_id != cluster.id:
        message = f"context {cluster.context} leads to {cluster.server} ({cluster.id}), not to the cluster of this run ({where.cluster_id})"
        raise shell.SkillError("conflict", message, hint="cluster.context (--context) with the context of the run's cluster")
    return cluster


def name_or_raise(kind: str, name: str, rule: re.Pattern[str] = DNS_SUBDOMAIN) -> str:
    """Names from outside are checked before the first call: they become parts of a path."""
    if not rule.fullmatch(name):
        message = f"{shell.clean(name, 80)!r} is not a valid name of a {kind}: a-z, 0-9 and -, at most {63 if rule is DNS_LABEL else 253} characters"
        raise shell.SkillError("usage", message, hint=f"give the {kind}'s name as kubectl get prints it")
    return name


# --- what an object says -----------------------------------------------------------------------------------------


def name(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def label(thing: Object, key: str) -> str | None:
    found: Object = thing["metadata"].get("labels") or {}
    return found.get(key)


def notes(thing: Object) -> dict[str, str]:
    """Its annotations."""
    return thing["metadata"].get("annotations") or {}


def status(thing: Object) -> Object:
    """{} before its controller has looked at it."""
    return thing.get("status") or {}


def conditions(thing: Object) -> list[Object]:
    return status(thing).get("conditions") or []


def holds(thing: Object, condition: str) -> bool:
    return any((each["type"], each["status"]) == (condition, "True") for each in conditions(thing))


def is_going(thing: Object) -> bool:
    """Deleted, and not yet gone."""
    return bool(thing["metadata"].get("deletionTimestamp"))


def labels(run: str, run_id: str) -> dict[str, str]:
    """What everything carries that belongs to a run."""
    return {MANAGED: "trainyard", RUN: run, RUN_ID: run_id}


def owner(thing: Object) -> str | None:
    """The run id that an object carries; None: it is not ours."""
    return label(thing, RUN_ID) if label(thing, MANAGED) == "trainyard" else None
