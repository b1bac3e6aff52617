"""Pods whose evidence is collected: one on the real node that fails and starts again, two of a job on pretended nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.calling import SKILLS, Answer, call

PROGRAM = SKILLS / "monitor" / "src" / "diagnose_training.py"
PYTHON = "local.test/python:3.11"
TOKEN = "hf_" + "aB3dE5gH7j" * 4
PASSWORD, IN_SECRET = "correct-horse-7-battery", "never-to-be-read-0815"
TALKS = f"""
import pathlib, sys, time
print("begins \\x1b[31mred\\x1b[0m HF_TOKEN={TOKEN}", flush=True)
if len(sys.argv) > 1:
    for number in range(int(sys.argv[1])):
        print("line", number, "of a log that is long enough to be cut", flush=False)
sys.stdout.buffer.write(b"\\xff\\xfe\\x00 binary\\n" + b"x" * 200_000 + b"\\n")
print("RuntimeError: the end", flush=True)
started = pathlib.Path("/kept/started")
if started.exists():  # of two ended containers the kubelet keeps one: the second start goes on
    time.sleep(600)
started.touch()
sys.exit(1)
"""


def collect(kubeconfig: Path, namespace: str, *words: object, code: int = 0) -> Answer:
    answer = call(PROGRAM, "collect", *words, "-n", namespace, env={"KUBECONFIG": str(kubeconfig)})
    assert answer.code == code and "Traceback" not in answer.stderr, (answer.code, answer.document, answer.stderr[-3000:])
    return answer


def evidence(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "evidence.json").read_text())
    assert isinstance(found, dict)
    return found


def left_out(folder: Path) -> dict[str, str]:
    return {each["what"]: each["why"] for each in evidence(folder)["left_out"]}


def talker(name: str, lines: int = 0, **spec: Any) -> dict[str, Any]:
    """A pod of the real node that prints and fails; with restartPolicy OnFailure it has a container before."""
    container = {"name": "train", "image": PYTHON, "command": ["python3", "-c", TALKS, *([str(lines)] if lines else [])]}
    container |= {"resources": {"requests": {"cpu": "10m"}}, "volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
    labels = {"app": name}
    pod = {"nodeSelector": {"type": "real"}, "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 0}
    pod |= {"containers": [container], "volumes": [{"name": "kept", "emptyDir": {}}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {**pod, **spec},
    }


def job_with_secrets(name: str) -> list[dict[str, Any]]:
    """A PyTorchJob that carries secrets where people put them, and refers to some where they belong."""
    env = [
        {"name": "WANDB_API_KEY", "value": "0123456789abcdef0123456789abcdef01234567"},
        {"name": "NCCL_DEBUG", "value": "INFO"},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "token"}}},
    ]
    template = {
        "spec": {
            "nodeSelector": {"type": "kwok"},
            "tolerations": [{"key": "kwok", "operator": "Exists"}],
            "containers": [
                {"name": "pytorch", "image": "any", "command": ["torchrun", "train.py", "--db-password", PASSWORD], "env": env}
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        }
    }
    replica = {"replicas": 1, "restartPolicy": "OnFailure", "template": template}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name},
        "spec": {"nprocPerNode": "8", "pytorchReplicaSpecs": {"Master": replica, "Worker": replica}},
    }
    job["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(job)}  # type: ignore[index]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "stringData": {"token": IN_SECRET}}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "nowhere",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "most"}, "spec": {"hard": {"pods": "40"}}}
    return [secret, claim, quota, job]
