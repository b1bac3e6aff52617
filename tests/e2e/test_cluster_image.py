"""From a project's source to a run on the test cluster with one call: built, tested, pushed, trained; and not built again."""

from __future__ import annotations

import base64
import json
import shutil
import time
import tomllib
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
from tests.components.images.buildkit import BuildKit
from tests.components.images.fixtures import full_images
from tests.components.images.old_docker import OldDocker
from tests.components.images.registry import Registry
from tests.components.images.small_torch import libraries

STEPS = 20
RUNTIME = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
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


@pytest.fixture
def base(buildkit: BuildKit, mirror: Registry, tmp_path: Path) -> str:
    """An image of docker.io that has torch with the real NCCL: in the small torch a stub stands in its place, which no test passes."""
    real = libraries.real("libnccl.so.2")
    if real is None:
        pytest.skip("by design: torch is the build for CPUs here")
    folder = tmp_path / "base"
    folder.mkdir()
    shutil.copy(real, folder)
    site = "/usr/local/lib/python3.11/dist-packages/nvidia/nccl/lib"
    lines = (
        "FROM python:3.11-slim",
        "RUN pip install --quiet --no-index torch numpy",
        f"COPY libnccl.so.2 {site}/libnccl.so.2",
    )
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    built = buildkit.build(folder, push=f"{mirror.address}/library/torch-nccl:1", limit_s=900)
    assert built.code == 0, built.log
    return "torch-nccl:1"


def job(cluster: Cluster, namespace: str, folder: Path, builder: str, base: str) -> DeployedJob:
    image = {"build": "auto", "builder": builder, "repository": "team/net", "base": base, "test": "full"}
    place = {"namespace": namespace, "node_selector": {"type": "real"}, "image_pull_secrets": ["registry"]}
    keys: dict[str, Any] = {"source": str(project(folder / "net")), "image": image, "cluster": place}
    keys |= {"name": "net", "run": f"torchrun train.py {STEPS} 0.05"}
    return DeployedJob(cluster, namespace, folder, keys, patience_s=1200)


@full_images
@pytest.mark.parametrize("builder", BUILDERS)
def test_source_becomes_a_run(cluster: Cluster, machine: Aws, namespace: str, base: str, tmp_path: Path, builder: str) -> None:
    """Tested at level full, which holds the others: every check passes but the GPU's, which is named as unproven."""
    cluster.make_volumes(namespace, 2)
    deployed = job(cluster, namespace, tmp_path, builder, base)
    plan = deployed.call("plan")["data"]
    assert (plan["image"]["repository"], plan["image"]["there"]) == ("team/net", None)

    ended = deployed.call("run", "--yes", "--timeout", "600")["data"]
    assert (ended["state"], ended["step"]) == ("finished", STEPS)
    tested = json.loads((deployed.run_dir / "run.json").read_text())["stages"]["test"]["result"]
    assert (tested["level"], [each["id"] for each in tested["unproven"]]) == ("full", ["cuda.run"])
    assert tested["facts"]["nccl"].startswith("2.") and tested["facts"]["trainyard"] == RUNTIME
    images = {
        tag
        for each in machine.client("ecr").describe_images(repositoryName="team/net")["imageDetails"]
        for tag in each.get("imageTags", [])
    }
    assert [tag.partition("-")[0] for tag in images if not tag.startswith("cache-")] == ["src"], images

    # the same source again, as another run: nothing is built, tested or pushed
    builds = machine.client("codebuild").list_builds()["ids"] if builder == "codebuild" else []
    (tmp_path / "again").mkdir()
    again = job(cluster, namespace, tmp_path / "again", builder, base)
    again.change(name="net-again")
    began = time.monotonic()
    assert again.call("plan")["data"]["image"]["there"] is not None
    print(f"the plan of a source that is there: {time.monotonic() - began:.1f} s")
    assert again.call("run", "--yes", "--timeout", "600")["data"]["state"] == "finished"
    record = json.loads((again.run_dir / "run.json").read_text())["stages"]
    assert [bool(record[name]["result"].get("skipped")) for name in ("build", "test", "push")] == [True] * 3
    assert (machine.client("codebuild").list_builds()["ids"] if builder == "codebuild" else []) == builds
