"""A faulty HyperPod node is found, replaced and waited for; the run on it saves, stops and goes on, with the losses of an undisturbed one."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from cluster_job import ClusterJob
from deployed_job import DeployedJob
from test_cluster_kills import command, succeeded, uninterrupted_losses

from tests.calling import SKILLS, Answer, call
from tests.components.aws import hyperpod
from tests.components.aws.running import Aws
from tests.components.cluster.running import IMAGE, Cluster
from tests.components.hyperpod_nodes.fixtures import Follow

PROGRAM = SKILLS / "hyperpod-manager" / "src" / "manage_hyperpod.py"
STEPS, BROKEN_AT = 90, 20


def intruder(namespace: str, node: str) -> dict[str, Any]:
    """A pod of somebody who knows nothing of Trainyard."""
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"], "imagePullPolicy": "IfNotPresent"}
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs", "namespace": namespace}, "spec": spec}


def test_a_broken_node_is_replaced_and_the_run_goes_on(
    aws: Aws, cluster: Cluster, namespace: str, tmp_path: Path, hyperpod_nodes: Follow
) -> None:
    hyperpod.make(aws, groups={"workers": 1}, recovery="None")
    aws.hyperpod_pace(launch_s=2.0)
    node = hyperpod_nodes("trainyard", real=True).real
    (old,) = hyperpod.ids(aws)
    environment = {**aws.environment, "KUBECONFIG": str(cluster.kubeconfig), "XDG_STATE_HOME": str(tmp_path / "state")}

    def manage(*words: object) -> Answer:
        done = call(PROGRAM, *words, env=environment)
        print(f"{words[0]}: exit {done.code}\n{done.stderr}", file=sys.stderr)
        return done

    cluster.make_volumes(namespace, 1)
    keys = {
        "run": f"torchrun {command(STEPS)}",
        "checkpoints": {"storage": {"class": "test-shared", "size": "1Gi"}, "rolling_steps": 10},
        "monitor": {"max_restarts": 10, "stop_grace_s": 30},
    }
    deployed = DeployedJob(cluster, namespace, tmp_path, keys)
    run_id = deployed.call("run", "--yes", "--detach")["data"]["run_id"]
    reference: dict[int, float] = {}
    undisturbed = threading.Thread(target=lambda: reference.update(uninterrupted_losses(tmp_path / "reference", STEPS)))
    undisturbed.start()
    job = ClusterJob(cluster, namespace, "tiny", run_id, f"tiny-{run_id[:8]}")
    job.wait_for_step(BROKEN_AT)

    aws.control("hyperpod_faulty", cluster="trainyard", node=old)
    found = hyperpod.until(lambda: (seen := manage("health", "trainyard")).code == 1 and seen)
    assert old in str(found.document)

    cluster.apply([intruder(namespace, node)])
    refused = manage("replace", "trainyard", "--node", old, "--yes")
    assert refused.code == 5
    assert f"{namespace}/theirs" in refused.error["message"]
    assert aws.actions() and not any(each["action"].endswith("BatchReplaceClusterNodes") for each in aws.actions())
    cluster.kubectl("delete", "pod", "theirs", "--namespace", namespace, "--grace-period=0", "--force")

    plan = manage("replace", "trainyard", "--node", old)
    assert plan.code == 6
    (run,) = plan.data["runs"]
    assert (run["run_id"], run["survives"], len(run["pods"])) == (run_id, True, 2)

    seconds = job.recovery_after(lambda: replaced(manage, old))
    print(f"replaced: {seconds['new_step_s']:.1f} s to the first new step, {seconds['repeated']:.0f} steps repeated")
    assert seconds["repeated"] == 0, "the agreed stop did not save its step"
    assert hyperpod.ids(aws) != [old]

    job.wait_for("the end", lambda: succeeded(job))
    undisturbed.join()
    assert job.losses() == reference
    assert len(set(reference.values())) > STEPS / 2, "the losses tell steps apart"


def replaced(manage: Any, old: str) -> None:
    done = manage("replace", "trainyard", "--node", old, "--yes", "--timeout", 90)
    assert done.code == 0, done.document
    assert done.check(f"replace.{old}")["status"] == "pass"
    assert [each["agreed"] for each in done.data["stops"]] == [True, True]
