"""From where the volume is seen: a running pod that the caller names, or a helper pod on the claim."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import trainyard_kube as kube
import trainyard_shell as shell
from checkpoint_pods.call import Place
from checkpoint_pods.helper import Wanted, helper_pod
from checkpoint_pods.identity import Identity

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
JOB_CONTAINERS = ("pytorch", "node", "ray-head", "ray-worker")
"""Names that the operators ask for; a pod may have sidecars."""
IDENTITY = ("run_as_user", "run_as_group", "fs_group")
ID = click.IntRange(0, 2**31 - 1)
INSTANCE_TYPE, ZONE = "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone"


@dataclass(frozen=True, kw_only=True)
class Target:
    """--pod P [--container C] | --claim C [--image ...]: exactly one of the two."""

    pod: str | None
    container: str | None
    claim: str | None
    image: str | None
    python: str
    timeout_s: float
    node_selector: tuple[str, ...]
    toleration: tuple[str, ...]
    image_pull_secret: tuple[str, ...]
    run_as_user: int | None
    run_as_group: int | None
    fs_group: int | None

    def __post_init__(self) -> None:
        if bool(self.pod) == bool(self.claim):
            raise shell.SkillError(
                "usage", "one of --pod and --claim", hint="--pod while the job runs, --claim when it is gone"
            )
        if self.pod:
            kube.name_or_raise("pod", self.pod)
        if self.claim:
            kube.name_or_raise("claim", self.claim)
        if self.container:
            kube.name_or_raise("container", self.container, kube.DNS_LABEL)
        if self.image is not None and not re.fullmatch(r"[\x21-\x7e]{1,512}", self.image):
            raise shell.SkillError("usage", "--image is no image reference", hint="as in repository/name:tag")

    def wanted(self, writes: bool) -> Wanted:
        assert self.claim
        return Wanted(
            claim=self.claim,
            image=self.image,
            writes=writes,
            python=self.python,
            timeout_s=self.timeout_s,
            node_selector=dict(_pair(each) for each in self.node_selector),
            tolerations=[_toleration(each) for each in self.toleration],
            pull_secrets=self.image_pull_secret,
            who=Identity(user=self.run_as_user, group=self.run_as_group, fs_group=self.fs_group),
        )


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where: handed over as `target`, and `where` for the cluster."""

    def with_target(*args: Any, request: str | None, **words: Any) -> Any:
        names = (
            "pod",
            "container",
            "claim",
            "image",
            "python",
            "timeout_s",
            "node_selector",
            "toleration",
            "image_pull_secret",
            *IDENTITY,
        )
        asked = {name: words.pop(name) for name in names}
        if request and not asked["pod"]:
            asked = of_request(request, asked)
        return function(*args, target=Target(**asked), **words)

    with_target.__name__, with_target.__doc__ = function.__name__, function.__doc__
    with_target.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    added = [
        click.option(
            "--request",
            metavar="FILE",
            help="The job's request or job file (- is stdin): the helper pod is placed where the job's pods could run.",
        ),
        click.option("--pod", metavar="NAME", help="Look from inside this running pod."),
        click.option("--container", metavar="NAME", help="Of that pod. Default: the job's, else the first."),
        click.option(
            "--claim", metavar="NAME", help="The job is gone: look from a helper pod on this claim, mounted at /trainyard."
        ),
        click.option(
            "--image", metavar="URI", help="Of the helper: with Python 3.11. Default: of the last pod that used the claim."
        ),
        click.option("--python", metavar="PROGRAM", default="python3", show_default=True, help="In the container."),
        click.option(
            "--timeout", "timeout_s", type=click.FloatRange(1, 86400), default=600.0, show_default=True, help="Seconds."
        ),
        click.option("--node-selector", metavar="KEY=VALUE", multiple=True, help="Of the helper; may be given again."),
        click.option("--toleration", metavar="JSON", multiple=True, help="Of the helper; may be given again."),
        click.option("--image-pull-secret", metavar="NAME", multiple=True, help="Of the helper; may be given again."),
        click.option("--run-as-user", metavar="ID", type=ID, help="Of the helper. Default: the job's, else the image's."),
        click.option("--run-as-group", metavar="ID", type=ID, help="Of the helper. Default: the job's, else the image's."),
        click.option("--fs-group", metavar="ID", type=ID, help="The volume's group, for the helper. Default: the job's."),
    ]
    for option in reversed(added):
        option(with_target)
    return kube.options(with_target)


def of_request(path: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Options as the job's request has them, those that were given before it. The helper needs no instance type, but the volume's zone."""
    import msgspec
    import trainyard_request
    from trainyard_job import Security

    request = trainyard_request.read(path)
    cluster, fit, storage = request.cluster, request.fit, request.checkpoints.storage
    security = (cluster.security if cluster else None) or Security()
    selector = (fit and fit.node_selector) or (cluster and cluster.node_selector) or {}
    selector = {**selector, **({ZONE: fit.zone} if fit and fit.zone else {})}
    return {
        **asked,
        "claim": asked["claim"] or request.claim or (storage.claim if storage else None),
        "image": asked["image"] or (request.image.uri if request.image else None),
        "node_selector": (
            *(f"{key}={value}" for key, value in selector.items() if key != INSTANCE_TYPE),
            *asked["node_selector"],
        ),
        "toleration": (
            *(json.dumps(msgspec.to_builtins(each)) for each in (cluster.tolerations if cluster else [])),
            *asked["toleration"],
        ),
        "image_pull_secret": (*(cluster.image_pull_secrets if cluster else []), *asked["image_pull_secret"]),
        **{key: getattr(security, key) if asked[key] is None else asked[key] for key in IDENTITY},
    }


@contextmanager
def place_of(where: kube.Where, target: Target, *, writes: bool = False) -> Iterator[Place]:
    """A container to look from; a helper pod goes when the block ends."""
    cluster = kube.connect(where)
    if target.pod:
        yield running_pod(cluster, target)
    else:
        with helper_pod(cluster, target.wanted(writes)) as place:
            yield place


def running_pod(cluster: kube.Cluster, target: Target) -> Place:
    """The pod that the caller named. SkillError where it is not there or does not run."""
    assert target.pod
    pod = cluster.find(cluster.namespaced("v1", "pods", target.pod))
    hint = "kubectl get pods; when the job is gone: --claim CLAIM"
    if pod is None:
        raise shell.SkillError("not-found", f"no pod {target.pod} in {cluster.namespace}", hint=hint)
    phase = kube.status(pod).get("phase")
    if phase != "Running":
        raise shell.SkillError("conflict", f"pod {target.pod} is {phase}, not Running", hint=hint, retryable=phase == "Pending")
    container = _container_of(pod, target.container)
    return Place(
        cluster,
        target.pod,
        container,
        target.python,
        target.timeout_s,
        f"--pod {target.pod} --container {container} -n {cluster.namespace}",
    )


def _container_of(pod: kube.Object, wanted: str | None) -> str:
    names = [str(each["name"]) for each in pod["spec"]["containers"]]
    if wanted and wanted not in names:
        hint = f"--container with one of {', '.join(names)}"
        raise shell.SkillError("not-found", f"no container {wanted} in pod {pod['metadata']['name']}", hint=hint)
    marked = kube.notes(pod).get(DEFAULT_CONTAINER)
    return next((name for name in names if name == (wanted or marked)), _job_container(names))


def _job_container(names: list[str]) -> str:
    return next((name for name in JOB_CONTAINERS if name in names), names[0])


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise shell.SkillError("usage", f"--node-selector {shell.clean(text, 80)}: no KEY=VALUE", hint="as in type=real")
    return key, value


def _toleration(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        hint = """--toleration '{"key": "nvidia.com/gpu", "operator": "Exists"}'"""
        raise shell.SkillError("usage", f"--toleration {shell.clean(text, 80)} is no JSON object", hint=hint)
    return value
