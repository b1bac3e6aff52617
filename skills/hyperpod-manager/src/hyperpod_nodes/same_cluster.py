"""Whether the kubeconfig's context is the EKS cluster that the HyperPod cluster runs on: nodes of another one are never joined."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import trainyard_aws as aws
import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_api.cluster import HyperPodCluster

EKS_ARN = re.compile(r"arn:[a-z0-9-]+:eks:(?P<region>[a-z0-9-]+):\d{12}:cluster/(?P<name>[A-Za-z0-9_-]{1,100})")
ID = "nodes.cluster"


def same_cluster(found: HyperPodCluster, where: kube.Cluster) -> shell.Check:
    """pass: it is; unknown: neither the kubeconfig nor EKS says so, and only instance ids that are joined prove it.

    Raises SkillError conflict where it is another one.
    """
    wanted = found.eks_arn or ""
    names = _names(where)
    arns = [name for name in names if EKS_ARN.fullmatch(name)]
    if wanted in names:
        return shell.Check(ID, "pass", f"context {where.context} is {wanted}", "as `aws eks update-kubeconfig` names it")
    if arns:
        raise _another(found, where, arns[0])
    return _by_endpoint(found, where)


def _names(where: kube.Cluster) -> list[str]:
    """The context's name, and that of the cluster it uses: `aws eks update-kubeconfig` gives both the ARN, --alias changes the first."""
    from kubernetes import config

    try:
        contexts, _ = config.list_kube_config_contexts()
    except config.ConfigException:  # inside a pod
        return []
    used = [(each.get("context") or {}).get("cluster") for each in contexts if each["name"] == where.context]
    return [str(name) for name in (where.context, *used) if name]


def _by_endpoint(found: HyperPodCluster, where: kube.Cluster) -> shell.Check:
    arn = EKS_ARN.fullmatch(found.eks_arn or "")
    if arn is None:
        return shell.Check(
            ID, "unknown", f"{found.name} names no EKS cluster", str(found.eks_arn), "manage_hyperpod.py clusters"
        )
    try:
        with aws.asking(f"describe the EKS cluster {arn['name']}", arn[0]):
            said = aws.client("eks", arn["region"]).describe_cluster(name=arn["name"])["cluster"]
    except aws.AwsError as error:
        fix = f"aws eks update-kubeconfig --name {arn['name']} --region {arn['region']}, or: {error.hint}"
        what = f"it could not be checked that context {where.context} is {arn[0]}; only instance ids are trusted"
        return shell.Check(ID, "unknown", what, shell.clean(str(error), 300), fix)
    there, here = (urlsplit(str(each)).netloc.lower() for each in (said.get("endpoint"), where.server))
    if there and there == here:
        return shell.Check(ID, "pass", f"context {where.context} is {arn[0]}", where.server)
    raise _another(found, where, where.server)


def _another(found: HyperPodCluster, where: kube.Cluster, told: str) -> shell.SkillError:
    arn = EKS_ARN.fullmatch(found.eks_arn or "")
    message = f"context {where.context} is another cluster ({told}) than {found.name}'s ({found.eks_arn}): no node was joined"
    update = f"aws eks update-kubeconfig --name {arn['name']} --region {arn['region']}, " if arn else ""
    return shell.SkillError("conflict", message, hint=f"{update}--context, or nodes --no-kubernetes")
