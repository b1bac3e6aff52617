"""Stands for torchrun where only the launcher above it is tried: no import of torch, one rank, its exit code handed on as torchrun does."""

import os
import subprocess
import sys

rank = subprocess.Popen([sys.executable, *sys.argv[1:]], env={**os.environ, "RANK": os.environ["PET_NODE_RANK"]})
sys.exit(min(1, abs(rank.wait())))
