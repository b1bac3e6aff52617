"""What nodes tell of their devices, and what it means: resources, labels of NVIDIA's feature discovery, and the type. No cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from cm_calls import PROGRAM

CODE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import trainyard_shell
from cluster_devices import devices_of
for labels, offers, holds in json.load(sys.stdin):
    print(json.dumps([[each.kind, each.called, each.offered, each.due] for each in devices_of(labels, offers, holds)]))
"""
GPU, TYPE = "nvidia.com/gpu", "node.kubernetes.io/instance-type"
SINGLE = {TYPE: "p5.48xlarge", f"{GPU}.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", f"{GPU}.count": "56"}
MPS = {f"{GPU}.count": "1", f"{GPU}.replicas": "10", f"{GPU}.sharing-strategy": "mps"}
SLICES = {"nvidia.com/mig-1g.5gb.count": "56", "nvidia.com/mig-1g.5gb.replicas": "2"}
BALANCED = {"nvidia.com/mig-1g.5gb": 16, "nvidia.com/mig-2g.10gb": 8, "nvidia.com/mig-3g.20gb": 8}
MISSING = ["whole", GPU, 0, 1]
CASES: dict[str, tuple[dict[str, str], dict[str, int], list[list[Any]]]] = {
    "slices under the whole ones' name": (SINGLE, {GPU: 56}, [["slice", f"{GPU} (slices 1g.10gb)", 56, 56]]),
    "of one GPU the slices are missing": (SINGLE, {GPU: 49}, [MISSING, ["slice", f"{GPU} (slices 1g.10gb)", 49, 49]]),
    "slices of several profiles fill the GPUs": (
        {TYPE: "p4d.24xlarge"}, BALANCED, [["slice", name, count, count] for name, count in BALANCED.items()]
    ),
    "two large slices a GPU": ({TYPE: "p5en.48xlarge"}, {"nvidia.com/mig-3g.71gb": 16}, [["slice", "nvidia.com/mig-3g.71gb", 16, 16]]),
    "one GPU of eight, though shared": (
        {TYPE: "p5.48xlarge", f"{GPU}.replicas": "4"}, {GPU: 28}, [["shared", f"{GPU} (7 GPUs shared)", 28, 32]]
    ),
    "shared by MPS": (MPS, {GPU: 10}, [["shared", f"{GPU} (1 GPUs shared by mps)", 10, 10]]),
    "shared slices": (
        {TYPE: "p4d.24xlarge", **SLICES}, {"nvidia.com/mig-1g.5gb.shared": 112},
        [["shared", "nvidia.com/mig-1g.5gb.shared (56 slices shared)", 112, 112]],
    ),
    "a type that nobody knows, with labels": ({f"{GPU}.count": "8"}, {GPU: 7}, [["whole", GPU, 7, 8]]),
    "labels, and no plugin": ({f"{GPU}.present": "true"}, {"cpu": 4}, [MISSING]),
    "labels that are no numbers": ({f"{GPU}.count": "9" * 50, f"{GPU}.replicas": "-4"}, {GPU: 7}, [["whole", GPU, 7, 7]]),
    "a GPU under its model's name": ({TYPE: "g5.12xlarge"}, {"nvidia.com/a10g": 4}, [["whole", "nvidia.com/a10g", 4, 4]]),
    "a network card is no GPU": ({}, {"nvidia.com/hostdev": 8}, []),
    "AMD": ({}, {"amd.com/gpu": 8, "amd.com/cpx_nps4": 64}, [["whole", "amd.com/gpu", 8, 8], ["slice", "amd.com/cpx_nps4", 64, 64]]),
    "Neuron by its cores": ({TYPE: "trn1.32xlarge"}, {"aws.amazon.com/neuroncore": 16}, [["whole", "aws.amazon.com/neuroncore", 16, 32]]),
}  # fmt: skip


@pytest.fixture(scope="module")
def told() -> dict[str, list[list[Any]]]:
    asked = json.dumps([(labels, holds, holds) for labels, holds, _ in CASES.values()])
    command = [sys.executable, "-c", CODE, str(PROGRAM.parent)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_devices_are_what_the_node_says_they_are(told: dict[str, list[list[Any]]], name: str) -> None:
    assert [each for each in told[name] if "efa" not in each[1]] == CASES[name][2]
