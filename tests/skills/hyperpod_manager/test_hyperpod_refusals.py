"""Bad input of the acting verbs: nothing is sent, and the next command is said."""

from __future__ import annotations

import pytest
from hyperpod_program import Program, by_name

from tests.components.aws import hyperpod

CHANGES = (
    "BatchReplaceClusterNodes",
    "BatchRebootClusterNodes",
    "BatchDeleteClusterNodes",
    "BatchAddClusterNodes",
    "UpdateCluster",
)


def test_a_node_of_another_cluster_is_refused(program: Program) -> None:
    program.slurm()
    elsewhere = program.slurm("other")
    for verb in ("replace", "reboot"):
        done = program(verb, "trainyard", *by_name(elsewhere[:1]), "--yes")
        assert done.code == 3
        assert "nodes trainyard" in done.error["hint"]
    assert not any(program.sent(each) for each in CHANGES)


@pytest.mark.parametrize("as_moto", [False, True])
def test_a_cluster_that_is_not_there_is_named(program: Program, as_moto: bool) -> None:
    """AWS and its emulator differ in the error."""
    program.aws.control("hyperpod_not_found", as_moto=as_moto)
    for words in (
        ["replace", "nowhere", "--node", "i-0123456789abcdef0"],
        ["scale", "nowhere", "--group", "a", "--add", 1],
        ["wait", "nowhere"],
    ):
        done = program(*words)
        assert (done.code, done.error["code"]) == (3, "not-found")
        assert "nowhere" in done.error["message"]


def test_a_node_to_which_something_happens_is_left_alone(program: Program) -> None:
    broken, _ = program.slurm()
    program.aws.control("hyperpod_node", cluster="trainyard", node=broken, status="SystemUpdating")
    done = program("reboot", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 5
    assert f"wait trainyard --node {broken}" in done.error["hint"]
    assert program.sent("BatchRebootClusterNodes") == []


def test_expired_credentials_are_exit_4(program: Program) -> None:
    broken, _ = program.slurm()
    program.aws.fail("sagemaker:BatchReplaceClusterNodes", "ExpiredTokenException")
    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code == 4
    assert "aws sso login" in done.error["hint"]
    assert program("replace", "trainyard", *by_name([broken]), "--yes").code == 0


def test_nothing_is_sent_where_the_journal_cannot_be_written(program: Program) -> None:
    """A call that nobody remembers may be sent a second time."""
    broken, _ = program.slurm()
    program.state.parent.mkdir(exist_ok=True)
    program.state.write_text("a file where a folder belongs")
    done = program("replace", "trainyard", *by_name([broken]), "--yes")
    assert done.code in (4, 8)
    assert "XDG_STATE_HOME" in done.error["hint"]
    assert program.sent("BatchReplaceClusterNodes") == []
    program.state.unlink()
    assert program("replace", "trainyard", *by_name([broken]), "--yes").code == 0


@pytest.mark.parametrize("text", ["{", '{"requests": 1}', '{"requests": [{"id": 1}]}', "[" * 100_000])
def test_a_damaged_journal_is_named(program: Program, text: str) -> None:
    broken, _ = program.slurm()
    assert program("replace", "trainyard", *by_name([broken]), "--yes").code == 0
    (file,) = (program.state / "trainyard" / "hyperpod").glob("*.json")
    file.write_text(text)
    done = program("wait", "trainyard")
    assert done.code == 5
    assert str(file) in done.error["message"]
    assert f"rm {file}" in done.error["hint"]


def test_a_node_whose_kubernetes_cannot_be_read_may_run_somebodys_job(program: Program) -> None:
    hyperpod.make(program.aws)
    id = hyperpod.ids(program.aws)[0]
    done = program("replace", "trainyard", "--node", id, "--yes")
    assert done.code == 5
    assert "no usable kubeconfig" in done.error["message"]
    assert program.sent("BatchReplaceClusterNodes") == []
