"""A PyTorchJob's pods, nodes and events as an API server writes them."""

from __future__ import annotations

import json
from typing import Any

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.rank_logs import RankLogs, at

Json = dict[str, Any]
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule", "timeAdded": "2026-11-27T11:02:41Z"}


class Fleet(RankLogs):
    """`nodes` pods of `procs` ranks each, a pod to a node: master-0, worker-0, ... Nothing is written before `write`."""

    def __init__(self, bench: Bench, nodes: int = 2, procs: int = 4, job: str = "llama-8b", seed: int = 1) -> None:
        self.bench, self.job = bench, job
        names = [f"{job}-master-0", *(f"{job}-worker-{i}" for i in range(nodes - 1))]
        hosts = [f"ip-10-2-{60 + 7 * i}-{113 + 2 * i}.us-west-2.compute.internal" for i in range(nodes)]
        super().__init__(names, hosts, procs, seed)
        self.pods = [self._pod(i) for i in range(nodes)]
        self.nodes = [self._node(host) for host in hosts]
        self.events: list[Json] = []
        self.kernel: list[str] = []
        self.objects: dict[str, Json] = {f"PyTorchJob-{job}": self._job()}

    def _meta(self, name: str, **more: Any) -> Json:
        uid = "-".join(f"{self.random.getrandbits(4 * n):0{n}x}" for n in (8, 4, 4, 4, 12))
        return {
            "name": name,
            "namespace": "research",
            "uid": uid,
            "resourceVersion": str(self.random.randint(10**6, 10**8)),
            "creationTimestamp": at(0),
            **more,
        }

    def _pod(self, i: int) -> Json:
        kind = "master" if i == 0 else "worker"
        labels = {"training.kubeflow.org/job-name": self.job, "training.kubeflow.org/replica-type": kind}
        labels |= {
            "training.kubeflow.org/replica-index": str(max(0, i - 1)),
            "training.kubeflow.org/operator-name": "pytorchjob-controller",
        }
        wants = {"nvidia.com/gpu": str(self.procs), "vpc.amazonaws.com/efa": "4", "memory": "900Gi", "cpu": "90"}
        image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/research/llama:2026-11-20"
        container = {"name": "pytorch", "image": image, "resources": {"limits": wants, "requests": wants}}
        container["command"] = ["torchrun", "--max-restarts=0", "/workspace/pretrain.py", "--config", "8b.toml"]
        container["env"] = [{"name": "PET_NNODES", "value": str(len(self.names))}, {"name": "PET_NODE_RANK", "value": str(i)}]
        spec = {
            "nodeName": self.hosts[i],
            "restartPolicy": "Never",
            "schedulerName": "default-scheduler",
            "containers": [container],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": self._meta(self.names[i], labels=labels), "spec": spec}
        pod["status"] = {
            "phase": "Running",
            "hostIP": "10.2.60.113",
            "podIP": f"10.2.61.{20 + i}",
            "qosClass": "Guaranteed",
            "startTime": at(2),
        }
        self.running(pod)
        return pod

    def running(self, pod: Json) -> None:
        self._state(pod, {"running": {"startedAt": at(31)}}, ready=True)

    def _state(self, pod: Json, state: Json, *, ready: bool, restarts: int = 0, last: Json | None = None) -> None:
        container = pod["spec"]["containers"][0]
        one = {"name": "pytorch", "image": container["image"], "imageID": "", "ready": ready, "started": ready}
        pod["status"]["containerStatuses"] = [{**one, "restartCount": restarts, "state": state, "lastState": last or {}}]
        conditions = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
        pod["status"]["conditions"] = [
            {"type": name, "status": str(yes), "lastTransitionTime": at(31)} for name, yes in conditions.items()
        ]

    def ended(self, i: int, code: int = 1, reason: str = "Error", after: float = 7200, message: str = "") -> None:
        """The container of pod i is terminated."""
        state: Json = {"exitCode": code, "reason": reason, "startedAt": at(31), "finishedAt": at(after)}
        if message:
            state["message"] = message
        state["containerID"] = f"containerd://{self.random.getrandbits(256):064x}"
        self._state(self.pods[i], {"terminated": state}, ready=False)
        self.pods[i]["status"]["phase"] = "Failed" if code else "Succeeded"

    def waiting(self, i: int, reason: str, message: str = "") -> None:
        """The container of pod i has not started."""
        self._state(self.pods[i], {"waiting": {"reason": reason, **({"message": message} if message else {})}}, ready=False)
        self.pods[i]["status"]["phase"] = "Pending"

    def unscheduled(self, i: int, message: str, reason: str = "Unschedulable") -> None:
        pod = self.pods[i]
        del pod["spec"]["nodeName"]
        pod["status"] = {"phase": "Pending", "qosClass": "Guaranteed"}
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": at(1),
        }
        pod["status"]["conditions"] = [{**condition, "lastProbeTime": None}]
        self.event(i, "FailedScheduling", message, source="default-scheduler", count=14)
        self.hosts[i] = ""

    def _node(self, host: str) -> Json:
        labels = {
            "kubernetes.io/hostname": host,
            "node.kubernetes.io/instance-type": "p5.48xlarge",
            "kubernetes.io/arch": "amd64",
        }
        labels |= {"topology.kubernetes.io/zone": "us-west-2a", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
        there = {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32", "cpu": "192", "memory": "2097152Mi", "pods": "100"}
        fine = {"MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available")}
        fine |= {"DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure")}
        fine |= {"PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available")}
        conditions = [
            {"type": kind, "status": "False", "reason": why, "message": text, "lastTransitionTime": at(-90000)}
            for kind, (why, text) in fine.items()
        ]
        conditions.append(
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastTransitionTime": at(-90000),
            }
        )
        meta = {**self._meta(host, labels=labels), "creationTimestamp": at(-90100)}
        del meta["namespace"]
        status = {"capacity": dict(there), "allocatable": dict(there), "conditions": conditions}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": meta,
            "spec": {"providerID": f"aws:///us-west-2a/i-{self.random.getrandbits(68):017x}"},
            "status": status,
        }

    def condition(self, i: int, kind: str, status: str, reason: str, message: str, after: float = 6900) -> None:
        """Replaces or adds a condition of node i."""
        kept = [each for each in self.nodes[i]["status"]["conditions"] if each["type"] != kind]
        new = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(after)}
        self.nodes[i]["status"]["conditions"] = [*kept, new]

    def _job(self) -> Json:
        condition = {
            "type": "Created",
            "status": "True",
            "reason": "PyTorchJobCreated",
            "message": f"PyTorchJob {self.job} is created.",
            "lastTransitionTime": at(0),
        }
        spec = {"nprocPerNode": str(self.procs), "runPolicy": {"cleanPodPolicy": "None"}}
        return {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": self._meta(self.job),
            "spec": spec,
            "status": {"conditions": [condition]},
        }

    def job_condition(self, kind: str, reason: str, message: str, after: float = 7210) -> None:
        job = self.objects[f"PyTorchJob-{self.job}"]
        job["status"]["conditions"].append(
            {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at(after)}
        )

    def event(
        self,
        on: int | str,
        reason: str,
        message: str,
        *,
        kind: str = "Pod",
        normal: bool = False,
        source: str = "kubelet",
        count: int = 1,
        after: float = 40,
    ) -> None:
        """`on`: the pod's or node's number, or a name."""
        names = self.names if kind == "Pod" else [node["metadata"]["name"] for node in self.nodes]
        name = on if isinstance(on, str) else names[on]
        meta = self._meta(f"{name}.{self.random.getrandbits(64):016x}", creationTimestamp=at(after))
        if kind == "Node":
            meta["namespace"] = "default"
        about: Json = {"kind": kind, "name": name, **({"namespace": "research"} if kind != "Node" else {})}
        one: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": meta,
            "involvedObject": about,
            "reason": reason,
            "message": message,
        }
        one |= {"type": "Normal" if normal else "Warning", "source": {"component": source}, "count": count}
        one |= {
            "firstTimestamp": at(after),
            "lastTimestamp": at(after + 15.0 * (count - 1)),
            "reportingComponent": source,
            "reportingInstance": "",
        }
        self.events.append(one)

    def write(self) -> None:
        """The evidence folder."""
        for name, pod, log in zip(self.names, self.pods, self.logs, strict=True):
            self.bench.write(f"pods/{name}/pod.json", json.dumps(pod, indent=1))
            if log:
                self.bench.write(f"pods/{name}/pytorch.log", "\n".join(log) + "\n")
        for node in self.nodes:
            self.bench.write(f"nodes/{node['metadata']['name']}.json", json.dumps(node, indent=1))
        self.bench.write("events.json", json.dumps(self.events, indent=1))
        for name, thing in self.objects.items():
            self.bench.write(f"objects/{name}.json", json.dumps(thing, indent=1))
        if self.kernel:
            self.bench.write("kernel.log", "\n".join(self.kernel) + "\n")
        pods = [
            {"name": name, "node": host or None, "node_rank": i}
            for i, (name, host) in enumerate(zip(self.names, self.hosts, strict=True))
        ]
        world = len(self.names) * self.procs
        about = {
            "run": self.job,
            "engine": "pytorchjob",
            "job": f"PyTorchJob/{self.job}",
            "namespace": "research",
            "world_size": world,
        }
        self.bench.tell(**about, procs_per_node=self.procs, pods=pods)
