"""monitor as a user who may do exactly what its Role says: every verb works on a run on a cluster, and nothing granted goes unused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.components.cluster.nodes import FAKE_SELECTOR, FAKE_TOLERATION
from tests.infrastructure.conftest import Team
from tests.infrastructure.kustomized import granted
from tests.infrastructure.recorded import Record
from tests.infrastructure.skill_calls import call

RUN, RUN_ID = "watched", "0123456789abcdef"


@pytest.fixture(scope="module")
def monitor_user(team: Team, hyperpod: None, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A pod on a pretended node, where commands run on this machine: its run folder is one here."""
    folder = tmp_path_factory.mktemp("run")
    _makes_a_step(folder)
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events.out.tfevents.1").touch()
    labels = {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": RUN, "trainyard.dev/run-id": RUN_ID}
    env = [{"name": "TRAINYARD_RUN_DIR", "value": str(folder)}]
    spec = {
        "nodeSelector": FAKE_SELECTOR,
        "tolerations": [FAKE_TOLERATION],
        "containers": [{"name": "pytorch", "image": "any", "env": env}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{RUN}-0", "namespace": team.namespace, "labels": labels},
        "spec": spec,
    }
    silent = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "waits", "namespace": team.namespace}}
    template = {"spec": {"schedulerName": "nobody", "containers": [{"name": "pytorch", "image": "any"}]}}  # no pod says why
    waits = {**silent, "spec": {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": template}}}}
    team.cluster.apply([pod, waits])
    team.cluster.kubectl("wait", "--for=condition=Ready", f"pod/{RUN}-0", "--namespace", team.namespace, "--timeout=30s")
    user = team.user("monitor")
    report = str(Path(team.folder) / "watched.html")
    verbs = (["status"], ["progress"], ["metrics"], ["tensorboard"], ["watch", "--once"], ["report", "--output", report])
    for verb, *words in verbs:
        call(user.kubeconfig, "monitor", verb, RUN, *words, exits=(0,))
    _makes_a_step(folder)
    call(user.kubeconfig, "monitor", "health", "--selector", f"trainyard.dev/run={RUN}", exits=(0,))
    call(user.kubeconfig, "monitor", "status", "--selector", "no=such", exits=(3,))
    call(user.kubeconfig, "monitor", "health", "waits", exits=(1,))
    (folder / "steps.jsonl").unlink()
    call(user.kubeconfig, "monitor", "status", RUN, exits=(0,))
    return user


def _makes_a_step(folder: Path) -> None:
    line = f'{{"step": 1, "time": {time.time()}, "incarnation": 1, "loss": 2.5, "step_s": 10.0}}'  # a pause begins after 100 s
    (folder / "steps.jsonl").write_text(line + "\n")


def test_monitor_asks_for_all_that_its_role_grants_and_nothing_else(monitor_user: Record) -> None:
    assert monitor_user.permissions() == granted("monitor")
