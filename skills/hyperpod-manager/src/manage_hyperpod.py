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
import hyperpod_acting
import trainyard_kube as kube
from trainyard_seconds import Seconds

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


@cli.command(
    epilog=shell.examples(
        "manage_hyperpod.py nodes", "manage_hyperpod.py nodes ml-cluster --group gpu --unhealthy --format table"
    )
)
@click.argument("cluster", required=False)
@REGION
@click.option("--group", metavar="NAME", help="Only this instance group.")
@click.option("--unhealthy", is_flag=True, help="Only nodes that are not healthy, or are held back.")
@click.option("--no-kubernetes", is_flag=True, help="Ask SageMaker alone: no labels, no conditions, nobody who runs there.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Nodes at most.")
@kube.options
def nodes(
    cluster: str | None,
    region: str | None,
    group: str | None,
    unhealthy: bool,
    no_kubernetes: bool,
    limit: int,
    where: kube.Where,
) -> shell.Result:
    """Each instance with its Kubernetes node: status, labels, taints, conditions, who runs there, and what does not fit together."""
    from hyperpod_api.calls import SageMaker
    from hyperpod_nodes.shown import get_hyperpod_nodes

    asked = None if no_kubernetes else where
    return get_hyperpod_nodes(SageMaker.open(region), cluster, asked, group=group, unhealthy=unhealthy, limit=limit)


@cli.command(
    "instance-type",
    epilog=shell.examples(
        "manage_hyperpod.py instance-type ml.p5.48xlarge", "manage_hyperpod.py instance-type ml-cluster --offline"
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="TYPE|CLUSTER...")
@REGION
@click.option("--offline", is_flag=True, help="The table alone; ask EC2 nothing.")
def instance_type(names: tuple[str, ...], region: str | None, offline: bool) -> shell.Result:
    """Accelerators, memory, EFA, vCPU and price of instance types, or of those that a cluster's groups have."""
    from hyperpod_types import types_of

    return types_of(names, region, offline=offline)


@cli.command(
    epilog=shell.examples(
        "manage_hyperpod.py health ml-cluster",
        "manage_hyperpod.py health ml-cluster --instance-type ml.p5.48xlarge --nodes 4",
    )
)
@click.argument("cluster", required=False)
@REGION
@click.option("--node", metavar="ID|NAME", help="Only this one: instance id, node name or logical id.")
@click.option("--instance-type", metavar="TYPE", help="Only nodes of this type; with --nodes.")
@click.option("--nodes", type=click.IntRange(min=1), help="Exit 1 where fewer of the type are usable.")
@kube.options
def health(
    cluster: str | None, region: str | None, node: str | None, instance_type: str | None, nodes: int | None, where: kube.Where
) -> shell.Result:
    """Before a job and after a fault: each node healthy, degraded, faulty or unknown, why, since when, and the command that repairs it."""
    from hyperpod_api.calls import SageMaker
    from hyperpod_health.preflight import health as look

    return look(SageMaker.open(region), cluster, where, node=node, instance_type=instance_type, nodes=nodes)


@cli.command(
    epilog=shell.examples(
        "manage_hyperpod.py events ml-cluster", "manage_hyperpod.py events ml-cluster --since 7d --level Error"
    )
)
@click.argument("cluster", required=False)
@REGION
@click.option("--node", metavar="ID", help="Only those of this instance.")
@click.option("--group", metavar="NAME", help="Only those of this instance group.")
@click.option("--since", default="24h", show_default=True, metavar="TIME", help="30m, 24h, 7d.")
@click.option(
    "--level", type=click.Choice(["Info", "Warn", "Error"]), default="Info", show_default=True, help="This level and above."
)
@click.option(
    "--details", type=click.IntRange(0, 100), default=20, show_default=True, help="Events whose cause is asked for, at most."
)
@click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True, help="Events at most.")
def events(
    cluster: str | None,
    region: str | None,
    node: str | None,
    group: str | None,
    since: str,
    level: str,
    details: int,
    limit: int,
) -> shell.Result:
    """What happened to the cluster, its groups and instances, the newest first, with the cause of errors."""
    from hyperpod_api.calls import SageMaker
    from hyperpod_events.listing_events import list_events

    return list_events(
        SageMaker.open(region), cluster, since, node=node, group=group, level=level, details=details, limit=limit
    )


@cli.command(
    "query-metrics",
    epilog=shell.examples(
        "manage_hyperpod.py query-metrics gpu-utilization --workspace ws-0123abcd-0123-4567-89ab-0123456789ab --region us-east-1",
        "manage_hyperpod.py query-metrics 'avg(DCGM_FI_DEV_GPU_TEMP)' --url http://127.0.0.1:9090 --start 2026-11-29T10:00:00Z --step 60s",
    ),
)
@click.argument("query")
@click.option("--workspace", metavar="ID", help="AMP workspace (ws-...): signed with your AWS credentials.")
@click.option("--url", metavar="URL", help="Any Prometheus instead; nothing is signed.")
@REGION
@click.option("--start", metavar="TIME", help="Start of a range: ISO 8601, or seconds. Default: one value, at --end.")
@click.option("--end", metavar="TIME", help="Default: now.")
@click.option("--step", metavar="TIME", help="Between two points, with --start.  [default: 60s]")
@click.option("--timeout", type=Seconds(1, 600), default=60.0, show_default=True, help="Seconds for the whole answer.")
@click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True, help="Series at most.")
def query_metrics(
    query: str,
    workspace: str | None,
    url: str | None,
    region: str | None,
    start: str | None,
    end: str | None,
    step: str | None,
    timeout: float,
    limit: int,
) -> shell.Result:
    """A query by name (gpu-utilization, gpu-busy, gpu-memory, gpu-temperature, gpu-power, ecc, xid, efa, efa-drops, uptime, faults,
    recoveries, node-memory, targets) or in PromQL, to Amazon Managed Prometheus or any Prometheus. No data is unknown, never 0."""
    from hyperpod_metrics.answer import query_amp

    times = {"start": start, "end": end, "step": step}
    return query_amp(query, workspace_id=workspace, url=url, region=region, timeout_s=timeout, limit=limit, **times)


for verb, lines in hyperpod_acting.EXAMPLES.items():
    cli.command(epilog=shell.examples(*lines))(verb)


if __name__ == "__main__":
    cli()
