"""Levels standard and full on images with a real torch: what works, and for each check an image in which only its cause is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tester_call import Images, statuses

from tests.calling import Answer
from tests.components.images.fixtures import full_images
from tests.components.images.small_torch import libraries

pytestmark = full_images
ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ("plain_loop.py", "toy_data.py", "toy_model.py")
JOBS = {"app/gpu.py": "import torch\ntorch.zeros(1).cuda()\n"}
MODEL = {"app/model/config.json": '{"model_type": "llama"}', "app/torn/config.json": '{"model_type": '}
SITE = "/usr/local/lib/python3.11/dist-packages"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime, as `make wheel` builds it."""
    out = tmp_path_factory.mktemp("dist")
    words = [str(Path(sys.executable).with_name("uv")), "build", "-q", "--wheel", "--offline", "--no-build-isolation"]
    subprocess.run([*words, "--python", sys.executable, "--out-dir", str(out), str(ROOT)], check=True, timeout=120)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def with_stubs(images: Images, wheel: Path) -> str:
    """The small torch, whose NCCL is a stub."""
    files: dict[str, Any] = {f"tmp/{wheel.name}": wheel.read_bytes(), **JOBS, **MODEL}
    files.update({f"app/{name}": (ROOT / "training" / "examples" / name).read_text() for name in EXAMPLES})
    lines = (f"RUN pip install --quiet --no-index torch numpy /tmp/{wheel.name}", "WORKDIR /app", "ENV OMP_NUM_THREADS=1")
    return images.image("small-torch", files, *lines)


@pytest.fixture(scope="module")
def good(images: Images, with_stubs: str) -> str:
    """With the real NCCL in the stub's place."""
    real = libraries.real("libnccl.so.2")
    if real is None:
        pytest.skip("by design: torch is the build for CPUs here")
    place = f"COPY libnccl.so.2 {SITE}/nvidia/nccl/lib/libnccl.so.2"
    return images.image("real-nccl", {"libnccl.so.2": real.read_bytes()}, base=with_stubs, copy=place)


def request(folder: Path, run: str) -> Path:
    job = folder / "job.yaml"
    job.write_text(f"name: tiny\ntarget: eks\nrun: {run}\nresources: {{instance_type: g5.8xlarge, shm: 256Mi}}\n")
    return job


def test_a_good_image_passes_all_levels(images: Images, good: str, tmp_path: Path) -> None:
    """Exit 0; only what needs a GPU is left, and it is named; the facts travel on."""
    job = request(tmp_path, "torchrun plain_loop.py --steps 30")
    words = ("--package", "torch", "--package", "numpy", "--model", "model")
    found = images.test(good, "--level", "full", "--request", job, *words)
    assert found.code == 0, found.document
    assert {id for id, status in statuses(found).items() if status == "fail"} == set()
    assert [each["id"] for each in found.data["unproven"]] == ["cuda.run"] and found.check("cuda.run")["status"] == "unknown"
    for id in ("nccl", "torch.kernels", "train.step", "allreduce", "checkpoint", "trainyard", "user", "shm", "disk"):
        assert found.check(id)["status"] == "pass", found.check(id)
    assert "did step" in found.check("job.run")["summary"]
    facts = found.data["facts"]
    assert facts["torch"].startswith("2.15.0") and facts["cuda"] == "13.2" and facts["trainyard"] == "0.1.0"
    assert facts["nccl"].startswith("2.") and 90 in facts["architectures"] and facts["driver_min"] == "580.65.06"


@pytest.fixture(scope="module")
def on_p5(images: Images, with_stubs: str) -> Answer:
    return images.test(with_stubs, "--instance-type", "p5.48xlarge", "--driver", "535.104.05", "--model", "torn")


@pytest.mark.parametrize(
    ("check", "status", "says"),
    [
        ("torch.build", "pass", "CUDA 13.2"),
        ("torch.kernels", "pass", "SM 90"),
        ("torch.driver", "fail", "driver 535.104.05 is older than 580.65.06"),
        ("cuda.run", "unknown", "gives the container no GPU"),
        ("nccl", "fail", "a stub, not NCCL"),
        ("libfabric", "fail", "goes over EFA"),
        ("ofi_nccl", "fail", "goes over EFA"),
        ("model.config", "fail", "cannot be read"),
    ],
)
def test_an_image_for_another_instance_type(on_p5: Answer, check: str, status: str, says: str) -> None:
    """H100 with EFA and an old driver, and an image without EFA whose NCCL is a stub."""
    assert on_p5.code == 1
    assert on_p5.check(check)["status"] == status and says in on_p5.check(check)["summary"], on_p5.check(check)


def test_no_kernels_for_the_gpu(images: Images, good: str) -> None:
    """V100 is SM 70; torch of CUDA 13 has none for it. The libraries of EFA may be absent there."""
    found = images.test(good, "--instance-type", "p3.8xlarge", "--driver", "580.65.06")
    assert found.code == 1 and statuses(found)["torch.kernels"] == "fail" and statuses(found)["torch.driver"] == "pass"
    assert [id for id, status in statuses(found).items() if status == "fail"] == ["torch.kernels"]


BROKEN = {
    "no-entry-points": (
        "full",
        "allreduce",
        f"RUN rm {SITE}/torch-*.dist-info/entry_points.txt",
        "entry_points.txt is not in the image",
    ),
    "no-library": ("standard", "torch.build", f"RUN rm {SITE}/torch/lib/libc10.so", "libc10.so is not in the image"),
    "other-runtime": (
        "standard",
        "trainyard",
        f"RUN sed -i 's/^Version: .*/Version: 0.0.9/' {SITE}/trainyard-*.dist-info/METADATA",
        "trainyard 0.0.9",
    ),
    "no-runtime": ("standard", "trainyard", f"RUN rm -r {SITE}/trainyard", "the module trainyard is not in the image"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_diagnosed(images: Images, with_stubs: str, name: str) -> None:
    level, check, line, says = BROKEN[name]
    found = images.test(images.image(name, {}, line, base=with_stubs), "--level", level)
    assert found.code == 1 and found.check(check)["status"] == "fail"
    assert says in found.check(check)["summary"] + str(found.check(check)["evidence"]), found.check(check)


def test_a_good_nccl_beside_torchs_own(images: Images, with_stubs: str) -> None:
    """The loader finds a real one, and torch has the stub: that is the one that counts."""
    real = libraries.real("libnccl.so.2")
    if real is None:
        pytest.skip("by design: torch is the build for CPUs here")
    copy = "COPY libnccl.so.2 /usr/local/lib/libnccl.so.2"
    found = images.test(
        images.image("nccl-beside", {"libnccl.so.2": real.read_bytes()}, "RUN ldconfig", base=with_stubs, copy=copy)
    )
    assert found.check("nccl")["status"] == "fail" and "a stub, not NCCL" in found.check("nccl")["summary"]


@pytest.mark.parametrize("run", ["python gpu.py", "torchrun gpu.py"])
def test_a_job_that_needs_a_gpu(images: Images, with_stubs: str, tmp_path: Path, run: str) -> None:
    """It ends with torch's own words for that: unknown and named, neither a fail nor a pass. torchrun's own words come behind."""
    found = images.test(with_stubs, "--level", "full", "--request", request(tmp_path, run))
    assert found.check("job.run")["status"] == "unknown", found.check("job.run")
    assert {"gpu"} == {each["needs"] for each in found.data["unproven"] if each["id"] == "job.run"}
