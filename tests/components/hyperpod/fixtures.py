"""The fixture `hyperpod`: the played operator on the session's cluster. `register` as in tests.components.cluster.fixtures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.cluster import fixtures as cluster_fixtures
from tests.components.cluster.running import Cluster

ROOT = Path(__file__).resolve().parents[3]


def register(config: pytest.Config) -> None:
    cluster_fixtures.register(config)
    this = sys.modules[__name__]
    if not config.pluginmanager.is_registered(this):
        config.pluginmanager.register(this)


@pytest.fixture(scope="session")
def hyperpod(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """HyperPodPyTorchJobs of every namespace are run until the session ends; the CRD stays with the cluster."""
    log = tmp_path_factory.mktemp("hyperpod") / "operator.log"
    command = [sys.executable, "-m", "tests.components.hyperpod", "--kubeconfig", str(cluster.kubeconfig)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=output, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", log.read_text()
        cluster.kubectl(
            "wait", "--for=condition=Established", "crd/hyperpodpytorchjobs.sagemaker.amazonaws.com", "--timeout=30s"
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)
            process.stdout.close()
