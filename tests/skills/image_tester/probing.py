"""The probe itself, as it is sent to an image, run by a Python of this machine: fast, for what needs no container."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.calling import SKILLS

SRC = SKILLS / "image-tester" / "src"


@functools.cache
def module(name: str) -> Any:
    """A module of the skill."""
    sys.path.insert(0, str(SRC))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SRC))


def plan(*probes: Mapping[str, Any]) -> Any:
    made = module("tester_bundle")
    return made.Plan(tuple(made.Probe(**each) for each in probes))


def run(
    plan: Any,
    *,
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
    limit_s: float = 120.0,
    before: Sequence[str] = (),
) -> Any:
    """The answers, read as the skill reads them."""
    done = subprocess.run(
        [*before, python, "-I", "-S", "-u", "-"],
        input=module("tester_bundle").text(plan).encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        timeout=limit_s,
    )
    return module("tester_answer").read(done.stdout, plan)


def one(
    call: str,
    item: Mapping[str, Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    **probe: Any,
) -> Any:
    """The outcome of one probe with one item."""
    answers = run(plan({"id": "it", "call": call, "items": (dict(item or {}),), **probe}), env=env, before=before)
    assert answers.complete
    return answers.one("it")


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
