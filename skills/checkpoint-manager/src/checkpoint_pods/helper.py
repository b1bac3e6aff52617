"""A short-lived pod on the claim, for when the job's pods are gone. It goes away whatever happens to the caller.

After success, an error, Ctrl-C or SIGTERM the pod is deleted. A caller that was killed leaves it: its deadline ends it, and the
next call for the same claim removes what ended.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from checkpoint_pods.call import Place
from checkpoint_pods.identity import Identity, instead_of_root, of_the_job, telling_who

TEMPLATE = Path(__file__).resolve().parents[2] / "assets" / "checkpoint-helper.yaml"
HELPER, CLAIM_UID = "trainyard.dev/helper", "trainyard.dev/claim-uid"
SPARE_S = 60
"""The pod lives this much longer than the call may take."""
GONE_S = 15.0
FINISHED = ("Succeeded", "Failed")
HOPELESS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the caller said about the helper pod."""

    claim: str
    image: str | None = None
    writes: bool = False
    python: str = "python3"
    timeout_s: float = 600.0
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    pull_secrets: tuple[str, ...] = ()
    who: Identity = field(default_factory=Identity)


@contextmanager
def helper_pod(cluster: kube.Cluster, wanted: Wanted) -> Iterator[Place]:
    """A running pod that mounts the claim at /trainyard, read-only unless `writes`."""
    claim = cluster.find(cluster.namespaced("v1", "persistentvolumeclaims", wanted.claim))
    if claim is None:
        hint = f"manage_volumes.py list-volumes -n {cluster.namespace}"
        raise shell.SkillError("not-found", f"no claim {wanted.claim} in {cluster.namespace}", hint=hint)
    pods = _pods_of(cluster, wanted.claim)
    _remove_ended(cluster, pods, claim)
    who = of_the_job(wanted.who, _job_pod(pods), claim)
    manifest = helper_manifest(wanted, claim, wanted.image or _image_of(pods, wanted.claim), who)
    users = tuple(kube.name(pod) for pod in pods if not _ended(pod) and not _is_helper(pod))
    path = cluster.namespaced("v1", "pods", kube.name(manifest))
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        who = _create(cluster, manifest, who)
        _wait_running(cluster, path, wanted, users)
        options = f"--claim {wanted.claim} --image {manifest['spec']['containers'][0]['image']} -n {cluster.namespace}"
        with telling_who(who):
            yield Place(cluster, kube.name(manifest), "checkpoints", wanted.python, wanted.timeout_s, options, users)
    finally:
        _remove(cluster, path)
        signal.signal(signal.SIGTERM, before)


def _create(cluster: kube.Cluster, manifest: kube.Object, who: Identity) -> Identity:
    """As whom the pod was made."""
    path = cluster.namespaced("v1", "pods")
    try:
        cluster.create(path, manifest)
    except kube.ApiError as error:
        who = instead_of_root(error, who)
        manifest["spec"]["securityContext"] = who.context()
        cluster.create(path, manifest)
    return who


def helper_manifest(wanted: Wanted, claim: kube.Object, image: str, who: Identity) -> kube.Object:
    import yaml

    pod: kube.Object = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    labels = claim["metadata"].get("labels") or {}
    pod["metadata"]["name"] = f"checkpoints-{secrets.token_hex(4)}"
    pod["metadata"]["labels"] = {kube.MANAGED: "trainyard", HELPER: "checkpoints", CLAIM_UID: claim["metadata"]["uid"]}
    # As labels these would make it a pod of the job: whoever scales or deletes that would wait for a helper that was left behind.
    run = {key: labels[key] for key in (kube.RUN, kube.RUN_ID) if key in labels and kube.owner(claim)}
    pod["metadata"]["annotations"] = run
    spec = pod["spec"]
    spec["activeDeadlineSeconds"] = int(wanted.timeout_s) + SPARE_S
    spec["nodeSelector"] = wanted.node_selector
    spec["tolerations"] = wanted.tolerations
    spec["imagePullSecrets"] = [{"name": name} for name in wanted.pull_secrets]
    spec["securityContext"] = who.context()
    container = spec["containers"][0]
    container["image"] = image
    container["command"][0] = wanted.python
    container["volumeMounts"][0]["readOnly"] = not wanted.writes
    spec["volumes"][0]["persistentVolumeClaim"]["claimName"] = wanted.claim
    return pod


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _pods_of(cluster: kube.Cluster, claim: str) -> list[kube.Object]:
    """The namespace's pods that mount the claim, newest first."""
    pods = [
        pod
        for pod in cluster.list(cluster.namespaced("v1", "pods"))
        for volume in pod["spec"].get("volumes") or []
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim
    ]
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)


def _ended(pod: kube.Object) -> bool:
    return kube.status(pod).get("phase") in FINISHED


def _is_helper(pod: kube.Object) -> bool:
    return HELPER in (pod["metadata"].get("labels") or {})


def _remove_ended(cluster: kube.Cluster, pods: list[kube.Object], claim: kube.Object) -> None:
    """Helpers that a killed caller left and whose deadline has passed."""
    for pod in pods:
        ours = kube.label(pod, kube.MANAGED) == "trainyard" and kube.label(pod, CLAIM_UID) == claim["metadata"]["uid"]
        if ours and _is_helper(pod) and _ended(pod):
            cluster.delete(cluster.namespaced("v1", "pods", kube.name(pod)), pod["metadata"]["uid"])


def _job_pod(pods: list[kube.Object]) -> kube.Object | None:
    """The newest of a run's pods that used the claim, else the newest of anybody's."""
    others = [pod for pod in pods if not _is_helper(pod)]
    return next((pod for pod in others if kube.owner(pod)), others[0] if others else None)


def _image_of(pods: list[kube.Object], claim: str) -> str:
    """The image of the newest pod that used the claim: it has Python, and the node may hold it already."""
    for pod in pods:
        if not _is_helper(pod):
            return str(pod["spec"]["containers"][0]["image"])
    message = f"no pod that used claim {claim} is left to take the image from"
    raise shell.SkillError("usage", message, hint="--image URI with Python 3.11 in it, for example the run's own image")


def _wait_running(cluster: kube.Cluster, path: str, wanted: Wanted, users: tuple[str, ...]) -> None:
    """SkillError as soon as it is known that the pod cannot start, or `timeout`."""
    shell.progress(f"starting helper pod {path.rpartition('/')[2]} on claim {wanted.claim}")
    last: kube.Object = {}

    def running() -> bool:
        nonlocal last
        last = cluster.get(path)
        _give_up_if_hopeless(last)
        return bool(last["status"].get("phase") == "Running")

    if not shell.wait_until(running, timeout_s=wanted.timeout_s, interval_s=0.3):
        why = "; ".join(each for each in (_condition(last), _last_event(cluster, last)) if each)
        hint = f"pod {users[0]} uses the claim: --pod {users[0]} needs no helper" if users else "--node-selector, --toleration"
        raise shell.SkillError(
            "timeout", f"the helper pod did not start: {why or 'no reason known'}", hint=hint, retryable=True
        )


def _give_up_if_hopeless(pod: kube.Object) -> None:
    status = kube.status(pod)
    states = [each.get("state") or {} for each in status.get("containerStatuses") or []]
    for state in states:
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason") in HOPELESS:
            text = f"{waiting['reason']}: {shell.clean(str(waiting.get('message')), 300)}"
            raise shell.SkillError("usage", f"the helper pod cannot start: {text}", hint="--image, --image-pull-secret")
        if ended:
            text = f"{ended.get('reason')}: {shell.clean(str(ended.get('message')), 300)}"
            raise shell.SkillError(
                "usage", f"the helper pod ended at once: {text}", hint="an --image with python3, or --python"
            )
    if status.get("phase") in FINISHED:
        text = shell.clean(f"{status.get('reason')}: {status.get('message')}", 300)
        raise shell.SkillError("unreachable", f"the helper pod ended: {text}", hint="the same call again", retryable=True)


def _condition(pod: kube.Object) -> str:
    """Why it is not scheduled, if that is it."""
    for condition in kube.conditions(pod):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return shell.clean(str(condition.get("message")), 300)
    return ""


def _last_event(cluster: kube.Cluster, pod: kube.Object) -> str:
    """The newest warning about the pod (a volume that cannot be attached, say); empty where that may not be read."""
    if not pod:
        return ""
    try:
        selector = f"involvedObject.uid={pod['metadata']['uid']},type=Warning"
        events = cluster.list(cluster.namespaced("v1", "events"), fieldSelector=selector)
    except kube.ApiError:
        return ""
    newest = max(events, key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime")), default={})
    return shell.clean(str(newest.get("message") or ""), 300)


def _remove(cluster: kube.Cluster, path: str) -> None:
    """Delete and wait a little, so that a claim is free when this program ends. Looks by name: a create may have been cut short."""
    pod = cluster.find(path)
    if pod is None:
        return
    cluster.delete(path, pod["metadata"]["uid"])
    deadline = time.monotonic() + GONE_S
    if not shell.wait_until(
        lambda: cluster.find(path) is None, timeout_s=max(0.0, deadline - time.monotonic()), interval_s=0.3
    ):
        shell.progress(f"helper pod {path.rpartition('/')[2]} is still being deleted")
