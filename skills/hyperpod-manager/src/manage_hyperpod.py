# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "boto3>=1.35",
#   "botocore>=1.35",
#   "click>=8.1",
#   "kubernetes>=35,!=36.0.0",
#   "msgspec>=0.19",
#   "PyYAML>=6.0.2",
#   "urllib3>=2.0",
# ]
# ///
"""SageMaker HyperPod on EKS: clusters, nodes, their faults and repair."""

from __future__ import annotations

import trainyard_shell as shell

import click

REGION = click.option("--region", metavar="NAME", help="AWS region.  [default: AWS_REGION, or the profile's]")


@shell.program("hyperpod-manager")
def cli() -> None:
    """SageMaker HyperPod on EKS: which nodes there are, which are unhealthy and why; reboot, replace, add and move them."""


@cli.command(epilog=shell.examples("manage_hyperpod.py clusters", "manage_hyperpod.py clusters --region us-west-2"))
@REGION
def clusters(region: str | None) -> shell.Result:
    """The HyperPod clusters of the region: orchestrator, status, instance groups with how many nodes they have and want."""
    from hyperpod_api.calls import SageMaker
    from hyperpod_api.listing import list_clusters

    return list_clusters(SageMaker.open(region))


if __name__ == "__main__":
    cli()
