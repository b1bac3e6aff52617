"""What is sent into a container is enough there: the verbs run from it, in a Python without click and without a file of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster_calls import SRC
from made_checkpoints import write_lock, write_step, write_tiers

SENT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from checkpoint_pods.call import BOOTSTRAP, payload
print(json.dumps([BOOTSTRAP, json.loads(payload("", {}))["sources"]]))
"""
IMPORTED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from checkpoint_pods.inside import SentModules
sys.meta_path.insert(0, SentModules(json.loads(sys.argv[2])))
import outer.beside
print(outer.beside.VALUE, outer.beside.__name__, outer.inner.leaf.__file__)
"""
DOTTED = {"outer.inner.leaf": "VALUE = 7", "outer.beside": "from outer.inner.leaf import VALUE"}


@pytest.mark.parametrize("left_out", ["", "outer.inner.leaf"])
def test_a_dotted_name_brings_the_packages_before_its_dots(left_out: str) -> None:
    sources = {name: text for name, text in DOTTED.items() if name != left_out}
    words = [sys.executable, "-c", IMPORTED, str(SRC), json.dumps(sources)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if left_out:
        assert "No module named 'outer.inner'" in done.stderr, "control: what was not sent is not there"
    else:
        assert done.stdout.split() == ["7", "outer.beside", "<trainyard>/outer/inner/leaf.py"], done.stderr


@pytest.fixture(scope="module")
def sent() -> tuple[str, dict[str, str]]:
    """(the bootstrap, the sources) as every call sends them."""
    done = subprocess.run([sys.executable, "-c", SENT, str(SRC)], capture_output=True, text=True, timeout=60, check=True)
    bootstrap, sources = json.loads(done.stdout)
    return bootstrap, sources


def in_a_container(
    bootstrap: str, sources: dict[str, str], verb: str, words: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    data = json.dumps({"sources": sources, "verb": verb, "words": words})
    command = [sys.executable, "-I", "-S", "-c", bootstrap, str(len(data.encode()))]
    container = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert container.stdin and container.stdout and container.stderr
    container.stdin.write(data)
    container.stdin.flush()  # and left open: what runs in a container ends when its caller is gone
    with container:
        out, errors = container.stdout.read(), container.stderr.read()
    return subprocess.CompletedProcess(command, container.returncode, out, errors)


PRUNE = {"holder_gone": False, "dry_run": False, "yes": True, "limit": 9, "keep_rolling": 1}
VERIFY = {"step": None, "everything": True, "quick": False, "limit": 9, "record_it": True}
VERBS = {
    "list": {"limit": 9},
    "latest": {"verify": True},
    "verify": VERIFY,
    "prune": PRUNE,
    "rollback": {"step": 200, "holder_gone": False, "dry_run": False, "yes": True},
    "step": {"step": None, "dry_run": True},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (100, 200, 300):
        write_step(tmp_path, step)
    write_lock(tmp_path, None)
    write_tiers(tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_sent_is_enough_for_a_verb(sent: tuple[str, dict[str, str]], folder: Path, verb: str) -> None:
    done = in_a_container(*sent, verb, {"folder": str(folder), **VERBS[verb]})
    assert done.returncode == 0 and '"error"' not in done.stdout, done.stderr or done.stdout


def test_control_nothing_that_is_sent_could_stay_behind(sent: tuple[str, dict[str, str]], folder: Path) -> None:
    """Else a module that is sent in vain, or taken from this machine, would not be noticed."""
    bootstrap, sources = sent
    for left_out in sources:
        others = {name: text for name, text in sources.items() if name != left_out}
        done = in_a_container(bootstrap, others, "prune", {"folder": str(folder), **PRUNE})
        assert done.returncode == 1 and left_out.rpartition(".")[2] in done.stderr, left_out
