"""The one table of EFA and NCCL settings: what a pod's environment gets for an instance type, and why.

On a current stack (libfabric >= 1.22, aws-ofi-nccl >= 1.13) nothing is mandatory and most of the older advice hurts: FI_PROVIDER,
FI_EFA_USE_DEVICE_RDMA, FI_EFA_FORK_SAFE, NCCL_PROTO, NCCL_BUFFSIZE, NCCL_TOPO_FILE, NCCL_TUNER_PLUGIN and RDMAV_* stay unset.
"""

from __future__ import annotations

from dataclasses import dataclass

import trainyard_shell as shell
from trainyard_instances import InstanceType

STACKS = ("current", "legacy")
NETWORKS = ("auto", "efa", "tcp")


@dataclass(frozen=True)
class Line:
    """One variable of the pod's environment."""

    name: str
    value: str
    reason: str


INTERFACES = Line(
    "NCCL_SOCKET_IFNAME",
    "^lo,docker,veth",
    "NCCL's bootstrap uses the pod's network interface, not loopback or a bridge of this machine",
)
EFA_LINES = (
    Line("NCCL_NET", "AWS Libfabric", "without the EFA plugin NCCL stops instead of falling back to TCP in silence"),
    Line("NCCL_DEBUG", "INFO", "the log says which provider was selected: the only proof that EFA is used"),
    INTERFACES,
    Line("FI_EFA_USE_HUGE_PAGE", "0", "huge pages of a parent make fork fail with ENOMEM in data loader workers"),
)
TCP_LINES = (
    Line("NCCL_NET", "Socket", "TCP was asked for: a plugin in the image must not choose otherwise"),
    INTERFACES,
)
NEURON_LINES = (
    Line("FI_PROVIDER", "efa", "Neuron's collectives take what libfabric offers first; with efa alone they stop without it"),
    Line("FI_EFA_USE_DEVICE_RDMA", "1", "Neuron's own set-up for several machines: device memory is sent without a copy"),
)
SHM_COPY = Line(
    "NCCL_SHM_USE_CUDA_MEMCPY", "1", "without peer access between the GPUs (A10G, L4) the copy engine is the faster way"
)
SHM_COPY_FAMILIES = ("g5", "g6")


def network_lines(kind: InstanceType, network: str, stack: str) -> list[Line]:
    """The lines for EFA, or for TCP where the type has no EFA or `network` is tcp."""
    if uses_efa(kind, network):
        lines = list(NEURON_LINES if kind.kind == "neuron" else EFA_LINES)
        lines += _legacy_lines(kind) if stack == "legacy" and kind.kind == "nvidia" else []
    else:
        lines = [] if kind.kind == "neuron" else list(TCP_LINES)
    if kind.family in SHM_COPY_FAMILIES and kind.accelerators > 1:
        lines.append(SHM_COPY)
    return lines


def uses_efa(kind: InstanceType, network: str) -> bool:
    return network != "tcp" and kind.efa > 0


def _legacy_lines(kind: InstanceType) -> list[Line]:
    """aws-ofi-nccl <= 1.5: the recipe that AWS documented for it."""
    rdma = "1" if kind.gdr else "0"
    return [
        Line("FI_PROVIDER", "efa", "aws-ofi-nccl <= 1.5 does not choose the provider by itself"),
        Line("FI_EFA_USE_DEVICE_RDMA", rdma, f"libfabric < 1.22 must be told whether {kind.name} has GPUDirect RDMA"),
        Line("NCCL_PROTO", "simple", "aws-ofi-nccl <= 1.5 is correct with the simple protocol only"),
    ]


def network_environment(kind: InstanceType, network: str, stack: str) -> shell.Result:
    """`ok` false: EFA was asked for and the type has none."""
    efa = kind.efa if uses_efa(kind, network) else 0
    lines = network_lines(kind, network, stack)
    data = {
        "instance_type": kind.name,
        "network": "efa" if efa else "tcp",
        "stack": stack,
        "efa": efa,
        "env": {line.name: line.value for line in lines},
        "lines": [vars(line) for line in lines],
    }
    return shell.Result(data, [_efa_check(kind, network)])


def _efa_check(kind: InstanceType, network: str) -> shell.Check:
    summary = f"{kind.name} has {kind.efa} EFA interfaces" if kind.efa else f"{kind.name} has no EFA"
    if kind.efa:
        return shell.Check("network.efa", "pass" if network != "tcp" else "skipped", summary, f"network: {network}")
    if network == "efa":
        fix = "network: auto or tcp, or a larger size of the family"
        return shell.Check("network.efa", "fail", summary, "network: efa", fix)
    return shell.Check("network.efa", "skipped", f"{summary}: TCP", f"network: {network}")
