"""operator_manifest.py [WEBHOOK-PORT [CRD-PATTERN]] < rendered YAML > a JSON list for an operator that runs as a process.

Deployments are dropped. Services lose their selector and get an EndpointSlice at @IP@ and the webhook port, which the API server's
aggregator routing uses without any kube-proxy. CRD-PATTERN keeps only the definitions whose name matches.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

Manifest = dict[str, Any]
DROPPED = {"Deployment", "Certificate", "Issuer", "ServiceMonitor"}


def endpoint_slice(service: Manifest, port: int) -> Manifest:
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    labels = {"kubernetes.io/service-name": name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {"name": f"{name}-process", "namespace": namespace, "labels": labels},
        "endpoints": [{"addresses": ["@IP@"], "conditions": {"ready": True}}],
        "ports": [{"name": service["spec"]["ports"][0].get("name", ""), "port": port, "protocol": "TCP"}],
    }


def without_selector(service: Manifest) -> Manifest:
    spec = {key: value for key, value in service["spec"].items() if key != "selector"}
    spec["ports"] = [port for port in spec["ports"] if port["port"] == 443] or spec["ports"][:1]
    return {**service, "spec": spec}


def for_a_process(manifests: Iterable[Manifest], port: int, crd_pattern: str) -> Iterator[Manifest]:
    for manifest in manifests:
        kind = manifest["kind"]
        if kind in DROPPED or (kind == "CustomResourceDefinition" and not re.search(crd_pattern, manifest["metadata"]["name"])):
            continue
        if kind == "Service":
            manifest = without_selector(manifest)
            yield endpoint_slice(manifest, port)
        yield manifest


def main(webhook_port: str = "0", crd_pattern: str = ".") -> None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one reads KubeRay's 1.3 MB ten times faster
    manifests = filter(None, yaml.load_all(sys.stdin, loader))
    items = list(for_a_process(manifests, int(webhook_port), crd_pattern))
    json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
