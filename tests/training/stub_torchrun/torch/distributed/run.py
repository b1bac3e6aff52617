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
sys.exit(min(1, abs(rank.wait())))
