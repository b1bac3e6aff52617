"""Real launchers: two nodes of one job, or one alone, with ranks that need no torch."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trainyard.launch_coordinator import free_port
from trainyard.launch_key import KEY_FILE

from tests.training.launch_runs import Launcher, environment, events, of_node, runner, wait_for

PR_CAPBSET_DROP, CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 24, 21, 24
RANK = """
import os, pathlib, sys, time
rank, attempt = os.environ["RANK"], int(os.environ["TRAINYARD_ATTEMPT"])
here = pathlib.Path(f"rank-{rank}-{attempt}")
here.write_text(str(os.getpid()))
"""
WAITS = RANK + "\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)\n"
Start = Callable[..., Launcher]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "run").mkdir()
    launchers: list[Launcher] = []

    def start(
        script: str | list[str], variables: dict[str, str], run: Path | None = tmp_path / "run", **options: object
    ) -> Launcher:
        words = script
        if isinstance(script, str):
            (tmp_path / "rank.py").write_text(script)
            words = ["rank.py"]
        launchers.append(Launcher(tmp_path, list(words), environment(run, **variables), **options))
        return launchers[-1]

    yield start
    for launcher in launchers:
        launcher.kill()


def two(start: Start, script: str, port: int, **more: object) -> list[Launcher]:
    return [start(script, of_node(node, 2, port), **more) for node in (0, 1)]


def attempt(folder: Path, number: int) -> Callable[[], bool]:
    return lambda: all((folder / f"rank-{rank}-{number}").exists() for rank in (0, 1))


def test_two_nodes_know_each_other_by_a_key_that_only_the_run_folder_holds(start: Start, tmp_path: Path) -> None:
    nodes = two(start, RANK, free_port())
    assert [node.ends() for node in nodes] == [0, 0]
    key = tmp_path / "run" / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    secret = key.read_text().strip()
    assert len(secret) == 64
    shown = "".join(path.read_text() for path in [*tmp_path.glob("*.log"), *(tmp_path / "run").glob("*.json*")])
    assert secret not in shown and runner(tmp_path / "run")["state"] == "finished"


def test_a_rank_that_fails_starts_all_again_and_the_reason_names_node_code_and_its_last_words(
    start: Start, tmp_path: Path
) -> None:
    script = (
        RANK + "\nif rank == '1' and attempt == 0: raise RuntimeError('shard 7 is torn')\nif attempt == 0: time.sleep(60)\n"
    )
    nodes = two(start, script, free_port())
    assert [node.ends() for node in nodes] == [0, 0], nodes[0].text()
    ended = [event for event in events(tmp_path / "run") if event["type"] == "attempt-ended"]
    assert ended[0]["reason"].startswith("node 1 ended with 1: rank 1 exited with 1: RuntimeError: shard 7 is torn")
    assert (runner(tmp_path / "run")["restarts"], len(ended)) == (1, 2)
    assert "RuntimeError: shard 7 is torn" in nodes[1].text()  # passed on, too


def test_node_0s_successor_is_known_to_the_nodes_that_stayed(start: Start, tmp_path: Path) -> None:
    port = free_port()
    nodes = two(start, WAITS, port)
    wait_for("both ranks", attempt(tmp_path, 0))
    key = (tmp_path / "run" / KEY_FILE).read_text()
    nodes[0].kill()
    nodes[0] = start(WAITS, of_node(0, 2, port))
    wait_for("both ranks again", attempt(tmp_path, 1))
    (tmp_path / "go").touch()
    assert [node.ends() for node in nodes] == [0, 0]
    told = runner(tmp_path / "run")
    assert (told["restarts"], told["last_failure"]) == (1, "the launcher of node 0 was killed")
    assert (tmp_path / "run" / KEY_FILE).read_text() == key


@pytest.mark.parametrize("run", [False, True], ids=["no run folder", "a run folder"])
def test_a_node_of_another_run_does_not_take_part(start: Start, tmp_path: Path, run: bool) -> None:
    port, folder = free_port(), tmp_path / "run" if run else None
    nodes = two(start, WAITS, port, run=folder)
    wait_for("both ranks", attempt(tmp_path, 0))
    stranger = start(
        WAITS, {**of_node(1, 2, port), "TRAINYARD_RUN_ID": "ffffffffffffffff", "TRAINYARD_NODE_TIMEOUT_S": "1"}, run=folder
    )
    assert stranger.ends() == 1
    assert "does not know this job's key" in stranger.text()
    (tmp_path / "go").touch()
    assert [node.ends() for node in nodes] == [0, 0]
    assert not (tmp_path / "rank-1-1").exists()
    assert ("there is no key" in nodes[0].text()) is not run


def test_a_node_that_does_not_see_the_key_says_so_and_waits_for_it_only_as_long_as_for_node_0(
    start: Start, tmp_path: Path
) -> None:
    node = start(RANK, {**of_node(1, 2, free_port()), "TRAINYARD_NODE_TIMEOUT_S": "1"})
    assert node.ends() == 1
    assert f"no key in {tmp_path / 'run'}" in node.text()


def listening(pid: int) -> set[str]:
    """Ports of this process that others can connect to."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


def test_a_job_of_one_node_opens_no_port(start: Start, tmp_path: Path) -> None:
    launcher = start(["--program", "--", sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"], {})
    wait_for("the program", lambda: "\nup" in launcher.text())
    assert listening(launcher.process.pid) == set()
    launcher.process.terminate()
    assert launcher.ends() == 143


# --- what passes: 134, the next container can perhaps ---------------------------------------------------------------


def test_a_port_that_is_taken_ends_this_container_and_not_the_job(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        launcher = start(RANK, of_node(0, 2, taken.getsockname()[1]))
        assert launcher.ends() == 134, launcher.text()
    assert "Address already in use" in launcher.text()
    assert runner(tmp_path / "run")["state"] == "starting"


def limited(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


def test_no_file_descriptor_for_the_ranks_ends_this_container_and_not_the_job(start: Start, tmp_path: Path) -> None:
    few = limited(resource.RLIMIT_NOFILE, 7)  # enough to start with
    launcher = start(["--program", "--", "true"], {}, preexec_fn=few)
    assert launcher.ends() == 134
    assert "Too many open files" in launcher.text()


def test_a_volume_that_takes_nothing_ends_this_container_and_not_the_job(start: Start, tmp_path: Path) -> None:
    full = limited(resource.RLIMIT_FSIZE, 0)
    log, writer = os.pipe()  # a file would take nothing either
    launcher = start(RANK, of_node(0, 2, free_port()), preexec_fn=full, stdout=writer, stderr=writer)
    os.close(writer)
    with open(log, "rb") as said:
        text = said.read().decode()
    assert launcher.ends() == 134, text
    assert "File too large" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="by design: a full process table without root is everybody's")
def test_a_full_process_table_ends_this_container_and_not_the_job(start: Start, tmp_path: Path) -> None:
    """With room for one process more each time: first a thread cannot be started, then the program, and then all can."""
    said: list[str] = []
    while True:
        launcher = start(
            ["--program", "--", "true"],
            {"TRAINYARD_MAX_RESTARTS": "20"},
            preexec_fn=as_somebody(uid=54000 + len(said), processes=len(said) + 1),
        )
        if launcher.ends() != 134:
            break
        said.append(launcher.text())
    assert launcher.ends() == 0, launcher.text()
    assert "can't start new thread" in said[0]
    assert any("Resource temporarily unavailable" in text for text in said)


def as_somebody(uid: int, processes: int) -> Callable[[], None]:
    """The kernel exempts root, and whoever may administer; files must stay readable."""

    def become() -> None:
        for capability in (CAP_SYS_ADMIN, CAP_SYS_RESOURCE):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
        os.setresuid(uid, 0, 0)

    return become


@pytest.mark.parametrize("variables", [{"PET_NNODES": "x"}, {"PET_NNODES": "0"}, of_node(0, 2, 70000), of_node(2, 2, 29500)])
def test_wrong_words_are_2(start: Start, variables: dict[str, str]) -> None:
    assert start(RANK, variables).ends() == 2


# --- the console ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("kind", ["closed pipe", "full device"])
def test_a_console_that_is_gone_costs_the_lines_and_not_the_job(start: Start, tmp_path: Path, stream: str, kind: str) -> None:
    if kind == "full device":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, out = os.pipe()
        os.close(reader)
    program = "import os, sys; sys.stderr.write('x' * 200000); sys.exit(os.environ['TRAINYARD_ATTEMPT'] == '0')"
    launcher = start(["--program", "--", sys.executable, "-c", program], {}, **{stream: out})
    os.close(out)
    assert launcher.ends() == 0
    assert runner(tmp_path / "run")["restarts"] == 1


# --- records --------------------------------------------------------------------------------------------------------

DEEP = "[" * 100_000
WRONG = {
    "deep": DEEP,
    "text for a number": json.dumps({"run_id": "00c0ffee00c0ffee", "state": "backing-off", "attempt": "x"}),
    "a number for text": json.dumps(
        {"run_id": "00c0ffee00c0ffee", "state": "failed", "attempt": 1, "restarts": 3, "submission": 7}
    ),
    "infinite": '{"run_id": "00c0ffee00c0ffee", "state": "running", "attempt": 1e999, "restarts": 0}',
    "of another run": json.dumps({"run_id": "1111", "state": "failed", "attempt": 4, "restarts": 3, "reason": "given up"}),
    "not UTF-8": b"\xff\xfe{}",
    "huge": b" " * 3_000_000,
    "a state that nobody writes": json.dumps({"run_id": "00c0ffee00c0ffee", "state": ["failed"], "attempt": 0, "restarts": 0}),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_runner_json_that_is_not_ours_is_as_if_there_were_none(start: Start, tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "run" / "runner.json").write_bytes(text.encode() if isinstance(text, str) else text)
    launcher = start(["--program", "--", "true"], {"TRAINYARD_SUBMISSION": "7"})
    assert launcher.ends() == 0, launcher.text()
    told = runner(tmp_path / "run")
    assert (told["state"], told["attempt"], told["restarts"]) == ("finished", 0, 0)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_something_else_in_the_place_of_runner_json_does_not_end_the_job(
    start: Start, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "run" / "runner.json")
    assert start(["--program", "--", "true"], {}).ends() == 0


def test_a_launcher_that_is_killed_until_max_restarts_is_used_up_leaves_the_true_count(start: Start, tmp_path: Path) -> None:
    words = ["--program", "--", sys.executable, "-c", "import time; time.sleep(600)"]
    for number in range(3):
        launcher = start(words, {"TRAINYARD_MAX_RESTARTS": "2"})
        wait_for(
            "the attempt",
            lambda number=number: (
                runner(tmp_path / "run").get("attempt") == number and runner(tmp_path / "run")["state"] == "running"
            ),
        )
        launcher.kill()
    last = start(words, {"TRAINYARD_MAX_RESTARTS": "2"})
    assert last.ends() == 1
    told = runner(tmp_path / "run")
    assert (told["state"], told["restarts"], told["attempt"]) == ("failed", 2, 2)
    assert told["reason"] == "the launcher of node 0 was killed; max_restarts (2) is used up"


# --- what cannot pass ---


def test_a_missing_module_is_tried_once_more_and_not_to_the_limit(start: Start, tmp_path: Path) -> None:
    launcher = start("import no_such_module", {})
    assert launcher.ends() == 1
    told = runner(tmp_path / "run")
    assert told["restarts"] == 1
    assert "node 0 ended with 1: rank 0 exited with 1: ModuleNotFoundError: No module named 'no_such_module'" in told["reason"]
    assert "twice in the same way before the first step; a restart cannot help" in told["reason"]


def test_a_rank_that_is_killed_before_its_first_step_is_started_again_to_the_limit(start: Start, tmp_path: Path) -> None:
    """Its last words are the same each time, and have nothing to do with its end."""
    script = "import os, sys, signal; print('loading', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    launcher = start(script, {"TRAINYARD_MAX_RESTARTS": "2"})
    assert launcher.ends() == 1
    told = runner(tmp_path / "run")
    assert told["restarts"] == 2
    assert told["reason"].startswith("node 0 ended with 1: rank 0 killed by SIGKILL (9)")
    assert told["reason"].endswith("; max_restarts (2) is used up")


# --- plain programs -------------------------------------------------------------------------------------------------


def test_a_program_that_is_not_there_ends_at_once_and_is_named(start: Start, tmp_path: Path) -> None:
    launcher = start(["--program", "--", "no-such-program", "--steps", "4"], {})
    assert launcher.ends() == 1
    told = runner(tmp_path / "run")
    assert told["restarts"] == 0 and "no-such-program cannot be started: No such file or directory" in told["reason"]


def test_what_the_launcher_is_sent_reaches_the_program(start: Start, tmp_path: Path) -> None:
    program = "import signal; signal.signal(signal.SIGUSR1, lambda *_: exit(0)); print('up', flush=True); signal.pause()"
    launcher = start(["--program", "--", sys.executable, "-c", program], {})
    wait_for("the program", lambda: "\nup" in launcher.text())
    launcher.process.send_signal(signal.SIGUSR1)
    assert launcher.ends() == 0


def test_a_program_that_fails_is_started_again_up_to_max_restarts(start: Start, tmp_path: Path) -> None:
    launcher = start(
        ["--program", "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], {"TRAINYARD_MAX_RESTARTS": "2"}
    )
    assert launcher.ends() == 1
    told = runner(tmp_path / "run")
    assert told["restarts"] == 2
    assert told["reason"].startswith("node 0 ended with -9: killed by SIGKILL (9)")
    assert told["reason"].endswith("; max_restarts (2) is used up")
