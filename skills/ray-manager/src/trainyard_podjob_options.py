"""`create`: its options, a request document, and how both become the fields of a PodJob.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
import trainyard_shell as shell
from trainyard_podjob import MAX_ID, MAX_NODES, usage
from trainyard_seconds import Seconds, SecondsOrAuto

if TYPE_CHECKING:
    from trainyard_job import Request

Option = Callable[..., Any]
Id = click.IntRange(0, MAX_ID)
TOLERATION_KEYS = {"key", "operator", "value", "effect", "tolerationSeconds"}
INSTANCE_TYPE, ZONE = "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone"


def text(name: str, metavar: str, help: str, **more: Any) -> Option:
    return click.option(name, metavar=metavar, help=help, **more)


def several(name: str, field: str, metavar: str, help: str) -> Option:
    """An option that may be repeated, and the field that it becomes."""
    return click.option(name, field, metavar=metavar, help=help, multiple=True)


OPTIONS: list[Option] = [
    text("--request", "FILE", "A request: the job file's keys and what was found out; - is stdin. Options count before it."),
    text("--run-id", "HEX", "16 hex digits of the run; everything made carries it. Needed, here or in the request."),
    text("--image", "URI", "Best by digest: repository@sha256:... Needed, here or in the request."),
    click.option("--nodes", default=1, show_default=True, type=click.IntRange(1, MAX_NODES), help="Pods, one a node."),
    click.option("--procs", default=1, show_default=True, type=click.IntRange(1), help="Processes (ranks) a node."),
    text("--claim", "PVC", "Volume claim, mounted at /trainyard: the run folder lies there."),
    several("--env", "env", "K=V", "Variable; may be repeated."),
    several("--secret", "secrets", "VAR=SECRET/KEY", "Variable from a Secret, by reference; may be repeated."),
    several("--node-selector", "node_selector", "K=V", "Label of the nodes, for example the volume's zone; may be repeated."),
    several("--toleration", "tolerations", "JSON", '{"key": ..., "operator": "Exists"}; may be repeated.'),
    several("--avoid-node", "avoid_nodes", "NAME", "No pod goes to this node; may be repeated."),
    text("--cpu", "Q", "CPU request a pod: 4, 500m."),
    text("--memory", "Q", "Memory request a pod: 64Gi."),
    text("--limit-cpu", "Q", "CPU limit a pod.  [default: none]"),
    text("--limit-memory", "Q", "Memory limit a pod.  [default: that of --memory]"),
    text("--shm", "Q", "Size of /dev/shm.  [default: half of --memory; 8Gi with GPUs; 1Gi]"),
    click.option("--gpus", default=0, type=click.IntRange(0), help="GPUs a pod."),
    text("--gpu-resource", "NAME", "Resource of the GPUs.", default="nvidia.com/gpu", show_default=True),
    click.option("--efa", default=0, type=click.IntRange(0), help="EFA interfaces a pod."),
    text("--queue", "NAME", "Kueue's LocalQueue."),
    text("--priority", "NAME", "PriorityClass; with --queue the WorkloadPriorityClass."),
    text("--service-account", "NAME", "ServiceAccount; without one the pods get no token."),
    several("--image-pull-secret", "image_pull_secrets", "NAME", "May be repeated."),
    text("--run-as-user", "ID", "User of the containers, a number.  [default: the image's]", type=Id),
    text("--run-as-group", "ID", "Group of the containers, a number.  [default: the image's]", type=Id),
    text(
        "--fs-group",
        "ID",
        "Group that the volume is given to, where its driver can.  [default: 1000 on the run's own]",
        type=Id,
    ),
    click.option(
        "--max-restarts", default=3, show_default=True, type=click.IntRange(0, 1000), help="Restarts, of all ranks together."
    ),
    click.option("--grace-s", default=60.0, show_default=True, type=Seconds(1, 86400), help="Seconds to save after SIGTERM."),
    click.option(
        "--hang",
        default="restart",
        show_default=True,
        type=click.Choice(["restart", "report"]),
        help="What to do about a hang.",
    ),
    click.option(
        "--hang-after-s",
        default="auto",
        show_default=True,
        type=SecondsOrAuto(1, 1e7),
        help="Seconds without a step that count as a hang.",
    ),
    text("--spread-key", "LABEL", "Spread the pods over the values of this node label; kubernetes.io/hostname: one a node."),
]


def create_options(own: list[Option]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The shared options, then the engine's `own`."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([*OPTIONS, *own]):
            function = option(function)
        return function

    return add


def job_fields(name: str | None, command: tuple[str, ...], given: dict[str, Any]) -> tuple[dict[str, Any], Request | None]:
    """(fields of a PodJob and of the engine's own, the request). What was said on the command line counts before the request.

    Raises SkillError usage.
    """
    import trainyard_request

    document = given.pop("request")
    said = {key for key in given if trainyard_request.was_said(key)}
    fields = _typed(given)
    request = trainyard_request.read(document) if document else None
    if request and request.hyperpod and (given["engine"] if "engine" in said else request.engine) != "hyperpodjob":
        raise usage("$.hyperpod: is for engine hyperpodjob alone", "leave it out, or engine: hyperpodjob")
    asked = trainyard_request.within_bounds(of_request(request)) if request else {}
    for key, value in asked.items():
        if isinstance(value, dict):
            fields[key] = {**value, **fields[key]}
        elif key not in said:
            fields[key] = value
    fields["name"] = trainyard_request.name_of(request, name) if request else name
    fields["command"] = command or asked.get("command") or ()
    for key, option in (("name", "NAME"), ("run_id", "--run-id"), ("image", "--image")):
        if not fields[key]:
            raise usage(f"missing: {option}", f"{option}, or --request with a document that has it")
    return fields, request


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    fields = dict(given)
    for key, option in (("env", "--env"), ("node_selector", "--node-selector"), ("pod_annotations", "--pod-annotation")):
        if key in fields:
            fields[key] = pairs(option, fields[key])
    secrets = pairs("--secret", fields["secrets"])
    fields["secrets"] = {variable: reference(source) for variable, source in secrets.items()}
    fields["tolerations"] = tuple(toleration(each) for each in fields["tolerations"])
    for key in ("image_pull_secrets", "avoid_nodes"):
        fields[key] = tuple(fields[key])
    return fields


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise usage(f"{option} {shell.clean(word, 80)!r} is not K=V", f"{option} NAME=VALUE")
        if found.setdefault(key, value) != value:
            raise usage(f"{option} {key} is given twice", "give it once")
    return found


def reference(source: str) -> tuple[str, str]:
    name, slash, key = source.partition("/")
    if not (name and slash and key) or "/" in key:
        # Not repeated in the message: somebody may have put the secret itself here.
        raise usage("--secret wants VAR=SECRET/KEY, the names and not the value", "--secret HF_TOKEN=hf/token")
    return name, key


def toleration(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not value.keys() <= TOLERATION_KEYS:
        message = f"--toleration {shell.clean(text, 80)!r} is no toleration"
        raise usage(message, """--toleration '{"key": "nvidia.com/gpu", "operator": "Exists"}'""")
    return value


# --- the request ---------------------------------------------------------------------------------------------------


def of_request(request: Request) -> dict[str, Any]:
    """The fields that a request decides."""
    import msgspec
    from trainyard_job import Cluster, Monitor, Security

    cluster, monitor = request.cluster or Cluster(), request.monitor or Monitor()
    security = cluster.security or Security()
    words, launched = command_of(request)
    fields = {
        "name": request.name,
        "command": words,
        "run_id": request.run_id,
        "image": request.image.uri if request.image else None,
        "nodes": request.nodes,
        "procs": processes(request) if launched else 1,
        "claim": request.claim,
        "env": variables(request),
        "secrets": {variable: reference(place) for variable, place in request.secrets.items()},
        "node_selector": node_selector(request),
        "tolerations": tuple(msgspec.to_builtins(each) for each in cluster.tolerations),
        "avoid_nodes": tuple(cluster.avoid_nodes),
        "queue": cluster.queue,
        "priority": cluster.priority,
        "service_account": cluster.service_account,
        "image_pull_secrets": tuple(cluster.image_pull_secrets),
        "run_as_user": security.run_as_user,
        "run_as_group": security.run_as_group,
        "fs_group": security.fs_group,
        "max_restarts": monitor.max_restarts,
        "grace_s": monitor.stop_grace_s,
        "hang": monitor.hang,
        "hang_after_s": None if monitor.hang_after_s == "auto" else monitor.hang_after_s,
        "log_pattern": monitor.pattern,
        **pod_size(request),
    }
    return {key: value for key, value in fields.items() if value is not None}


def command_of(request: Request) -> tuple[tuple[str, ...], bool]:
    """(words, whether a launcher stands at their head): `torchrun` stands for the engine's, however the job file spells it."""
    import trainyard_launchers
    import trainyard_request

    words = trainyard_request.words_of(request.run)
    if found := trainyard_launchers.find_launcher(words):
        return ("torchrun", *words[found[1] :]), True
    return tuple(words), False


def processes(request: Request) -> int:
    """`auto` is one an accelerator, and the fit has counted them; without its answer, one."""
    if request.procs_per_node != "auto":
        return request.procs_per_node
    return (request.fit.procs_per_node if request.fit else None) or 1


def variables(request: Request) -> dict[str, str]:
    """The network's first: what the job file sets itself is meant."""
    import trainyard_request

    saving = trainyard_request.saving_variables(request)
    return {"TRAINYARD_SUBMISSION": str(request.start), **request.network_env, **saving, **request.env}


def node_selector(request: Request) -> dict[str, str]:
    """Where the fit found room: the zone is kept, so that all pods are beside each other and beside their volume."""
    own = dict(request.cluster.node_selector) if request.cluster else {}
    if request.resources and request.resources.instance_type:
        own[INSTANCE_TYPE] = request.resources.instance_type
    fit = request.fit
    if fit is None:
        return own
    # The fit's has the job's labels, and the type as the nodes spell it.
    return {**(fit.node_selector or own), **({ZONE: fit.zone} if fit.zone else {})}


def pod_size(request: Request) -> dict[str, Any]:
    """What one pod asks for: as the fit was computed, else as the job file says."""
    own = request.resources
    given = {"cpu": own.cpu, "memory": own.memory, "shm": own.shm} if own else {}
    size: dict[str, Any] = {key: value for key, value in given.items() if value != "auto"}
    if own and own.limits:
        size |= {"limit_cpu": own.limits.cpu, "limit_memory": own.limits.memory}
    pod = request.fit.pod if request.fit else None
    if pod is None:
        return size
    size |= {key: value for key in ("cpu", "memory", "shm") if (value := getattr(pod, key))}
    if pod.gpus:
        size |= {"gpus": pod.gpus, "gpu_resource": pod.gpu_resource}
    return size | ({"efa": pod.efa} if pod.efa else {})
