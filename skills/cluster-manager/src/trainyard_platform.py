"""Which nodes can run an image at all: architecture and operating system, as labels that a pod selects.

The scheduler looks at neither by itself: without them a pod for amd64 goes to an arm64 node and dies of "exec format error".
`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ARCH, OS = "kubernetes.io/arch", "kubernetes.io/os"
OLD = {ARCH: f"beta.{ARCH}", OS: f"beta.{OS}"}
"""What nodes carried before Kubernetes 1.14, and carry still."""
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
ARM64 = re.compile(r"(ml\.)?(a1|[a-z]+\d+g[a-z]*|[a-z0-9]+-gb\d+)\..+")
"""EC2's types with Graviton have a g behind the number of the generation (g5g.xlarge); Grace is part of GB200 and GB300."""


def arch_of(instance_type: str) -> str:
    return "arm64" if ARM64.fullmatch(instance_type) else "amd64"


def with_platform(selector: Mapping[str, str]) -> dict[str, str]:
    """`selector`, and the platform that it does not say itself: Linux, on the architecture of its instance type, or amd64."""
    meant = {ARCH: arch_of(selector.get(INSTANCE_TYPE, "")), OS: "linux"}
    said = {key: selector[old] for key, old in OLD.items() if old in selector}
    return {**meant, **said, **selector}
