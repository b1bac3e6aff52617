"""A part in the cache is whole or not there; two builders make it once; where it cannot be made, the reason is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.when_changed("tests/components/**/*")
ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
MAKES = 'for last; do :; done; tar cf "$last" -C / etc/hostname'
"""What mmdebstrap does, as far as the cache is concerned: its last word is the tar that it writes."""


@pytest.fixture
def own(tmp_path: Path, images_possible: None) -> dict[str, str]:
    """An environment with an empty cache, and a folder first in PATH for programs of the test's own."""
    (tmp_path / "bin").mkdir()
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


def mmdebstrap(tmp_path: Path, script: str) -> Path:
    """Stands in for the real one; the file that is returned has a line a call."""
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "mmdebstrap"
    program.write_text(f"#!/bin/sh\necho call >>{calls}\n{script}\n")
    program.chmod(0o755)
    return calls


def start(own: dict[str, str], *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.components.images", *words]
    return subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(own: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    with start(own, *words) as process:
        out, err = process.communicate(timeout=LIMIT_S)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def built(tmp_path: Path) -> list[str]:
    """Names of folders in the cache, without versions."""
    return sorted(path.name.partition("@")[0] for path in (tmp_path / "cache" / "trainyard").iterdir() if path.is_dir())


def test_two_builders_make_a_part_once(own: dict[str, str], tmp_path: Path) -> None:
    calls = mmdebstrap(tmp_path, f"sleep 0.3; {MAKES}")
    with start(own, "build", "base") as one, start(own, "build", "base") as other:
        for process in (one, other):
            process.communicate(timeout=LIMIT_S)
    assert (one.returncode, other.returncode) == (0, 0)
    assert calls.read_text() == "call\n" and built(tmp_path) == ["base"]
    folder = Path(finish(own, "folder", "base").stdout.strip())
    assert sorted(path.name for path in folder.iterdir()) == ["layer.json", "layer.tar.gz"]


def test_a_part_that_fails_leaves_nothing(own: dict[str, str], tmp_path: Path) -> None:
    mmdebstrap(tmp_path, f"{MAKES}; exit 3")
    failed = finish(own, "build", "base")
    assert failed.returncode == 1 and "exit status 3" in failed.stderr
    assert built(tmp_path) == []
    assert finish(own, "folder", "base").returncode == 1


def test_a_killed_build_is_done_again(own: dict[str, str], tmp_path: Path) -> None:
    calls, pid = mmdebstrap(tmp_path, f"{MAKES}; echo $$ >{tmp_path}/pid; exec sleep 600"), tmp_path / "pid"
    with start(own, "build", "base") as process:
        deadline = time.monotonic() + LIMIT_S
        while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert built(tmp_path) == ["base.unfinished"]
    mmdebstrap(tmp_path, MAKES)
    assert finish(own, "build", "base").returncode == 0
    assert built(tmp_path) == ["base"] and calls.read_text() == "call\ncall\n"


def test_an_unknown_part_is_named(own: dict[str, str]) -> None:
    refused = finish(own, "build", "basis")
    assert (
        refused.returncode == 2 and "no such part: basis (there are buildkit, base, small-torch, new-docker)" in refused.stderr
    )


def test_without_go_the_reason_is_said(own: dict[str, str], tmp_path: Path) -> None:
    """Only for what needs it: the base image is made all the same."""
    mmdebstrap(tmp_path, MAKES)
    tools = ("gcc", "readelf", "sh", "tar", "dockerd", "docker-registry", "skopeo", "htpasswd", "runc")
    for tool in tools:
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / "bin" / tool).symlink_to(found)
    alone = {**own, "PATH": str(tmp_path / "bin")}
    refused = finish(alone, "build")
    assert refused.returncode == 1 and "need Go 1.26.8 or newer to build buildkit" in refused.stderr
    assert finish(alone, "build", "base").returncode == 0


def test_without_root_it_is_skipped(tmp_path: Path) -> None:
    one = "tests/components/test_images_registry.py::test_an_image_is_put_there_and_read_back"
    command = ["unshare", "--user", sys.executable, "-m", "pytest", "-p", "no:cacheprovider", one]
    own = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "TRAINYARD_REQUIRE": ""}
    said = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=LIMIT_S).stdout
    assert "1 skipped" in said and "the components for images need root" in said
    own["TRAINYARD_REQUIRE"] = "all"
    said = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=LIMIT_S).stdout
    assert "TRAINYARD_REQUIRE=all, and it was skipped: " in said
