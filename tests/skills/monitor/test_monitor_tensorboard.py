"""`tensorboard`: one command that works, one tunnel, and nothing started."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest
from monitor_call import call
from monitor_run_writer import RunWriter

writer_module = pytest.importorskip("tensorboard.summary.writer.event_file_writer")


@pytest.fixture
def run(tmp_path: Path) -> RunWriter:
    run = RunWriter(tmp_path / "a run")
    run.runner("finished")
    return run


def write_events(folder: Path) -> None:
    writer = writer_module.EventFileWriter(str(folder))
    writer.close()


def test_the_command_shows_the_folder_on_this_machine_only(run: RunWriter) -> None:
    write_events(run.path / "tensorboard")
    answer = call("tensorboard", run.path)
    words = shlex.split(answer["data"]["command"])
    assert words == ["tensorboard", "--logdir", str(run.path / "tensorboard"), "--host", "127.0.0.1", "--port", "6006"]
    assert answer["data"]["tunnel"] == f"ssh -N -L 6006:127.0.0.1:6006 {socket.gethostname()}"
    assert answer["data"]["event_files"] == 1 and answer["changed"] == []


def test_the_tunnel_goes_to_the_host_and_port_given(run: RunWriter) -> None:
    write_events(run.path / "tensorboard")
    data = call("tensorboard", run.path, "--host", "me@trainbox", "--port", "7007")["data"]
    assert data["tunnel"] == "ssh -N -L 7007:127.0.0.1:7007 me@trainbox" and data["command"].endswith("--port 7007")


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "x;y", "$(id)"])
def test_a_host_that_is_none_is_refused(run: RunWriter, host: str) -> None:
    write_events(run.path / "tensorboard")
    assert call("tensorboard", run.path, f"--host={host}", code=2)["error"]["code"] == "usage"


def test_event_files_of_other_trainers_are_found_where_they_are(run: RunWriter) -> None:
    write_events(run.path / "lightning_logs" / "version_0")
    write_events(run.path / "lightning_logs" / "version_1")
    write_events(run.path / "checkpoints" / "not" / "looked" / "at")
    data = call("tensorboard", run.path)["data"]
    assert data["folder"] == str(run.path / "lightning_logs") and data["event_files"] == 2


def test_without_event_files_the_hint_is_the_trainers_option(run: RunWriter) -> None:
    error = call("tensorboard", run.path, code=3)["error"]
    assert error["code"] == "not-found" and "--tensorboard" in error["hint"]
    assert call("tensorboard", run.path / "none", code=3)["error"]["code"] == "not-found"
    assert call("tensorboard", run.path / "runner.json", code=3)["error"]["code"] == "not-found"
