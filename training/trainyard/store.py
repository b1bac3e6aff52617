"""The seam between the checkpointer and what keeps its snapshots. The first store is the folder of disk_store.py.

Every rank has a store, and gives it its part of each snapshot (`write`); rank 0 makes a step of the parts (`commit`), and then lets go
of what nothing names any more (`retain`). A start asks rank 0's store what there is (`candidates`); then every rank opens the same step.
What a store must hold to: tests/training/store_contract.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from trainyard.errors import SaveError
from trainyard.layout import Piece
from trainyard.snapshot import Slot

NO_RESOURCE = (OSError, MemoryError, RuntimeError)
"""No disk, no memory, no thread (a RuntimeError): a save fails with them, and the training goes on."""

Problems = dict[str, str]
"""What could not be written, renamed or removed -> why."""

# --- what goes in ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """What a step's manifest says besides its files."""

    step: int
    epoch: int
    end_of_epoch: bool
    val_loss: float | None
    reasons: tuple[str, ...]
    data_fingerprint: str | None


@dataclass(frozen=True, kw_only=True)
class Save:
    """One rank's snapshot on its way into a store."""

    info: StepInfo
    slot: Slot
    """The tensors' bytes; the next snapshot is copied over them once this save is over."""
    rank: int
    world_size: int
    tensors: dict[str, dict[str, Any]]
    """key -> the manifest's entry of the tensor."""
    shared: dict[str, Any]
    """What is no tensor; rank 0's counts."""
    rank_state: dict[str, Any]
    parameters: set[str]
    """Keys that must be finite."""
    taken_at: float
    """time.monotonic() when the copy was complete."""


class Rejected(SaveError):
    """The snapshot holds NaN or Inf in parameters; nothing was committed."""

    def __init__(self, step: int, tensors: list[str]) -> None:
        super().__init__(
            f"step {step}: NaN or Inf in {', '.join(tensors[:5])}{' ...' if len(tensors) > 5 else ''}; not committed"
        )
        self.tensors = tensors


# --- what comes out ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A block of a saved tensor: `shape` elements at `offsets`, `begin` bytes into the part `name` of its step."""

    name: str
    begin: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    offsets: tuple[int, ...]


class SavedStep(Protocol):
    """One step, opened by one rank: its parts fit together, and what `verify` has passed is what was saved.

    Methods raise DamagedError for what is not what was saved, OSError or MemoryError for what cannot be read, which proves nothing.
    """

    @property
    def where(self) -> str:
        """For people: the place and the step."""

    @property
    def name(self) -> str:
        """For people: the step."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What the step is: the members that shared-docs/checkpoints.md lists."""

    @property
    def state(self) -> dict[str, Any]:
        """What is no tensor, verified: `shared`, and `ranks` by rank."""

    @property
    def blocks(self) -> dict[str, list[Block]]:
        """key -> the blocks that make up the tensor."""

    def verify(self, pieces: list[Piece] | None = None) -> None:
        """Prove every byte that these pieces are filled from; None: all of the step."""

    def read_into(self, block: Block, tensor: torch.Tensor) -> None:
        """The block's bytes, straight into a contiguous CPU tensor of its shape."""


@dataclass(frozen=True)
class Tidied:
    """What `retain` did."""

    removed: list[int] = field(default_factory=list)
    problems: Problems = field(default_factory=dict)
    """They fail nothing: the step that was saved stands."""


class Store(Protocol):
    """Where the steps of one run are kept; `str()` names the place for people.

    Save and tidy up: from the writer's thread. Everything else: from the training thread. No method talks to other ranks through
    torch's process groups.
    """

    def candidates(self, requested: str) -> list[int]:
        """Rank 0: the steps to propose for `latest`, `best`, `epoch:N`, `step:N` or `none`, best first, damaged ones too.

        Raises RestoreError when an explicit choice is not there, OSError or MemoryError when the place does not say.
        """

    def open(self, step: int, *, any_run: bool = False) -> SavedStep:
        """Every rank; `any_run` takes the step of another run too. Raises as SavedStep's methods do."""

    def durable_steps(self) -> list[int]:
        """The steps that stand, oldest first: a new start of the run would find them. Raises OSError."""

    def way_out(self, step: int) -> str:
        """For people: what to do where this step cannot be read."""

    def set_newer_aside(self, step: int, damaged: set[int]) -> list[str]:
        """Rank 0, the run goes on from `step`: later ones are proposed no more; returns how they are called now.

        Raises RestoreError where an intact one would be proposed again; one of `damaged` may stay.
        """

    def write(self, save: Save) -> None:
        """Every rank: take this rank's part. Raises SaveError, or one of NO_RESOURCE; rank 0 leaves its own failure to `commit`."""

    def commit(self, save: Save) -> int:
        """Rank 0: wait for all parts, with a deadline, and make them one step; returns its bytes.

        When this returns a new start finds the step, and a step of that number from before is replaced. Before, and after an error,
        nobody does. Raises SaveError (Rejected), or one of NO_RESOURCE.
        """

    def abandon(self, save: Save) -> None:
        """Rank 0: the save has failed. Never raises for what cannot be removed: the next start does that."""

    def retain(self, step: int) -> Tidied:
        """Rank 0, after the commit of `step`: keep what the policy names, remove the rest. Never raises OSError."""

    def mark_final(self, step: int) -> None:
        """Rank 0: this step turned out to be the last of a training, and stays when it is made longer. Raises OSError."""


def told_problems(problems: Problems) -> str:
    """One line for people."""
    few = "; ".join(f"{name}: {why}" for name, why in list(problems.items())[:5])
    return few + (f" (and {len(problems) - 5} more)" if len(problems) > 5 else "")
