"""`efa` and `gpu` for a run on a cluster: the logs of its pods, its share of DCGM's series, else nvidia-smi inside its pods."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_exec
import trainyard_shell as shell
from cluster_run.run_files import copy_run
from hardware.dcgm_series import Whose, look_at_dcgm
from hardware.efa_verb import efa_result
from hardware.gpu_verb import gpu_result
from hardware.net_proof import NetProof
from hardware import prometheus_service as at_service
from hardware.prometheus_asking import at_address
from hardware.ranks_verb import ranks_in
from hardware.slow_ranks import HOW
from hardware.smi_asking import ASK_S, watched
from trainyard_kube import Object

if TYPE_CHECKING:
    from cluster_run.run import ClusterRun, RunPod
    from hardware.gpu_facts import Seen
    from hardware.gpu_verb import Asked
    from hardware.smi_asking import Ask

MAX_RANKS, RANKS_A_POD = 1024, 16
LOST_LINES = "a node keeps the end of a log only (10 MiB): NCCL's words stand at its begin"


def gpus_of(pod: RunPod) -> int:
    """NVIDIA devices, or parts of one, that its container holds."""
    container: Object = next((each for each in pod.object["spec"]["containers"] if each.get("name") == pod.main), {})
    held = (container.get("resources") or {}).get("limits") or {}
    counts = [str(amount) for name, amount in held.items() if name.startswith("nvidia.com/")]
    return sum(int(count) for count in counts if count.isdigit())


# --- efa ---------------------------------------------------------------------------------------------------------


def efa_of_run(run: ClusterRun, ranks: int | None, limit: int) -> shell.Result:
    """Every pod's log. A pod whose log cannot be read leaves its ranks without proof."""
    proof, problems = NetProof(), []
    for pod in run.pods:
        try:
            proof.read_lines(pod.name, (line.raw for line in run.log_lines(pod)))
        except shell.SkillError as error:
            problems.append(f"{pod.name}: {shell.clean(str(error), 160)}")
    held = sum(gpus_of(pod) for pod in run.pods)
    if run.pods and not held and not proof.nccl_lines and not problems:
        check = shell.Check("efa.ranks", "skipped", "no pod of the job requests a GPU: it does not use NCCL")
        return shell.Result({"network": {}, "world_size": None, "total": 0, "processes": []}, [check])
    result = efa_result(proof, ranks or proof.largest() or held or None, None, limit)
    if problems:
        text = f"{len(problems)} of {len(run.pods)} pods have no log that can be read"
        result.checks.append(
            shell.Check("efa.logs", "unknown", text, "; ".join(problems[:4]), "kubectl logs POD; " + LOST_LINES)
        )
    return result


# --- ranks -------------------------------------------------------------------------------------------------------


def ranks_of_run(run: ClusterRun, factor: float) -> shell.Result:
    """The ends of the ranks' files on the volume, read through a pod."""
    most = min(MAX_RANKS, sum(gpus_of(pod) for pod in run.pods) or RANKS_A_POD * len(run.pods))
    with tempfile.TemporaryDirectory(prefix="trainyard-monitor-") as folder:
        copied, tried = copy_run(run, Path(folder), ranks=most)
        if copied is None:
            text = "the run folder on the volume cannot be read, and a log does not tell what a rank waited for"
            check = shell.Check("ranks.slow", "unknown", text, shell.clean("; ".join(tried), 400), HOW)
            return shell.Result({"world_size": None}, [check])
        return ranks_in(Path(folder), factor)


# --- gpu ---------------------------------------------------------------------------------------------------------


def gpu_of_run(run: ClusterRun, asked: Asked) -> shell.Result:
    """From the Prometheus that is named, else one in the cluster that knows these pods, else through exec."""
    held = asked.expected or sum(gpus_of(pod) for pod in run.pods) or None
    if run.pods and held is None:
        check = shell.Check("gpu.data", "skipped", "no pod of the job requests a GPU")
        return shell.Result({"source": None, "expected": None, "total": 0, "gpus": []}, [check])
    whose = Whose(frozenset(pod.name for pod in run.pods), run.cluster.namespace, expected=held)
    if asked.prometheus:
        return gpu_result(look_at_dcgm(at_address(asked.prometheus), whose), asked.limit)
    seen, tried = _found_prometheus(run, whose)
    if seen is None:
        seen = _by_exec(run, asked, held)
        seen = replace(seen, hint="; ".join([*tried, "--prometheus URL, or an image that has nvidia-smi"])[:600])
    return gpu_result(seen, asked.limit)


def _found_prometheus(run: ClusterRun, whose: Whose) -> tuple[Seen | None, list[str]]:
    """(what it shows, else None; why each was no help)."""
    tried: list[str] = []
    try:
        there = at_service.services(run.cluster)
    except shell.SkillError as error:
        return None, [f"services cannot be listed: {shell.clean(str(error), 120)}"]
    for service in there:
        try:
            seen = look_at_dcgm(at_service.query_of(run.cluster, *service), whose)
        except shell.SkillError as error:
            tried.append(f"{'/'.join(map(str, service))}: {shell.clean(str(error), 120)}")
            continue
        if seen.gpus:
            return replace(seen, source=f"prometheus {service[0]}/{service[1]}"), tried
        tried.append(f"{service[0]}/{service[1]} has no DCGM series of these pods")
    return None, tried


def _by_exec(run: ClusterRun, asked: Asked, held: int | None) -> Seen:
    pods = [pod for pod in run.pods if gpus_of(pod)]
    places: dict[str, Ask] = {pod.name: functools.partial(_exec, run, pod) for pod in pods if pod.runs}
    seen = watched(places, watch_s=asked.watch_s, interval_s=asked.interval_s, expected=held)
    silent = [f"{pod.name}: {pod.phase}, its container does not run" for pod in pods if not pod.runs]
    return replace(seen, problems=[*seen.problems, *silent])


def _exec(run: ClusterRun, pod: RunPod, words: list[str]) -> str:
    ran: Any = trainyard_exec.run_in_pod(run.cluster, pod.name, pod.main, words, timeout_s=ASK_S)
    said: bytes = ran.stdout + b"\n" + ran.stderr
    return said.decode("utf-8", "replace")
