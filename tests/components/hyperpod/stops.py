"""Every way in which workers under HyperPod's launcher hear of a stop, tried: what they got, whether they saved, and what a resume lost.

    python -m tests.components.hyperpod.stops --output shared-docs/hyperpod-stops.md     # the whole table, minutes

One run of two nodes goes through all of it and is then compared, step for step, with the same run undisturbed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.components.hyperpod import agents, launcher
from tests.components.hyperpod.pair import OURS, PATIENCE_S, ROLLING_STEPS, STEP_S, Node, Pair, lines_of, running, uninterrupted

STEPS_BEFORE = 12
"""At least so many steps before each stop; fewer than between two rolling checkpoints."""
FAULT_RULE = {"name": "lossIsThere", "logPattern": ".*trainyard step=.*", "faultOnMatch": True}
HANG_RULE = {"name": "never", "logPattern": ".*never.*", "expectedStartCutOffInSeconds": 4}


@dataclass
class Row:
    """One way, and what came of it."""

    way: str
    signals: str = ""
    saved: str = ""
    workers: str = ""
    launchers: str = ""
    seconds: float = 0.0
    resumed: str = ""

    def line(self) -> str:
        cells = (self.way, self.signals, self.saved, self.workers, self.launchers, f"{self.seconds:.1f}", self.resumed)
        return f"| {' | '.join(cells)} |"


class Tour:
    """The run so far, and its rows."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.rows: list[Row] = []

    @contextmanager
    def pair(self, options: tuple[str, ...] = OURS) -> Iterator[Pair]:
        with running(self.folder, self.steps, options) as pair:
            pair.faults = len(self.rows)
            self._begin(pair)
            yield pair

    def _begin(self, pair: Pair, rules: list[dict[str, object]] | None = None) -> None:
        """Train on; the row before learns where from."""
        before, last = len(pair.events("restored")), pair.last_step()
        pair.begin(rules)
        pair.until("restored", lambda: len(pair.events("restored")) > before)
        step = pair.events("restored")[-1]["step"]
        if self.rows and not self.rows[-1].resumed:
            self.rows[-1].resumed = f"step {step}, {last - step} lost"
        pair.until("steps", lambda: pair.last_step() >= last + STEPS_BEFORE)

    def go(
        self,
        way: str,
        pair: Pair,
        act: Callable[[Pair], None],
        *,
        rules: list[dict[str, object]] | None = None,
        goes_on: bool = True,
    ) -> Row:
        """Do it to the running pair, note what came of it, and train on."""
        heard, ended = [len(node.heard()) for node in pair.nodes], [len(node.worker_ends()) for node in pair.nodes]
        saves, nodes = len(self._stop_saves(pair)), list(pair.nodes)
        began = time.monotonic()
        act(pair)
        row = Row(way, seconds=time.monotonic() - began)
        got = [node.heard()[count:] for node, count in zip(nodes, heard, strict=True)]
        row.signals = each(["+".join(words) or "none" for words in got])
        row.workers = each([" ".join(map(str, node.worker_ends()[count:])) for node, count in zip(nodes, ended, strict=True)])
        new = self._stop_saves(pair)[saves:]
        row.saved = f"yes, step {new[-1]}" if new else "no"
        row.launchers = each([told(node) for node in nodes])
        self.rows.append(row)
        print(row.line(), flush=True)
        if goes_on:
            self._begin(pair, rules)
        return row

    def _stop_saves(self, pair: Pair) -> list[int]:
        return [event["step"] for event in pair.events("committed") if "stop" in event["reasons"]]


def told(node: Node) -> str:
    """How its launcher stands: its state, or the exit code."""
    code = node.process.poll()
    return agents.state(node.agent) if code is None else f"exit {code}"


def each(words: list[str]) -> str:
    return words[0] if len(set(words)) == 1 else ", ".join(words)


# --- the ways ----------------------------------------------------------------------------------------------------


def stop_gracefully(pair: Pair) -> None:
    agents.stop(pair.agents, graceful=True, timeout_s=20)
    agents.wait_for(pair.agents, "ready", PATIENCE_S)


def stop_plainly(pair: Pair) -> None:
    agents.stop(pair.agents, graceful=False)
    agents.wait_for(pair.agents, "ready", PATIENCE_S)


def crash_a_worker(pair: Pair) -> None:
    """It is found on both nodes; a start is then answered with 200 and ignored, and a stop clears up."""
    os.kill(pair.nodes[1].worker(), signal.SIGKILL)
    agents.wait_for(pair.agents, "faulted", PATIENCE_S)
    agents.start(pair.agents, pair.faults, "127.0.0.1", 1, ["127.0.0.1"] * 2)
    time.sleep(0.5)
    assert agents.states(pair.agents) == ["faulted", "faulted"]
    agents.stop(pair.agents, graceful=True)
    agents.wait_for(pair.agents, "ready", PATIENCE_S)


def wait_for_the_rule(pair: Pair) -> None:
    """Node 0's launcher finds the line; the workers hear nothing of it until the stop."""
    pair.until("a fault by the rule", lambda: "faulted" in agents.states(pair.agents))
    stop_gracefully(pair)


def delete_one_pod(pair: Pair) -> None:
    """A drain: both save, the other node's launcher calls it a fault; a new pod comes and all start again."""
    first = pair.nodes[0]
    os.kill(first.pid, signal.SIGTERM)
    first.process.wait(PATIENCE_S)
    agents.wait_for(pair.agents[1:], "faulted", PATIENCE_S)
    assert "-36608" in str(pair.agents[1].call("GET", "/status")["message"])
    agents.stop(pair.agents[1:], graceful=True)
    agents.wait_for(pair.agents[1:], "ready", PATIENCE_S)
    pair.replace(0)


def delete_both_pods(pair: Pair) -> None:
    _tell_all(pair)
    _wait_for_all(pair)
    _replace_all(pair)


def delete_twice(pair: Pair) -> None:
    """Told twice, the launcher tells its worker twice: held still meanwhile, the worker finds both at once."""
    workers = [node.worker() for node in pair.nodes]

    def twice() -> None:
        for _ in range(2):
            _tell_all(pair)
            time.sleep(0.5)

    _hold(workers, twice)
    _wait_for_all(pair)
    _replace_all(pair)


def delete_while_it_stops(pair: Pair) -> None:
    """SIGUSR1, and SIGTERM before the step is over: a pod that is deleted while the operator scales down."""
    workers = [node.worker() for node in pair.nodes]

    def both() -> None:
        agents.stop(pair.agents, graceful=True, timeout_s=20)
        time.sleep(0.5)
        _tell_all(pair)
        time.sleep(0.5)

    _hold(workers, both)
    _wait_for_all(pair)
    _replace_all(pair)


def shut_down(pair: Pair) -> None:
    agents.shut_down(pair.agents)
    _wait_for_all(pair)
    _replace_all(pair)


def finish(pair: Pair) -> None:
    agents.wait_for(pair.agents, "completed", PATIENCE_S)
    agents.shut_down(pair.agents)
    _wait_for_all(pair)


def _tell_all(pair: Pair) -> None:
    for node in pair.nodes:
        os.kill(node.pid, signal.SIGTERM)


def _wait_for_all(pair: Pair) -> None:
    for node in pair.nodes:
        node.process.wait(PATIENCE_S)


def _replace_all(pair: Pair) -> None:
    for number in range(len(pair.nodes)):
        pair.replace(number)


def _hold(pids: list[int], act: Callable[[], object]) -> None:
    """`act` while these processes stand still: what they are sent meanwhile, they find together."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        act()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def delete_waiting_pod(folder: Path, *, as_process_1: bool) -> Row:
    """SIGTERM before the first start."""
    node = Node(folder, 0, OURS, 1, as_process_1=as_process_1)
    try:
        agents.wait_for([node.agent], "ready", PATIENCE_S)
        began = time.monotonic()
        os.kill(node.pid, signal.SIGTERM)
        name = "SIGTERM before the first /start" + (", as process 1" if as_process_1 else ", beside the pod's own process 1")
        row = Row(name, "-", "-", "-", resumed="-")
        try:
            row.launchers = f"exit {node.process.wait(3)}"
        except subprocess.TimeoutExpired:
            row.launchers = f"{told(node)}: ignored, until the kubelet's SIGKILL"
        row.seconds = time.monotonic() - began
        return row
    finally:
        node.end()


# --- the tours ---------------------------------------------------------------------------------------------------


def short(tour: Tour) -> None:
    """What CI does: a stop of each kind, a crash, a SIGKILL, and the end."""
    with tour.pair(()) as pair:
        tour.go("/stop, the launcher's own defaults", pair, stop_plainly, goes_on=False)
    with tour.pair() as pair:
        tour.go("/stop graceful", pair, stop_gracefully)
        tour.go("/stop", pair, stop_plainly)
        tour.go("a worker is killed", pair, crash_a_worker)
        tour.go("SIGTERM to one pod (a drain)", pair, delete_one_pod)
        tour.go("completion, then /shutdown", pair, finish, goes_on=False)


def whole(tour: Tour) -> None:
    with tour.pair(()) as pair:
        tour.go("/stop, the launcher's own defaults", pair, stop_plainly)
        tour.go("/stop graceful, the launcher's own defaults", pair, stop_gracefully, goes_on=False)
    with tour.pair() as pair:
        tour.go("/stop graceful", pair, stop_gracefully)
        tour.go("/stop", pair, stop_plainly)
        tour.go("a worker is killed; a /start while faulted changes nothing", pair, crash_a_worker, rules=[FAULT_RULE])
        tour.go("a log rule finds its line, then /stop graceful", pair, wait_for_the_rule, rules=[HANG_RULE])
        tour.go("a log rule misses its line, then /stop graceful", pair, wait_for_the_rule)
        tour.go("SIGTERM to one pod (a drain)", pair, delete_one_pod)
        tour.go("SIGTERM to both pods (deletion)", pair, delete_both_pods)
        tour.go("SIGTERM to both pods twice, before the step is over", pair, delete_twice)
        tour.go("/stop graceful, and SIGTERM before the step is over", pair, delete_while_it_stops)
        tour.go("/shutdown amid training", pair, shut_down)
        tour.go("completion, then /shutdown", pair, finish, goes_on=False)


def differences(tour: Tour, expected: dict[int, float]) -> list[str]:
    """Steps whose loss is another one than the undisturbed run's, or that nobody trained; repeated steps count each time."""
    with_losses = [(line["step"], line["loss"]) for line in lines_of(tour.folder / "steps.jsonl")]
    wrong = [f"step {step}: {loss!r}, not {expected.get(step)!r}" for step, loss in with_losses if expected.get(step) != loss]
    return wrong + [f"step {step}: missing" for step in expected.keys() - dict(with_losses).keys()]


HEAD = """# What a run keeps when HyperPod's launcher stops it

Written by `python -m tests.components.hyperpod.stops --output shared-docs/hyperpod-stops.md`; do not edit. Measured with hyperpod-elastic-agent
{version} and {torch}: two nodes with one rank each, on one machine of {cores} cores, {step_ms} ms a step, a rolling checkpoint every {rolling} steps.
Except in rows that say "the launcher's own defaults", the launcher has the option of Trainyard's manifest, `--shutdown-signal=SIGTERM`. Two values in
a cell are those of node 0 and node 1. 143 means that a rank saved and stopped by agreement; a negative number is the signal that ended the process. `s`
is the duration in seconds; `next start` is the step that the next start resumed from, and how many steps were lost.

| the launcher is told | workers heard | saved at the stop | workers ended with | launcher afterwards | s | next start |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path)
    options.add_argument("--steps", type=int, default=1200)
    asked = options.parse_args()
    launcher.make()
    with tempfile.TemporaryDirectory() as scratch:
        tour = Tour(Path(scratch) / "run", asked.steps)
        tour.folder.mkdir()
        whole(tour)
        expected = uninterrupted(Path(scratch) / "undisturbed", asked.steps)
        wrong = differences(tour, expected)
        tour.rows[-1].resumed = "-"
        tour.rows += [delete_waiting_pod(tour.folder, as_process_1=flag) for flag in (True, False)]
    text = described(tour, wrong)
    print(text)
    if asked.output and not wrong:
        asked.output.write_text(text)
    raise SystemExit(1 if wrong else 0)


def described(tour: Tour, wrong: list[str]) -> str:
    asked = [str(launcher.python()), "-c", "import torch; print('torch', torch.__version__)"]
    torch = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    facts = {"version": launcher.VERSION, "torch": torch, "cores": os.cpu_count(), "step_ms": round(STEP_S * 1000)}
    end = "\nThe loss of every step, repeated steps included, equals that of the same run without any stop.\n"
    told = end if not wrong else "\nDIFFERS:\n" + "\n".join(wrong[:20]) + "\n"
    return HEAD.format(**facts, rolling=ROLLING_STEPS) + "\n".join(row.line() for row in tour.rows) + "\n" + told


if __name__ == "__main__":
    main()
