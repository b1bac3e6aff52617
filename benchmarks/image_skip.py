"""What it costs a plan that an image is there: `deploy.py plan` of a job from source whose tested image is in the registry.

Build, test and push are then skipped: image-builder says the source's digest, ecr-pusher whether its image is whole. AWS is the stand-in;
the cluster is an API server with nodes (api_server.py), for the plan's other questions.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import api_server, job_status, reading
from benchmarks.images import measured, ours, places
from benchmarks.measuring import Bound, Group, more
from tests.components.aws import needs as aws_needs
from tests.components.aws.pushing import Pusher
from tests.components.aws.running import Aws
from tests.components.aws.running import running as aws_running

SKIPPING, PLAN, NAMED = (
    "build --dry-run, then verify",
    "plan of a source whose image is there",
    "plan of an image by its digest",
)
MAX_S, NODES = 3.0, 8
REPOSITORY = "team/net"


def reason_against() -> str | None:
    if absent := reading.missing():
        return f"not built: {', '.join(absent)}; python -m tests.components.cluster up builds them"
    return aws_needs.reason_against()


def run(root: Path, folder: Path, repeats: int) -> Group:
    (cluster := folder / "cluster").mkdir()
    with ExitStack() as stack:
        aws = stack.enter_context(aws_running(folder / "aws.log"))
        kubeconfig = stack.enter_context(api_server.populated(cluster, NODES))
        job_status.Writer(kubeconfig).send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", job_status.kind())
        bench = _Bench(root, folder, aws, kubeconfig)
        series, notes = measured({SKIPPING: bench.skipping, PLAN: bench.plan, NAMED: bench.named}, repeats)
    bounds = [
        Bound("the calls that skip build, test and push", series[SKIPPING].seconds, MAX_S),
        Bound("a plan from source, beyond that of an image", more(series[PLAN], series[NAMED]), MAX_S),
    ]
    return Group("skipping build, test and push", list(series.values()), notes=notes, bounds=bounds)


@dataclass
class _Bench:
    root: Path
    folder: Path
    aws: Aws
    kubeconfig: Path

    def __post_init__(self) -> None:
        self.env = places(self.folder, **self.aws.environment, KUBECONFIG=str(self.kubeconfig))
        self.aws.make_project("trainyard-image-builder")
        uri = self.aws.client("ecr").create_repository(repositoryName=REPOSITORY)["repository"]["repositoryUri"]
        source = self.folder / "net"
        source.mkdir()
        shutil.copy(self.root / "training" / "train.py", source)
        (source / "Dockerfile").write_text("FROM python:3.11-slim\nRUN pip install torch numpy\nCOPY . /app\n")
        self.from_source = self._job("source", {"build": "auto", "builder": "codebuild", "repository": REPOSITORY})
        self.tag = str(self._plan(self.from_source).document["data"]["image"]["tag"])
        pushed = Pusher(self.aws, uri).push(b"a layer", self.tag)
        assert pushed[0] == 201, pushed
        self.of_an_image = self._job("named", {"uri": f"{uri}@{pushed[1]['docker-content-digest']}"})

    def _job(self, name: str, image: dict[str, Any]) -> Path:
        keys = {"name": "net", "target": "eks", "source": "net", "run": "torchrun train.py", "nodes": 1, "image": image}
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps({**keys, "checkpoints": {"storage": {"claim": "data"}}}))
        return path

    def _plan(self, job: Path) -> Any:
        words = ("plan", job, "--state-dir", self.folder / "runs")
        return ours(self._program("training-job-deployer", "deploy.py"), *words, env=self.env, codes=(0, 1))

    def _program(self, skill: str, name: str) -> Path:
        return self.root / "skills" / skill / "src" / name

    def skipping(self) -> float:
        """The two calls as the deployer makes them."""
        source = ("build", self.folder / "net", "--job-network", "auto", "--entry", "train.py", "--user", "0")
        told = ours(
            self._program("image-builder", "build_image_codebuild.py"), *source, "--push", REPOSITORY, "--dry-run", env=self.env
        )
        found = ours(self._program("ecr-pusher", "push_image.py"), "verify", f"{REPOSITORY}:{self.tag}", env=self.env)
        return told.seconds + found.seconds

    def plan(self) -> float:
        ran = self._plan(self.from_source)
        if not ran.document["data"]["image"]["there"]:
            raise RuntimeError(f"the image was not found: {ran.document}")
        return float(ran.seconds)

    def named(self) -> float:
        return float(self._plan(self.of_an_image).seconds)
