"""Curves for people: TensorBoard's event files and Weights & Biases. Rank 0's, optional, and never a reason to stop training."""

from __future__ import annotations

import html
import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.errors import ConfigError
from trainyard.speaking import warn

if TYPE_CHECKING:
    import torch

WANDB_MODES = ("offline", "online")


class TensorBoard:
    """Event files in one folder for all starts of a run; a start after step S purges what an earlier one wrote beyond S."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError without the package, OSError where the folder cannot be written."""
        if importlib.util.find_spec("tensorboard") is None:
            raise ConfigError("TensorBoard is asked for, and the package is not there: uv pip install 'tensorboard>=2.18'")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # asking os.access() would tell root that all is well
            pass
        self._folder = folder

    def begin(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def scalars(self, values: dict[str, float], step: int) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def histogram(self, tag: str, values: torch.Tensor, step: int) -> None:
        self._writer.add_histogram(tag, values.detach().float().cpu(), step)

    def text(self, tag: str, text: str, step: int) -> None:
        # Four spaces make it a code block: the page shows Markdown, and this text is anybody's.
        self._writer.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()), step)

    def result(self, settings: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        """The settings and what came of them: one line of the HPARAMS page."""
        plain = {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()}
        self._writer.add_hparams(plain, metrics, run_name=".", global_step=step)

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """One run of Weights & Biases under the run's id, which every start of the run goes on with.

    The service wants steps that never go back, and a resumed run repeats some: curves are drawn over a metric `step` instead.
    """

    name = "Weights & Biases"

    def __init__(self, folder: Path, mode: str, run_id: str, config: dict[str, Any]) -> None:
        """Raises ConfigError for an unknown mode, without the package, and online without a key."""
        if mode not in WANDB_MODES:
            raise ConfigError(f"wandb {mode!r} is none of {', '.join(WANDB_MODES)}")
        if importlib.util.find_spec("wandb") is None:
            raise ConfigError("Weights & Biases is asked for, and the package is not there: uv pip install 'wandb>=0.19'")
        if mode == "online" and not _has_key():
            raise ConfigError(
                "wandb online needs WANDB_API_KEY in the environment, or once `wandb login`; offline needs neither"
            )
        self._folder, self._mode, self._run_id, self._config = folder, mode, run_id, config

    def begin(self, step: int) -> None:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = self._init(self._mode)
        except wandb.Error as error:
            warn(f"trainyard: wandb is kept offline: {error}; send it later with `wandb sync`")
            self._run = self._init("offline")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def _init(self, mode: Any) -> Any:
        import wandb

        settings = wandb.Settings(console="off", silent=True)
        project = os.environ.get("WANDB_PROJECT", "trainyard")
        return wandb.init(
            project=project,
            id=self._run_id,
            resume="allow",
            dir=self._folder,
            mode=mode,
            config=self._config,
            settings=settings,
        )

    def scalars(self, values: dict[str, float], step: int) -> None:
        self._run.log({"step": step, **values})

    def histogram(self, tag: str, values: torch.Tensor, step: int) -> None:
        import wandb

        self._run.log({"step": step, tag: wandb.Histogram(values.detach().float().cpu().flatten().tolist())})

    def text(self, tag: str, text: str, step: int) -> None:
        import wandb

        self._run.log({"step": step, tag: wandb.Html(f"<pre>{html.escape(text)}</pre>", inject=False)})

    def result(self, settings: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        self._run.summary.update({**metrics, "result/step": step})

    def close(self) -> None:
        self._run.finish()


def _has_key() -> bool:
    """Whether the package itself would find a key: its environment variable or its line in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    return bool(wandb.api.api_key)


class Charts:
    """All that were asked for. One that fails is told once and left out from then on."""

    def __init__(self, charts: list[TensorBoard | Wandb], complain: Callable[[str, Exception], None]) -> None:
        self._charts, self._complain = charts, complain

    def each(self, act: Callable[[TensorBoard | Wandb], None]) -> None:
        for chart in list(self._charts):
            try:
                act(chart)
            except Exception as error:
                # A full disk, which TensorBoard's thread raises at a later call; a service of wandb's that Ctrl-C has ended, for which
                # that package has exceptions of its own. No curve is worth a training.
                self._charts.remove(chart)
                self._complain(chart.name, error)
