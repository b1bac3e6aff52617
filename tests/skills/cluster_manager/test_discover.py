"""`discover`: contexts from the kubeconfig as a file, EKS from a server that speaks its API, and no word to AWS unasked."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cm_api import until
from cm_calls import manage_with

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
CONFIG = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """moto's server on loopback: the address of its endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: answers(port), "moto's server")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def kubeconfig(path: Path, contexts: dict[str, str], current: str) -> Path:
    """`contexts`: name -> server. The user runs a program that leaves a mark."""
    mark = path.with_suffix(".ran")
    run: dict[str, Any] = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(mark)]}
    document = {
        "current-context": current,
        "clusters": [{"name": name, "cluster": {"server": server}} for name, server in contexts.items()],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name in contexts],
        "users": [{"name": "u", "user": {"exec": run}}],
    }
    path.write_text(json.dumps(document))
    return path


def test_contexts_are_read_without_running_anybodys_program(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", {"a": "https://a", "b": "https://b"}, "b")
    answer = manage_with(path, AWS_ENDPOINT_URL="http://127.0.0.1:9", **KEYS)("discover")
    assert answer.code == 0
    assert [(each["name"], each["current"], each["server"]) for each in answer.data["contexts"]] == [
        ("a", False, "https://a"),
        ("b", True, "https://b"),
    ]
    assert answer.check("discover.eks")["status"] == "skipped" and not (tmp_path / "config.ran").exists()


def test_eks_clusters_are_found_and_matched_with_their_context(aws: str, tmp_path: Path) -> None:
    options = {"region_name": "us-west-2", "endpoint_url": aws}
    eks = boto3.client("eks", aws_access_key_id="testing", aws_secret_access_key="testing", **options)
    network = {"subnetIds": ["subnet-1", "subnet-2"]}
    for name in ("train", "other"):
        eks.create_cluster(name=name, roleArn="arn:aws:iam::123456789012:role/eks", resourcesVpcConfig=network)
    endpoint = eks.describe_cluster(name="train")["cluster"]["endpoint"]
    path = kubeconfig(tmp_path / "config", {"mine": endpoint}, "mine")
    answer = manage_with(path, AWS_ENDPOINT_URL=aws, **KEYS, **CONFIG)("discover", "--region", "us-west-2")
    assert answer.code == 0, answer.document
    assert {each["name"]: each["context"] for each in answer.data["eks"]} == {
        "train": "mine",
        "other": "mine",
    }  # moto: one endpoint
    without = manage_with(None, AWS_ENDPOINT_URL=aws, **KEYS, **CONFIG)("discover", "--region", "us-west-2")
    assert {each["context"] for each in without.data["eks"]} == {None}
    assert "aws eks update-kubeconfig --region us-west-2 --name other" in without.document["next"]
    one = manage_with(path, AWS_ENDPOINT_URL=aws, **KEYS, **CONFIG)("discover", "--region", "us-west-2", "--limit", "1")
    assert (len(one.data["eks"]), one.data["total"], one.document["truncated"]) == (1, 2, True)


@pytest.mark.parametrize(
    ("env", "words", "code"),
    [
        ({}, ("--region", "us-west-2"), "credentials"),
        (KEYS, ("--region", "us-west-2", "--profile", "none-such"), "not-found"),
        (KEYS, ("--region", "us west"), "usage"),
        ({**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, ("--region", "us-west-2"), "unreachable"),
    ],
)
def test_what_aws_needs_and_lacks_is_an_error_of_its_kind(env: dict[str, str], words: tuple[str, ...], code: str) -> None:
    answer = manage_with(None, **{**CONFIG, "AWS_EC2_METADATA_DISABLED": "true", **env})("discover", *words)
    assert answer.document["error"]["code"] == code, answer.document


def test_a_file_that_is_no_kubeconfig_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("contexts: [1]")
    answer = manage_with(path)("discover")
    assert (answer.code, answer.check("discover.kubeconfig")["status"]) == (1, "unknown")
