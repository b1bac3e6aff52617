"""Why a claim stays Pending: its events, read as data, named with the next command."""

from __future__ import annotations

import re

import trainyard_kube as kube
import trainyard_shell as shell
from checkpoint_volumes.facts import Facts
from trainyard_storage import title

CAUSES = (
    (
        r"not authorized|AccessDenied|UnauthorizedOperation|is not able to assume|WebIdentityErr|credentials",
        "the driver may not make the volume in AWS",
        "give the driver's controller its IAM role: aws eks describe-addon --cluster-name CLUSTER --addon-name ...",
    ),
    (
        r"no persistent volumes available|no volume plugin matched name: kubernetes.io/no-provisioner",
        "no free volume fits: class, size, access mode or zone",
        "kubectl get pv; make one of that class",
    ),
    (
        r"storageclass\S* \"?[^ ]*\"? not found",
        "the storage class does not exist",
        "kubectl get storageclass; then checkpoints.storage.class (--storage-class) with one of them",
    ),
    (
        r"[Ss]ubnet|[Ss]ecurity ?[Gg]roup",
        "the class names a subnet or security group that does not fit",
        "kubectl get storageclass NAME -o yaml",
    ),
    (
        r"[Ll]imit|[Qq]uota|InsufficientFreeAddresses",
        "a limit of the AWS account is reached",
        "aws service-quotas list-service-quotas; or a smaller checkpoints.storage.size (--size)",
    ),
)
"""(pattern in the event's text, cause, next command), first match wins."""


def finding(cluster: kube.Cluster, claim: kube.Object, facts: Facts) -> shell.Check:
    """Check `volume.bound` of a claim that is not bound: waiting for its pod, on its way, or failed with the cause."""
    name = kube.name(claim)
    look = f"kubectl describe pvc {name} -n {cluster.namespace}"
    phase = kube.status(claim).get("phase") or "Pending"
    if phase == "Bound":
        return shell.Check("volume.bound", "pass", f"bound to {claim['spec'].get('volumeName')}")
    if phase == "Lost":
        summary = f"its volume {claim['spec'].get('volumeName')} is gone"
        return shell.Check("volume.bound", "fail", summary, None, "another claim; the data went with the volume")
    try:
        events = _events(cluster, claim)
    except kube.ApiError as error:
        if error.status != 403:
            raise
        fix = f"{look}; this rule lets it be read here: {error.rule}"
        return shell.Check("volume.bound", "warn", "not bound yet; why could not be read", error.message, fix)
    if failed := next((each for each in events if _is_failure(each)), None):
        return _named(failed, look)
    if facts.binding_mode == "WaitForFirstConsumer" or any(each.get("reason") == "WaitForFirstConsumer" for each in events):
        return shell.Check("volume.bound", "pass", "is made when the first pod is scheduled, in that pod's zone")
    evidence = shell.clean(str(events[0].get("message")), 300) if events else None
    return shell.Check("volume.bound", "warn", f"not bound yet: {title(facts.driver)} is making it", evidence, look)


def _events(cluster: kube.Cluster, claim: kube.Object) -> list[kube.Object]:
    """Newest first."""
    selector = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.uid={claim['metadata']['uid']}"
    events = cluster.list(cluster.namespaced("v1", "events"), fieldSelector=selector)
    return sorted(events, key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime")), reverse=True)


def _is_failure(event: kube.Object) -> bool:
    return event.get("reason") in ("ProvisioningFailed", "FailedBinding", "ClaimMisbound", "VolumeMismatch")


def _named(event: kube.Object, look: str) -> shell.Check:
    text = shell.clean(str(event.get("message")), 500)
    for pattern, cause, fix in CAUSES:
        if re.search(pattern, text):
            return shell.Check("volume.bound", "fail", cause, text, fix)
    return shell.Check("volume.bound", "fail", f"cannot be bound: {shell.clean(text, 200)}", text, look)
