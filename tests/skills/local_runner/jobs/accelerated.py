"""A script of accelerate's, which makes the process group itself. Its last rank kills itself once, in the first start."""

import os
import signal
import sys

import torch
from accelerate import Accelerator

accelerator = Accelerator()
# One write: print makes two where nothing is buffered, and the ranks share a log.
sys.stdout.write(f"rank {accelerator.process_index} of {accelerator.num_processes}, {accelerator.mixed_precision}\n")
sys.stdout.flush()
last = accelerator.process_index == accelerator.num_processes - 1
for step in range(6):
    if last and step == 3 and accelerator.num_processes > 1 and os.environ["TRAINYARD_ATTEMPT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    accelerator.reduce(torch.ones(1))
accelerator.end_training()
