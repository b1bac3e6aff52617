"""`network-env` is the one table of EFA and NCCL settings; it asks no cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cm_calls import Answer, manage_with

TABLE = Path(__file__).resolve().parents[3] / "skills" / "cluster-manager" / "assets" / "instance-types.yaml"
ROWS = yaml.safe_load(TABLE.read_text())
STALE = (
    "RDMAV_",
    "FI_PROVIDER",
    "FI_EFA_USE_DEVICE_RDMA",
    "FI_EFA_FORK_SAFE",
    "FI_EFA_ENABLE_SHM",
    "NCCL_PROTO",
    "NCCL_BUFF",
    "NCCL_TOPO",
)
network_env = manage_with(None)


def ask(*words: str) -> Answer:
    return network_env("network-env", *words)


def test_every_type_with_gpus_and_efa_fails_fast_and_sets_nothing_stale() -> None:
    for name in ("g5.8xlarge", "p4d.24xlarge", "ml.p5.48xlarge", "p6-b300.48xlarge"):
        answer = ask("--instance-type", name)
        assert answer.code == 0 and answer.data["env"]["NCCL_NET"] == "AWS Libfabric"
        assert answer.data["efa"] == ROWS[name.removeprefix("ml.")]["efa"]
        assert not [key for key in answer.data["env"] if key.startswith(STALE)]


def test_every_line_has_a_reason_and_stands_in_the_environment() -> None:
    data = ask("--instance-type", "g5.48xlarge", "--stack", "legacy").data
    assert {line["name"]: line["value"] for line in data["lines"]} == data["env"]
    assert all(len(line["reason"]) > 20 for line in data["lines"])


def test_the_legacy_recipe_of_g5_is_kept_as_a_stack_of_its_own() -> None:
    env = ask("--instance-type", "g5.8xlarge", "--stack", "legacy").data["env"]
    assert (env["FI_PROVIDER"], env["FI_EFA_USE_DEVICE_RDMA"], env["NCCL_PROTO"]) == ("efa", "0", "simple")


def test_efa_asked_for_where_there_is_none_is_a_no() -> None:
    answer = ask("--instance-type", "g5.2xlarge", "--network", "efa")
    assert (answer.code, answer.check("network.efa")["status"]) == (1, "fail")


@pytest.mark.parametrize(("name", "network"), [("g5.2xlarge", "auto"), ("p5.48xlarge", "tcp")])
def test_tcp_has_no_line_for_efa(name: str, network: str) -> None:
    data = ask("--instance-type", name, "--network", network).data
    assert (data["efa"], data["network"], data["env"]["NCCL_NET"]) == (0, "tcp", "Socket")
    assert not [key for key in data["env"] if key.startswith("FI_")]


@pytest.mark.parametrize("name", ["p5.48large", "ml.x9.metal", "", "\x1b[31mp5"])
def test_an_unknown_type_is_an_error_that_names_it_and_the_nearest(name: str) -> None:
    answer = ask("--instance-type", name)
    assert answer.code == 2 and "\x1b" not in answer.document["error"]["message"]
    assert "p5.48xlarge" in answer.document["error"]["hint"]


def test_the_table_is_the_facts_page() -> None:
    """A wrong EFA number leaves a pod pending for ever."""
    efa = {name: row["efa"] for name, row in ROWS.items()}
    assert (efa["p4d.24xlarge"], efa["p5.48xlarge"], efa["p5en.48xlarge"], efa["trn1n.32xlarge"]) == (4, 32, 16, 16)
    assert all(
        efa[name] == 0 for name in ROWS if name.startswith("g") and name.split(".")[1] in ("xlarge", "2xlarge", "4xlarge")
    )
