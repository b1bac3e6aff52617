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
LAST_MESSAGE = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/torch/distributed/launcher/api.py", line 386, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
Root Cause (first observed failure):
[0]:
  time      : 2026-11-28_14:48:48
  host      : localhost
  rank      : {rank} (local_rank: 0)
  exitcode  : {code} (pid: {pid})
============================================================
"""
if code:
    print(LAST_MESSAGE.format(rank=place["RANK"], code=code, pid=rank.pid), file=sys.stderr)
sys.exit(min(1, abs(code)))
