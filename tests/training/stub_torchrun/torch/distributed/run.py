"""Stands for torchrun where only the launcher above it is tried: no import of torch, one rank, its exit code handed on as torchrun does."""

import os
import subprocess
import sys

place = {
    "RANK": os.environ["PET_NODE_RANK"],
    "WORLD_SIZE": os.environ["PET_NNODES"],
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
}
rank = subprocess.Popen([sys.executable, *sys.argv[1:]], env=os.environ | place)
code = rank.wait()
if code:
    print(
        f"E1128 15:13:23.946000 1 torch/distributed/elastic/api.py:1] failed (exitcode: {code}) local_rank: 0", file=sys.stderr
    )
sys.exit(min(1, abs(code)))
