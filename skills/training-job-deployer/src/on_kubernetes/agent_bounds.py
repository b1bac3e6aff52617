"""The torch that HyperPod's launcher runs with: hyperpod-elastic-agent 1.1.3 requires torch >= 2.4, < 2.12."""

from __future__ import annotations

import re

from trainyard_job import Job

LOWEST, BELOW = (2, 4), (2, 12)
TOLD = "hyperpod-elastic-agent 1.1.3 needs torch >= 2.4, < 2.12"
HINT = "torch 2.11 in the image, or engine: pytorchjob"
NAMED = re.compile(r"(?:^|/)pytorch(?:-training)?:(?P<torch>\d{1,3}\.\d{1,3})(?:[.\-@]|$)")
"""An image whose name says its torch: AWS's pytorch-training:2.15.0-gpu-py312, Docker Hub's pytorch/pytorch:2.15.0-cuda13."""


def refuses(torch: str) -> bool:
    """Whether the launcher is known not to run with this version; an unreadable one is not known."""
    numbers = tuple(int(each) for each in torch.split(".")[:2] if each.isdigit())
    return len(numbers) == 2 and not LOWEST <= numbers < BELOW


def problem_of(job: Job) -> str | None:
    """What is wrong with the image that the job file names; None also where the name says nothing about torch."""
    uri = job.image.uri if job.image else None
    named = NAMED.search(uri) if uri and job.engine == "hyperpodjob" else None
    if named is None or not refuses(named["torch"]):
        return None
    return f"has torch {named['torch']} by its name, and {TOLD}; {HINT}"
