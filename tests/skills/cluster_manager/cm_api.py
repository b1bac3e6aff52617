"""A small client of the API server for the tests: many objects at once, which kubectl makes one after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import kubernetes

Manifest = dict[str, Any]
PLURALS = {
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "LimitRange": "limitranges",
    "Namespace": "namespaces",
    "Node": "nodes",
    "PersistentVolume": "persistentvolumes",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "PriorityClass": "priorityclasses",
    "ResourceQuota": "resourcequotas",
    "StorageClass": "storageclasses",
    "CSIDriver": "csidrivers",
    "CSINode": "csinodes",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}
AT_ONCE = 8
TRIES, BUSY = 4, (429, 503, 504)
"""A loaded API server says "did not complete within requested timeout", which a client tries again."""


class Api:
    def __init__(self, kubeconfig: Path) -> None:
        client = kubernetes.config.new_client_from_config(str(kubeconfig))
        self.host, self.pool = client.configuration.host, client.rest_client.pool_manager
        settings = client.configuration.auth_settings().values()
        self.headers = {each["key"]: each["value"] for each in settings if each["in"] == "header"}

    def raw(self, verb: str, path: str) -> tuple[int, str]:
        """Of paths that answer with text, too."""
        response = self.pool.request(verb, f"{self.host}{path}", headers=self.headers)
        return response.status, response.data.decode()

    def send(
        self, verb: str, path: str, body: Any = None, content: str = "application/json", **query: str
    ) -> tuple[int, Manifest]:
        headers = {**self.headers, "content-type": content}
        url = f"{self.host}{path}{'?' + urlencode(query) if query else ''}"
        for number in range(TRIES):
            time.sleep(number)
            response = self.pool.request(verb, url, body=None if body is None else json.dumps(body), headers=headers)
            if response.status not in BUSY:
                break
        return response.status, json.loads(response.data)

    def create(self, thing: Manifest) -> tuple[int, Manifest]:
        return self.send("POST", collection(thing), thing)

    def create_all(self, things: Iterable[Manifest]) -> None:
        for status, answer in self.each(self.create, things):
            assert status == 201, answer

    def delete_all(self, things: Iterable[Manifest]) -> None:
        """Pods at once, without their grace period."""
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}

        def delete(thing: Manifest) -> tuple[int, Manifest]:
            return self.send("DELETE", f"{collection(thing)}/{thing['metadata']['name']}", options)

        for status, answer in self.each(delete, things):
            assert status in (200, 202, 404), answer

    def list(self, path: str, **query: str) -> list[Manifest]:
        status, answer = self.send("GET", path, **query)
        assert status == 200, answer
        return answer["items"]

    def each(self, function: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
        with ThreadPoolExecutor(AT_ONCE) as workers:
            return list(workers.map(function, things))


def collection(thing: Manifest) -> str:
    version, namespace = thing["apiVersion"], thing["metadata"].get("namespace")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/{f'namespaces/{namespace}/' if namespace else ''}{PLURALS[thing['kind']]}"


def until(ready: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := ready()):
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.1)
    return value
