"""`report`: one file that needs nothing else, and lies about nothing."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from monitor_call import PROGRAM, call
from monitor_run_writer import KINDS, RunWriter, random_history

VOID = {"meta", "path", "br", "link", "img", "input"}
LOADS = {"script", "link", "img", "iframe", "object", "embed", "audio", "video", "source", "base"}


class Page(HTMLParser):
    """Checks nesting while it reads; collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.stack == [], self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID and (not self.stack or self.stack[-1] != tag):
            return
        assert self.stack and self.stack.pop() == tag, f"</{tag}>"

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(run: RunWriter, *words: object) -> Page:
    answer = call("report", run.path, *words)
    return Page(Path(answer["data"]["path"]).read_text())


@pytest.fixture
def run(tmp_path: Path) -> RunWriter:
    return random_history(tmp_path / "run", 8)


def test_the_page_is_well_formed_and_loads_nothing(run: RunWriter) -> None:
    page = page_of(run)
    assert not LOADS & {tag for tag, _ in page.tags}
    text = (run.path / "report.html").read_text()
    assert not any(word in text for word in ("http:", "https:", "url(", "@import", "src="))
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert "prefers-color-scheme: dark" in text


def test_the_checker_of_the_page_can_fail() -> None:
    with pytest.raises(AssertionError):
        Page("<div><p></div>")


def test_it_has_the_account_with_every_word_explained_the_plots_and_the_time_line(run: RunWriter) -> None:
    page = page_of(run)
    for word in (
        *KINDS,
        "wall time",
        "Loss",
        "Step time",
        "Throughput",
        "lr",
        "incarnations",
        "deaths and restores",
        "checkpoints committed",
    ):
        assert word in page.text, word
    styles = [attributes.get("class") for tag, attributes in page.tags if tag == "path"]
    # loss, step time, throughput; and what else the script gave: lr, a piece for each start
    assert styles.count("train") == 3 + 3 and "m-commit" in styles and "m-restore" in styles


def test_repeated_parts_are_drawn_apart(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run")
    run.launch()
    run.live()
    for _ in range(20):
        run.train(val_loss=2.0)
    styles = [attributes.get("class") for tag, attributes in page_of(run).tags if tag == "path"]
    assert "undone" not in styles and "val dots" in styles
    run.die_inside_attempt(until_restart_s=1)
    run.live(at=10)
    run.train()
    styles = [attributes.get("class") for tag, attributes in page_of(run).tags if tag == "path"]
    assert "undone" in styles and "m-death" in styles


def test_text_from_the_job_is_escaped(run: RunWriter) -> None:
    run.event("save-failed", step=3, error="<script>alert(1)</script> & \x1b[31m")
    run.runner("failed", name='<img src=x onerror="x">', reason="<b>bold</b>")
    page = page_of(run)
    assert not LOADS & {tag for tag, _ in page.tags} and "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text and '<img src=x onerror="x">' in page.text


@pytest.mark.parametrize("files", [[], ["steps.jsonl"], ["events.jsonl"], ["steps.jsonl", "events.jsonl"]])
def test_a_run_with_little_or_nothing_in_it_has_a_report_too(tmp_path: Path, files: list[str]) -> None:
    run = RunWriter(tmp_path / "run")
    run.runner("starting")
    for name in files:
        (run.path / name).write_text("garbage\n")
    assert "nothing has happened yet" in page_of(run).text


def test_losses_that_are_no_numbers_do_not_break_the_plot(run: RunWriter) -> None:
    for loss in ("nan", "inf", "-inf"):
        run.train(loss=loss)
    page = page_of(run)
    assert "Steps whose loss is no finite number: 3" in page.text
    assert not any("nan" in (attributes.get("d") or "") for tag, attributes in page.tags if tag == "path")


def test_the_answer_carries_path_goodput_and_account(run: RunWriter, tmp_path: Path) -> None:
    answer = call("report", run.path, "--output", tmp_path / "out.html")
    data = answer["data"]
    assert answer["changed"] == [data["path"]] == [str(tmp_path / "out.html")]
    assert set(data["account"]) == set(KINDS) and data["goodput"] == data["summary"]["goodput"]
    assert data["goodput"] == pytest.approx(data["account"]["productive"] / data["summary"]["wall_s"])


def test_a_dry_run_writes_nothing(run: RunWriter) -> None:
    before = sorted(run.path.iterdir())
    answer = call("report", run.path, "--dry-run")
    assert answer["changed"] == [] and not answer["data"]["written"] and sorted(run.path.iterdir()) == before


def test_a_second_report_replaces_the_first_and_nothing_else_is_overwritten(run: RunWriter) -> None:
    call("report", run.path)
    call("report", run.path)
    steps = (run.path / "steps.jsonl").read_bytes()
    error = call("report", run.path, "--output", run.path / "steps.jsonl", code=5)["error"]
    assert error["code"] == "conflict" and (run.path / "steps.jsonl").read_bytes() == steps
    assert call("report", run.path, "--output", run.path, code=2)["error"]["code"] == "usage"
    assert call("report", run.path, "--output", run.path / "no" / "x.html", code=3)["error"]["code"] == "not-found"
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def _within(memory_bytes: int, *words: object) -> dict[str, Any]:
    """The answer's data, given by a process that may not have more memory than this."""

    def limit_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    command = [sys.executable, str(PROGRAM), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=limit_memory)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert isinstance(data, dict)
    return data


def test_a_million_step_lines_are_streamed_and_thinned(tmp_path: Path) -> None:
    """`report` within 400 MB of memory, `status` in less than the file takes; the page stays small."""
    path = tmp_path / "run"
    path.mkdir()
    tail = ',"incarnation":1,"loss":2.0,"step_s":0.5,"blocked_s":0.0,"tokens_per_s":2048.0}\n'
    with (path / "steps.jsonl").open("w") as file:
        file.writelines(f'{{"step":{step},"time":{1_790_000_000 + step / 2}{tail}' for step in range(1, 1_000_001))
    status = _within((path / "steps.jsonl").stat().st_size - 1, "status", path)
    assert status["step"] == 1_000_000 and status["summary"] is None

    data = _within(400 << 20, "report", path)
    assert data["summary"]["steps"] == 1_000_000 and data["bytes"] < 400_000
    assert data["account"]["productive"] == pytest.approx(500_000, abs=1)


def test_the_report_of_a_failed_run_has_its_last_words_its_command_and_the_versions(run: RunWriter) -> None:
    (run.path / "logs").mkdir(exist_ok=True)
    (run.path / "logs" / "attempt-0000.log").write_text(
        "step 1\nTraceback (most recent call last):\nValueError: <b>sample 17</b>\n"
    )
    runner = {"state": "failed", "run_id": "0" * 16, "name": "toy", "reason": "the command exited with 1", "attempt": 0}
    (run.path / "runner.json").write_text(json.dumps(runner))
    spec = {"command": ["python", "train.py", "--lr", "3e-4"], "workdir": "/home/me/project", "python": "/usr/bin/python3"}
    (run.path / "runner-spec.json").write_text(json.dumps(spec))
    start = {
        "time": 2e9,
        "type": "start",
        "source": "trainer",
        "incarnation": 9,
        "host": "box-7",
        "torch": "2.12.1",
        "world_size": 2,
    }
    with (run.path / "events.jsonl").open("a") as events:
        events.write(json.dumps(start) + "\n")
    text = page_of(run).text
    for word in (
        "How it ended",
        "the command exited with 1",
        "ValueError: <b>sample 17</b>",
        "What was run",
        "--lr 3e-4",
        "box-7",
        "torch 2.12.1",
    ):
        assert word in text, word


def test_a_finished_run_has_no_last_words(run: RunWriter) -> None:
    assert "How it ended" not in page_of(run).text
