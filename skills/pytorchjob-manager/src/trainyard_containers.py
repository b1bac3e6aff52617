"""What is wrong with a pod's containers: images, starts, ends, memory; which of them trains, and which goes on beside it.

`make kit` copies this file; edit it in skills/kit/ only. Each pattern is of a real message, the flags are those of every skill that
has a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_finding import Finding, Row, age_s, how_long, row_of, words_of
from trainyard_kube import Object
from trainyard_placed import was_taken

IMAGE: list[Row] = [
    ("image.invalid", r"couldn't parse image|invalid reference format|InvalidImageName", "correct image.uri (--image): REPOSITORY@sha256:64 hex digits, or REPOSITORY:TAG"),
    ("image.not-found", r"not found|does not exist|manifest unknown|NotFound", "build and push the image, or correct image.uri (--image); a digest must be of this registry"),
    ("image.denied", r"denied|no basic auth|unauthorized|authorization failed|\b40[13]\b", "cluster.image_pull_secrets (--image-pull-secret), or the node role's ecr:BatchGetImage"),
    ("image.rate", r"toomanyrequests|rate limit", "a registry of your own (ecr-pusher), or cluster.image_pull_secrets (--image-pull-secret)"),
    ("image.unreachable", r"i/o timeout|no such host|connection refused|dial tcp|network is unreachable", "the nodes do not reach that registry: VPC endpoints, NAT, DNS"),
    ("image.architecture", r"exec format error|no match for platform", "build for the node's architecture: docker buildx --platform"),
    ("image.disk", r"no space left on device", "the node's disk is full: a larger root volume, or a smaller image"),
    ("image.pull", r"", "kubectl describe pod shows the registry's answer; does the image exist, and may the node pull it?"),
]  # fmt: skip
PULLS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
}
NO_START = ("container.start", "is that program in the image, for this architecture?")
OWNER = (
    "volume.owner",
    "set cluster.security.run_as_user (--run-as-user) to the owner's number, because root in a pod may only use its own files; or set fs_group "
    "(--fs-group) where the volume's driver applies it; or give the folder to that user once",
)
WAITING: list[Row] = [
    ("container.user", r"^CreateContainerConfigError.*(runAsNonRoot|run as root|non-numeric user)", "cluster.security.run_as_user (--run-as-user) with a number that is not 0"),
    ("container.config", r"^CreateContainerConfigError", "check that the Secret named under `secrets:` (--secret) exists and has that key"),
    (NO_START[0], r"^(CreateContainerError|RunContainerError)", NO_START[1]),
    ("container.crashing", r"^CrashLoopBackOff", "logs --rank R --previous"),
    ("container.waiting", r"", "kubectl describe pod"),
]  # fmt: skip
STARTING = {"ContainerCreating", "PodInitializing"}
OPERATORS = {
    "init-pytorch": "a worker waits there for the name of rank 0",
    "wait-gcs-ready": "a worker waits there for the head",
}
"""Init containers that operators put in, and what they wait for; any other is the user's."""
INIT_STUCK_S = 120.0
HELD_S = 20.0
"""A proxy beside the training has some seconds to end after it (Istio drains 5 s); then it does not know that it should."""


def statuses_of(pod: Object) -> list[Object]:
    """Of its containers; [] before the kubelet has looked at it."""
    return kube.status(pod).get("containerStatuses") or []


def main_of(pod: Object, main: str | None) -> Object:
    """The status of the container that trains: that of the name, else the first of the pod's spec; {} where it has none yet."""
    names = [each["name"] for each in pod["spec"]["containers"]]
    name = main if main in names else names[0]
    return next((each for each in statuses_of(pod) if each["name"] == name), {})


def held_by(pod: Object, main: str | None) -> list[str]:
    """Containers that go on though the one that trains has ended for good: they hold the pod, and its operator sees no end."""
    own = main_of(pod, main)
    ended = (own.get("state") or {}).get("terminated") or {}
    again = ended.get("exitCode") and pod["spec"].get("restartPolicy") != "Never"  # the kubelet starts it again
    if kube.is_going(pod) or not ended.get("finishedAt") or again or age_s(ended["finishedAt"]) < HELD_S:
        return []
    return [each["name"] for each in statuses_of(pod) if each["name"] != own["name"] and "running" in (each.get("state") or {})]


def containers(pod: Object, main: str | None) -> Iterator[Finding]:
    """`main`: the name of the container that trains."""
    own = main_of(pod, main).get("name")
    for each in kube.status(pod).get("initContainerStatuses") or []:
        yield from _of_container(pod, each, f"init container {each['name']}", own)
        yield from _long_running(pod, each)
    for each in statuses_of(pod):
        yield from _of_container(pod, each, f"container {each['name']}", own)
    if names := held_by(pod, main):
        code = main_of(pod, main)["state"]["terminated"].get("exitCode")
        summary = (
            f"container {own} has ended with {code}, but {', '.join(names)} keeps running, so neither the pod nor the job ends"
        )
        yield Finding(
            "pod.held",
            shell.clean(summary, 300),
            'delete the job to free its nodes; then turn sidecar injection off (sidecar.istio.io/inject: "false" or similar), or use a native sidecar',
        )


def _of_container(pod: Object, container: Object, name: str, main: str | None) -> Iterator[Finding]:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = str(waiting.get("reason") or "")
    text = f"{reason}: {waiting.get('message') or ''}"
    if reason in PULLS:
        image, (id, _, fix) = shell.clean(str(container.get("image")), 200), row_of(IMAGE, text)
        yield Finding(id, f"{name}: {image} cannot be pulled: {words_of(waiting)}", fix)
    elif reason and reason not in STARTING:
        id, _, fix = row_of(WAITING, text)
        yield Finding(id, f"{name}: {words_of(waiting)}", _with_logs(pod, container, main, fix))
    for ended in (state.get("terminated"), (container.get("lastState") or {}).get("terminated")):
        yield from _ended(pod, container, ended or {}, name, main)


def _with_logs(pod: Object, container: Object, main: str | None, fix: str) -> str:
    """`logs` shows the container that trains; of any other one, kubectl."""
    if not fix.startswith("logs") or container["name"] == main:
        return fix
    before = " --previous" if container.get("restartCount") else ""
    return f"kubectl logs {kube.name(pod)} -c {container['name']}{before}"


def _ended(pod: Object, container: Object, ended: Object, name: str, main: str | None) -> Iterator[Finding]:
    code, told = ended.get("exitCode"), launcher_word(ended).get("reason", "")
    if ended.get("reason") == "OOMKilled" or ": out of memory: " in told:
        yield _out_of_memory(pod, container["name"], name)
    elif "Permission denied: " in told and " belongs to user " in told:  # training/trainyard/whose.py
        yield Finding(OWNER[0], f"{name}: {told}", OWNER[1])
    elif " cannot be started: " in told:
        yield Finding(NO_START[0], f"{name}: {told}", NO_START[1])
    elif ended.get("reason") in ("StartError", "ContainerCannotRun") or "exec format error" in str(ended.get("message")):
        yield Finding(NO_START[0], f"{name}: {words_of(ended)}", NO_START[1])
    elif code and not kube.is_going(pod) and not was_taken(pod):
        # A pod that is deleted or taken from its node was told to end: 143, and of HyperPod's launcher 1.
        # 128 + n: a signal. 137 alone does not prove that memory ran out.
        how = (
            f"signal {code - 128}"
            if 128 < code < 160
            else "an error of the job"
            if container["name"] == main
            else "its own error"
        )
        fix = _with_logs(pod, container, main, "logs; logs --rank R --previous")
        yield Finding(f"exit.{code}", f"{name} ended with {code}: {told or how}", fix)


def _out_of_memory(pod: Object, container: str, name: str) -> Finding:
    """With the limit that was met, and who set it: a LimitRange says in an annotation what it filled in."""
    specs = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]
    spec: Object = next((each for each in specs if each["name"] == container), {})
    limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
    filled = kube.notes(pod).get("kubernetes.io/limit-ranger", "")
    fix = "a larger resources.memory (--memory), fewer data workers, a smaller batch"
    if limit and any("memory limit" in part and part.split()[-1] == container for part in _filled_in(filled)):
        limit, fix = f"{limit}, the namespace's LimitRange set it", f"set resources.memory (--memory) to override it; {fix}"
    met = f": its limit is {shell.clean(str(limit), 120)}" if limit else ": it has no limit, the node itself ran out"
    return Finding("memory.out", f"{name} ran out of memory and was killed{met}", fix)


def _filled_in(note: str) -> list[str]:
    """`LimitRanger plugin set: cpu request, memory limit for container a; memory limit for container b` -> its parts."""
    return [part.strip() for part in note.partition("plugin set: ")[2].split(";") if part.strip()]


def _long_running(pod: Object, container: Object) -> Iterator[Finding]:
    """An init container that has run for long; one that is always restarted is a sidecar, and runs as long as the pod."""
    name, started = container["name"], ((container.get("state") or {}).get("running") or {}).get("startedAt")
    sidecars = {each["name"] for each in pod["spec"].get("initContainers") or [] if each.get("restartPolicy") == "Always"}
    if not started or name in sidecars or age_s(started) <= INIT_STUCK_S:
        return
    for_long = f"init container {name} has been running for over {how_long(age_s(started))}"
    if waits := OPERATORS.get(name):
        yield Finding("init.waiting", f"{for_long}: {waits}", f"status of rank 0; kubectl logs POD -c {name}; cluster DNS")
    else:
        logs = f"kubectl logs {kube.name(pod)} -c {name}"
        yield Finding("init.running", f"{for_long}: the training begins when it has ended", f"{logs} shows what it does")


# --- what a launcher left behind -------------------------------------------------------------------------------------


def launcher_word(ended: Object) -> Object:
    """{state, restarts, reason} that a launcher left behind in the status of its pod as it gave up; {} where there is none.

    The container wrote it: its types are checked, and its text is shown and not believed."""
    try:
        told = json.loads(str(ended.get("message") or ""))["trainyard"]
        good = isinstance(told["reason"], str) and type(told["restarts"]) is int and 0 <= told["restarts"] < 2**31
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}
    return {"restarts": told["restarts"], "reason": shell.clean(told["reason"], 300)} if good else {}


def launcher_words(pods: Iterable[Object]) -> list[Object]:
    """What launchers left behind in these pods."""
    statuses = (each for pod in pods for each in statuses_of(pod))
    ends = [(each.get(name) or {}).get("terminated") or {} for each in statuses for name in ("state", "lastState")]
    return [word for word in map(launcher_word, ends) if word]
