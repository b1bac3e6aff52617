"""One job file, and what was found out -> the calls that ask for its network and its volume, and the request of the job itself."""

from __future__ import annotations

from typing import Any

from trainyard_job import Fit, Job, Pod


def network_arguments(job: Job, fit: dict[str, Any]) -> list[str]:
    """[] without an instance type: the table of settings goes by it. What `auto` means for this job the fit has said."""
    instance_type = (job.resources.instance_type if job.resources else None) or fit.get("instance_type")
    network = str(fit.get("network") or job.network)
    return ["network-env", "--instance-type", str(instance_type), "--network", network] if instance_type else []


def request_document(
    job: dict[str, Any], run_id: str, start: int, fit: dict[str, Any], network: dict[str, Any], claim: str | None
) -> dict[str, Any]:
    """The whole job (trainyard_job.Request): the job file as read, and the answers. What is made of it is the manager's business."""
    answers = {key: fit[key] for key in Fit.__struct_fields__ if fit.get(key)}
    if isinstance(pod := fit.get("pod"), dict):
        answers["pod"] = {key: pod[key] for key in Pod.__struct_fields__ if pod.get(key)}
    variables = network.get("env")
    found = {
        "claim": claim,
        "fit": answers or None,
        "network_env": variables if isinstance(variables, dict) and variables else None,
    }
    return {**job, "run_id": run_id, "start": start, **{key: value for key, value in found.items() if value is not None}}


def words_with_request(verb: str, name: str, where: list[str]) -> list[str]:
    """The request itself goes in on stdin."""
    return [verb, name, "--request", "-", *where]
