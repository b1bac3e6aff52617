"""Whether a cluster can run on this machine: Linux, root, and Go for what is not built yet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable

from tests.components.cluster.build import missing
from tests.components.cluster.packages import absent_packages

GO_MINIMUM = (1, 26)


def go_version() -> tuple[int, ...]:
    if not shutil.which("go"):
        return ()
    said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, timeout=60).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:3]))


def reason_against(components: Iterable[str]) -> str | None:
    """Why no cluster can run here, in one line; None where one can."""
    if sys.platform != "linux":
        return "the test cluster needs Linux"
    if os.geteuid() != 0:
        return "the test cluster needs root (network namespace, mounts, cgroup)"
    absent = missing(components)
    if absent and go_version() < GO_MINIMUM:
        wanted = ".".join(map(str, GO_MINIMUM))
        return f"the test cluster needs Go {wanted} or newer to build {', '.join(absent)}"
    if absent_packages() and not shutil.which("apt-get"):
        return f"the test cluster needs {', '.join(absent_packages())}, and there is no apt-get to install them"
    return None
