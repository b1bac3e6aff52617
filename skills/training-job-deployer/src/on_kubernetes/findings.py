"""What a job file for a cluster must say beyond its types."""

from __future__ import annotations

import re

from job_file.command import ONE_MACHINE, Command
from job_file.reading import needs_launcher, one_image
from on_kubernetes import agent_bounds
from trainyard_hyperpod import ENGINE, contradictions
from trainyard_job import RAY_ENGINES, Job, Storage
from trainyard_request import Finding

DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
STORAGES = "checkpoints: {storage: {class: ..., size: ...}} makes a volume, checkpoints: {storage: {claim: ...}} takes one that is there"
NAME_TOLD = "is not a valid name: a-z, 0-9, - and ., starting and ending with a letter or a digit"


def findings(job: Job, command: Command | None) -> list[Finding]:
    """What of a job file is wrong for a Kubernetes cluster."""
    drives_ray = job.engine in RAY_ENGINES  # a plain command is the driver, once
    found = [] if drives_ray else needs_launcher(job, command)
    if command and command.launcher in ONE_MACHINE:
        name, package = command.launcher.name, command.launcher.package
        problem = f"{name} is a launcher of one machine; write torchrun in its place: {package}'s scripts run under it"
        found.append(Finding("$.run", problem))
    found += one_image(job) + _storage(job.checkpoints.storage, job.nodes)
    if job.image is None:
        found.append(Finding("$.image", f"is missing: target {job.target} runs a container image; image: {{uri: ...}}"))
    if job.engine == "hyperpodjob" and job.target != "hyperpod":
        found.append(Finding("$.engine", "hyperpodjob exists on target hyperpod only"))
    if of_image := agent_bounds.problem_of(job):
        found.append(Finding("$.image.uri", of_image))
    found += _hyperpod(job)
    namespace = job.cluster.namespace if job.cluster else None
    if namespace and not DNS_LABEL.fullmatch(namespace):
        found.append(Finding("$.cluster.namespace", f"{namespace!r} is not a valid name of a namespace"))
    return found


def _hyperpod(job: Job) -> list[Finding]:
    if job.hyperpod is None:
        return []
    if job.engine != ENGINE:
        return [Finding("$.hyperpod", f"is for engine {ENGINE} alone, and this is {job.engine or 'pytorchjob'}")]
    queue = job.cluster.queue if job.cluster else None
    given = contradictions(job.hyperpod, nodes=job.nodes, grace_s=job.monitor.stop_grace_s, queue=queue)
    return [Finding(f"$.hyperpod.{path}", problem) for path, problem in given]


def _storage(storage: Storage | None, nodes: int) -> list[Finding]:
    if storage is None:
        # each pod would save into its own file system, and no pod could read what the others saved
        problem = f"{nodes} nodes need a volume that all of them see: {STORAGES}"
        return [Finding("$.checkpoints.storage", problem)] if nodes > 1 else []
    found = []
    for key, value in (("claim", storage.claim), ("class", storage.storage_class)):
        if value and not DNS_NAME.fullmatch(value):
            found.append(Finding(f"$.checkpoints.storage.{key}", f"{value!r} {NAME_TOLD}"))
    if storage.claim and (storage.storage_class or storage.size):
        found.append(Finding("$.checkpoints.storage.claim", "names a volume that exists: leave class and size out"))
    return found
