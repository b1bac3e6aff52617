"""Joins the process group by itself and knows nothing of Trainyard: `own_init.py SEED KILLS`.

One rank of each of the first KILLS starts kills itself at a moment that SEED chooses: before a collective, so that the others wait.
"""

import os
import random
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

STEPS = 20
seed, kills = map(int, sys.argv[1:])
dist.init_process_group(backend="gloo")
done = int(os.environ["TRAINYARD_ATTEMPT"])
chance = random.Random(seed * 1000 + done)
victim, moment = chance.randrange(dist.get_world_size()), chance.randrange(STEPS)
value = torch.ones(1)
for step in range(STEPS):
    if done < kills and (dist.get_rank(), step) == (victim, moment):
        os.kill(os.getpid(), signal.SIGKILL)
    dist.all_reduce(value)
    if dist.get_rank() == 0:
        print(f"step={step}", flush=True)
if dist.get_rank() == 0:
    Path(os.environ["TRAINYARD_RUN_DIR"], "finished").write_text("yes")
dist.destroy_process_group()
