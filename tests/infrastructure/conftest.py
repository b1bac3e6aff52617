"""A cluster and a namespace a test, for what stands in infrastructure/kubernetes and training/recipes; a team with its users; AWS's stand-in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.components.aws import fixtures as aws
from tests.components.build_host import fixtures as build_host
from tests.components.cluster.running import Cluster
from tests.components.hyperpod import fixtures
from tests.components.prometheus import fixtures as prometheus
from tests.infrastructure.kustomized import rules
from tests.infrastructure.recorded import Record, recorded

Manifest = dict[str, Any]


def pytest_configure(config: pytest.Config) -> None:
    for each in (fixtures, aws, build_host, prometheus):
        each.register(config)


@dataclass
class Team:
    """A namespace, and users who may do exactly what a Role of the base says."""

    cluster: Cluster
    namespace: str
    folder: Path
    open: ExitStack = field(default_factory=ExitStack)

    def user(self, *roles: str, cluster_reads: bool = False) -> Record:
        """A member with these Roles, and perhaps the ClusterRole; what they ask is recorded."""
        granted = [rule for role in roles for rule in rules("base", "Role", f"trainyard-{role}")]
        wide = rules("cluster-reads", "ClusterRole", "trainyard-cluster-reads") if cluster_reads else []
        name = "-".join([*roles, "wide" if cluster_reads else "narrow"])
        return self.open.enter_context(
            recorded(self.cluster.user(name, self.namespace, rules=granted, cluster_rules=wide), self.folder)
        )

    def storage_class(self, volumes: int) -> str:
        """A class with that many free volumes of this machine's disk; it goes with the namespace."""
        name = f"{self.namespace}-disk"
        made = [self._class(name, "kubernetes.io/no-provisioner")]
        for number in range(volumes):
            folder = self.folder / f"volume-{number}"
            folder.mkdir(mode=0o777)
            spec = {
                "capacity": {"storage": "5Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": name,
                "hostPath": {"path": str(folder)},
            }
            made.append({**self._of_namespace("v1", "PersistentVolume", f"{name}-{number}"), "spec": spec})
        self.cluster.apply(made)
        return name

    def efs_class(self) -> str:
        """A class of a storage driver that is not installed."""
        name = f"{self.namespace}-efs"
        self.cluster.apply([self._class(name, "efs.csi.aws.com")])
        return name

    def _class(self, name: str, provisioner: str) -> Manifest:
        return {**self._of_namespace("storage.k8s.io/v1", "StorageClass", name), "provisioner": provisioner}

    def _of_namespace(self, version: str, kind: str, name: str) -> Manifest:
        """An object of the cluster that is removed when the namespace is."""
        owner = {"apiVersion": "v1", "kind": "Namespace", "name": self.namespace}
        owner["uid"] = self.cluster.get("namespace", self.namespace)["metadata"]["uid"]
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "ownerReferences": [owner]}}


@pytest.fixture(scope="module")
def team(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    name = f"test-team-{secrets.token_hex(4)}"
    cluster.make_namespace(name)
    team = Team(cluster, name, tmp_path_factory.mktemp("team"))
    with team.open:
        yield team
    cluster.remove_namespace(name)  # nothing here needs the time that its end takes
