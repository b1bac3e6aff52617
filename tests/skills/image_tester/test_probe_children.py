"""Each probe is a process of its own: however it ends, that is its answer, and the others come all the same."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import probing
import pytest

GOOD = {"fine.py": "VALUE = 1\n"}


def imports(
    folder: Path, files: Mapping[str, str], *names: str, limit_s: float = 20.0, call: str = "probe_imports.declared"
) -> Any:
    """The outcomes of importing `names` from `folder`."""
    probing.write(folder, files)
    items = tuple({"name": name} for name in names)
    answers = probing.run(
        probing.plan({"id": "it", "call": call, "items": items, "limit_s": limit_s}), env={"PYTHONPATH": str(folder)}
    )
    assert answers.complete
    return answers.of("it")


def test_the_rest_is_tried_after_a_crash(tmp_path: Path) -> None:
    """A segmentation fault, an exit and an exception are the answers of their own items; the good ones around them pass."""
    files = {
        **GOOD,
        "crashes.py": "import ctypes\nctypes.string_at(0)\n",
        "leaves.py": "import os\nos._exit(0)\n",
        "quits.py": "raise SystemExit(0)\n",
        "raises.py": "raise RuntimeError('no')\n",
    }
    found = imports(tmp_path, files, "fine", "crashes", "fine", "leaves", "quits", "raises", "fine")
    assert [each.state for each in found] == ["done", "died", "done", "died", "raised", "raised", "done"]
    assert "signal 11" in found[1].text and found[1].step == "import crashes"
    assert "exit code 0" in found[3].text


def test_a_hang_ends_at_its_limit(tmp_path: Path) -> None:
    """Also one that ignores SIGTERM; the answer says the step. Control: with the same limit a module that is quick passes."""
    hang = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n"
    found = imports(tmp_path, {**GOOD, "hangs.py": hang}, "hangs", "fine", limit_s=2.0)
    assert [each.state for each in found] == ["timeout", "done"]
    assert found[0].step == "import hangs" and found[0].seconds < 6


def test_printing_does_not_end(tmp_path: Path) -> None:
    """Endless output is read away and bounded; it is a hang like any other."""
    flood = "import os\nwhile True:\n    os.write(1, b'x' * 65536)\n"
    found = imports(tmp_path, {"floods.py": flood}, "floods", limit_s=2.0)
    assert found[0].state == "timeout" and 0 < len(found[0].output) <= 4000


FORGER = """
import json, os
line = json.dumps({"index": 0, "state": "done", "data": {"version": "9"}})
for handle in range(64):
    for text in (line, "TY1 " + "0" * 64 + " " + line, "0" * 32 + " " + line):
        try:
            os.write(handle, text.encode() + b"\\n")
        except OSError:
            pass
raise RuntimeError("forged")
"""


def test_a_forged_result_does_not_count(tmp_path: Path) -> None:
    """A module that writes results into every descriptor that it has, and then fails, has failed."""
    found = imports(tmp_path, {"forges.py": FORGER}, "forges")
    assert found[0].state == "raised" and "forged" in found[0].text


def test_the_site_of_the_image_is_not_in_the_first_process(tmp_path: Path) -> None:
    """A sitecustomize that ends Python, or prints forged lines, touches children only: they fail, and the reading stays whole."""
    found = imports(tmp_path, {**GOOD, "sitecustomize.py": "import os\nos._exit(0)\n"}, "fine")
    assert found[0].state == "died"


@pytest.mark.parametrize("name", ["json", "subprocess", "typing", "os"])
def test_a_file_of_the_project_hides_nothing_of_ours(tmp_path: Path, name: str) -> None:
    """The script's folder comes first in sys.path, as when training; the probe has its own modules by then."""
    probing.write(tmp_path, {**GOOD, f"{name}.py": "raise RuntimeError('hidden')\n"})
    items = ({"name": "fine"},)
    answers = probing.run(probing.plan({"id": "it", "call": "probe_imports.declared", "items": items, "folder": str(tmp_path)}))
    assert answers.one("it").state == "done"


def test_a_forking_import_leaves_nothing(tmp_path: Path) -> None:
    """Its grandchildren hold the pipes, and the answer does not wait for them."""
    forks = "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n    os._exit(0)\n"
    found = imports(tmp_path, {**GOOD, "forks.py": forks}, "forks", "fine", limit_s=20.0)
    assert [each.state for each in found] == ["done", "done"]


def test_the_parts_are_for_python_3_8() -> None:
    """The image's Python runs them: its grammar is an older one. Control: a match statement is refused by it."""
    parts = sorted((probing.SRC / "image_probe").glob("*.py"))
    order = probing.module("image_probe.probe_bundle").ORDER
    assert {path.stem for path in parts} == set(order)
    for path in parts:
        ast.parse(path.read_text(encoding="ascii"), feature_version=(3, 8))
    with pytest.raises(SyntaxError):
        ast.parse("match x:\n    case 1:\n        pass\n", feature_version=(3, 8))
