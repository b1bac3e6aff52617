"""trainyard_exec.py: commands in containers of a real node; bytes come through as they are, and an end is never guessed."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_exec import Ran, run_in_pod

from tests.components.cluster.nodes import REAL_SELECTOR
from tests.components.cluster.running import Cluster

# A Cluster keeps its connections until the program ends; here there are many in one process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PYTHON = ["python3", "-c"]


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """With a pod `busy` on the real node, for the whole module."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.make_namespace(name)
    container = {
        "name": "main",
        "image": "local.test/python:3.11",
        "command": ["sleep", "3600"],
        "imagePullPolicy": "IfNotPresent",
    }
    spec = {"nodeSelector": REAL_SELECTOR, "terminationGracePeriodSeconds": 0, "containers": [container]}
    cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy"}, "spec": spec}], "--namespace", name)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/busy", "--namespace", name, "--timeout=90s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--timeout=90s")


@pytest.fixture
def run(api: kube.Cluster) -> Callable[..., Ran]:
    def call(*command: str, **words: object) -> Ran:
        return run_in_pod(api, "busy", "main", list(command), **words)  # type: ignore[arg-type]

    return call


def refused(run: Callable[..., Ran], *command: str, **words: object) -> shell.SkillError:
    with pytest.raises(shell.SkillError) as caught:
        run(*command, **words)
    return caught.value


def test_output_errors_and_the_exit_code_come_apart(run: Callable[..., Ran]) -> None:
    ran = run("sh", "-c", "printf 'a\\001\\377'; printf b >&2; exit 3")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (3, b"a\x01\xff", b"b")
    assert run("printf", "%s", "$HOME; `id` \u00e4").stdout == "$HOME; `id` \u00e4".encode(), "no shell reads the words"


def test_what_goes_in_comes_out(run: Callable[..., Ran]) -> None:
    data = secrets.token_bytes((3 << 20) + 17)
    code = (
        "import sys; n = int(sys.argv[1]); d = sys.stdin.buffer.read(n); import hashlib; print(hashlib.sha256(d).hexdigest())"
    )
    assert run(*PYTHON, code, str(len(data)), stdin=data).text().strip() == hashlib.sha256(data).hexdigest()


def test_the_last_bytes_before_the_end_are_not_lost(run: Callable[..., Ran]) -> None:
    """The process ends at once after its output, on both streams."""
    code = "import os; os.write(1, b'x' * 300_000 + b'end'); os.write(2, b'y')"
    for _ in range(8):
        ran = run(*PYTHON, code)
        assert len(ran.stdout) == 300_003 and ran.stdout.endswith(b"end") and ran.stderr == b"y"


def test_output_that_is_handed_on_does_not_fill_the_memory(run: Callable[..., Ran]) -> None:
    """80 MB through a listener that is slower than the pod, in pieces as they come."""
    sizes: list[int] = []

    def listen(part: bytes) -> None:
        sizes.append(len(part))
        time.sleep(0.0005)

    code = "import os; [os.write(1, b'z' * 1_000_000) for _ in range(80)]"
    loops = "import sys\nfor _ in range(80):\n    sys.stdout.buffer.write(b'z' * 1_000_000)"
    ran = run(*PYTHON, loops, on_stdout=listen, timeout_s=120)
    assert ran.exit_code == 0 and ran.stdout == b"" and sum(sizes) == 80_000_000
    assert max(sizes) < 2 << 20, "frame by frame, not all that has arrived"
    error = refused(run, *PYTHON, code)
    assert "more than 64 MiB" in str(error)


def test_errors_are_handed_on_while_the_command_runs(run: Callable[..., Ran]) -> None:
    """A verification takes an hour: its progress must not come at the end."""
    seen: list[tuple[float, bytes]] = []
    run("sh", "-c", "echo one >&2; sleep 2; echo two >&2", on_stderr=lambda part: seen.append((time.monotonic(), part)))
    assert b"".join(part for _, part in seen) == b"one\ntwo\n" and seen[-1][0] - seen[0][0] > 1


def test_a_command_that_does_not_end_is_a_time_out(run: Callable[..., Ran]) -> None:
    began = time.monotonic()
    error = refused(run, "sleep", "60", timeout_s=1.5)
    assert shell.EXIT_CODES[error.code] == 7 and error.retryable and time.monotonic() - began < 10


def test_a_command_that_does_not_read_its_input_is_no_bug_of_ours(run: Callable[..., Ran]) -> None:
    """The kubelet ends such a stream with the command's end, cuts it, or keeps it open; each is told as what it is."""
    try:
        assert run("true", stdin=b"x" * 200_000, timeout_s=5).exit_code == 0
    except shell.SkillError as error:
        assert error.code in ("unreachable", "timeout") and error.retryable
    assert refused(run, "sleep", "60", stdin=b"x" * (8 << 20), timeout_s=2).code == "timeout"


def test_what_cannot_be_run_is_told_apart(run: Callable[..., Ran], api: kube.Cluster, cluster: Cluster) -> None:
    assert refused(run, "no-such-program").code == "usage"
    with pytest.raises(shell.SkillError) as caught:
        run_in_pod(api, "absent", "main", ["true"])
    assert caught.value.code == "not-found"
    with pytest.raises(shell.SkillError) as caught:
        run_in_pod(api, "busy", "absent", ["true"])
    assert caught.value.code == "usage" and "container" in str(caught.value)


def test_a_user_without_the_right_is_told_the_rule(cluster: Cluster, namespace: str, use: Callable[[Path], None]) -> None:
    use(cluster.user("looker", namespace, rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]))
    with pytest.raises(kube.ApiError) as caught:
        run_in_pod(kube.connect(kube.Where()), "busy", "main", ["true"])
    assert caught.value.rule == {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}


def test_a_pod_that_goes_away_is_no_success(cluster: Cluster, run: Callable[..., Ran], namespace: str) -> None:
    """The last test of the module: the pod does not come back."""
    gone: list[bytes] = []

    def listen(part: bytes) -> None:
        gone.append(part)
        cluster.kubectl("delete", "pod", "busy", "--namespace", namespace, "--wait=false", "--grace-period=0", "--force")

    words = ("sh", "-c", "echo started; sleep 60")
    try:
        ran = run(*words, on_stdout=listen, timeout_s=40)
        assert ran.exit_code == 137, "killed, and the server says so"
    except shell.SkillError as error:
        assert error.code == "unreachable" and error.retryable
    assert gone
