"""Arguments for the managers' programs, from a run.json: where the run is, and what of it lies there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy_siblings import Call, options
from on_kubernetes import states
from trainyard_job import RAY_ENGINES, Job
from trainyard_shell import Check, SkillError

if TYPE_CHECKING:
    from run_state.record import Run, StageRecord

FETCH_TIMEOUT_S = 180


def where(run: Run, job: Job | None = None) -> list[str]:
    """The cluster in run.json, whatever the current context is; before there is one, what the job file says."""
    if run.cluster:
        return options(**{key: run.cluster.get(key) or None for key in ("context", "namespace", "cluster_id")})
    cluster = job.cluster if job else None
    return options(context=cluster.context, namespace=cluster.namespace) if cluster else []


def engine_of(run: Run) -> str:
    return str(run.job.get("engine") or "pytorchjob")


def of_this_run(run: Run, verb: str, *words: str) -> list[str]:
    """A call about the very object of this run: its kind and its id, and of a RayCluster's jobs the run's own.

    Somebody may have an object of another kind under the same name, and may submit more jobs to the RayCluster.
    """
    engine = engine_of(run)
    which = ["--kind" if engine in RAY_ENGINES else "--engine", engine]
    if engine == "raycluster" and verb in ("status", "wait", "logs") and "--ready" not in words:
        which += ["--submission-id", f"{run.name}-{run.run_id[:8]}"]
    return [verb, run.name, "--run-id", run.run_id, *which, *words, *where(run)]


def result_of(run: Run, record: StageRecord | None) -> dict[str, Any]:
    return record.result if record is not None and record.ended is not None else {}


def claim_of(run: Run) -> str | None:
    claim = result_of(run, run.stages.get("storage")).get("claim")
    return str(claim) if claim else None


def fetch(run: Run, output: Path, pods: list[dict[str, Any]]) -> Call | None:
    """Brings the small files of a run here: from rank 0's pod while it runs, else from the volume; None without one."""
    claim, result = claim_of(run), result_of(run, run.submission)
    folder = result.get("run_dir")
    if not claim or not folder:
        return None
    alive = next((pod for pod in pods if pod.get("rank") == 0 and pod.get("phase") == "Running"), None)
    words = ["fetch", str(folder), str(output), "--timeout", str(FETCH_TIMEOUT_S), *where(run)]
    if alive:
        return Call([*words, *options(pod=alive["name"], container=result.get("container") or None)])
    document = run.submission.document if run.submission else None
    return Call([*words, "--request", "-"], {**document, "claim": claim}) if document else Call([*words, "--claim", claim])


def on_its_volume(run: Run, verb: str) -> list[str]:
    """Words for pod_checkpoints.py about the checkpoints on the run's claim, as a user could type them."""
    folder = result_of(run, run.submission).get("run_dir") or "RUN_DIR"
    return [verb, str(folder), *options(claim=claim_of(run) or "CLAIM"), *where(run)]


def roll_back(run: Run, step: int, *, dry_run: bool, timeout_s: float) -> Call:
    """Raises SkillError conflict for a run without a volume. The job has ended, so nobody holds the lock that a killed pod left."""
    claim, result = claim_of(run), result_of(run, run.submission)
    folder = result.get("run_dir")
    if not claim or not folder:
        raise SkillError("conflict", f"{run.name} has no volume: its checkpoints ended with its pods")
    agreed = options(dry_run=True) if dry_run else options(yes=True, holder_gone=True)
    words = ["rollback", str(folder), str(step), *agreed, "--timeout", f"{timeout_s:.0f}", *where(run)]
    document = run.submission.document if run.submission else None
    return Call([*words, "--request", "-"], {**document, "claim": claim}) if document else Call([*words, "--claim", claim])


def kept_volume(run: Run) -> list[dict[str, Any]]:
    """What a stop says of the volume: that it stays, and what its deletion would mean."""
    claim, volume = claim_of(run), result_of(run, run.stages.get("storage"))
    if claim is None:
        return [vars(Check("volume", "warn", "there was no volume: the checkpoints ended with the pods"))]
    again = "the run has finished" if states.as_recorded(run) == "finished" else "`resume` uses it again"
    summary = f"the claim {claim} stays, with the checkpoints on it; {again}"
    if volume.get("reclaim_policy") == "Delete":
        told = "its reclaimPolicy is Delete: whoever deletes the claim deletes the checkpoints"
        folder = result_of(run, run.submission).get("run_dir") or "RUN_DIR"
        fix = f"pod_checkpoints.py copy {folder} latest OUT --claim {claim} brings out what must be kept"
        return [vars(Check("volume", "warn", f"{summary}; {told}", fix=fix))]
    return [vars(Check("volume", "pass", summary))]
