"""What the documents and manifests claim about the repository is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infrastructure.kustomized import FOLDER

ROOT = FOLDER.parents[1]
MANIFESTS = sorted([*ROOT.glob("skills/*/assets/*.yaml"), *ROOT.glob("training/recipes/*/*job.yaml"), *FOLDER.rglob("*.yaml")])
NAMED_TEST = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")


def test_every_test_that_a_document_names_is_there() -> None:
    named = NAMED_TEST.findall((ROOT / "shared-docs" / "seed-bugs.md").read_text())
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / "tests" / path).exists() or f"\ndef {name}(" not in (ROOT / "tests" / path).read_text()
    ]
    assert len(named) > 20 and missing == []


def test_every_finding_that_troubleshooting_names_is_printed_by_a_program() -> None:
    text = (ROOT / "shared-docs" / "troubleshooting.md").read_text()
    first_columns = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    named = {id for column in first_columns for id in re.findall(r"`([a-z-]+(?:\.[a-z-]+)+)`", column)}
    programs = "".join(path.read_text() for path in ROOT.glob("skills/*/src/**/*.py"))
    failures = yaml.safe_load((ROOT / "skills" / "image-builder" / "assets" / "build_failures.yaml").read_text())
    programs += "".join(f'"build.{kind}"' for kind in failures["classes"])
    assert len(named) > 25
    assert {id for id in named if f'"{id}"' not in programs} == set(), "no program prints these"
    runtime = ROOT / "training" / "trainyard"
    launcher = "".join(path.read_text() for path in [*runtime.glob("launch*.py"), runtime / "whose.py"])
    said = [line for column in first_columns for line in re.findall(r"log: `([^`]+)`", column)]
    assert {line for line in said if not re.search(words(line), launcher)} == set()


def words(line: str) -> str:
    """A pattern of the line as an f-string has it: `...` and N stand for something put in."""
    return re.sub(r"\\\.\\\.\\\.|\bN\b", r"\\{[^}]+\\}", re.escape(line))


def mappings(value: Any) -> list[dict[str, Any]]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, dict) else []) + [found for item in inside for found in mappings(item)]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_manifest_holds_what_nobody_would_expand_or_should_open(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        for each in mappings(document):
            assert "${" not in str(each.get("value")), "Kubernetes expands $(NAME) only, and a container no shell at all"
            assert not str(each.get("image")).endswith(":latest"), each
            assert "TOKEN" not in str(each.get("name")) or "value" not in each, "a secret is named, not carried"
            assert not {"hostNetwork", "hostPath", "privileged"} & each.keys(), each
            assert each.get("type") not in ("LoadBalancer", "NodePort"), each
            assert each.get("serviceType", "ClusterIP") == "ClusterIP", each


def test_no_account_stands_in_the_code() -> None:
    files = [*ROOT.glob("skills/*/src/**/*.py"), *FOLDER.rglob("*.yaml"), *ROOT.glob("training/recipes/*/job.yaml")]
    found = {
        str(path.relative_to(ROOT)): number
        for path in files
        for number in re.findall(r"(?<![\w.])\d{12}(?![\w.])", path.read_text())
    }
    assert set(found.values()) <= {"123456789012"}, f"an AWS account id: {found}"  # AWS's own example number


# --- negative controls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        "env: [{name: LD_LIBRARY_PATH, value: '${LD_LIBRARY_PATH}:/opt'}]",
        "containers: [{image: repo/train:latest}]",
        "env: [{name: HF_TOKEN, value: hf_abc}]",
        "spec: {hostNetwork: true}",
        "spec: {type: LoadBalancer}",
    ],
)
def test_a_wrong_manifest_is_found(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(wrong)
    with pytest.raises(AssertionError):
        test_no_manifest_holds_what_nobody_would_expand_or_should_open(path)
