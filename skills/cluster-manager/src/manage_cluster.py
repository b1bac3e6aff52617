# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "boto3>=1.35",  # optional
#   "click>=8.1",
#   "kubernetes>=35,!=36.0.0",
#   "msgspec>=0.19",
#   "PyYAML>=6.0.2",
#   "urllib3>=2.0",
# ]
# ///
"""Look at a Kubernetes cluster for training: what it has, whether it is healthy, what is free, whether a job fits.

Reads only, except `fix`. What may not be read makes its check unknown and prints the rule that would allow it.
"""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click
import trainyard_kube as kube

from cluster_fix import ACTIONS as FIXES
from network_environment import NETWORKS, STACKS


# The components that `health` judges; the folder cluster_health is imported only when asked.
SERVICES = ("nodes", "gpu", "efa", "neuron", "dns", "csi", "webhooks")
OPERATORS = ("training-operator", "trainer", "jobset", "kuberay", "hyperpod-operator", "kueue")


@shell.program("cluster-manager")
def cli() -> None:
    """Look at a Kubernetes cluster for training: what it has, whether it is healthy, what is free, whether a job fits."""


@cli.command(epilog=shell.examples("manage_cluster.py discover", "manage_cluster.py discover --region us-west-2 --profile dev"))
@click.option("--region", metavar="NAME", help="Also ask AWS for the EKS clusters of this region.")
@click.option("--profile", metavar="NAME", help="AWS profile; asks AWS too.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="EKS clusters at most.")
def discover(region: str | None, profile: str | None, limit: int) -> shell.Result:
    """Which clusters there are: contexts of the kubeconfig, and EKS clusters when asked. Reads no credential of a context."""
    import cluster_discovery

    return cluster_discovery.discover(region, profile, limit)


@cli.command(
    epilog=shell.examples("manage_cluster.py health", "manage_cluster.py health --require gpu --require efa --ignore kuberay")
)
@kube.options
@click.option(
    "--require", "required", type=click.Choice(SERVICES + OPERATORS), multiple=True, help="Must be there; repeatable."
)
@click.option(
    "--ignore", "ignored", type=click.Choice(SERVICES + OPERATORS), multiple=True, help="Do not judge it; repeatable."
)
def health(where: kube.Where, required: tuple[str, ...], ignored: tuple[str, ...]) -> shell.Result:
    """Nodes, GPU, EFA, Neuron, DNS, CSI drivers, operators: absent, installed-not-ready, ready-no-resources or ready."""
    from cluster_health.check import check_cluster_health

    return check_cluster_health(kube.connect(where), frozenset(required), frozenset(ignored))


@cli.command(
    epilog=shell.examples(
        "manage_cluster.py capacity",
        """manage_cluster.py capacity --toleration '{"key": "nvidia.com/gpu", "operator": "Exists"}' --format table""",
    )
)
@kube.options
@click.option("--node-selector", multiple=True, metavar="KEY=VALUE", help="Only nodes with this label; repeatable.")
@click.option("--toleration", multiple=True, metavar="JSON", help="Count nodes with this taint too; repeatable.")
def capacity(where: kube.Where, node_selector: tuple[str, ...], toleration: tuple[str, ...]) -> shell.Result:
    """What is free by instance type and zone: whole nodes and accelerators. Only what the scheduler would give out."""
    import cluster_capacity

    selector = dict(map(cluster_capacity.label_of, node_selector))
    tolerations = [cluster_capacity.toleration_of(text) for text in toleration]
    return cluster_capacity.get_cluster_capacity(kube.connect(where), selector, tolerations)


@cli.command(
    epilog=shell.examples(
        "manage_cluster.py fit job.yaml --claim data --format table",
        "manage_cluster.py fit --instance-type ml.p5.48xlarge --nodes 4",
    )
)
@click.argument("job_file", metavar="[JOB_FILE]", required=False)
@kube.options
@click.option("--instance-type", metavar="TYPE", help="Without a job file, or in place of its instance type.")
@click.option("--nodes", type=click.IntRange(1), metavar="N", help="Pods, one a node.  [default: the file's, or 1]")
@click.option(
    "--procs-per-node",
    type=click.IntRange(1),
    metavar="N",
    help="Processes per pod, one per GPU.  [default: the file's, or all GPUs of the type]",
)
@click.option("--node-selector", multiple=True, metavar="KEY=VALUE", help="Beside the file's; repeatable.")
@click.option("--toleration", multiple=True, metavar="JSON", help="Beside the file's; repeatable.")
@click.option("--avoid-node", multiple=True, metavar="NAME", help="Beside the file's cluster.avoid_nodes; repeatable.")
@click.option(
    "--claim", metavar="NAME", help="The volume claim that the pods will mount. Default: checkpoints.storage of the file."
)
def fit(job_file: str | None, where: kube.Where, claim: str | None, **given: Any) -> shell.Result:
    """Does this job fit now, on which nodes, in one zone with its volume; what is missing. Exit 1: no, or it cannot be known.

    Without a job file: would a job of so many nodes of this type fit?
    """
    from job_fit import answer
    from job_fit.given import Given
    from job_fit.job import read_job

    job = read_job(job_file, Given(**given))
    storage, named = job.request.checkpoints.storage, job.cluster
    there = kube.Where(where.context or named.context, where.namespace or named.namespace, where.cluster_id)
    return answer.fit(kube.connect(there), job, claim or (storage.claim if storage else None))


@cli.command(
    "network-env",
    epilog=shell.examples(
        "manage_cluster.py network-env --instance-type ml.p5.48xlarge",
        "manage_cluster.py network-env --instance-type g5.2xlarge --network efa",
    ),
)
@click.option("--instance-type", required=True, metavar="TYPE", help="Such as p5.48xlarge, with or without ml.")
@click.option(
    "--network", type=click.Choice(NETWORKS), default="auto", show_default=True, help="efa: exit 1 where the type has none."
)
@click.option(
    "--stack",
    type=click.Choice(STACKS),
    default="current",
    show_default=True,
    help="Of the image; legacy: aws-ofi-nccl <= 1.5.",
)
def network_env(instance_type: str, network: str, stack: str) -> shell.Result:
    """The EFA and NCCL environment of the pods, with a reason for each line. Asks no cluster."""
    import network_environment
    from trainyard_instances import get_instance_type

    return network_environment.network_environment(get_instance_type(instance_type), network, stack)


@cli.command(
    epilog=shell.examples(
        "manage_cluster.py fix uncordon NODE", "manage_cluster.py fix delete-plugin-pod POD -n kube-system --yes"
    )
)
@click.argument("action", type=click.Choice(FIXES), metavar="ACTION")
@click.argument("name")
@kube.options
@click.option("--dry-run", is_flag=True, help="Ask the API server whether it would take the change; change nothing.")
@click.option("--yes", is_flag=True, help="Do it. Without it the plan is the answer (exit 6).")
def fix(action: str, name: str, where: kube.Where, dry_run: bool, yes: bool) -> shell.Result:
    """Repair one named thing. ACTION: uncordon NODE, or delete-plugin-pod POD (one that does not run; its DaemonSet makes a new one)."""
    import cluster_fix

    return cluster_fix.fix(kube.connect(where), action, name, yes=yes, dry_run=dry_run)


if __name__ == "__main__":
    cli()
