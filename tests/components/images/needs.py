"""Whether images can be built and run here: Linux on x86_64, root, torch in a Python 3.11, and Go for what is not built yet."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterable

from tests.components.cluster.needs import go_version
from tests.components.cluster.packages import absent_packages
from tests.components.images.packages import PROGRAMS
from tests.components.images.parts import ALL, missing

GO_MINIMUM = (1, 26, 8)
"""BuildKit 0.34.2 asks for it."""
PYTHON = (3, 11)
"""Of the base image, and so of the wheel that the small torch is packed into."""


def reason_against(parts: Iterable[str] = ALL) -> str | None:
    """Why the components cannot run here, in one line; None where they can."""
    if sys.platform != "linux":
        return "the components for images need Linux"
    if platform.machine() != "x86_64":
        return f"the components for images are made for x86_64, and this is {platform.machine()}"
    if os.geteuid() != 0:
        return "the components for images need root (containers, mounts, mmdebstrap)"
    if sys.version_info[:2] != PYTHON:
        return f"the small torch is packed for Python 3.11, and this is {sys.version_info[0]}.{sys.version_info[1]}"
    if importlib.util.find_spec("torch") is None:
        return "the small torch is made from torch, which is not installed: make setup"
    from_go = [part for part in missing(parts) if part in ("buildkit", "new-docker")]
    if from_go and go_version() < GO_MINIMUM:
        return f"the components for images need Go {'.'.join(map(str, GO_MINIMUM))} or newer to build {', '.join(from_go)}"
    if (absent := absent_packages(PROGRAMS)) and not shutil.which("apt-get"):
        return f"the components for images need {', '.join(absent)}, and there is no apt-get to install them"
    return None
