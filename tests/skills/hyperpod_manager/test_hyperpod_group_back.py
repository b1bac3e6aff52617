"""Every field of a group that DescribeCluster shows is sent back by `scale`, known to be read-only, or refused: in today's botocore."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

SOURCE = Path(__file__).resolve().parents[3] / "skills" / "hyperpod-manager" / "src"
OUTPUT_ONLY = {"EnvironmentConfig.S3OutputPath"}
"""Of restricted groups: it cannot be sent, so `scale` refuses a group that has it."""


@pytest.fixture
def group_back(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SOURCE))
    from hyperpod_scaling import group_back as module

    return module


def left_over(module: Any, shown: Any, taken: Any, path: str = "") -> Iterator[str]:
    if shown.type_name == "list":
        yield from left_over(module, shown.member, taken.member, path)
    if shown.type_name != "structure":
        return
    for name, member in shown.members.items():
        here = f"{path}.{name}".lstrip(".")
        if here in module.READ_ONLY:
            continue
        to = name if name in taken.members else module.RENAMED.get(here, ("", ()))[0]
        if to not in taken.members:
            yield here
        else:
            assert member.type_name == taken.members[to].type_name, here
            yield from left_over(module, member, taken.members[to], here)


@pytest.mark.parametrize("kind", ["InstanceGroups", "RestrictedInstanceGroups"])
def test_no_field_of_the_model_is_forgotten(group_back: Any, kind: str) -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    shown = model.operation_model("DescribeCluster").output_shape.members[kind].member
    taken = model.operation_model("UpdateCluster").input_shape.members[kind].member
    assert set(left_over(group_back, shown, taken)) <= OUTPUT_ONLY
    if kind == "InstanceGroups":
        wanted = {to for path, (to, _) in group_back.RENAMED.items() if "." not in path}
        same = set(shown.members) & set(taken.members)
        assert set(taken.members) == wanted | same | {"InstanceCount"}, "a field of the request that nothing fills"
    group_back.READ_ONLY.discard("Status")
    assert "Status" in set(left_over(group_back, shown, taken)), "a field that is neither is seen"
    group_back.READ_ONLY.add("Status")


def test_this_python_sees_the_program_of_this_checkout(group_back: Any) -> None:
    assert Path(group_back.__file__).is_relative_to(SOURCE)
    assert str(SOURCE) in sys.path
