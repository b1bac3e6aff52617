"""Resumable data: one global order of samples, one counter, and no sample lost or repeated at another world size.

The samples of all epochs form one stream: the permutation of epoch 0, then that of epoch 1, and so on. `position` counts how many
of them the whole job has handed out. A global batch is the next stretch of the stream and each rank takes its slice of it, so what
is trained on depends neither on the number of ranks nor on where the job was interrupted.

    order = trainyard.GlobalOrder(len(dataset), seed=7)
    indices = order.next_batch(32, rank=world.rank, world_size=world.world_size)    # the same call on every rank
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import xxhash

from trainyard.errors import MismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

READ_BYTES = 1 << 20


class GlobalOrder:
    """The global sample order of one training job.

    Promised: the order is a function of `num_samples`, `seed`, `shuffle` and the torch release, on every machine and device. Torch
    does not promise `randperm` across releases, so the state carries a checksum of the current epoch's permutation, and
    `load_state_dict` refuses to go on in another order. Memory: one permutation (8 bytes a sample), that of the epoch last used.
    """

    def __init__(self, num_samples: int, *, seed: int = 0, shuffle: bool = True) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, not {num_samples}")
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.position = 0
        """Samples handed out since the beginning of training, over all ranks and epochs."""
        self._permutation_N: torch.Tensor | None = None
        self._permutation_epoch = -1
        self._crc32: int | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the next sample; it rises as soon as the last sample of an epoch is handed out."""
        return self.position // self.num_samples

    def next_batch(self, global_batch: int, rank: int = 0, world_size: int = 1) -> torch.Tensor:
        """This rank's sample indices (int64, `global_batch / world_size` of them) of the next global batch.

        Every rank makes the same calls with its own `rank`; the slices in order of rank are the global batch. A batch may straddle
        epochs. Raises ValueError where the batch does not divide evenly.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        if global_batch < 1 or global_batch % world_size:
            raise ValueError(f"a global batch of {global_batch} does not divide by {world_size} ranks")
        share = global_batch // world_size
        start = self.position + rank * share
        self.position += global_batch
        return self._stretch(start, start + share)

    def _stretch(self, start: int, end: int) -> torch.Tensor:
        """Samples start..end of the stream of epochs."""
        pieces = []
        while start < end:
            epoch, offset = divmod(start, self.num_samples)
            count = min(end - start, self.num_samples - offset)
            pieces.append(self._permutation(epoch)[offset : offset + count])
            start += count
        return torch.cat(pieces)

    def _permutation(self, epoch: int) -> torch.Tensor:
        if self._permutation_N is None or self._permutation_epoch != epoch:
            self._permutation_N = self._make_permutation(epoch)
            self._permutation_epoch = epoch
            self._crc32 = None
        return self._permutation_N

    def _make_permutation(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return torch.arange(self.num_samples)
        # Torch's CPU generator keeps the low 32 bits of a seed, so seed + epoch would make (1, 0) and (0, 1) the same epoch.
        mixed = hashlib.blake2b(f"{self.seed} {epoch}".encode(), digest_size=4).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(mixed, "big"))
        return torch.randperm(self.num_samples, generator=generator)

    def state_dict(self) -> dict[str, int]:
        """Plain integers, the same on every rank."""
        return {
            "position": self.position,
            "num_samples": self.num_samples,
            "seed": self.seed,
            "shuffle": int(self.shuffle),
            "order_crc32": self._order_crc32(self.epoch),
        }

    def check_state_dict(self, state: Mapping[str, int]) -> None:
        """Changes nothing. Raises MismatchError where `state` is of another order."""
        for name in ("num_samples", "seed", "shuffle"):
            ours = int(getattr(self, name))
            if state.get(name) != ours:
                raise MismatchError(f"the data order was saved with {name}={state.get(name)}, this run has {name}={ours}")
        position = state.get("position", -1)
        if position < 0:
            raise MismatchError(f"the data order was saved at position {position}")
        if state.get("order_crc32") != self._order_crc32(position // self.num_samples):
            raise MismatchError(
                f"torch {torch.__version__} shuffles {self.num_samples} samples in another order than the torch that saved this "
                "state; resume with that release"
            )

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state` was taken. Raises MismatchError, and changes nothing, where the order would be another one."""
        self.check_state_dict(state)
        self.position = state["position"]

    def _order_crc32(self, epoch: int) -> int:
        permutation_N = self._permutation(epoch)
        if self._crc32 is None:  # once an epoch: every snapshot asks for it
            self._crc32 = zlib.crc32(permutation_N.numpy().data)
        return self._crc32


def data_fingerprint(*parts: bytes | bytearray | memoryview | str | Path) -> str:
    """xxh3-128 (32 hex digits) of the data: bytes as they are, files by their content; names and paths do not count.

    Each part's length counts, so moving a byte from one part to the next is seen. Raises OSError for a file that cannot be read.
    """
    digest = xxhash.xxh3_128()
    for part in parts:
        if isinstance(part, str | Path):
            size_bytes = _update_from_file(digest, Path(part))
        else:
            size_bytes = memoryview(part).nbytes
            digest.update(part)
        digest.update(size_bytes.to_bytes(8, "little"))
    return str(digest.hexdigest())


def _update_from_file(digest: xxhash.xxh3_128, path: Path) -> int:
    size_bytes = 0
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return size_bytes
