"""The run of a name: looked for by our own labels, by the names of jobs of every kind, or by a selector of pods.

Whoever may read one kind need not be allowed to read the others: a refused kind is passed over and told in `unread`, and a pod says by
its labels which kind it belongs to.
"""

from __future__ import annotations

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_run.kinds import BY_WORD, DRIVER, KINDS, Kind, of_pod, rank_of, ray_order
from cluster_run.run import ClusterRun, RunPod, pod_of
from trainyard_kube import ApiError, Cluster, Object

MAX_LABEL_CHARS = 63
"""A longer name stands in no label, and Kubernetes refuses to look for one."""
RAY_ROLE = "trainyard.dev/role"
Found = list[tuple[Kind, Object]]


def find_run(cluster: Cluster, name: str | None, selector: str | None = None) -> ClusterRun:
    """The run called `name` (a run, a job, or KIND/NAME), or the one whose pods `selector` selects.

    Raises SkillError: not-found (data.unread: the kinds that may not be read), conflict where several runs fit, permission where
    nothing at all may be read, usage, unreachable.
    """
    if selector:
        return _by_selector(cluster, selector)
    word, _, rest = (name or "").rpartition("/")
    if word and word.lower() not in BY_WORD:
        raise shell.SkillError(
            "usage", f"{shell.clean(word, 40)!r} is not a kind of job", hint=f"one of {', '.join(sorted(BY_WORD))}"
        )
    kube.name_or_raise("run", rest)
    kinds = (BY_WORD[word.lower()],) if word else KINDS
    found, unread = _objects(cluster, kinds, rest)
    ours = _pods(cluster, f"{kube.RUN}={rest}", rest) if not word else []
    if found:
        return _of_job(cluster, rest, *_only(found), ours, unread)
    if not ours:
        ours = _pods_of_unread(cluster, [kind for kind in kinds if kind.engine in unread], rest)
    if not ours:
        raise _not_found(cluster, rest, unread, everything=len(unread) == len(kinds))
    return _of_pods(cluster, rest, f"{kube.RUN}={rest}", ours, unread)


def _objects(cluster: Cluster, kinds: tuple[Kind, ...], name: str) -> tuple[Found, dict[str, ApiError]]:
    found: Found = []
    unread: dict[str, ApiError] = {}
    for kind in kinds:
        try:
            thing = cluster.find(kind.path(cluster, name))
        except ApiError as error:
            if error.status != 403:
                raise
            unread[kind.engine] = error
            continue
        if thing is not None and (kind.engine != "job" or not found):
            found.append((kind, thing))
    return found, unread


def _only(found: Found) -> tuple[Kind, Object]:
    if len(found) > 1:
        names = [f"{kind.kind}/{kube.name(thing)}" for kind, thing in found]
        raise shell.SkillError("conflict", f"there are {' and '.join(names)}", hint=f"say which: {names[0]}")
    return found[0]


def _of_job(
    cluster: Cluster, name: str, kind: Kind, job: Object, ours: list[Object], unread: dict[str, ApiError]
) -> ClusterRun:
    run_id, own_name = kube.owner(job), kube.name(job)
    selector = f"{kube.RUN}={own_name},{kube.RUN_ID}={run_id}"
    pods = [pod for pod in ours if run_id and kube.owner(pod) == run_id]
    if not pods and (by_name := _selector_of(kind, job)):
        selector, pods = by_name, _pods(cluster, by_name, own_name)
    if kind.engine == "rayjob" and not any(kube.label(pod, RAY_ROLE) == "submitter" for pod in pods):
        known = {pod["metadata"].get("uid") for pod in pods}  # KubeRay's Job of the same name: its log is the driver's
        submitters = _pods(cluster, f"batch.kubernetes.io/job-name={own_name}", own_name)
        pods = [*pods, *(pod for pod in submitters if pod["metadata"].get("uid") not in known)]
    uid = job["metadata"].get("uid")
    pods = [pod for pod in pods if _is_of(pod, kind, uid)]
    return _run(cluster, name, kind, job, run_id, pods, selector, unread)


def _selector_of(kind: Kind, job: Object) -> str | None:
    """By the operator's own labels."""
    name = kube.name(job)
    if kind.engine == "rayjob":
        cluster_name = kube.status(job).get("rayClusterName")
        return f"ray.io/cluster={cluster_name}" if cluster_name else None
    return f"{kind.label}={name}" if kind.label and len(name) <= MAX_LABEL_CHARS else None


def _is_of(pod: Object, kind: Kind, uid: object) -> bool:
    """False for a pod of an older job of the same name, that is still going."""
    owners = [each for each in pod["metadata"].get("ownerReferences") or [] if each.get("kind") == kind.kind]
    return not owners or any(each.get("uid") == uid for each in owners)


def _by_selector(cluster: Cluster, selector: str) -> ClusterRun:
    pods = cluster.pods(selector)
    if pods:
        return _of_pods(cluster, None, selector, pods, {})
    found: Found = []
    unread: dict[str, ApiError] = {}
    for kind in KINDS:  # its pods are not made yet, or gone
        try:
            found += [(kind, thing) for thing in cluster.list(kind.path(cluster), labelSelector=selector)]
        except ApiError as error:
            if error.status == 403:
                unread[kind.engine] = error
            elif error.status != 404:
                raise
    if not found:
        raise _not_found(cluster, selector, unread, everything=False)
    kind, job = _only(found)
    return _run(cluster, kube.name(job), kind, job, kube.owner(job), [], selector, unread)


def _of_pods(cluster: Cluster, name: str | None, selector: str, pods: list[Object], unread: dict[str, ApiError]) -> ClusterRun:
    """Pods first: they say which job they belong to."""
    told = {(of_pod(pod), kube.owner(pod)) for pod in pods if kube.label(pod, RAY_ROLE) != "submitter"}
    jobs = {each[0] for each in told}
    if len(jobs) > 1 or len(told) > 1:
        names = sorted(
            f"{job[0].kind}/{job[1]} of run {run_id or 'nobody'}" if job else "pods of no job" for job, run_id in told
        )
        message = f"{shell.clean(selector, 120)} selects pods of {len(names)} runs: {', '.join(names[:4])}"
        raise shell.SkillError("conflict", message, hint=f"--selector {kube.RUN_ID}=ID chooses one")
    job, run_id = next(iter(told), (None, None))
    if job is None:
        return _run(cluster, name or selector, None, None, run_id, pods, selector, unread)
    kind, job_name = job
    objects, refused = _objects(cluster, (kind,), job_name)
    thing = objects[0][1] if objects else None
    return _run(cluster, name or job_name, kind, thing, run_id, pods, selector, {**unread, **refused})


def _pods(cluster: Cluster, selector: str, name: str) -> list[Object]:
    return cluster.pods(selector) if len(name) <= MAX_LABEL_CHARS else []


def _pods_of_unread(cluster: Cluster, kinds: list[Kind], name: str) -> list[Object]:
    for kind in kinds:
        if kind.label and (pods := _pods(cluster, f"{kind.label}={name}", name)):
            return pods
    return []


def _run(
    cluster: Cluster,
    name: str,
    kind: Kind | None,
    job: Object | None,
    run_id: str | None,
    pods: list[Object],
    selector: str,
    unread: dict[str, ApiError],
) -> ClusterRun:
    own = {engine: error for engine, error in unread.items() if kind is None or engine == kind.engine}
    checks = tuple(kube.unknown(f"find.{engine}", error) for engine, error in own.items())
    return ClusterRun(cluster, name, run_id, kind, job, tuple(_ranked(pods, kind)), selector, checks if job is None else ())


def _ranked(pods: list[Object], kind: Kind | None) -> list[RunPod]:
    container = kind.container if kind else None
    if kind is not None and kind.engine.startswith("ray"):
        nodes = sorted((pod for pod in pods if kube.label(pod, "ray.io/is-ray-node") == "yes"), key=ray_order)
        others = [pod for pod in pods if kube.label(pod, "ray.io/is-ray-node") != "yes"]
        rows = [pod_of(pod, rank, container) for rank, pod in enumerate(nodes)]
        return [*rows, *(pod_of(pod, DRIVER, container) for pod in others)]
    rows = [pod_of(pod, rank_of(pod, kind), container) for pod in pods]
    return sorted(rows, key=lambda pod: (pod.node_rank is None, pod.node_rank or 0, pod.name))


def _not_found(cluster: Cluster, name: str, unread: dict[str, ApiError], *, everything: bool) -> shell.SkillError:
    if everything and unread:
        return next(iter(unread.values()))
    refused = [str(error.rule["resources"][0]) for error in unread.values()]
    told = f" among what may be read ({', '.join(refused)} may not)" if refused else ""
    where = f"namespace {cluster.namespace} of {cluster.context or cluster.server}"
    return shell.SkillError(
        "not-found",
        f"no run, job or pods {shell.clean(name, 120)} in {where}{told}",
        hint="-n and --context choose another namespace or cluster; manage_pytorchjob.py list, manage_ray.py list name the jobs",
        data={"name": name, "unread": refused},
        checks=[kube.unknown(f"find.{engine}", error) for engine, error in unread.items()],
    )
