"""The table of faults: each row is whole, the document is made from it, and AWS's own lists are covered."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.skills.hyperpod_manager import faults_table

TABLE: dict[str, Any] = yaml.safe_load(faults_table.TABLE.read_text())
WORDS = {
    "verdict": {"healthy", "degraded", "unknown", "faulty"},
    "action": {"none", "watch", "application", "reboot", "replace"},
    "repaired": set(faults_table.REPAIRED),
    "job": {"none", "slow", "wrong", "stops"},
    "source": set(TABLE["sources"]),
}
FATAL_XIDS = {46, 48, 54, 62, 63, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 142, 143, 151, 155, 156, 158}
"""Which the EKS node monitoring agent of August 2026 makes a condition of."""
FATAL = {
    "DCGMDiagnosticFailure", "DCGMError", "FabricManagerNotRunning", "NeuronDMAError", "NeuronHBMUncorrectableError",
    "NeuronNCUncorrectableError", "NeuronSRAMUncorrectableError", "NvidiaDeviceCountMismatch", "NvidiaDoubleBitError",
    "NvidiaFabricError", "NvidiaNVLinkError", "PodStuckTerminating", "ForkFailedOutOfPIDs", "IPAMDNotReady", "IPAMDNotRunning",
    "InterfaceNotRunning", "InterfaceNotUp", "MissingLoopbackInterface", "NPANotRunning",
}  # fmt: skip
"""Its reasons of severity Fatal."""


def rows() -> list[tuple[str, dict[str, Any]]]:
    kinds = ("xids", "reasons", "conditions", "faults", "instances", "images")
    found = [(f"{kind}.{name}", row) for kind in kinds for name, row in TABLE[kind].items()]
    return found + [(f"{label}.{value}", row) for label, values in TABLE["labels"].items() for value, row in values.items()]


@pytest.mark.parametrize(("name", "row"), rows())
def test_a_row_is_whole(name: str, row: dict[str, Any]) -> None:
    """Known words only; what is broken has an action; what needs none is healthy."""
    assert row["means"] and all(row[key] in known for key, known in WORDS.items()), name
    assert row["verdict"] != "faulty" or row["action"] in ("reboot", "replace"), name
    assert row["action"] != "none" or row["verdict"] == "healthy", name
    if name.startswith("reasons."):
        assert row["seen"] in ("condition", "event", "either"), name
        assert row["seen"] != "event" or not row["repaired"].startswith("node-repair"), name


def test_the_document_is_made_from_it() -> None:
    """python -m tests.skills.hyperpod_manager.faults_table"""
    assert faults_table.DOCUMENT.read_text() == faults_table.document()


def test_what_the_agent_calls_fatal_is_known() -> None:
    """And repaired by node repair; for DCGM's own failures AWS says that nothing is."""
    assert set(TABLE["xids"]) >= FATAL_XIDS and set(TABLE["reasons"]) >= FATAL
    repaired = {name for name in FATAL_XIDS if TABLE["xids"][name]["repaired"] == "node-repair-10"}
    assert repaired == FATAL_XIDS
    assert {name for name in FATAL if TABLE["reasons"][name]["repaired"] == "nobody"} == {"DCGMDiagnosticFailure", "DCGMError"}
    assert all(TABLE["reasons"][name]["verdict"] != "healthy" for name in FATAL)


def test_patterns_are_anchored_and_simple() -> None:
    """They are matched against what others write."""
    patterns = [name for kind in ("reasons", "faults") for name in TABLE[kind] if "\\" in str(name)]
    assert all(re.fullmatch(r"[A-Za-z_]*(?:\\[wd]\+)[A-Za-z]*", name) for name in patterns), patterns


def test_no_row_has_a_key_that_a_comma_in_its_text_has_made() -> None:
    known = {"means", "verdict", "action", "repaired", "job", "source", "seen", "bad", "holds", "agent"}
    rows = [(code, row) for kind in faults_table.SECTIONS for code, row in TABLE[kind].items()]
    assert rows and [(code, set(row) - known) for code, row in rows if set(row) - known] == []
