"""Xids and what node agents say of GPUs, as rules of the doctor; the table of Xids is node_faults.yaml."""

from __future__ import annotations

import re

import trainyard_faults as faults
from diagnosis.rules import Rule, rule

LOST, ECC, NVLINK = {79}, {48, 63, 64, 92, 94, 95, 140, 160, 161, 171, 172}, {74, 144, 145, 146, 147, 148, 149, 150}
PID = re.compile(r"Xid \(PCI:[^)]{1,40}\): \d+, pid=(\d+)")
AGENT = re.compile(r"node AcceleratedHardwareReady=False (?P<reason>\S+?):")
BY_REASON = {
    "NvidiaDeviceCountMismatch": "xid.lost",
    "NvidiaDoubleBitError": "xid.ecc",
    "NvidiaPageRetirement": "xid.ecc",
    "NvidiaNVLinkError": "xid.nvlink",
    "NvidiaFabricError": "xid.nvlink",
    "FabricManagerNotRunning": "xid.nvlink",
    "NvidiaNCCLError": "nccl.error",
    "NvidiaThermalError": "cuda.thermal",
    "NvidiaPowerError": "cuda.thermal",
    "EFAErrorMetric": "efa.error",
}


def rules_for(place: str, text: str) -> list[Rule]:
    """For every Xid that the text names; without one, for what a node agent's condition is about."""
    if text.startswith("node label"):
        return []
    if "xid" in text.lower() and not (place == "node" and "=True" in text[:60] and "Ready=True" in text[:60]):
        found = [rule(_of_xid(each)) for each in faults.of_xids(text, text)]
        if found:
            return found
    if match := AGENT.match(text):
        return [rule(BY_REASON.get(match["reason"], "xid.faulty"))]
    return []


def _of_xid(found: faults.Finding) -> str:
    code = int(found.id.removeprefix("xid."))
    if (found.job == "none" and found.verdict != faults.FAULTY) or code in (43, 45):
        return "xid.note"
    if code in LOST:
        return "xid.lost"
    if code in ECC:
        return "xid.ecc"
    if code in NVLINK:
        return "xid.nvlink"
    return "xid.faulty" if found.verdict == faults.FAULTY or found.action in ("reboot", "replace") else "xid.job"


def pid_of(text: str) -> str | None:
    match = PID.search(text)
    return match[1] if match else None
