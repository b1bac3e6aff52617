"""What a rank worked on its own is told apart from what it waited."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import nn
from trainyard import rank_pace
from trainyard.aside import Aside
from trainyard.own_time import OwnTime
from trainyard.rank_pace import RankPace, append


class Slow(nn.Module):
    """A layer whose forward pass takes a tenth of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        out: torch.Tensor = self.inner(x)
        return out


def test_waiting_is_not_work() -> None:
    """0.1 s of work and 0.3 s of waiting for others after the last gradient; what came before `begin` counts for nothing."""
    model = Slow()
    own = OwnTime([model])
    own.begin()
    time.sleep(0.2)
    own.begin()
    began = time.monotonic()
    model(torch.ones(2, 4)).sum().backward()
    worked = time.monotonic() - began
    time.sleep(0.3)
    seconds = own.taken()
    assert len(seconds) == 1 and 0.09 < seconds[0] <= worked + 0.1, (seconds, worked)
    assert own.taken() == [], "a step is told once"
    own.close()
    own.begin()
    model(torch.ones(2, 4)).sum().backward()
    assert own.taken() == [], "the hook is gone"


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    """Copies, pickles and gradients are those of a model without the hook."""
    import copy

    model, plain = Slow(), Slow()
    plain.load_state_dict(model.state_dict())
    own = OwnTime([model])
    own.begin()
    for each in (model, plain):
        each(torch.ones(2, 4)).sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), plain.parameters(), strict=True))  # type: ignore[arg-type]
    copy.deepcopy(model)
    torch.save(model.state_dict(), tmp_path / "state.pt")


def test_without_a_model_nothing_is_told() -> None:
    own = OwnTime([object(), nn.Linear(2, 2).requires_grad_(False)])
    own.begin()
    assert own.taken() == []


def test_a_line_a_window(tmp_path: Path) -> None:
    """One rank of several writes; a single one, and one that is told not to, does not. A folder that cannot be written is nobody's fault."""
    model, aside = Slow(), Aside()
    for ranks, folder in ((2, tmp_path / "two"), (1, tmp_path / "one"), (2, tmp_path / "file")):
        folder.write_text("") if folder.name == "file" else folder.mkdir()
        pace = RankPace(folder, 1, ranks, [model], aside, window_s=0.0)
        pace.restart()
        for step in (1, 2):
            model(torch.ones(2, 4)).sum().backward()
            pace.arrived(step)
            pace.begin()
            aside.drain(5.0)
        pace.close()
    lines = [json.loads(line) for line in (tmp_path / "two" / "ranks" / "rank-0001.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(line["own_s"] > 0.09 for line in lines), lines
    assert not (tmp_path / "one" / "ranks").exists()


def test_the_file_stays_small(tmp_path: Path) -> None:
    file = tmp_path / "ranks" / "rank-0000.jsonl"
    for step in range(3000):
        append(file, {"step": step, "x": "y" * 100})
    assert file.stat().st_size <= rank_pace.MAX_BYTES and json.loads(file.read_text().splitlines()[-1])["step"] == 2999
