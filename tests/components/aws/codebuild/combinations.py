"""Which settings of a build exclude each other."""

from __future__ import annotations

from typing import Any

from tests.components.aws.wire.refused import Refused

Document = dict[str, Any]
LAMBDA = {"LINUX_LAMBDA_CONTAINER", "ARM_LAMBDA_CONTAINER"}
GPU_SIZES = {"BUILD_GENERAL1_SMALL", "BUILD_GENERAL1_LARGE"}


def refuse_combination(settings: Document, request: Document) -> None:
    """Raises Refused (InvalidInputException)."""
    source, environment = settings["source"], settings["environment"]
    if source["type"] == "NO_SOURCE" and not source.get("buildspec"):
        refuse("Project source type NO_SOURCE requires a buildspec")
    if source["type"] == "S3" and "/" not in source.get("location", ""):
        refuse("Invalid project source: location must be a valid S3 source")
    kind, compute = environment["type"], environment["computeType"]
    if (kind in LAMBDA) != compute.startswith("BUILD_LAMBDA_"):
        refuse(f"Compute type {compute} is not supported for environment type {kind}")
    if kind == "LINUX_GPU_CONTAINER" and compute not in GPU_SIZES:
        refuse(f"Compute type {compute} is not supported for environment type {kind}")
    if kind in LAMBDA:
        refuse_on_lambda(settings, request)


def refuse_on_lambda(settings: Document, request: Document) -> None:
    """https://docs.aws.amazon.com/codebuild/latest/userguide/lambda.html, Limitations."""
    if settings["environment"].get("privilegedMode"):
        refuse("Cannot specify privilegedMode for Lambda compute")
    if settings.get("cache", {}).get("type", "NO_CACHE") != "NO_CACHE":
        refuse("Cannot specify cache for Lambda compute")
    if "timeoutInMinutesOverride" in request or "queuedTimeoutInMinutesOverride" in request:
        refuse("Cannot specify timeoutInMinutes for Lambda compute")
    if settings.get("vpcConfig"):
        refuse("Cannot specify vpcConfig for Lambda compute")


def refuse(text: str) -> None:
    raise Refused("InvalidInputException", text)
