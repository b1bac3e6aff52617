"""Is the cluster healthy? Each component by itself; what could not be looked at is unknown, and unknown is not healthy."""

from __future__ import annotations

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_health.devices import check_efa_plugin, check_gpu_operator, check_neuron_plugin
from cluster_health.facts import ABSENT, Component, component, read_facts
from cluster_health.nodes import node_components
from cluster_health.operators import operator_components
from cluster_health.services import check_dns, csi_components
from cluster_health.webhooks import webhook_components

DEVICE_CHECKS = {"gpu": check_gpu_operator, "efa": check_efa_plugin, "neuron": check_neuron_plugin}


def check_cluster_health(cluster: kube.Cluster, required: frozenset[str], ignored: frozenset[str]) -> shell.Result:
    """Exit 1 where a check fails or is unknown. What is absent is skipped, unless it is `required`."""
    facts = read_facts(cluster)
    found: list[Component] = node_components(facts) if "nodes" not in ignored else []
    found += [check(facts) for name, check in DEVICE_CHECKS.items() if name not in ignored]
    found += [check_dns(facts)] if "dns" not in ignored else []
    found += csi_components(facts) if "csi" not in ignored else []
    found += webhook_components(facts) if "webhooks" not in ignored else []
    found += operator_components(facts, ignored)
    found = [_demanded(each) if each.name.partition(".")[0] in required else each for each in found]
    skipped = [shell.Check(name, "skipped", "not looked at: --ignore") for name in sorted(ignored)]
    data = {
        "healthy": all(each.check.status not in ("fail", "unknown") for each in found),
        "components": {each.name: each.state for each in found},
        "cluster": cluster.identity(),
    }
    return shell.Result(data, [each.check for each in found] + skipped)


def _demanded(one: Component) -> Component:
    """A required component must be there and have something to give."""
    if one.check.status in ("pass", "fail", "unknown") or (one.state != ABSENT and one.check.status == "warn"):
        return one
    return component(one.name, one.state, f"{one.check.summary} (--require)", one.check.evidence, f"install {one.name}", "fail")
