"""How the program gets into a cluster: kubeconfigs of every kind, commands that give a token, a pod's own identity, and credentials that
end while somebody waits."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ptjob_call import PROGRAM, RUN, Manager

from tests.calling import Answer, answer_of, call
from tests.components.cluster.running import Cluster
from tests.skills.kit.api_stand_in import StandIn, kubeconfig, page, stand_in, status

LABELS = {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": "tiny", "trainyard.dev/run-id": RUN}
META = {"name": "tiny", "uid": "u-1", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": LABELS}
SPEC: dict[str, Any] = {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": {"spec": {"containers": []}}}}}
V1 = "client.authentication.k8s.io/v1"


def job(*conditions: dict[str, str]) -> dict[str, Any]:
    return {"kind": "PyTorchJob", "metadata": META, "spec": SPEC, "status": {"conditions": list(conditions)}}


ENDED = job({"type": "Succeeded", "status": "True", "reason": "Done", "message": "it has ended"})


def plugin(code: str, **more: Any) -> dict[str, Any]:
    return {"exec": {"apiVersion": V1, "command": sys.executable, "args": ["-c", code], **more}}


def printing(token: str, **more: str) -> str:
    return f"import json; print(json.dumps({{'apiVersion': '{V1}', 'kind': 'ExecCredential', 'status': {{'token': {token}, **{more}}}}}))"


def of_one_job(path: str, *, ended: bool) -> tuple[int, dict[str, str], Any]:
    """What a server answers that has one job without pods."""
    if "watch=1" in path:
        return 200, {}, [{"type": "MODIFIED", "object": ENDED}] if ended else []
    if "pods" in path:
        return 200, {}, page([])
    thing = ENDED if ended else job()
    return 200, {}, {**page([]), "items": [thing]} if "fieldSelector" in path else thing


@pytest.fixture
def script() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


def list_jobs(config: Path | str, **env: str) -> Answer:
    return call(PROGRAM, "list", env={"KUBECONFIG": str(config), **env}, timeout_s=60)


def until(ready: Callable[[], Any], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.05)


# --- the command under `exec` ------------------------------------------------------------------------------------------


@pytest.mark.situation(
    "S21", "a kubeconfig whose exec command never ends", "exit 4 after a deadline, with the command and its words"
)
@pytest.mark.parametrize("stubborn", [False, True], ids=["ends when told", "must be killed"])
def test_a_command_that_never_ends_is_ended_with_all_that_it_started(tmp_path: Path, stubborn: bool) -> None:
    child = "import subprocess, sys, time; import signal; " + ("signal.signal(15, signal.SIG_IGN); " if stubborn else "")
    code = child + "print('open https://sign.in/ABC', file=sys.stderr, flush=True); p = subprocess.Popen(['sleep', '300']); "
    code += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(300)"
    config = kubeconfig(tmp_path / "config", "http://127.0.0.1:9", user=plugin(code))
    began = time.monotonic()
    answer = list_jobs(config, TRAINYARD_EXEC_TIMEOUT_S="1.5")
    assert answer.code == 4 and time.monotonic() - began < 30
    told = answer.error["message"]
    assert "users[me].user.exec" in told and "within 1.5 s" in told and "https://sign.in/ABC" in told and str(config) in told
    assert "open https://sign.in/ABC" in answer.stderr, "shown while it runs"
    until(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists(), "the child to be gone")


def test_a_command_that_asks_is_told_that_nobody_is_there(tmp_path: Path) -> None:
    """It has no terminal, so that it fails and does not wait; one that always asks is not even started."""
    asking = kubeconfig(tmp_path / "asking", "http://127.0.0.1:9", user=plugin("open('/dev/tty'); input()"))
    answer = list_jobs(asking)
    assert answer.code == 4 and "/dev/tty" in answer.error["message"]
    never = kubeconfig(
        tmp_path / "always", "http://127.0.0.1:9", user=plugin("import time; time.sleep(99)", interactiveMode="Always")
    )
    assert "needs a terminal" in list_jobs(never).error["message"]


def test_on_a_terminal_the_command_can_ask(script: StandIn, tmp_path: Path) -> None:
    """A person types the token; what the command prints as a question is seen."""
    config = kubeconfig(tmp_path / "config", script.address, user=plugin("t = input(); " + printing("t")))
    script.token, script.route = "typed", lambda _: (200, {}, page([]))
    ours, theirs = os.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        words = [sys.executable, str(PROGRAM), "list", "--json"]
        env = {**os.environ, "KUBECONFIG": str(config)}
        process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)
        os.close(theirs)
        terminal.write(b"typed\n")
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0 and json.loads(stdout)["ok"], stderr


@pytest.mark.situation(
    "R64", "an exec command whose tokens last a second", "each is used as long as it lasts, and the wait goes on"
)
def test_tokens_of_a_second_are_made_anew(script: StandIn, tmp_path: Path) -> None:
    soon = (
        "__import__('datetime').datetime.fromtimestamp(__import__('time').time() + 1, __import__('datetime').UTC).isoformat()"
    )
    count = f"f = open({str(tmp_path / 'count')!r}, 'a+'); f.write('x'); f.flush(); "
    code = count + printing("'good'").replace("**{}", f"'expirationTimestamp': {soon}")
    config = kubeconfig(tmp_path / "config", script.address, user=plugin(code))
    script.token, script.route = (
        "good",
        lambda path: of_one_job(path, ended=sum("watch=1" in each for each in script.asked) > 3),
    )
    answer = Manager(config, "ml")("wait", "tiny", "--engine", "pytorchjob", "--timeout", "30")
    assert answer.code == 0, answer.document
    assert len((tmp_path / "count").read_text()) >= 2 and not script.turned_away


# --- credentials that end in mid-run -----------------------------------------------------------------------------------


WAYS = ["in the kubeconfig", "in a file", "from a command"]


def sign_in(way: str, folder: Path, server: str, token: str) -> Path:
    (folder / "token").write_text(token)
    if way == "in a file":
        return kubeconfig(folder / "config", server, user={"tokenFile": str(folder / "token")})
    if way == "from a command":
        code = printing(f"open({str(folder / 'token')!r}).read()")
        return kubeconfig(folder / "config", server, user=plugin(code))
    return kubeconfig(folder / "config", server, user={"token": token})


@pytest.mark.situation(
    "R65", "a token that ends while a job is waited for", "said once, and waited for until somebody has signed in anew"
)
@pytest.mark.parametrize("way", WAYS)
def test_a_wait_outlives_its_token(script: StandIn, tmp_path: Path, way: str) -> None:
    config = sign_in(way, tmp_path, script.address, "old")
    script.token, ended = "old", False

    script.route = lambda path: of_one_job(path, ended=ended)
    manager = Manager(config, "ml")
    process = manager.start("wait", "tiny", "--engine", "pytorchjob", "--timeout", "30")
    until(lambda: any("watch=1" in path for path in script.asked), "the watch")
    script.token = "new"
    until(lambda: script.turned_away >= 2, "the refusal")
    ended = True
    sign_in(way, tmp_path, script.address, "new")
    answer = manager.answer(process)
    assert (answer.code, answer.data["state"]) == (0, "finished"), answer.document
    assert answer.stderr.count("waiting for it") == 1 and "were read anew" in answer.stderr


def test_at_the_deadline_it_is_exit_4_and_a_first_call_does_not_wait(script: StandIn, tmp_path: Path) -> None:
    manager = Manager(kubeconfig(tmp_path / "config", script.address), "ml")
    words = ("wait", "tiny", "--engine", "pytorchjob", "--timeout")
    script.token = "another"
    began = time.monotonic()
    first = manager(*words, "60")
    assert (first.code, first.error["code"]) == (4, "credentials") and time.monotonic() - began < 30
    script.token, script.answers = None, [(200, {}, job()), (200, {}, {**page([]), "items": [job()]})]
    gone = (401, {}, status(401, "Unauthorized", "Unauthorized"))
    script.answers += [gone] * 20
    late = manager(*words, "3")
    assert (late.code, late.error["code"]) == (4, "credentials"), late.document
    assert script.asked and len(script.answers) > 10, "the pauses grow"


def test_the_lines_of_a_job_go_on_after_signing_in_anew(script: StandIn, tmp_path: Path) -> None:
    config = sign_in("in a file", tmp_path, script.address, "old")
    running = {"name": "pytorch", "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    labels = {**LABELS, "training.kubeflow.org/job-name": "tiny", "training.kubeflow.org/replica-type": "master"}
    labels |= {"training.kubeflow.org/replica-index": "0"}
    meta = {**META, "name": "tiny-master-0", "uid": "p-1", "labels": labels}
    pod = {"metadata": meta, "spec": {"containers": []}, "status": {"phase": "Running", "containerStatuses": [running]}}
    script.token, ended = "old", False

    def route(path: str) -> Any:
        if path.endswith("/log") or "/log?" in path:
            first = "2026-01-01T00:00:01.000000000Z one"
            lines = [first, "2026-01-01T00:00:02.000000000Z two"] if ended else [first]
            return 200, {"content-type": "text/plain"}, lines
        if "pods" in path:
            return 200, {}, [] if "watch=1" in path else {**page([]), "items": [pod]}
        return 200, {}, ENDED if ended else job()

    script.route = route
    manager = Manager(config, "ml")
    process = manager.start("logs", "tiny", "--engine", "pytorchjob", "--follow", "--timeout", "60")
    until(lambda: any("/log?" in path for path in script.asked), "the log")
    script.token = "new"
    until(lambda: script.turned_away >= 3, "the refusal")
    ended = True
    (tmp_path / "token").write_text("new")
    answer = manager.answer(process)
    assert answer.code == 0, answer.document
    assert [line["line"] for line in answer.stream] == ["[0] one", "[0] two"]


# --- kubeconfigs of every kind -----------------------------------------------------------------------------------------


BROKEN = [
    ("a: [", 2, "not YAML"),
    ('{"current-context": "c", "contexts": []}', 2, "no context 'c'"),
    ('{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k"}}]}', 2, "the cluster 'k'"),
]


@pytest.mark.situation("S22", "a kubeconfig that cannot be used, in any way", "exit 2 or 4, with the file and the field")
def test_every_broken_kubeconfig_is_refused_by_its_field(tmp_path: Path) -> None:
    for text, code, told in BROKEN:
        (tmp_path / "config").write_text(text)
        answer = list_jobs(tmp_path / "config")
        assert (answer.code, told in answer.error["message"]) == (code, True), (text[:200], answer.document)
        assert "Traceback" not in answer.stderr
    kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    assert list_jobs(tmp_path / "config").code == 8, "control: the whole one is used, and nobody is there"


@pytest.mark.situation("S22", "a kubeconfig that cannot be used, in any way", "exit 2 or 4, with the file and the field")
def test_what_is_not_a_file_of_text_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("a: \u00e4".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 30)
    for name in ("latin", "folder", "pipe", "huge"):
        answer = list_jobs(tmp_path / name)
        assert answer.code == 2 and str(tmp_path / name) in answer.error["message"], answer.document
    secret = tmp_path / "secret"
    kubeconfig(secret, "http://127.0.0.1:9")
    secret.chmod(0)
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, str(PROGRAM), "list"]
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    done = subprocess.run(words, env={**os.environ, "KUBECONFIG": str(secret)}, capture_output=True, text=True, timeout=60)
    answer = answer_of(done.returncode, done.stdout, done.stderr)
    assert answer.code == 4 and str(secret) in answer.error["message"], answer.document


@pytest.mark.situation("S23", "KUBECONFIG is set and empty", "the usual file is used, as kubectl does")
def test_an_empty_variable_means_the_usual_file(script: StandIn, tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube" / "config", script.address)
    script.route = lambda _: (200, {}, page([]))
    assert list_jobs("", HOME=str(tmp_path)).code == 0 and script.asked
    assert list_jobs("", HOME=str(tmp_path / "elsewhere")).code == 3, "control: without that file there is none"


@pytest.mark.situation("R63", "KUBECONFIG of several files, some of them missing", "they are merged, as kubectl does")
def test_several_files_are_one_kubeconfig(script: StandIn, tmp_path: Path) -> None:
    script.route = lambda _: (200, {}, page([]))
    kubeconfig(tmp_path / "one", script.address)
    document = json.loads((tmp_path / "one").read_text())
    users = {"users": document.pop("users")}
    (tmp_path / "one").write_text(json.dumps(document))
    (tmp_path / "two").write_text(json.dumps(users))
    (tmp_path / "empty").touch()
    assert list_jobs(f"{tmp_path / 'gone'}:{tmp_path / 'one'}::{tmp_path / 'empty'}:{tmp_path / 'two'}").code == 0
    alone = list_jobs(f"{tmp_path / 'gone'}:{tmp_path / 'one'}")
    assert alone.code == 2 and "names the user 'me'" in alone.error["message"], "control: each brings its part"


@pytest.mark.situation("S24", "inside a pod, with its mounted token", "the mounted namespace is the default")
def test_in_a_pod_the_mounted_namespace_is_the_default(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """The three files where a kubelet puts them, in a mount namespace of the program's own; the token and the API server are real."""
    rules = [{"apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs"], "verbs": ["list"]}]
    config = json.loads(cluster.user("pod", namespace, rules=rules).read_text())
    server = config["clusters"][0]["cluster"]
    mounted = tmp_path / "kubernetes.io" / "serviceaccount"
    mounted.mkdir(parents=True)
    (mounted / "token").write_text(config["users"][0]["user"]["token"])
    (mounted / "ca.crt").write_bytes(base64.b64decode(server["certificate-authority-data"]))
    (mounted / "namespace").write_text(namespace)
    host, _, port = server["server"].removeprefix("https://").partition(":")
    inside = f'mount -t tmpfs tmpfs /run && mkdir -p /run/secrets && mount --bind {tmp_path} /run/secrets && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", inside, "sh", sys.executable, str(PROGRAM), "list"]
    env = {**os.environ, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "KUBECONFIG": str(tmp_path / "gone")}

    def ask(*more: str) -> Answer:
        done = subprocess.run([*words, *more], env=env, capture_output=True, text=True, timeout=60)
        return answer_of(done.returncode, done.stdout, done.stderr)

    answer = ask()
    assert answer.document["data"]["cluster"]["namespace"] == namespace, answer.document
    assert {check["id"] for check in answer.document["checks"]} == {"list.trainjob", "list.hyperpodjob"}, "what it may not list"
    assert ask("-n", "default").document["data"]["cluster"]["namespace"] == "default", "control: what is said goes before"
