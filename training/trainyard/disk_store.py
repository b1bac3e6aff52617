"""The store on a disk: a folder that all ranks see. What is in it: shared-docs/checkpoints.md."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from trainyard import checkpoint_format as fmt
from trainyard import choosing
from trainyard.commit import apply_retention, clean_temporary, commit, mark_final, wait_for_parts
from trainyard.disk_reading import Checkpoint, open_checkpoint
from trainyard.errors import FolderError, SaveError
from trainyard.files import make_folder, remove_folder
from trainyard.lock import Claim, Lock
from trainyard.patience import Patience, told
from trainyard.policy import SavePolicy
from trainyard.shard import Part, nonfinite_keys, write_part, write_shard
from trainyard.store import NO_RESOURCE, Save, Tidied


@dataclass(frozen=True)
class DiskStore:
    """A Store of store.py. Without a `claim` on the folder it is for reading only."""

    root: Path
    policy: SavePolicy = field(default_factory=SavePolicy)
    claim: Claim | None = None

    def __str__(self) -> str:
        return str(self.root)

    @property
    def _lock(self) -> Lock:
        assert self.claim is not None, "nobody writes into a folder that is not claimed"
        return self.claim.lock

    # --- what is there ---

    def candidates(self, requested: str) -> list[int]:
        if self.claim is None and not self.root.is_dir():  # who only looks may come before the first start
            return []
        return self.policy.patience.read(lambda: choosing.candidates(self.root, requested), self.root)

    def open(self, step: int, *, any_run: bool = False) -> Checkpoint:
        return open_checkpoint(self.root / fmt.step_name(step), fmt.ANY_RUN if any_run else None, self.policy.patience)

    def durable_steps(self) -> list[int]:
        return [entry.step for entry in fmt.committed(fmt.scan(self.root)) if entry.step is not None]

    def way_out(self, step: int) -> str:
        return (
            f"Start again when the disk answers; if it never will, move {fmt.step_name(step)} out of this folder, "
            "and the next older step is taken"
        )

    def set_newer_aside(self, step: int, damaged: set[int]) -> list[str]:
        return choosing.set_newer_aside(self.root, step, self._lock.incarnation, damaged)

    # --- a save ---

    def write(self, save: Save) -> None:
        """A failure is told to rank 0 in the part, where that can still be written."""
        folder, file, error, nonfinite = self._folder(save), None, None, []
        make_folder(folder)
        try:
            with ThreadPoolExecutor(1, "trainyard-check") as pool:  # reads the memory while the disk is waited for
                check = pool.submit(nonfinite_keys, save.slot, save.parameters)
                file = write_shard(folder, save.rank, save.world_size, save.slot)
                nonfinite = check.result()
        except NO_RESOURCE as problem:
            error = f"{type(problem).__name__}: {problem}"
        write_part(folder, Part(save.rank, self._lock.incarnation, file, save.tensors, save.rank_state, nonfinite, error))
        if error and save.rank != 0:
            raise SaveError(error)

    def commit(self, save: Save) -> int:
        folder, lock = self._folder(save), self._lock
        parts = wait_for_parts(folder, save.world_size, lock.incarnation, timeout_s=self.policy.part_timeout_s)
        return commit(folder, parts, save.shared, save.info, lock)

    def abandon(self, save: Save) -> None:
        with contextlib.suppress(OSError):  # else the next start of this run removes it
            remove_folder(self._folder(save))

    def _folder(self, save: Save) -> Path:
        return self.root / fmt.temporary_name(save.info.step, self._lock.incarnation)

    # --- what stays ---

    def retain(self, step: int) -> Tidied:
        policy = self.policy
        try:
            if not self._lock.still_held(Patience(0.0)):  # paused since its commit: what stays is for its successor to say
                return Tidied([], {})
            problems = clean_temporary(self.root, before_step=step)
            removed, others = apply_retention(
                self.root, newest=step, keep_rolling=policy.keep_rolling, keep_epochs=policy.keep_epochs
            )
            problems |= others
        except (OSError, FolderError) as error:
            removed, problems = [], {str(self.root): told(error)}
        # Under its step's name, though the removal began with another one.
        return Tidied(removed, {name.removesuffix(".removed.tmp"): why for name, why in problems.items()})

    def mark_final(self, step: int) -> None:
        mark_final(self.root, step)
