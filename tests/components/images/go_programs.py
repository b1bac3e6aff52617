"""Programs built from Go modules, each set by a module of its own below wrapper/, whose `tool` lines name the packages.

`go install` refuses a module whose go.mod has exclude lines, so a module of ours requires it. The compiler's caches are Go's own, as
with the cluster: what BuildKit, Docker and Kubernetes share is compiled once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

WRAPPERS = Path(__file__).parent / "wrapper"


def version(wrapper: str, module: str) -> str:
    """The one that the wrapper requires: v0.34.2."""
    found = re.search(rf"\b{re.escape(module)} (v\S+)", (WRAPPERS / wrapper / "go.mod").read_text())
    assert found, f"wrapper/{wrapper}/go.mod does not require {module}"
    return found[1]


def make(
    wrapper: str,
    packages: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    *,
    compiler: str = "",
    c_tags: str | None = None,
) -> None:
    """Build `packages` into `folder`. `variables` are set in the programs, `compiler` are -gcflags; with `c_tags` C is compiled too.

    Raises CalledProcessError; the compiler's words go to stderr.
    """
    ldflags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in (variables or {}).items())])
    command = ["go", "build", "-C", str(WRAPPERS / wrapper), "-mod=readonly", "-trimpath"]
    command += [f"-ldflags={ldflags}", f"-gcflags={compiler}", f"-tags={c_tags or ''}", "-o", f"{folder}/"]
    own = {"CGO_ENABLED": "0" if c_tags is None else "1", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    subprocess.run([*command, *packages], check=True, env={**os.environ, **own}, stdout=sys.stderr)
