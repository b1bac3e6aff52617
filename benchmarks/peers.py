"""torch.distributed.checkpoint at its documented settings: who is measured, and how each is called.

FileSystemWriter fsyncs every file by default (`sync_files=True`), but neither the folder nor its parent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint import state_dict_saver as dcp
from torch.distributed.checkpoint.filesystem import FileSystemWriter, SerializationFormat
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType, AsyncSaveResponse

from benchmarks.subject import Subject

TIMEOUT_S = 600.0

SAVE_WRITERS: dict[str, dict[str, Any]] = {
    "dcp.save": {},
    "dcp.save, 2 threads": {"thread_count": 2},
    "dcp.save, safetensors": {"serialization_format": SerializationFormat.SAFETENSORS},
}


def save(path: Path, subject: Subject, *, no_dist: bool = True, **settings: Any) -> float:
    """Seconds of dcp.save to a new folder."""
    started = time.monotonic()
    dcp.save(subject.state_dict(), storage_writer=FileSystemWriter(path, **settings), no_dist=no_dist)
    return time.monotonic() - started


class AsyncPeer:
    """dcp.async_save with one stager that is kept, as its documentation asks for the cached variants."""

    def __init__(self, subject: Subject, *, process: bool, stager: DefaultStager | None, cached_writer: bool = False) -> None:
        self._subject, self._stager, self._process = subject, stager, process
        self._cached_writer = FileSystemWriter("unused", cache_staged_state_dict=True) if cached_writer else None

    def save(self, path: Path) -> tuple[float, Callable[[], None]]:
        """(seconds until the state may change again, a function that waits until the save is done)"""
        writer = self._cached_writer or FileSystemWriter(path)
        kind = AsyncCheckpointerType.PROCESS if self._process else AsyncCheckpointerType.THREAD
        started = time.monotonic()
        response = dcp.async_save(
            self._subject.state_dict(),
            checkpoint_id=path,
            storage_writer=writer,
            async_checkpointer_type=kind,
            async_stager=self._stager,
            no_dist=not self._process,
        )
        if isinstance(response, AsyncSaveResponse):  # staged beside the loop: the next optimizer step has to wait for it
            response.staging_completion.result(TIMEOUT_S)
        blocked_s = time.monotonic() - started
        upload: Future[Any] = response.upload_completion if isinstance(response, AsyncSaveResponse) else response
        return blocked_s, lambda: upload.result(TIMEOUT_S) and None

    def close(self) -> None:
        if self._stager is not None:
            self._stager.close()


def _options(*, pinned: bool = False, shared: bool = False, async_: bool = False) -> StagingOptions:
    return StagingOptions(
        use_pinned_memory=pinned, use_shared_memory=shared, use_async_staging=async_, use_non_blocking_copy=pinned
    )


ASYNC_PEERS: dict[str, Callable[[Subject], AsyncPeer]] = {
    "thread, cached stager": lambda s: AsyncPeer(s, process=False, stager=DefaultStager(_options())),
    "thread, staged beside the loop": lambda s: AsyncPeer(s, process=False, stager=DefaultStager(_options(async_=True))),
    "thread, stager of the writer": lambda s: AsyncPeer(s, process=False, stager=None),
    "process, shared memory": lambda s: AsyncPeer(s, process=True, stager=DefaultStager(_options(shared=True))),
}
PINNED_PEERS: dict[str, Callable[[Subject], AsyncPeer]] = {
    "thread, cached and pinned by the writer": lambda s: AsyncPeer(s, process=False, stager=None, cached_writer=True),
    "thread, pinned stager": lambda s: AsyncPeer(s, process=False, stager=DefaultStager(_options(pinned=True))),
    "process, pinned shared memory": lambda s: AsyncPeer(
        s, process=True, stager=DefaultStager(_options(pinned=True, shared=True))
    ),
}
"""They need CUDA to pin memory."""


def join_process_group() -> None:
    """The process variant needs a group, be it of one rank."""
    from torch._C._distributed_c10d import HashStore

    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)


def async_peers() -> dict[str, Callable[[Subject], AsyncPeer]]:
    """Those that run on this machine."""
    return {**ASYNC_PEERS, **(PINNED_PEERS if torch.cuda.is_available() else {})}


def leave_process_group() -> None:
    """Also end the process that the process variant keeps for the next save."""
    from torch.distributed.checkpoint import _async_process_executor as executor

    executor._CHECKPOINT_PROCESS = None
    if dist.is_initialized():
        dist.destroy_process_group()
