"""Keep nodes of a Kubernetes equal to a HyperPod cluster of the overlay, and tell the overlay what a person labels."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.components.aws.running import Aws
from tests.components.hyperpod_nodes.manifest import (
    HEALTH,
    KWOK,
    NOT_READY,
    OURS,
    PREFIX,
    Document,
    annotations,
    labels,
    manifest,
    ready,
    shown,
    taints,
)

EVERY_S = 0.2
ASKED_FOR = ("UnschedulablePendingReplacement", "UnschedulablePendingReboot")


class Follower:
    def __init__(self, aws: Aws, name: str, core: client.CoreV1Api, *, region: str = "us-east-1", real: str = "") -> None:
        """`real`: the name of a node of this Kubernetes that plays the cluster's first instance, so that pods really run on it."""
        self.aws, self.name, self.core, self.region, self.real = aws, name, core, region, real
        self.health: dict[str, str] = {}
        """Node -> the health label that was last written: what differs from it, a person has set."""
        self.instance = ""
        """The one that the real node plays."""
        self.asleep: set[str] = set()
        """Nodes whose kubelet is not played, because they reboot or shut down."""

    def sync(self) -> None:
        """Once. Raises ControlError, ApiException."""
        held = self.held()
        for name, node in held.items():
            self.heed(name, node.metadata.labels.get(HEALTH, ""))
        view = self.view()
        wanted = {self.place(node): node for node in view["nodes"] if shown(node)}
        for name in set(held) - set(wanted) - {self.real}:
            with contextlib.suppress(ApiException):  # gone already
                self.core.delete_node(name)
            self.asleep.discard(name)
        for name, node in wanted.items():
            if name not in held and name != self.real:
                self.core.create_node(manifest(view, node))
            else:
                self.correct(name, self.adopted(node) if name == self.real else held[name], view, node)
            self.health[name] = node["health"]
            if name != self.real:
                self.wake_or_sleep(name, node)
                self.boot(name, held.get(name), node)

    def view(self) -> Document:
        return dict(self.aws.control("hyperpod_view", cluster=self.name, region=self.region))

    def held(self) -> dict[str, Any]:
        selected = self.core.list_node(label_selector=f"{PREFIX}cluster-name={self.name},{PREFIX}compute-type=hyperpod")
        return {node.metadata.name: node for node in selected.items}

    def place(self, node: Document) -> str:
        """The node's name here. The first that asks gets the real one, and its successor after it."""
        if self.real and self.instance in ("", node["instance_id"], node["logical_id"]):
            self.instance = node["logical_id"] or node["instance_id"]
            return self.real
        return str(node["hostname"])

    def adopted(self, node: Document) -> Any:
        """The real node's object under this instance's provider id. That never changes, so a successor's is an object made anew, as in
        HyperPod; the kubelet goes on with whatever object has its name."""
        held = self.core.read_node(self.real)
        if node["instance_id"] in (held.spec.provider_id or ""):
            return held
        now = self.core.api_client.sanitize_for_serialization(held)
        spec = {name: value for name, value in now["spec"].items() if name.startswith("podCIDR")}
        made = {
            "metadata": {name: now["metadata"].get(name, {}) for name in ("name", "labels", "annotations")},
            "spec": {**spec, "providerID": f"aws:///{node['zone']}/{node['instance_id']}"},
        }
        self.core.delete_node(self.real)
        return self.core.create_node(made)

    def heed(self, name: str, health: str) -> None:
        """Somebody asks for a recovery by the label."""
        if health in ASKED_FOR and health != self.health.get(name, health):
            node = self.instance if name == self.real else name.removeprefix("hyperpod-")
            self.aws.control("hyperpod_label", cluster=self.name, node=node, health=health, region=self.region)

    def correct(self, name: str, held: Any, view: Document, node: Document) -> None:
        """Labels, the annotation and taints, where they differ."""
        has, wants = held.metadata.labels or {}, labels(view, node)
        stale = {key: None for key in has if key.startswith(OURS) and key not in wants and key.startswith(PREFIX)}
        changed = {key: value for key, value in wants.items() if has.get(key) != value}
        details = f"{PREFIX}fault-details"
        noted = (held.metadata.annotations or {}).get(details)
        metadata: Document = {"labels": {**stale, **changed}} if stale or changed else {}
        if noted != annotations(node).get(details):
            metadata["annotations"] = {details: annotations(node).get(details)}
        mine = taints(view, node)
        has_taints = [taint.to_dict() for taint in held.spec.taints or []]
        others = [
            {key: value for key, value in taint.items() if key in ("key", "value", "effect") and value}
            for taint in has_taints
            if taint["key"] != HEALTH and taint["key"] not in {each["key"] for each in mine}
        ]
        body: Document = {"metadata": metadata} if metadata else {}
        if {taint["key"] for taint in has_taints} != {taint["key"] for taint in [*others, *mine]}:
            body["spec"] = {"taints": [*others, *mine]}
        if body:
            self.core.patch_node(name, body)

    def wake_or_sleep(self, name: str, node: Document) -> None:
        """kwok plays the kubelets of nodes with its annotation only: without it the node can be said to be not ready."""
        if ready(node) and name in self.asleep:
            self.core.patch_node(name, {"metadata": {"annotations": {KWOK: "fake"}}})
            self.asleep.discard(name)
        elif not ready(node):
            self.core.patch_node(name, {"metadata": {"annotations": {KWOK: None}}})
            self.core.patch_node_status(name, {"status": {"conditions": [NOT_READY]}})
            self.asleep.add(name)

    def boot(self, name: str, held: Any, node: Document) -> None:
        """A kernel's id, as a kubelet tells it and kwok does not: another one after each reboot, however short that was."""
        told = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{node['instance_id']}.{node['boots']}"))
        info = held.status.node_info if held is not None else None
        if info is not None and ready(node) and info.boot_id != told:
            self.core.patch_node_status(name, {"status": {"nodeInfo": {"bootID": told}}})

    def forget(self) -> None:
        """Take the nodes away, and from the real one what it was given."""
        for name, node in self.held().items():
            if name != self.real:
                with contextlib.suppress(ApiException):
                    self.core.delete_node(name)
                continue
            gone = {key: None for key in node.metadata.labels if key.startswith(PREFIX)}
            kept = [taint for taint in node.spec.taints or [] if taint.key != HEALTH]
            self.core.patch_node(name, {"metadata": {"labels": gone}, "spec": {"taints": kept}})

    def wait_for_real(self, timeout_s: float = 60.0) -> None:
        """A node whose object was made anew is Ready with its kubelet's next report. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while self.real and not any(
            each.type == "Ready" and each.status == "True" for each in self.core.read_node(self.real).status.conditions or []
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.real} is not Ready after {timeout_s:.0f} s")
            time.sleep(0.2)


def connect(kubeconfig: str) -> client.CoreV1Api:
    return client.CoreV1Api(config.new_client_from_config(kubeconfig))


@contextlib.contextmanager
def following(follower: Follower, every_s: float = EVERY_S) -> Iterator[Follower]:
    """Equal once before the block begins, then again and again until its end."""
    follower.sync()
    follower.wait_for_real()
    done = threading.Event()

    def work() -> None:
        while not done.wait(every_s):
            try:
                follower.sync()
            except Exception:  # the overlay is being reset, or a node went meanwhile: said, and tried again
                traceback.print_exc()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield follower
    finally:
        done.set()
        thread.join(30)
        follower.forget()
        follower.wait_for_real()  # the next test finds it as this one did
