"""Which clusters there are: the contexts of the kubeconfig, read as a file, and when asked the EKS clusters of an account's region."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Context:
    """One way to a cluster. No credential is read: an exec plug-in would be run."""

    name: str
    current: bool
    server: str | None
    namespace: str


def discover(region: str | None, profile: str | None, limit: int) -> shell.Result:
    """Asks AWS only where a region or a profile is given. Raises SkillError: usage, credentials, unreachable, dependency."""
    contexts, checks = read_contexts(kubeconfig_files())
    data: dict[str, Any] = {"contexts": [vars(each) for each in contexts]}
    if not (region or profile):
        checks.append(shell.Check("discover.eks", "skipped", "AWS was not asked: --region or --profile asks it"))
        return shell.Result(data, checks, next=_next(contexts, []))
    clusters, total, check = _eks(region, profile, limit, {each.server: each.name for each in contexts})
    data |= {"eks": clusters, "total": total}
    return shell.Result(data, [*checks, check], next=_next(contexts, clusters), truncated=total > len(clusters))


def _next(contexts: list[Context], clusters: list[dict[str, Any]]) -> list[str]:
    """How to get at a cluster without a context, and what to ask of one with a context."""
    lines = [
        f"aws eks update-kubeconfig --region {each['region']} --name {each['name']}" for each in clusters if not each["context"]
    ]
    return lines[:5] + [f"manage_cluster.py health --context {each.name}" for each in contexts if each.current]


# --- the kubeconfig ----------------------------------------------------------------------------------------------


def kubeconfig_files() -> list[Path]:
    listed = os.environ.get("KUBECONFIG")
    return [Path(each) for each in listed.split(os.pathsep) if each] if listed else [Path.home() / ".kube" / "config"]


def read_contexts(paths: list[Path]) -> tuple[list[Context], list[shell.Check]]:
    """As kubectl merges files: the first that names a thing counts."""
    import trainyard_yaml
    import yaml

    servers: dict[str, str] = {}
    contexts: dict[str, dict[str, Any]] = {}
    current, checks = None, []
    for path in paths:
        try:
            document = trainyard_yaml.read(path)
            for each in document.get("clusters") or []:
                servers.setdefault(each["name"], each["cluster"].get("server"))
            for each in document.get("contexts") or []:
                contexts.setdefault(each["name"], each["context"])
            current = current or document.get("current-context")
        except FileNotFoundError:
            checks.append(shell.Check("discover.kubeconfig", "skipped", f"no file {path}"))
        except (
            OSError,
            ValueError,
            yaml.YAMLError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:  # all of them: no kubeconfig
            message = shell.clean(f"{type(error).__name__}: {error}", 200)
            checks.append(
                shell.Check("discover.kubeconfig", "unknown", f"{path} is no kubeconfig", message, "kubectl config view")
            )
    found = [
        Context(name, name == current, servers.get(each.get("cluster", "")), each.get("namespace") or "default")
        for name, each in sorted(contexts.items())
    ]
    return found, [*checks, shell.Check("discover.contexts", "pass", f"{len(found)} contexts in the kubeconfig")]


# --- EKS ---------------------------------------------------------------------------------------------------------


def _eks(
    region: str | None, profile: str | None, limit: int, contexts: dict[str | None, str]
) -> tuple[list[dict[str, Any]], int, shell.Check]:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError, ProfileNotFound
    except ImportError as error:
        raise shell.SkillError("dependency", "boto3 is missing: EKS is asked through it", hint="pip install boto3") from error
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
        client = session.client("eks")
        names = sorted(name for page in client.get_paginator("list_clusters").paginate() for name in page["clusters"])
        rows = list(_described(client, names[:limit], contexts))
    except ClientError as error:
        return [], 0, _refused(error)
    except ProfileNotFound as error:
        raise shell.SkillError("not-found", str(error), hint="aws configure list-profiles") from error
    except NoCredentialsError as error:
        raise shell.SkillError("credentials", "no AWS credentials", hint="aws sso login, or --profile") from error
    except EndpointConnectionError as error:
        raise shell.SkillError(
            "unreachable", shell.clean(str(error), 300), hint="is the region's name right?", retryable=True
        ) from error
    except BotoCoreError as error:  # no region, a broken configuration file
        raise shell.SkillError("usage", shell.clean(str(error), 300), hint="--region, such as us-west-2") from error
    return rows, len(names), shell.Check("discover.eks", "pass", f"{len(names)} EKS clusters in {session.region_name}")


def _described(client: Any, names: list[str], contexts: dict[str | None, str]) -> Iterator[dict[str, Any]]:
    for name in names:
        cluster = client.describe_cluster(name=name)["cluster"]
        yield {
            "name": name,
            "arn": cluster["arn"],
            "region": client.meta.region_name,
            "status": cluster["status"],
            "version": cluster.get("version"),
            "endpoint": cluster.get("endpoint"),
            "context": contexts.get(cluster.get("endpoint")),
        }


def _refused(error: Any) -> shell.Check:
    """AWS said no: nothing is known of EKS, and the action is named that would be needed."""
    code, message = error.response["Error"]["Code"], shell.clean(error.response["Error"].get("Message", ""), 300)
    action = {"ListClusters": "eks:ListClusters", "DescribeCluster": "eks:DescribeCluster"}.get(error.operation_name, "eks")
    fix = f"the IAM action {action}" if "Access" in code else "sign in again: aws sso login" if "Token" in code else None
    return shell.Check("discover.eks", "unknown", f"EKS refused {error.operation_name}: {code}", message, fix)
