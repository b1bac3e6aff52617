"""create: the job as asked, once. The same call again finds it; another specification under its name is refused."""

from __future__ import annotations

import ptjob_manifest as manifests
import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_engines import ENGINES, Engine
from ptjob_find import Job, call_for, own_or_raise
from ptjob_going import claims_stay, refuse_existing
from ptjob_request import JobRequest
from ptjob_trainer_api import read_api
from trainyard_kube import Object
from trainyard_podjob_manifest import DIGEST, told


def create_pytorchjob(cluster: kube.Cluster, request: JobRequest, *, dry_run: bool = False) -> shell.Result:
    """Raises SkillError: conflict, usage (a webhook or policy refuses it), not-found (no operator), permission, unreachable."""
    engine, manifest, checks = build(cluster, request)
    existing = cluster.find(engine.path(cluster, request.name))
    changed = []
    if existing is None:
        checks = [*checks, *claims_stay(cluster, [request.claim] if request.claim else [])]
        existing, made = _make(cluster, engine, manifest, dry_run)
        changed = [f"{engine.kind} {cluster.namespace}/{request.name}"] if made else []
    same_or_raise(existing, request)
    names = {"engine": engine.name, "api_version": engine.group_version, "container": engine.container}
    data = told(request, cluster, existing, **names, pod_selector=Job(engine, existing).selector)
    if dry_run:
        return shell.Result({**data, "manifest": manifest, "exists": not changed, "would_change": changed}, checks=checks)
    verbs = [call_for(verb, request.name, request.run_id) for verb in ("status", "logs", "wait")]
    return shell.Result(data, checks=checks, changed=changed, next=verbs)


def build(cluster: kube.Cluster, request: JobRequest) -> tuple[Engine, Object, list[shell.Check]]:
    """The engine in the version that the cluster serves, the manifest, and what the user should know of it."""
    engine = ENGINES[request.engine]
    if request.engine == "pytorchjob":
        return engine, manifests.pytorchjob(request), []
    if request.engine == "hyperpodjob":
        return engine, manifests.hyperpodjob(request), []
    api, checks = read_api(cluster), []
    given_s = manifests.grace_s(request, api)
    if given_s < request.grace_s:
        summary = f"this Trainer cannot set the grace of pods: a stopped job has {given_s:g} s to save, not {request.grace_s:g}"
        fix = "Kubeflow Trainer 2.3 or newer, or --engine pytorchjob"
        checks = [shell.Check("grace", "warn", summary, f"{api.patches} has no {manifests.GRACE}", fix)]
    return engine.at(api.version), manifests.trainjob(request, api), checks


def _make(cluster: kube.Cluster, engine: Engine, manifest: Object, dry_run: bool) -> tuple[Object, bool]:
    """(the object, whether it is of this call)."""
    try:
        return cluster.create(engine.path(cluster), manifest, dry_run=dry_run), True
    except kube.ApiError as error:
        if error.status == 404:
            raise _absent(cluster, engine, error) from error
        if error.status != 409:
            raise
    return cluster.get(engine.path(cluster, kube.name(manifest))), False  # somebody was faster


def _absent(cluster: kube.Cluster, engine: Engine, error: kube.ApiError) -> shell.SkillError:
    if "namespaces" in error.message:
        return shell.SkillError(
            "not-found", f"no namespace {cluster.namespace}", hint="cluster.namespace (--namespace) NAME, or create it first"
        )
    message = f"{cluster.server} knows no {engine.kind} ({engine.group_version})"
    return shell.SkillError("not-found", message, hint=f"install {engine.install}, or another --engine")


def same_or_raise(existing: Object, request: JobRequest) -> None:
    refuse_existing(existing, request.run_id)
    own_or_raise(existing, request.run_id)
    if kube.notes(existing).get(DIGEST) != request.digest:
        message = f"{existing['kind']} {request.name} of this run was made from another specification"
        hint = f"delete {request.name} --run-id {request.run_id} --yes, then create; or the same options as before"
        raise shell.SkillError("conflict", message, hint=hint)
