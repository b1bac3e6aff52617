"""Stands for HyperPod's launcher `hyperpodrun` inside a pod: reads its options and starts trainyard.launch with the rest.

The real one is torchrun with an agent that talks to the operator. The number of nodes and processes in its options must be the
operator's, or the real one would wait for nodes that never come; so this one refuses.
"""

from __future__ import annotations

import os
import sys


def main(words: list[str]) -> None:
    options: dict[str, str] = {}
    while words and words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        options[name] = value
    given = (options.get("--nnodes"), options.get("--nproc-per-node"), options.get("--rdzv-backend"))
    wanted = (os.environ["PET_NNODES"], os.environ["PET_NPROC_PER_NODE"], "hyperpod")
    if given != wanted or not words:
        sys.exit(f"hyperpodrun: {given} of {words} are not the operator's {wanted}")
    os.execvp("python3", ["python3", "-m", "trainyard.launch", *words])


if __name__ == "__main__":
    main(sys.argv[1:])
