"""references/faults.md of hyperpod-manager, from the table of faults: `python -m tests.skills.hyperpod_manager.faults_table` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "skills" / "kit" / "node_faults.yaml"
DOCUMENT = ROOT / "skills" / "hyperpod-manager" / "references" / "faults.md"
REPAIRED = {
    "itself": "itself",
    "hyperpod": "HyperPod",
    "node-repair-10": "EKS, 10 min",
    "node-repair-30": "EKS, 30 min",
    "nobody": "nobody",
}
HEAD = """# What goes wrong on a node

Written by `python -m tests.skills.hyperpod_manager.faults_table` from `assets/node_faults.yaml` of {date}; change the table, not this file.
A fault that is not in a table below is `unknown`, and unknown is never healthy.

- **Repaired by.** *HyperPod* repairs the node if the cluster's node recovery is automatic (`clusters` shows it). A reboot takes minutes, a
  replacement half an hour. *EKS* node repair, if it is on, acts that many minutes after the **condition**. If the same fault is reported
  only as an **event**, nobody repairs it. EKS node repair is for managed node groups, Auto Mode and Karpenter. On other HyperPod nodes a
  condition waits for HyperPod's agent, or for you.
- **Action.** `reboot` also stands for a reset of the GPU, which nobody can do from outside. If a fault comes back after a reboot, replace the
  node. `application`: the job caused it; read the job's log before you look at the node. `watch`: nothing to do now.
- **Job.** What the fault does to a job that runs there: `stops`, `wrong` (its numbers may be wrong), `slow`, `none`.
- An Xid 154 names its own action: {recovery}.
- AWS's older table says to reboot for 13, 31 and 94 too. In NVIDIA's catalogue, and here, these are errors of the job itself.
"""
SECTIONS = {
    "xids": "Xid codes of NVIDIA's driver",
    "reasons": "Reasons of the EKS node monitoring agent",
    "conditions": "Conditions of the node",
    "faults": "Fault types and reasons of HyperPod's agents",
    "instances": "Status of the instance in SageMaker",
    "images": "Version of the image",
}


def document() -> str:
    """The whole file."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    recovery = ", ".join(f"*{text}* {row['action']}" for text, row in table["recovery"].items())
    parts = [HEAD.format(date=table["date"], recovery=recovery)]
    for kind, title in SECTIONS.items():
        parts.append(f"## {title}\n\n" + "\n".join(rows(table[kind])) + "\n")
    labels = [(f"{label}: {value}", row) for label, values in table["labels"].items() for value, row in values.items()]
    parts.append("## HyperPod's labels\n\n" + "\n".join(rows(dict(labels))) + "\n")
    parts.append("## Sources\n\n" + "\n".join(f"- `{name}`: {text}" for name, text in table["sources"].items()) + "\n")
    return "\n".join(parts)


def rows(found: Mapping[Any, dict[str, Any]]) -> Iterator[str]:
    yield "| | means | verdict | action | repaired by | job | source |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in found.items():
        told = f"{name} (an event)" if row.get("seen") == "event" else str(name)
        told = f"{told} is {row['bad']}" if "bad" in row else told
        told = told.replace("\\d+", "N").replace("\\w+", "...")
        held = ", held back" if row.get("holds") else ""
        cells = (told, row["means"], row["verdict"] + held, row["action"], REPAIRED[row["repaired"]], row["job"], row["source"])
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document(), encoding="utf-8")
