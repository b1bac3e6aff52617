"""One of two ranks that save sharded tensors with torch.distributed.checkpoint, in both of its layouts, and with trainyard.

Run by each rank: `python write_dcp_rank.py FOLDER RANK`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor


def main(root: Path, rank: int) -> None:
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{root / 'store'}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(3)
    whole = {
        "uneven": torch.randn(5, 3),
        "columns": torch.randn(4, 6).bfloat16(),
        "scalar": torch.tensor(1.5),
        "same": torch.randn(3),
    }
    placements = {"uneven": Shard(0), "columns": Shard(1), "scalar": Replicate(), "same": Replicate()}
    state = {name: distribute_tensor(tensor, mesh, [placements[name]]) for name, tensor in whole.items()}
    dcp.save(dict(state), checkpoint_id=root / "dcp-2")
    dcp.save(dict(state), storage_writer=HuggingFaceStorageWriter(str(root / "dcp-2-safetensors"), save_distributed=True))
    if rank == 0:
        torch.save(whole, root / "dcp-2.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
