"""A folder that is another user's: launcher and checkpointer say whose it is, who they are and what to do, and nothing is tried again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from trainyard.launch_coordinator import free_port
from trainyard.launch_key import KEY_FILE, make_key
from trainyard.whose import reason, remedy

from tests.training.launch_runs import environment, of_node

pytest_plugins = ["tests.training.rt_fixtures"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
AS_NOBODY = """
import os, sys
from trainyard import launch  # before: the other user may not look into this Python's folder
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(launch.main(sys.argv[1:]))
"""


def launched(folder: Path, node: int, **more: str) -> tuple[int, str]:
    """(exit code, output) of one launcher of two, as another user."""
    variables = environment(folder / "run", **of_node(node, 2, free_port()), TRAINYARD_NODE_TIMEOUT_S="1", **more)
    words = [sys.executable, "-c", AS_NOBODY, "rank.py"]
    done = subprocess.run(words, env=variables, cwd="/", capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("node", [0, 1])
def test_every_node_gives_up_at_once_and_says_whose_the_volume_is(memory_path: Path, node: int) -> None:
    memory_path.chmod(0o755)
    code, text = launched(memory_path, node, KUBERNETES_SERVICE_HOST="10.0.0.1")
    assert code == 1 and "Traceback" not in text, text
    assert f"{memory_path} belongs to user 0, group 0 (drwxr-xr-x), and this process is user 65534, group 65534" in text
    assert "cluster.security.run_as_user: 0 (--run-as-user 0), or give it" in text and f"chown -R 65534 {memory_path}" in text


def test_a_folder_that_lets_everybody_in_is_entered_and_node_0_waited_for(memory_path: Path) -> None:
    memory_path.chmod(0o777)
    _, text = launched(memory_path, node=1)
    assert "belongs to" not in text and "it is not there yet since 1 s; giving up" in text, text


@pytest.mark.parametrize(
    ("more", "mode"), [({}, 0o700), ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 0o2770)], ids=["here", "in a pod"]
)
def test_a_run_folder_is_its_users_and_on_a_volume_its_groups(memory_path: Path, more: dict[str, str], mode: int) -> None:
    """The volume is as Kubernetes gives it to a group: with the setgid bit. Control: a folder that is there stays as it is."""
    memory_path.chmod(0o755)
    for open_to_all in ("there", "made"):
        folder = memory_path / open_to_all
        folder.mkdir()
        os.chown(folder, 0, 65534)
        folder.chmod(0o2777 if more else 0o777)
    (memory_path / "there" / "run").mkdir(mode=0o755)
    os.chown(memory_path / "there" / "run", 65534, 65534)
    (memory_path / "there" / "run").chmod(0o755)
    for folder in ("there", "made"):
        launched(memory_path / folder, node=1, **more)
    made = (memory_path / "made" / "run").stat()
    assert (oct(made.st_mode & 0o7777), made.st_uid, made.st_gid) == (oct(mode), 65534, 65534)
    assert (memory_path / "there" / "run").stat().st_mode & 0o7777 == 0o755


AS_ROOT_WITHOUT_CAPABILITIES = """
import ctypes, sys
from trainyard import launch
header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None, use_errno=True).capset(header, none) == 0
sys.exit(launch.main(sys.argv[1:]))
"""


def test_root_of_a_pod_may_not_use_everybodys_files_and_is_told_as_whom_to_run(memory_path: Path) -> None:
    """Our pods drop all capabilities. Control: with them, root writes there."""
    os.chown(memory_path, 1000, 1000)
    memory_path.chmod(0o755)
    variables = environment(memory_path / "run", **of_node(0, 2, free_port()), TRAINYARD_NODE_TIMEOUT_S="1")
    variables |= {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    words = [sys.executable, "-c", AS_ROOT_WITHOUT_CAPABILITIES, "rank.py"]
    done = subprocess.run(words, env=variables, cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "cluster.security.run_as_user: 1000 (--run-as-user 1000)" in done.stdout + done.stderr
    assert "root_squash" not in done.stdout + done.stderr and not (memory_path / "run").exists()
    make_key(memory_path / "run")


def test_a_key_that_another_user_made_is_refused_in_the_same_words(memory_path: Path) -> None:
    memory_path.chmod(0o777)
    make_key(memory_path / "run")
    (memory_path / "run").chmod(0o777)
    for node in (0, 1):
        code, text = launched(memory_path, node)
        assert code == 1 and f"{memory_path}/run/{KEY_FILE} belongs to user 0, group 0 (-rw-------)" in text, text
        assert "cluster.security" not in text, "outside of a pod no job file has a say in it"


def test_other_errors_are_told_as_the_system_tells_them() -> None:
    full = OSError(28, "No space left on device", "/trainyard/x")
    assert (reason(full), remedy(full)) == ("No space left on device", "")
    assert reason(PermissionError(13, "Permission denied")) == "Permission denied"
    assert "root_squash" in remedy(PermissionError(13, "Permission denied", "/proc/nothing"))
