"""What the verbs that read need of AWS: infrastructure/aws-cli/policies/hyperpod-*.json is enough, and nothing else is called."""

from __future__ import annotations

import pytest
from hp_call import Manager
from hp_kube import Kube, node

from tests.components.aws import hyperpod
from tests.components.aws.running import Aws
from tests.infrastructure import aws_policies as policies

WORDS = {
    "clusters": ("clusters",),
    "nodes": ("nodes",),
    "health": ("health",),
    "events": ("events", "--node", "NODE"),
    "instance-type": ("instance-type", "trainyard", "p5.48xlarge"),
}


def prepare(aws: Aws, kubernetes: Kube, verb: str) -> tuple[str, ...]:
    hyperpod.make(aws, groups={"workers": 1})
    (id,) = hyperpod.ids(aws)
    kubernetes.nodes = [node(id)]
    aws.control("hyperpod_faulty", cluster="trainyard", node=id, reasons=["XidHardwareFailure"], types=["NvidiaErrorReboot"])
    return tuple(id if word == "NODE" else word for word in WORDS[verb])


@pytest.mark.parametrize("verb", WORDS)
def test_the_policy_of_a_verb_is_enough(aws: Aws, kubernetes: Kube, manage: Manager, verb: str) -> None:
    words = prepare(aws, kubernetes, verb)
    granted = policies.policy(f"hyperpod-{verb}", repository="-")
    user = aws.user(granted)
    manage.env |= user
    done = manage(*words)
    assert "error" not in done.document and policies.refused(aws, user) == set(), done
    unused = policies.actions(granted) - policies.called(aws, user)
    assert policies.called(aws, user) <= policies.actions(granted) and unused <= {"sagemaker:DescribeClusterEvent"}, unused


@pytest.mark.parametrize(
    ("verb", "action"), [("nodes", "ListClusterNodes"), ("events", "ListClusterEvents"), ("health", "DescribeCluster")]
)
def test_a_missing_permission_is_named(aws: Aws, kubernetes: Kube, manage: Manager, verb: str, action: str) -> None:
    words = prepare(aws, kubernetes, verb)
    manage.env |= aws.user(policies.policy(f"hyperpod-{verb}", repository="-", without=f"sagemaker:{action}"))
    done = manage(*words)
    assert (done.code, done.error["code"]) == (4, "permission") and f'"sagemaker:{action}"' in done.error["hint"], done


def test_a_table_answers_where_ec2_may_not_be_asked(aws: Aws, manage: Manager) -> None:
    manage.env |= aws.user(policies.policy("hyperpod-clusters", repository="-"))
    done = manage("instance-type", "ml.p5.48xlarge")
    (row,) = done.data["types"]
    assert done.code == 0 and (row["source"], row["accelerators"], row["price"]["date"]) == ("table", 8, "2026-07-20"), done
    assert done.check("type.ec2")["status"] == "skipped"
    wrong = manage("instance-type", "ml.p5.48large")
    assert (wrong.code, wrong.error["code"]) == (2, "usage") and "p5.48large" in wrong.error["message"]


def test_ec2_answers_for_what_it_has(aws: Aws, manage: Manager) -> None:
    done = manage("instance-type", "ml.p5.48xlarge")
    (row,) = done.data["types"]
    assert (row["source"], row["hyperpod_type"], row["accelerators"], row["efa"]) == ("ec2 and table", "ml.p5.48xlarge", 8, 32)
    wrong = manage("instance-type", "p5.48large")
    assert (wrong.code, wrong.error["code"]) == (2, "usage") and "p5.48large" in wrong.error["message"]
