"""Volumes that pods of the real node share: folders of this machine, in the place of a shared file system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SHARED_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "test-shared"},
    "provisioner": "kubernetes.io/no-provisioner",
    "reclaimPolicy": "Retain",
    "volumeBindingMode": "Immediate",
}


def shared_volume(name: str, folder: Path, size: str, owner: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "test-shared",
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
