"""A training job in pods of the real node, seen from outside: its steps on the volume, and its pods killed in four ways."""

from __future__ import annotations

import functools
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.components.cluster.running import Cluster

PATIENCE_S = 300.0


@dataclass
class ClusterJob:
    cluster: Cluster
    namespace: str
    name: str
    run_id: str
    claim: str

    @functools.cached_property
    def run_dir(self) -> Path:
        """The run folder on this machine: the volume is a folder here."""
        claim = self.cluster.get("persistentvolumeclaim", self.claim, "--namespace", self.namespace)
        volume = self.cluster.get("persistentvolume", claim["spec"]["volumeName"])
        return Path(volume["spec"]["hostPath"]["path"]) / f"{self.name}-{self.run_id}"

    def steps(self) -> list[dict[str, Any]]:
        """Every line of steps.jsonl; repeated steps stand there again with a higher incarnation."""
        try:
            lines = (self.run_dir / "steps.jsonl").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def losses(self) -> dict[int, float]:
        """Step -> loss, the last line of a step counts."""
        return {step["step"]: step["loss"] for step in self.steps()}

    def events(self, type: str) -> list[dict[str, Any]]:
        lines = (self.run_dir / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["type"] == type]

    def runner(self) -> dict[str, Any]:
        return dict(json.loads((self.run_dir / "runner.json").read_text()))

    def wait_for(self, what: str, ready: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + patience_s
        while not (value := ready()):
            assert time.monotonic() < deadline, f"{what}: not within {patience_s:.0f} s; {self.described()}"
            time.sleep(0.1)
        return value

    def wait_for_step(self, step: int) -> None:
        self.wait_for(f"step {step}", lambda: any(line["step"] >= step for line in self.steps()))

    def described(self) -> str:
        """The pods, and how each one's log ends: what a test that fails once in many runs leaves to be read."""
        pods = self.cluster.kubectl("get", "pods", "--namespace", self.namespace, "--output=wide")
        ends = []
        for name in self.cluster.kubectl("get", "pods", "--namespace", self.namespace, "--output=name").split():
            try:
                ends.append(f"{name}:\n{self.cluster.kubectl('logs', name, '--namespace', self.namespace, '--tail=25')}")
            except subprocess.CalledProcessError as error:  # it has no log yet, or went meanwhile
                ends.append(f"{name}: {error.stderr}")
        return "\n".join([pods, *ends])

    # --- four ways to die, and one to be asked to go ---

    def pod(self, role: str) -> dict[str, Any]:
        """The pod of the `master` (node 0) or of the `worker` (node 1), of a PyTorchJob or a TrainJob."""
        index = {"master": "0", "worker": "1"}[role]
        selector = f"--selector=trainyard.dev/run-id={self.run_id}"
        for pod in self.cluster.get("pods", "", "--namespace", self.namespace, selector)["items"]:
            labels = pod["metadata"]["labels"]
            roles = labels.get("training.kubeflow.org/replica-type"), labels.get("batch.kubernetes.io/job-completion-index")
            if (
                "deletionTimestamp" not in pod["metadata"]
                and pod["status"]["phase"] == "Running"
                and (role in roles or index in roles)
            ):
                return dict(pod)
        raise AssertionError(f"no {role} runs: {self.described()}")

    def kill_container(self, role: str) -> None:
        """SIGKILL to the container's first process, from the node."""
        container = self.pod(role)["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        socket = self.cluster.place.state / "containerd.sock"
        command = ["ctr", "--address", str(socket), "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    def kill_pod(self, role: str) -> None:
        """The pod is gone at once: the kubelet sends SIGTERM and, without a grace period, SIGKILL two seconds later."""
        words = ["--namespace", self.namespace, "--grace-period=0", "--force", "--wait=false"]
        self.cluster.kubectl("delete", "pod", self.pod(role)["metadata"]["name"], *words)

    def drain(self, role: str) -> None:
        """What `kubectl drain` does: an eviction, with SIGTERM and the pod's grace period."""
        name = self.pod(role)["metadata"]["name"]
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/eviction"
        self.cluster.kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(body))

    def recovery_after(self, kill: Callable[[], None]) -> dict[str, float]:
        """Kill, and wait for the first step that nobody had taken before: its seconds, and how many steps were repeated."""
        incarnation = self.steps()[-1]["incarnation"]
        began = time.time()
        kill()
        after = self.wait_for("a step of the next start", lambda: self._since(incarnation))
        newest = max(line["step"] for line in self.steps() if line["incarnation"] <= incarnation)
        fresh = self.wait_for("a new step", lambda: [line for line in self._since(incarnation) if line["step"] > newest])
        return {
            "first_step_s": after[0]["time"] - began,
            "new_step_s": fresh[0]["time"] - began,
            "repeated": newest - after[0]["step"] + 1,
        }

    def _since(self, incarnation: int) -> list[dict[str, Any]]:
        return [line for line in self.steps() if line["incarnation"] > incarnation]


def rank_process(run_id: str, rank: int) -> int:
    """The pid of a rank in a pod of one process, which this machine sees."""
    wanted = {f"RANK={rank}".encode(), b"LOCAL_RANK=0", f"TRAINYARD_RUN_ID={run_id}".encode()}
    return min(int(folder.name) for folder in Path("/proc").glob("[0-9]*") if wanted <= _environment(folder))


def _environment(folder: Path) -> set[bytes]:
    try:
        return set((folder / "environ").read_bytes().split(b"\0"))
    except OSError:
        return set()
