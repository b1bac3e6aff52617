"""What stands in infrastructure/kubernetes, as kubectl would send it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.components.cluster import build

Manifest = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[2] / "infrastructure" / "kubernetes"
PLACEHOLDERS = {
    "fs-FILESYSTEM": "fs-0123456789abcdef0",
    "subnet-SUBNET": "subnet-0123456789abcdef0",
    "sg-GROUP": "sg-0123456789abcdef0",
    "MOUNTNAME": "abcdefgh",
    "REGION": "us-west-2",
    "[ZONE]": "[us-west-2a]",
    "BUCKET": "datasets",
    "ACCOUNT": "123456789012",
    "DIGEST": "0" * 64,
}
"""What the files write in capitals for the user to replace."""


def built(overlay: str) -> list[Manifest]:
    """The manifests of an overlay: base, cluster-reads, hyperpod-repair or example-team."""
    done = subprocess.run(
        [build.kubectl(), "kustomize", str(FOLDER / overlay)], check=True, capture_output=True, text=True, timeout=60
    )
    return list(yaml.safe_load_all(done.stdout))


def filled(path: Path) -> list[Manifest]:
    """The manifests of a file, with something in place of each placeholder."""
    text = path.read_text()
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return list(yaml.safe_load_all(text))


def rules(overlay: str, kind: str, name: str) -> list[Manifest]:
    """The rules of one Role or ClusterRole."""
    (found,) = [each["rules"] for each in built(overlay) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return list(found)


def permissions(rules: list[Manifest]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) for everything that the rules allow."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def granted(*roles: str, cluster_reads: bool = False) -> set[tuple[str, str, str]]:
    """What the Roles of the base allow together, and perhaps the ClusterRole."""
    found = [permissions(rules("base", "Role", f"trainyard-{role}")) for role in roles]
    if cluster_reads:
        found.append(permissions(rules("cluster-reads", "ClusterRole", "trainyard-cluster-reads")))
    return set().union(*found)
