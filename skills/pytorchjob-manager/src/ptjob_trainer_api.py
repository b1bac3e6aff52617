"""Which TrainJob the cluster understands: its API version and how a TrainJob changes the pods of its runtime.

2.0 had podSpecOverrides, 2.1 podTemplateOverrides, 2.2 and later runtimePatches. Read from the OpenAPI document, which every
signed-in user may (the CRD itself needs a ClusterRole).
"""

from __future__ import annotations

from dataclasses import dataclass

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Object

GROUP = "trainer.kubeflow.org"
MANAGER = "trainyard.dev/pytorchjob-manager"


@dataclass(frozen=True)
class TrainJobApi:
    version: str
    patches: str
    """runtimePatches, podTemplateOverrides or podSpecOverrides."""
    pod_keys: frozenset[str]
    """Keys of a pod's spec that it can change."""
    container_keys: frozenset[str] = frozenset()
    """Of a container of it."""

    @property
    def takes_metadata(self) -> bool:
        """Whether pods can be given labels and annotations; where not, they are found by JobSet's own labels."""
        return self.patches != "podSpecOverrides"

    def patch(self, pod: Object) -> list[Object]:
        """The pod template {metadata, spec} in this API's form."""
        if not self.takes_metadata:
            return [{"targetJobs": [{"name": "node"}], **pod["spec"]}]
        if self.patches == "podTemplateOverrides":
            return [{"targetJobs": [{"name": "node"}], **pod}]
        jobs = [{"name": "node", "template": {"spec": {"template": pod}}}]
        return [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}]


def read_api(cluster: kube.Cluster) -> TrainJobApi:
    """Raises SkillError not-found where Trainer v2 is not installed."""
    group = cluster.find(f"/apis/{GROUP}")
    if group is None:
        message = f"{cluster.server} knows no TrainJob"
        raise shell.SkillError("not-found", message, hint="install Kubeflow Trainer v2, or use --engine pytorchjob")
    version = group["preferredVersion"]["version"]
    document = cluster.get(f"/openapi/v3/apis/{GROUP}/{version}")
    return api_of(version, document)


def api_of(version: str, document: Object) -> TrainJobApi:
    """From the OpenAPI v3 document of a group and version."""
    schemas = document["components"]["schemas"]
    job: Object = next((schema for name, schema in schemas.items() if name.endswith(".TrainJob")), {"properties": {}})
    spec = job["properties"].get("spec", {}).get("properties", {})
    paths = {
        "runtimePatches": ["trainingRuntimeSpec", "template", "spec", "replicatedJobs", "template", "spec", "template", "spec"],
        "podTemplateOverrides": ["spec"],
        "podSpecOverrides": [],
    }
    for patches, path in paths.items():
        if patches in spec:
            keys = _keys(spec[patches], path) - {"targetJobs"}
            return TrainJobApi(version, patches, frozenset(keys), frozenset(_keys(spec[patches], [*path, "containers"])))
    message = f"TrainJob {version} has none of {', '.join(paths)}: volumes and node selectors cannot be given"
    raise shell.SkillError("dependency", message, hint="a newer Kubeflow Trainer, or --engine pytorchjob")


def _keys(schema: Object, path: list[str]) -> set[str]:
    """Names of the properties at the end of `path`, through lists and the allOf that the API server wraps references in."""
    for name in [*path, None]:
        while "properties" not in schema:
            schema = schema["items"] if "items" in schema else schema["allOf"][0]
        if name is not None:
            schema = schema["properties"][name]
    return set(schema["properties"])
