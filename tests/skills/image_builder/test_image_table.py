"""Every class of failure as a project that fails so: named with its place, and repaired where there is a remedy. `make test-images` prints it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.components.images.buildkit import BuildKit
from tests.components.images.fixtures import full_images
from tests.components.images.old_docker import OldDocker
from tests.skills.image_builder.image_failures import CASES, Engines, run

IN_EACH_RUN = ("missing-stage", "missing-file (.dockerignore)", "script (CRLF)", "rate-limit", "cuda-mismatch")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(case.shown or case.name, marks=() if (case.shown or case.name) in IN_EACH_RUN else full_images)
        for case in CASES
    ],
)
def test_a_broken_project_is_named_and_repaired(tmp_path: Path, buildkit: BuildKit, old_docker: OldDocker, name: str) -> None:
    case = next(case for case in CASES if (case.shown or case.name) == name)
    row = run(case, Engines(buildkit, old_docker), tmp_path)
    print(row)
    assert row.ok, f"{row}\n{row.fix}"
