"""AWS on loopback with HyperPod in it, a stand-in for Kubernetes, and the program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hp_call import Manager
from hp_kube import Kube, kube
from hyperpod_between import Between
from hyperpod_program import Program

from tests.components.aws import fixtures as aws_fixtures
from tests.components.aws.running import Aws
from tests.components.hyperpod_nodes import fixtures as hyperpod_nodes
from tests.components.prometheus import fixtures as prometheus_fixtures


def pytest_configure(config: pytest.Config) -> None:
    aws_fixtures.register(config)
    hyperpod_nodes.register(config)
    prometheus_fixtures.register(config)


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Kube]:
    with kube(tmp_path / "kubeconfig") as made:
        yield made


@pytest.fixture
def manage(aws: Aws, kubernetes: Kube) -> Manager:
    """manage_hyperpod.py, signed in as the root, with a kubeconfig of the stand-in."""
    return Manager(dict(aws.environment), kubernetes.kubeconfig)


@pytest.fixture
def program(aws: Aws, tmp_path: Path) -> Program:
    """manage_hyperpod.py without a Kubernetes, its journal in a folder of the test."""
    return Program(aws, tmp_path / "state")


@pytest.fixture
def between(aws: Aws, program: Program) -> Iterator[Between]:
    """A wire between the program and AWS, on which answers get lost, late or changed."""
    with Between(aws.endpoint) as wire:
        program.env["AWS_ENDPOINT_URL"] = wire.url
        yield wire
