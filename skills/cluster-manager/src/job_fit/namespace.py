"""The job's namespace: is it there, does it stay, and which of the Pod Security Standards it holds pods to.

PodSecurity of kube-apiserver 1.36 judges pods by the namespace's label; a default for namespaces without one stands in a file of the API
server, which nobody can read from outside. It judges pods only: the job's object is taken, and its pods are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_job import Security

from job_fit.job import Job
from job_fit.made import INIT_PYTORCH, engine_of

ENFORCED = "pod-security.kubernetes.io/enforce"
LINES = "cluster: {security: {run_as_user: 1000, run_as_group: 1000, fs_group: 1000}}"
"""Of the job file. Any number but 0 does for the user; the group owns what is written, and the volume."""
OPERATORS_OWN = (
    "set engine: trainjob, which has no such container; or ask the operator's administrator for a security context "
    "(infrastructure/kubernetes/restricted)"
)


def namespace_checks(cluster: kube.Cluster, job: Job) -> list[shell.Check]:
    """`fit.namespace` and `fit.security`."""
    refused: list[shell.Check] = []
    space = None
    with kube.noted("fit.namespace", refused):
        space = cluster.find(f"/api/v1/namespaces/{cluster.namespace}")
    if refused:
        summary = "the namespace's pod security level may not be read"
        return [*refused, shell.Check("fit.security", "unknown", summary, None, refused[0].fix)]
    skipped = shell.Check("fit.security", "skipped", "there is no namespace for pods")
    if space is None:
        fix = "kubectl get namespaces; cluster.namespace in the job file (--namespace) names another"
        return [shell.Check("fit.namespace", "fail", f"namespace {cluster.namespace} does not exist", None, fix), skipped]
    if kube.is_going(space) or kube.status(space).get("phase") == "Terminating":
        return [_going(space), skipped]
    return [shell.Check("fit.namespace", "pass", f"namespace {cluster.namespace} is there"), _security(space, job)]


def _going(space: kube.Object) -> shell.Check:
    """Its conditions say what is still in it."""
    told = [each.get("message", "") for each in kube.conditions(space) if each["status"] == "True"]
    summary = f"namespace {kube.name(space)} is being deleted since {space['metadata'].get('deletionTimestamp')}: nothing can be made in it"
    fix = "another namespace (cluster.namespace), or wait until it is gone and make it anew"
    return shell.Check("fit.namespace", "fail", summary, shell.clean("; ".join(filter(None, told)), 400) or None, fix)


def _security(space: kube.Object, job: Job) -> shell.Check:
    level = kube.label(space, ENFORCED) or "privileged"
    if level != "restricted":
        return shell.Check("fit.security", "pass", f"pods may run as the image says (PodSecurity {level})")
    evidence = f"label {ENFORCED}={level}"
    if found := list(_against(job)):
        summary = f"PodSecurity restricted forbids the job's pods: {'; '.join(why for why, _ in found)}"
        return shell.Check("fit.security", "fail", summary, evidence, "; ".join(cure for _, cure in found))
    if engine_of(job) == "pytorchjob" and job.request.nodes > 1:
        # Its template is a file of the operator's image, or one that its administrator mounts over it: nobody else sees which.
        summary = f"PodSecurity restricted forbids each worker if the operator's {INIT_PYTORCH[0]} has no security context, as by default"
        return shell.Check("fit.security", "warn", summary, evidence, OPERATORS_OWN)
    return shell.Check("fit.security", "pass", "the job's pods keep to PodSecurity restricted")


def _against(job: Job) -> Iterator[tuple[str, str]]:
    """(why, what to do). All else that the level asks for, every pod of ours has."""
    given = job.cluster.security or Security()
    if given.run_as_user is None:
        yield "the image's user may be root", f"in the job file {LINES}: a user who may read the project in the image"
    elif given.run_as_user == 0:
        yield "cluster.security.run_as_user is 0, which is root", f"in the job file {LINES}"
