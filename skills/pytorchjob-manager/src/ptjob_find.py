"""The job of a name, and its pods: two requests for a job of ours, whatever its kind and size.

Whoever may read one kind need not be allowed to read the others, so a refused kind is passed over, and the answer says what that
leaves open:
- With `engine` that kind alone is looked at: 403 there is `permission`, and `not-found` is certain.
- Without it, nothing found and some kind refused: `permission` where the default kind (pytorchjobs) is refused, or one that the
  job's pods name as theirs; else `not-found` with the kinds that were not read in data.unread and as unknown checks. It is
  certain only where data.unread is [].
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_engines import ENGINES, Engine, engine_of_pod
from trainyard_kube import Object
from trainyard_podjob import RUN_ID


MAX_LABEL_CHARS = 63
"""A longer name stands in no label, so no pod names its job by it; Kubernetes refuses to look for one."""


@dataclass
class Job:
    engine: Engine
    object: Object
    pods: list[Object] = field(default_factory=list)

    @property
    def name(self) -> str:
        return kube.name(self.object)

    @property
    def uid(self) -> str:
        return str(self.object["metadata"]["uid"])

    @property
    def run_id(self) -> str | None:
        return kube.owner(self.object)

    @property
    def selector(self) -> str:
        """Label selector of the pods."""
        return f"{kube.RUN}={self.name},{kube.RUN_ID}={self.run_id}" if self.has_labels else self.engine.selector(self.name)

    @property
    def has_labels(self) -> bool:
        """Whether the pods carry our labels: not in a job of somebody else, nor in a TrainJob 2.0."""
        return self.run_id is not None and "podSpecOverrides" not in self.object["spec"]

    def rank(self, pod: Object) -> int:
        rank = self.engine.rank(pod)
        return -1 if rank is None else rank


def check_words(name: str, run_id: str | None) -> None:
    """Raises SkillError usage."""
    kube.name_or_raise("job", name)  # as Kubernetes takes it: our own rule is for names that we give
    if run_id is not None and not RUN_ID.fullmatch(run_id):
        raise shell.SkillError("usage", f"--run-id {shell.clean(run_id, 40)!r} is not 16 hex digits", hint="as in run.json")


def call_for(verb: str, name: str, run_id: str | None, *words: str) -> str:
    """A next command about this job, and no other one of its name."""
    return " ".join(["manage_pytorchjob.py", verb, name, *(["--run-id", run_id] if run_id else []), *words])


def find_job(cluster: kube.Cluster, name: str, run_id: str | None = None, engine: str | None = None) -> Job:
    """The job without its pods. Raises SkillError not-found, permission, conflict (another run's, or nobody's)."""
    check_words(name, run_id)
    return _owned(_looked_up(cluster, name, run_id, _kinds(engine)), run_id)


def find_with_pods(cluster: kube.Cluster, name: str, run_id: str | None = None, engine: str | None = None) -> Job:
    """The job and its pods. The pods come first, for their labels say of which kind the job is. Raises as find_job does."""
    check_words(name, run_id)
    ours = f"{kube.RUN}={name}" + (f",{kube.RUN_ID}={run_id}" if run_id else "")
    pods = cluster.pods(ours) if len(name) <= MAX_LABEL_CHARS else []
    # A pod without an operator's labels is taken for HyperPod's, and may be Ray's: that names no kind.
    named = {engine_of_pod(pod).name for pod in pods} - {"hyperpodjob"}
    kinds = _kinds(engine, first=engine_of_pod(pods[0]).name if pods else None)
    job = _owned(_looked_up(cluster, name, run_id, kinds, named), run_id)
    mine = [pod for pod in pods if kube.owner(pod) == job.run_id and engine_of_pod(pod).name == job.engine.name]
    job.pods = mine if job.has_labels and (mine or job.engine.name == "hyperpodjob") else _pods_by_name(cluster, job)
    return job


def _pods_by_name(cluster: kube.Cluster, job: Job) -> list[Object]:
    return cluster.pods(job.selector) if len(job.name) <= MAX_LABEL_CHARS else []


def _kinds(only: str | None, *, first: str | None = None) -> list[Engine]:
    return [ENGINES[only]] if only else sorted(ENGINES.values(), key=lambda engine: engine.name != first)


def _looked_up(cluster: kube.Cluster, name: str, run_id: str | None, kinds: list[Engine], named: Set[str] = frozenset()) -> Job:
    """The first job of that name; one of the wanted run goes before others. `named`: kinds of which there are pods of that name.

    Raises SkillError not-found, permission: see above.
    """
    found: Job | None = None
    refused: dict[str, kube.ApiError] = {}
    for engine in kinds:
        try:
            job = _at(cluster, engine, name)
        except kube.ApiError as error:
            if error.status != 403:
                raise
            refused[engine.name] = error
            continue
        if job and (run_id is None or job.run_id == run_id):
            return job
        found = found or job
    if hidden := next((error for engine, error in refused.items() if engine in named), None):
        raise hidden  # it is there, for its pods are
    if found is None:
        raise _not_found(name, refused, everything=len(refused) == len(kinds))
    return found


def _at(cluster: kube.Cluster, engine: Engine, name: str) -> Job | None:
    thing = cluster.find(engine.path(cluster, name))
    if thing is None and engine.name == "trainjob" and (served := served_version(cluster, engine)) != engine.version:
        engine = engine.at(served)
        thing = cluster.find(engine.path(cluster, name))
    return Job(engine, thing) if thing else None


def _not_found(name: str, refused: dict[str, kube.ApiError], *, everything: bool) -> shell.SkillError:
    if everything or "pytorchjob" in refused:
        return refused.get("pytorchjob") or next(iter(refused.values()))
    unread = [str(error.rule["resources"][0]) for error in refused.values()]
    told = f" among what may be read ({', '.join(unread)} may not)" if unread else ""
    hint = "manage_pytorchjob.py list shows the jobs of this namespace; cluster.namespace and cluster.context (--namespace, --context) choose another"
    return shell.SkillError(
        "not-found",
        f"no job {name} here{told}",
        hint=f"--engine looks at one kind alone; {hint}" if unread else hint,
        data={"name": name, "unread": unread},
        checks=[kube.unknown(f"find.{engine}", error) for engine, error in refused.items()],
    )


def served_version(cluster: kube.Cluster, engine: Engine) -> str:
    """The version that the API server prefers; the known one where the kind is not installed."""
    group = cluster.find(f"/apis/{engine.group}")
    return str(group["preferredVersion"]["version"]) if group else engine.version


def _owned(job: Job, run_id: str | None) -> Job:
    if run_id is not None:
        own_or_raise(job.object, run_id)
    return job


def own_or_raise(thing: Object, run_id: str) -> None:
    """Raises SkillError conflict unless the object belongs to this run."""
    owner = kube.owner(thing)
    if owner != run_id:
        whose = f"run {owner}" if owner else "somebody else: it was not made by Trainyard"
        message = f"{thing['kind']} {kube.name(thing)} belongs to {whose}; this is run {run_id}"
        raise shell.SkillError("conflict", message, hint="another name in the job file, or another namespace")
