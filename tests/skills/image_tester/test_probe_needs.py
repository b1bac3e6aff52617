"""What an entry point imports at its top level has to be in the image; what may well be missing does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import probing
import pytest

OWN = {"own/__init__.py": "", "own/model.py": "import json\n", "helper.py": "import os.path\n"}


def entry(folder: Path, text: str, **more: str) -> Any:
    """The probe on train.py, whose folder comes first in sys.path as when it is started."""
    probing.write(folder, {**OWN, "train.py": text, **more})
    item = {"folder": str(folder), "path": "train.py"}
    return probing.one("probe_scripts.entry", item, folder=str(folder))


@pytest.mark.parametrize(
    "text",
    [
        "from __future__ import annotations\nimport json, os.path\nfrom own.model import json\nimport helper\n",
        "try:\n    import absent_a\nexcept ImportError:\n    absent_a = None\n",
        "def later():\n    import absent_b\n",
        "if False:\n    import absent_c\n",
        "import sys\nsys.path.insert(0, '/opt/more')\nimport absent_d\n",
        "from . import helper\n",
    ],
)
def test_nothing_is_missing(tmp_path: Path, text: str) -> None:
    """Its own modules, those below `try`, `if` and `def`, and those of a script that says itself where they lie."""
    assert entry(tmp_path, text).state == "done"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import json\nimport absent_a\n", "train.py:2: No module named 'absent_a'"),
        ("from absent_a.b import c\n", "train.py:1: No module named 'absent_a.b'"),
        ("from own.gone import model\n", "train.py:1: No module named 'own.gone'"),
        ("import behind\n", "behind.py:1: No module named 'absent_b'"),
        ("from own.relative import x\n", "own/relative.py:1: No module named 'absent_c'"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, says: str) -> None:
    """Of the script, and of its own modules behind it. Each compiles."""
    more = {"behind.py": "import absent_b\n", "own/relative.py": "from .absent_c import x\n"}
    found = entry(tmp_path, text, **more)
    assert found.state == "failed" and says in found.text, found


def test_nothing_is_run(tmp_path: Path) -> None:
    """Neither the script nor its modules."""
    more = {"behind.py": "raise SystemExit(3)\n"}
    assert entry(tmp_path, "import behind\nraise SystemExit(4)\n", **more).state == "done"


def test_a_program_of_the_command(tmp_path: Path) -> None:
    """What is no Python is looked for in the job's own PATH."""
    (tmp_path / "launch").write_text("#!/bin/sh\n")
    (tmp_path / "launch").chmod(0o755)
    for program, environment, state in (
        ("sh", {}, "done"),
        ("./launch", {}, "done"),
        ("launch", {"PATH": str(tmp_path)}, "done"),
        ("launch", {}, "failed"),
    ):
        item = {"folder": str(tmp_path), "program": program}
        found = probing.one("probe_scripts.entry", item, environment=environment)
        assert found.state == state, (program, found)


def test_a_namespace_imports_what_is_its_own(tmp_path: Path) -> None:
    """`ns` imports without the distribution too; its package below it has to. Control: without the mistake it is done."""
    info = "ns_net-1.0.dist-info"
    record = "ns/net/__init__.py,,\nns/net/deep/__init__.py,,\nns/net/tests/__init__.py,,\n"
    files = {f"{info}/METADATA": "Metadata-Version: 2.1\nName: ns-net\nVersion: 1.0\n", f"{info}/RECORD": record}
    for text, state in (("", "done"), ("import absent_a\n", "raised")):
        probing.write(tmp_path, {**files, "ns/net/__init__.py": text})
        found = probing.one("probe_imports.declared", {"name": "ns-net", "declared": True}, env={"PYTHONPATH": str(tmp_path)})
        assert found.state == state and (state == "raised" or found.data["modules"] == ["ns.net"]), found


def test_a_package_without_a_list_of_files(tmp_path: Path) -> None:
    """As Debian installs them: the module of its name is imported all the same."""
    probing.write(
        tmp_path, {"odd-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n", "odd.py": "1 / 0\n"}
    )
    found = probing.one("probe_imports.declared", {"name": "odd", "declared": True}, env={"PYTHONPATH": str(tmp_path)})
    assert found.state == "raised" and "ZeroDivisionError" in found.text
