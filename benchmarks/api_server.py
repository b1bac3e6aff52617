"""An API server with many nodes and pods in it, to be read: etcd and kube-apiserver alone, nothing that changes what is in them.

The programs are the test cluster's (tests/components/cluster); its namespace, controllers and kwok are not needed for reading.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import progress
from tests.components.cluster import build
from tests.components.cluster.nodes import fake_node, node_name

NEEDS = ("kubectl", "etcd", "control-plane")
PODS_A_NODE = 4
TYPES = ("ml.p5.48xlarge", "p4d.24xlarge", "ml.g5.8xlarge", "trn1.32xlarge")
READY_S = 120
AT_ONCE = 8


@contextmanager
def populated(folder: Path, nodes: int) -> Iterator[Path]:
    """A kubeconfig for an API server with `nodes` nodes and four pods on each; all of it ends with the block."""
    token, port, client = secrets.token_hex(16), _free_port(), _free_port()
    with ExitStack() as stack:
        stack.enter_context(_started(_etcd(folder, _free_port(), client), folder / "etcd.log"))
        stack.enter_context(_started(_apiserver(folder, client, port, token), folder / "kube-apiserver.log"))
        _Writer(folder, port, token).fill(nodes)
        yield _kubeconfig(folder, port, token)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _started(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _etcd(folder: Path, peer: int, client: int) -> list[str]:
    program = build.asset("etcd") or str(build.folder("etcd") / "etcd")
    peers, clients = f"http://127.0.0.1:{peer}", f"http://127.0.0.1:{client}"
    return [
        *(program, "--name=e", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--quota-backend-bytes=4294967296"),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
        *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=e={peers}"),
    ]


def _apiserver(folder: Path, etcd: int, port: int, token: str) -> list[str]:
    program = build.asset("kube-apiserver") or str(build.folder("control-plane") / "kube-apiserver")
    key, tokens = folder / "sa.key", folder / "tokens.csv"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    tokens.write_text(f"{token},bench,1,system:masters\n")
    return [
        *(program, f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
        *(f"--cert-dir={folder / 'certs'}", f"--token-auth-file={tokens}", "--authorization-mode=AlwaysAllow"),
        *(
            "--service-account-issuer=https://bench",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
        ),
        *(
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,Priority",
        ),
        *("--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000"),
    ]


def _kubeconfig(folder: Path, port: int, token: str) -> Path:
    """The server has signed its certificate itself, and is its own authority."""
    path, authority = folder / "kubeconfig", folder / "certs" / "apiserver.crt"
    server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": server}],
        "users": [{"name": "bench", "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }
    path.write_text(json.dumps(document))
    return path


class _Writer:
    """Makes the objects, some at once."""

    def __init__(self, folder: Path, port: int, token: str) -> None:
        import urllib3

        self.url = f"https://127.0.0.1:{port}"
        self.authority = str(folder / "certs" / "apiserver.crt")
        self.pool = urllib3.PoolManager(maxsize=AT_ONCE, ca_certs=self.authority)
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        deadline = time.monotonic() + READY_S
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the API server is not ready after {READY_S} s")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        import urllib3

        try:
            answer = self.pool.request("GET", f"{self.url}/readyz", headers=self.headers, retries=False, timeout=2)
        except (urllib3.exceptions.HTTPError, OSError):  # OSError: the certificate is not written yet
            return False
        return bool(answer.status == 200)

    def fill(self, nodes: int) -> None:
        progress(f"making {nodes} nodes and {PODS_A_NODE * nodes} pods")
        with ThreadPoolExecutor(AT_ONCE) as workers:
            list(workers.map(self._make_node, range(nodes)))
            list(workers.map(self._make_pod, range(PODS_A_NODE * nodes)))

    def _make_node(self, number: int) -> None:
        node = fake_node(TYPES[number % len(TYPES)], number, f"us-west-2{'ab'[number % 2]}")
        node["spec"].pop("taints")
        node["status"]["conditions"] = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        node["status"]["images"] = [{"names": [f"registry/image:{each}"], "sizeBytes": 10**9} for each in range(10)]
        self._post("/api/v1/nodes", node)

    def _make_pod(self, number: int) -> None:
        self._post("/api/v1/namespaces/default/pods", pod(number))

    def _post(self, path: str, body: dict[str, Any]) -> None:
        answer = self.pool.request("POST", self.url + path, body=json.dumps(body), headers=self.headers)
        if answer.status != 201:
            raise RuntimeError(f"{path}: {answer.status} {answer.data[:300]!r}")


def pod(number: int) -> dict[str, Any]:
    """A worker of a training job, as large as they are: some 3 kB."""
    node = number // PODS_A_NODE
    requests = {"cpu": "7500m", "memory": "1.5Gi"}
    devices = {"nvidia.com/gpu": "1"} if TYPES[node % len(TYPES)].endswith(("p5.48xlarge", "p4d.24xlarge")) else {}
    container = {
        "name": "pytorch",
        "image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/train@sha256:" + "0" * 64,
        "command": ["python3", "-m", "trainyard.launch", "train.py", "--steps", "100000"],
        "env": [{"name": f"SETTING_{each}", "value": "some value of a setting"} for each in range(20)],
        "resources": {"requests": {**requests, **devices}, "limits": {"memory": "1.5Gi", **devices}},
        "volumeMounts": [{"name": "data", "mountPath": "/trainyard"}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    labels = {"trainyard.dev/run": f"job-{node}", "training.kubeflow.org/replica-index": str(number % PODS_A_NODE)}
    name = node_name(TYPES[node % len(TYPES)], node)
    spec = {"nodeName": name, "containers": [container], "volumes": volumes, "tolerations": [{"operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"job-{number}", "labels": labels}, "spec": spec}
