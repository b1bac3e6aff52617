"""trainyard_kubeconfig.py: a kubeconfig of any kind is used, or refused with the file and the field; never a traceback, never a secret."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trainyard_kube as kube
import trainyard_shell as shell

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
V1 = "client.authentication.k8s.io/v1"
PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").decode()
BOMB = "z0: &z0 {k: 1}\n" + "".join(f"z{i}: &z{i} {{<<: [{', '.join([f'*z{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
F12 = """apiVersion: v1
current-context: c
contexts: [{name: c, context: {cluster: k, user: u, namespace: n}}]
clusters: [{name: k, cluster: {server: "https://127.0{name: u, user: {token-tls-verify: true, certificate-authority-data: LS0t}}]
users: [.0.1:1", insecure-skip: abc, client-certificate-data: LS0t, client-key-data: LS0t}}]
"""
WHOLE = json.loads(
    '{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],'
    '"clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:9"}}], "users": [{"name": "u", "user": {"token": "t"}}]}'
)


def broken(**changes: Any) -> str:
    """A whole kubeconfig but for these fields: `cluster`, `user`, `context` are merged in, others replaced."""
    document = json.loads(json.dumps(WHOLE))
    for name in ("cluster", "user", "context"):
        if isinstance(changes.get(name), dict):
            document[f"{name}s"][0][name] |= changes.pop(name)
    return json.dumps({**document, **changes})


# (what is written; exit code; what is named)
BROKEN: list[tuple[str, int, str]] = [
    (F12, 2, "names the user 'u'"),
    (BOMB, 2, "aliases"),
    ("[" * 100_000, 2, "nested"),
    ("- a list", 2, "no mapping"),
    ("a: !!python/object/apply:os.system [x]", 2, "not YAML"),
    (broken(users={"u": 1}), 2, "users is not a list"),
    (broken(users=[None]), 2, "an entry of users"),
    (broken(users=[]), 2, "names the user 'u'"),
    (broken(clusters=[]), 2, "names the cluster 'k'"),
    (broken(users=WHOLE["users"] * 2), 2, "2 users of the name 'u'"),
    (broken(clusters=WHOLE["clusters"] * 2), 2, "2 clusters of the name 'k'"),
    (broken(contexts=WHOLE["contexts"] * 2), 2, "2 contexts of the name 'c'"),
    (broken(contexts=[]), 2, "no context 'c'"),
    (broken(**{"current-context": None}), 2, "no current-context; there are c"),
    (broken(**{"current-context": ["c"]}), 2, "current-context is not text"),
    (broken(context={"namespace": 7}), 2, "namespace"),
    (broken(context={"namespace": "Not A Name"}), 2, "namespace"),
    (broken(context={"cluster": ""}), 2, "names no cluster"),
    (broken(cluster={"server": "https://[::1"}), 2, "server"),
    (broken(cluster={"server": "https://%7.0.0.1:1"}), 2, "server"),
    (broken(cluster={"server": "https://127...1:1"}), 2, "server"),
    (broken(cluster={"server": f"https://{'a' * 64}.example:1"}), 2, "server"),
    (broken(cluster={"proxy-url": "socks9://u:secret@h"}), 2, "proxy-url"),
    (broken(cluster={"extensions": 7}), 2, "extensions is not a list"),
    (broken(cluster={"certificate-authority-data": PEM}), 2, "certificate-authority holds no certificate"),
    (broken(cluster={"certificate-authority": "/dev/zero"}), 2, "a pipe or a device"),
    (broken(user={"client-certificate-data": PEM, "client-key-data": PEM}), 2, "client-certificate"),
    (broken(user={"client-certificate-data": PEM}), 2, "without its client-key"),
    (broken(user={"token": "", "tokenFile": "gone"}), 2, "tokenFile"),
    (broken(user={"token": ["secret"]}), 2, "token is not text"),
    (broken(user={"token": "", "exec": {"apiVersion": V1}}), 2, "exec has no command"),
    (broken(user={"token": "", "exec": "aws"}), 2, "exec is not a mapping"),
    (broken(user={"token": "", "exec": {"apiVersion": "v9", "command": "aws"}}), 2, "exec.apiVersion"),
    (broken(user={"token": "", "exec": {"apiVersion": V1, "command": ["aws"]}}), 2, "exec.command"),
    (broken(user={"token": "", "exec": {"apiVersion": V1, "command": "aws", "args": [7]}}), 2, "exec.args"),
    (broken(user={"token": "", "exec": {"apiVersion": V1, "command": "aws", "env": [{"name": "A=", "value": "b"}]}}), 2, "exec.env"),
    (broken(user={"token": "", "exec": {"apiVersion": V1, "command": "/", "installHint": "get it"}}), 4, "cannot be started"),
    (broken(user={"token": "", "auth-provider": {"name": "gcp", "config": {"cmd-path": "sleep 99"}}}), 4, "auth-provider 'gcp'"),
    (broken(user={"token": "", "auth-provider": {"name": "oidc", "config": {"id-token": "e30.eyJleHAiOjF9.a"}}}), 4, "expired"),
]  # fmt: skip


@pytest.mark.situation("S22", "a kubeconfig that cannot be used, in any way", "exit 2 or 4, with the file and the field")
def test_every_broken_kubeconfig_is_refused_by_its_field(tmp_path: Path, use: Callable[[Path], None]) -> None:
    use(tmp_path / "config")
    for text, code, told in BROKEN:
        (tmp_path / "config").write_text(text)
        with pytest.raises(shell.SkillError) as caught:
            kube.connect(kube.Where())
        assert (shell.EXIT_CODES[caught.value.code], told in str(caught.value)) == (code, True), f"{text[:200]}: {caught.value}"
        assert "secret" not in f"{caught.value} {caught.value.hint}"
    (tmp_path / "config").write_text(broken())
    assert kube.connect(kube.Where()).server == "https://127.0.0.1:9", "control: the whole one is used"
