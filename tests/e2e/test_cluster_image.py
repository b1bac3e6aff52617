"""From a project's source to a run on the test cluster with one call: built, tested, pushed, trained; and not built again."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from deployed_job import ROOT, DeployedJob

from tests.components.aws.running import Aws
from tests.components.build_host import tools
from tests.components.build_host.fixtures import BUILDER, BuildHost
from tests.components.cluster.ports import shared_port
from tests.components.cluster.running import Cluster
from tests.components.images.fixtures import full_images
from tests.components.images.old_docker import OldDocker

STEPS = 20
BUILDERS = ("docker", "codebuild")


@pytest.fixture
def machine(
    aws: Aws,
    build_host: BuildHost,
    old_docker: OldDocker,
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Aws]:
    """A user's machine with Docker and AWS keys, and nodes that can pull from the registry with a secret."""
    daemon = {"DOCKER_HOST": old_docker.host}
    plugins = tmp_path / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").symlink_to(tools.buildx())
    client = {"DOCKER_CONFIG": str(plugins.parent), "BUILDX_CONFIG": str(build_host.buildx_config), "BUILDX_BUILDER": BUILDER}
    for name, value in {**aws.environment, **daemon, **client}.items():
        monkeypatch.setenv(name, value)
    aws.build_environment(**daemon, **build_host.variables())
    aws.make_project("trainyard-image-builder")
    host = aws.registries[aws.region]
    secret_for_pods(cluster, namespace, aws, host)
    with ExitStack() as stack:
        for address in (host, aws.endpoint):  # layers come from another address than the registry's, as from S3
            stack.enter_context(shared_port(cluster.place, int(address.rpartition(":")[2])))
        yield aws


def secret_for_pods(cluster: Cluster, namespace: str, aws: Aws, host: str) -> None:
    token = aws.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    document = json.dumps({"auths": {host: {"auth": token}}})
    cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "registry", "namespace": namespace},
                "type": "kubernetes.io/dockerconfigjson",
                "data": {".dockerconfigjson": base64.b64encode(document.encode()).decode()},
            }
        ]
    )


def project(folder: Path) -> Path:
    """A small project without a Dockerfile."""
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "e2e" / "slow_loop.py", folder / "train.py")
    (folder / "requirements.txt").write_text("torch\n")
    return folder


def job(cluster: Cluster, namespace: str, folder: Path, builder: str) -> DeployedJob:
    image = {"build": "auto", "builder": builder, "repository": "team/net", "base": "python:3.11-slim", "test": "quick"}
    place = {"namespace": namespace, "node_selector": {"type": "real"}, "image_pull_secrets": ["registry"]}
    keys: dict[str, Any] = {"source": str(project(folder / "net")), "image": image, "cluster": place}
    keys |= {"name": "net", "run": f"torchrun train.py {STEPS} 0.05"}
    return DeployedJob(cluster, namespace, folder, keys, patience_s=1200)


@full_images
@pytest.mark.parametrize("builder", BUILDERS)
def test_source_becomes_a_run(cluster: Cluster, machine: Aws, namespace: str, tmp_path: Path, builder: str) -> None:
    cluster.make_volumes(namespace, 2)
    deployed = job(cluster, namespace, tmp_path, builder)
    plan = deployed.call("plan")["data"]
    assert (plan["image"]["repository"], plan["image"]["there"]) == ("team/net", None)

    ended = deployed.call("run", "--yes", "--timeout", "600")["data"]
    assert (ended["state"], ended["step"]) == ("finished", STEPS)
    images = {
        tag
        for each in machine.client("ecr").describe_images(repositoryName="team/net")["imageDetails"]
        for tag in each.get("imageTags", [])
    }
    assert [tag.partition("-")[0] for tag in images if not tag.startswith("cache-")] == ["src"], images

    # the same source again, as another run: nothing is built, tested or pushed
    builds = machine.client("codebuild").list_builds()["ids"] if builder == "codebuild" else []
    (tmp_path / "again").mkdir()
    again = job(cluster, namespace, tmp_path / "again", builder)
    again.change(name="net-again")
    began = time.monotonic()
    assert again.call("plan")["data"]["image"]["there"] is not None
    print(f"the plan of a source that is there: {time.monotonic() - began:.1f} s")
    assert again.call("run", "--yes", "--timeout", "600")["data"]["state"] == "finished"
    record = json.loads((again.run_dir / "run.json").read_text())["stages"]
    assert [bool(record[name]["result"].get("skipped")) for name in ("build", "test", "push")] == [True] * 3
    assert (machine.client("codebuild").list_builds()["ids"] if builder == "codebuild" else []) == builds
