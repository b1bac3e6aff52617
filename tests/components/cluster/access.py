"""Users with exactly given permissions: a ServiceAccount, its Role and ClusterRole, and a kubeconfig that holds its token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.components.cluster.running import Cluster

Manifest = dict[str, Any]
Rule = dict[str, Any]
"""One rule of a Role: apiGroups, resources, verbs, perhaps resourceNames."""
RBAC = "rbac.authorization.k8s.io"


def role_and_binding(scope: str, metadata: Manifest, rules: Sequence[Rule], account: Manifest) -> list[Manifest]:
    """`scope` is "" or "Cluster". Without rules there is nothing to grant."""
    if not rules:
        return []
    role = {"apiVersion": f"{RBAC}/v1", "kind": f"{scope}Role", "metadata": metadata, "rules": list(rules)}
    reference = {"apiGroup": RBAC, "kind": f"{scope}Role", "name": metadata["name"]}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{scope}RoleBinding",
        "metadata": metadata,
        "roleRef": reference,
        "subjects": [account],
    }
    return [role, binding]


def permissions(name: str, namespace: Manifest, rules: Sequence[Rule], cluster_rules: Sequence[Rule]) -> list[Manifest]:
    inside = namespace["metadata"]["name"]
    metadata = {"name": name, "namespace": inside}
    account = {"kind": "ServiceAccount", **metadata}
    # What belongs to the cluster goes when the namespace goes.
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": inside, "uid": namespace["metadata"]["uid"]}
    wide = {"name": f"{inside}-{name}", "ownerReferences": [owner]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *role_and_binding("", metadata, rules, account),
        *role_and_binding("Cluster", wide, cluster_rules, account),
    ]


def make_user(
    cluster: Cluster,
    name: str,
    namespace: str,
    *,
    rules: Sequence[Rule] = (),
    cluster_rules: Sequence[Rule] = (),
    token_life_s: int = 86400,
) -> Path:
    """A user who may do what `rules` allow in `namespace`, what `cluster_rules` allow everywhere, and nothing else.

    Returns the path of a kubeconfig whose one context has the user, the cluster and the namespace. `token_life_s` is at least 600.
    """
    made = permissions(name, cluster.get("namespace", namespace), rules, cluster_rules)
    cluster.apply(made)
    token = cluster.kubectl("create", "token", name, "--namespace", namespace, f"--duration={token_life_s}s").strip()
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--output=json"))
    context = {"cluster": config["clusters"][0]["name"], "user": name, "namespace": namespace}
    config["users"] = [{"name": name, "user": {"token": token}}]
    config["contexts"] = [{"name": name, "context": context}]
    config["current-context"] = name
    path = cluster.place.state / "users" / f"{namespace}-{name}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path
