"""A kubeconfig of unknown origin: it is used, or refused in words. Nothing is started and nobody is asked."""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import certifi

from tests.fuzz.documents import changed_once, mutate_yaml

COVERED = ["trainyard_kubeconfig", "trainyard_kubefields", "trainyard_plugin", "trainyard_yaml", "kubernetes.config"]
MEMORY_MB = 1500
KIT = Path(__file__).resolve().parents[2] / "skills" / "kit"
AUTHORITY = base64.b64encode(
    Path(certifi.where()).read_bytes().partition(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
).decode()
CERTIFICATE = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nLS0t\n-----END CERTIFICATE-----\n").decode()


def config(cluster: dict[str, Any], user: dict[str, Any], **context: Any) -> bytes:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n", **context}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    return json.dumps(document).encode()


COMMAND = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "command": "aws",
    "args": ["eks"],
    "env": [{"name": "A", "value": "b"}],
}
SEEDS = [
    config({}, {"token": "abc"}),
    config({"insecure-skip-tls-verify": True, "tls-server-name": "a.b", "proxy-url": "http://127.0.0.1:2"}, {"tokenFile": "t"}),
    config({"certificate-authority-data": AUTHORITY}, {"token": "abc"}),
    config({"certificate-authority-data": CERTIFICATE}, {"client-certificate-data": CERTIFICATE, "client-key-data": "LS0t"}),
    config({"certificate-authority": "ca"}, {"client-certificate": "a", "client-key": "b", "username": "c", "password": "d"}),
    config({"server": "http://127.0.0.1:1"}, {"exec": {**COMMAND, "interactiveMode": "Never", "provideClusterInfo": True}}),
    config(
        {"extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"a": "b"}}]},
        {"exec": {**COMMAND, "provideClusterInfo": True}},
    ),
    config({}, {"auth-provider": {"name": "oidc", "config": {"id-token": "e30.e30.abc", "client-id": "x"}}}),
    config(
        {},
        {"auth-provider": {"name": "gcp", "config": {"access-token": "a", "expiry": "2020-01-01T00:00:00Z", "cmd-path": "x"}}},
    ),
    b"current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: &a\n- {name: k, cluster: {server: 'http://h'}}\n"
    b"users: [{name: u, user: &u {token: a}}, {name: v, user: {<<: *u}}]\n",
]
WORDS = [
    b"<<: *",
    b"&a ",
    b"*a",
    b"- ",
    b"!!binary ",
    b"!!python/object:os.system",
    b"? ",
    b"|\n",
    b"2026-02-30",
    b"0o7",
    b".inf",
    b"%YAML 1.1\n---\n",
    b"LS0t",
]
UNFORESEEN = (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, ValueError)
"""Errors of Python that are put into words as they are: every field is to be refused by its name, before one of these comes."""


def mutate(data: bytes, random: Random) -> bytes:
    """Much of `data` changes, or one value of a kubeconfig that is right."""
    if random.random() < 0.5:
        return mutate_yaml(data, random)
    return json.dumps(changed_once(json.loads(random.choice(SEEDS[:-1])), random)).encode()


def target() -> Callable[[bytes], None]:
    sys.path.insert(0, str(KIT))
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        os.environ.pop(name, None)
    path = Path(tempfile.mkdtemp(prefix="trainyard-fuzz-")) / "config"
    os.environ["KUBECONFIG"] = str(path)  # the client reads it once, when it is imported
    import trainyard_kube
    import trainyard_shell
    from trainyard_cluster import headers_of
    from trainyard_files import Unusable

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            cluster = trainyard_kube.connect(trainyard_kube.Where())
            assert cluster.id
            can_be_sent(cluster.current().configuration, headers_of(cluster.current()))
            cluster.get("/api/v1/nodes")
        except trainyard_shell.SkillError as error:
            assert error.code in ("usage", "not-found", "credentials", "permission", "unreachable"), error.code
            cause = error.__cause__
            assert isinstance(cause, Unusable) or not isinstance(cause, UNFORESEEN), f"no field is named: {error}"

    return read


def can_be_sent(configuration: Any, headers: dict[str, str]) -> None:
    """What a request would find out after the server has answered, which nobody reaches here."""
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if configuration.ssl_ca_cert:
        context.load_verify_locations(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
