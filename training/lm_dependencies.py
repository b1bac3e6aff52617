"""Which packages the options ask for, and how to get those that are missing. Runs before torch is imported.

Trainyard itself lies beside the trainers and needs no installation for them.
"""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    name: str
    requirement: str
    why: str
    option: str | None = None
    """Needed only where this option is given; None: always."""


PACKAGES = (
    Package("torch", "torch>=2.9", "the training itself"),
    Package("numpy", "numpy>=1.26", "random state in checkpoints"),
    Package("safetensors", "safetensors>=0.5", "checkpoints"),
    Package("xxhash", "xxhash>=3.5", "digests of checkpoints"),
    Package("isal", "isal>=1.7", "checksums of checkpoints"),
    Package("tensorboard", "tensorboard>=2.18", "curves", "--tensorboard"),
    Package("wandb", "wandb>=0.19", "curves", "--wandb"),
    Package("torchao", "torchao>=0.14", "float8 matrix products", "fp8"),
)


def installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def needed(words: list[str], *, fp8: bool = False) -> list[Package]:
    """The packages that these command-line words ask for."""
    given = {word.partition("=")[0] for word in words} | ({"fp8"} if fp8 else set())
    return [package for package in PACKAGES if package.option is None or package.option in given]


def install_command(packages: list[Package]) -> str:
    return "uv pip install " + " ".join(f"'{package.requirement}'" for package in packages)


def check(words: list[str], *, fp8: bool = False) -> None:
    """Ends the program: with `--auto-deps` by the table (exit 0 all there, 1 not), otherwise where something is missing (exit 2)."""
    packages = needed(words, fp8=fp8)
    missing = [package for package in packages if installed_version(package.name) is None]
    if "--auto-deps" in words:
        for package in packages:
            print(f"{package.name:12} {installed_version(package.name) or 'missing':14} {package.why}")
        print(f"\nfor {sys.executable}: {install_command(missing) if missing else 'nothing is missing'}")
        sys.exit(1 if missing else 0)
    if missing and {"-h", "--help"} & set(words):
        print(sys.modules["__main__"].__doc__)
    if missing:
        names = ", ".join(f"{package.name} ({package.why})" for package in missing)
        print(f"error: missing: {names}. Install with: {install_command(missing)}", file=sys.stderr)
        sys.exit(2)
