"""`replace` and `reboot` without a Kubernetes: what AWS answers, and what is said of it."""

from __future__ import annotations

import pytest
from hyperpod_between import Between
from hyperpod_program import Program, by_name

from tests.components.aws import hyperpod

REPLACE = "BatchReplaceClusterNodes"


def test_a_node_is_replaced_once_its_name_is_repeated(program: Program) -> None:
    """What runs on a Slurm node nobody here can say, so it counts as somebody's job."""
    broken, other = program.slurm()
    refused = program("replace", "trainyard", "--node", broken, "--yes")
    assert refused.code == 5
    assert f"--force-node {broken}" in refused.error["hint"]
    assert program("replace", "trainyard", "--node", broken, "--force-node", other, "--yes").code == 2
    asked = program("replace", "trainyard", *by_name([broken]))
    assert asked.code == 6
    assert "the root volume" in asked.data["destroys"]
    assert program("replace", "trainyard", *by_name([broken]), "--dry-run").document["changed"] == []
    assert program.sent(REPLACE) == []

    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 0
    (row,) = done.data["requests"][0]["nodes"]
    assert row["was"] == broken
    assert set(hyperpod.ids(program.aws)) == {other, row["is"]}
    assert len(program.sent(REPLACE)) == 1


def test_a_partial_failure_in_an_answer_200_is_a_failure(program: Program) -> None:
    first, second, third = program.slurm(count=3)
    program.aws.hyperpod_fault("in_use", node=second)
    program.aws.hyperpod_fault("internal", node=third)
    done = program("replace", "trainyard", *by_name([first, second, third]), "--yes")
    assert done.code == 1
    assert done.check(f"replace.{first}")["status"] == "pass"
    assert "another operation" in done.check(f"replace.{second}")["summary"]
    assert f"wait trainyard --node {second}" in done.check(f"replace.{second}")["fix"]
    assert done.check(f"replace.{third}")["status"] == "fail"
    assert {second, third} <= set(hyperpod.ids(program.aws))
    assert first not in hyperpod.ids(program.aws)


def test_a_node_that_the_answer_does_not_name_has_failed(program: Program, between: Between) -> None:
    first, second = program.slurm()

    def without_second(answer: dict) -> dict:  # type: ignore[type-arg]
        return {**answer, "Successful": [id for id in answer["Successful"] if id != second]}

    between.changes[REPLACE] = without_second
    done = program("replace", "trainyard", *by_name([first, second]), "--yes")
    assert done.code == 1
    assert "unknown" in done.check(f"replace.{second}")["summary"]
    assert done.check(f"replace.{first}")["status"] == "pass"


def test_more_than_25_nodes_go_in_batches(program: Program) -> None:
    ids = program.slurm(count=30)
    done = program("replace", "trainyard", *by_name(ids), "--yes")
    assert done.code == 0
    assert len(program.sent(REPLACE)) == 2
    assert not set(ids) & set(hyperpod.ids(program.aws))


def test_a_replacement_that_rolls_back_is_a_failure_with_its_cause(program: Program) -> None:
    broken, _ = program.slurm(continuous=True)
    program.aws.hyperpod_fault("rolls_back", message="no capacity in us-east-1a")
    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 1
    assert "no capacity in us-east-1a" in done.check(f"replace.{broken}")["summary"]
    assert program("replace", "trainyard", *by_name([broken]), "--yes").code == 0, "a new call is a new request"


def test_an_instance_that_fails_to_start_is_a_failure(program: Program) -> None:
    broken, _ = program.slurm()
    program.aws.hyperpod_fault("launch_fails", message="Lifecycle scripts did not run")
    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 1
    assert "Lifecycle scripts did not run" in done.check(f"replace.{broken}")["summary"]


@pytest.mark.parametrize("fault", ["never_comes", "no_capacity"])
def test_a_node_that_never_comes_is_a_time_out_and_asked_for_once(program: Program, fault: str) -> None:
    broken, _ = program.slurm(continuous=True)
    program.aws.hyperpod_fault(fault, times=20, message="none left of ml.p5.48xlarge")
    words = ["replace", "trainyard", *by_name([broken]), "--yes", "--timeout", 2]
    late = program(*words)
    assert late.code == 7
    assert late.error["retryable"]
    assert "wait trainyard" in late.error["hint"]
    if fault == "no_capacity":
        assert "none left of ml.p5.48xlarge" in late.error["message"]
    again = program(*words)
    assert again.code == 7
    assert len(program.sent(REPLACE)) == 1
    program.aws.control("hyperpod_mend")
    if fault == "no_capacity":
        assert program("wait", "trainyard").code == 0


def test_a_cluster_from_before_the_operation_says_what_it_needs(program: Program) -> None:
    broken, _ = program.slurm(patched=False)
    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 2
    assert "update-cluster-software --cluster-name trainyard" in done.error["hint"]
    assert program("reboot", "trainyard", *by_name([broken]), "--yes", "--no-wait").code == 0


def test_a_busy_aws_is_asked_to_change_something_once(program: Program) -> None:
    broken, _ = program.slurm()
    program.aws.fail("sagemaker:BatchReplaceClusterNodes", "ThrottlingException")
    program.aws.fail("sagemaker:DescribeCluster", "ThrottlingException")
    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 8
    assert done.error["retryable"]
    assert len(program.sent(REPLACE)) == 1
    assert broken in hyperpod.ids(program.aws)
    assert program("replace", "trainyard", *by_name([broken]), "--yes").code == 0


def test_a_lost_answer_is_looked_after(program: Program, between: Between) -> None:
    """AWS took the call, and the connection broke: the state is read, and nothing is sent again."""
    broken, _ = program.slurm()
    between.kept[REPLACE] = "lost"
    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 0
    assert between.seen.count(REPLACE) == 1


def test_an_error_500_that_changed_nothing_is_told(program: Program) -> None:
    broken, _ = program.slurm()
    program.aws.fail("sagemaker:BatchReplaceClusterNodes", "InternalFailure", status=500)
    words = ["replace", "trainyard", *by_name([broken]), "--yes", "--timeout", 3]
    done = program(*words)
    assert done.code == 8
    assert "nothing shows that AWS took it" in done.error["message"]
    assert len(program.sent(REPLACE)) == 1
    assert program(*words).code == 0


def test_a_reboot_keeps_the_instance(program: Program) -> None:
    ids = program.slurm()
    assert program("reboot", "trainyard", *by_name(ids[:1]), "--yes").code == 0
    assert hyperpod.ids(program.aws) == ids
    assert len(program.sent("BatchRebootClusterNodes")) == 1
