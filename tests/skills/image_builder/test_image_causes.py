"""Logs of failed builds -> class: every line of the table, and the rules that tell the first cause from what follows it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.calling import SKILLS
from tests.skills.image_builder.image_call import module

CAUSES: Any = module("attempts.causes")
REMEDIES: Any = module("attempts.next_attempt")
TABLE = yaml.safe_load((SKILLS / "image-builder" / "assets" / "build_failures.yaml").read_text())
ROWS = TABLE["patterns"]


def kind(*lines: str) -> str:
    return str(CAUSES.of(lines).kind)


def step(number: int, title: str, *output: str, failed: bool = False) -> list[str]:
    """A step of BuildKit's plain log."""
    lines = [f"#{number} [{number}/9] {title}", *(f"#{number} 0.{index} {line}" for index, line in enumerate(output, start=1))]
    process = f'process "/bin/sh -c {title.removeprefix("RUN ")}" did not complete successfully: exit code: 1'
    return [*lines, f"#{number} ERROR: {process}" if failed else f"#{number} DONE 1.0s"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.get('id', row['class'])}:{row['text'][:30]}")
def test_each_row_takes_its_evidence(row: dict[str, Any]) -> None:
    """Alone in a log, and as the cause in a step before the builder's own last words."""
    assert row["class"] in TABLE["classes"] and set(row.get("remedy", ())) <= set(REMEDIES.REMEDIES)
    assert row["from"] in ("run", "published") and (row["from"] == "run" or row["source"])
    last = NONE.format(name="six") if "no-distribution" in row.get("follows", ()) else "a command failed"
    if not row.get("weak"):
        assert kind(row["text"]) == row["class"]
        assert kind(*step(5, "RUN x", row["text"], failed=True)) == row["class"]
    else:
        assert kind(*step(5, "RUN x", row["text"], last, failed=True)) == row["class"]
    assert re.search(row["pattern"], "Successfully installed six-1.0") is None


RETRY = (
    "WARNING: Retrying (Retry(total={n}, connect=None)) after connection broken by 'SSLError(SSLCertVerificationError(1, "
    "'[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1016)'))': /simple/{name}/"
)
NONE = "ERROR: No matching distribution found for {name}"


def test_five_tls_errors_before_no_matching_distribution_are_a_tls_fault() -> None:
    warnings = [RETRY.format(n=4 - index, name="six") for index in range(5)]
    last = ["ERROR: Could not find a version that satisfies the requirement six (from versions: none)", NONE.format(name="six")]
    assert kind(*step(6, "RUN pip install six", *warnings, *last, failed=True)) == "certificate"
    assert kind(*step(6, "RUN pip install six", *last, failed=True)) == "no-distribution"


def test_a_retry_that_went_well_is_no_cause() -> None:
    """Of another package, in another step, or before a failure that does not follow from it."""
    warning = RETRY.format(n=4, name="six")
    assert kind(*step(6, "RUN pip install six x", warning, NONE.format(name="torchh"), failed=True)) == "no-distribution"
    assert (
        kind(*step(5, "RUN pip install six", warning), *step(6, "RUN y", NONE.format(name="six"), failed=True))
        == "no-distribution"
    )
    conflict = "ERROR: Cannot install a and b because these package versions have conflicting dependencies."
    assert kind(*step(6, "RUN pip install six", warning, conflict, failed=True)) == "resolver"


def test_uv_says_first_that_there_is_no_solution_and_then_why() -> None:
    head = "  \u00d7 No solution found when resolving dependencies:"
    missing = "  ╰─▶ Because torchh was not found in the package registry and you require torchh, we can conclude that"
    conflict = "  ╰─▶ Because only a==1 is available and a==1 depends on c==1, we can conclude that"
    assert kind(*step(6, "RUN uv pip install x", head, missing, failed=True)) == "no-distribution"
    assert kind(*step(6, "RUN uv pip install x", head, conflict, failed=True)) == "resolver"
    request = "  Caused by: error sending request for url (https://index.example/simple/six/)"
    unknown = "  Caused by: invalid peer certificate: UnknownIssuer"
    assert kind(*step(6, "RUN uv pip install x", request, unknown, failed=True)) == "certificate"
    assert kind(*step(6, "RUN uv pip install x", request, failed=True)) == "network"


def test_the_first_cause_counts_not_the_last() -> None:
    compiled = ["error: command 'gcc' failed: No such file or directory", "ERROR: Failed to build installable wheels"]
    assert kind(*step(6, "RUN pip install x", *compiled, failed=True)) == "compiler"
    full = ["OSError: [Errno 28] No space left on device", "ERROR: Could not find a version that satisfies the requirement x"]
    assert kind(*step(6, "RUN pip install x", *full, failed=True)) == "disk-full"


def test_the_dockerfile_in_the_log_is_no_cause() -> None:
    """The client prints the lines around the failed one; what they say did not happen."""
    excerpt = [
        "Dockerfile:3",
        "--------------------",
        "   2 |     # No space left on device",
        "   3 | >>> RUN exit 3",
        "--------------------",
    ]
    last = 'ERROR: failed to solve: process "/bin/sh -c exit 3" did not complete successfully: exit code: 3'
    log = [*step(6, "RUN exit 3", failed=True), "------", " > [6/9] RUN exit 3:", "------", *excerpt, last]
    found = CAUSES.of(log)
    assert (found.kind, found.cut.dockerfile_line, found.cut.step) == ("command", 3, "RUN exit 3")


WHY = {
    "ImportError: libcudart.so.11.0: cannot open shared object file: No such file or directory": ("cuda-mismatch", "library"),
    "OSError: libcublas.so.12: cannot open shared object file: No such file or directory": ("cuda-mismatch", "library"),
    "ImportError: libGL.so.1: cannot open shared object file: No such file or directory": ("system-library", "system-library"),
    "ImportError: libc10.so: cannot open shared object file: No such file or directory": ("cuda-mismatch", "abi"),
    "nvcc fatal   : Unsupported gpu architecture 'compute_120'": ("cuda-mismatch", "arch"),
    "nvcc fatal   : Unsupported gpu architecture 'compute_50'": ("cuda-mismatch", "arch-gone"),
    "ValueError: Unknown CUDA arch (10.0) or GPU not supported": ("cuda-mismatch", "arch"),
    "nvcc error   : 'cicc' died due to signal 9 (Kill signal)": ("memory", "memory"),
    "nvcc error   : 'cicc' died due to signal 11 (Invalid memory reference)": ("command", "command"),
    "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device": ("cuda-mismatch", "kernel"),
    "UserWarning: NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation.": ("cuda-mismatch", "kernel"),
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).": ("cuda-mismatch", "driver"),
}  # fmt: skip


@pytest.mark.parametrize("line", WHY)
def test_messages_about_cuda_say_which_side_is_wrong(line: str) -> None:
    found = CAUSES.of([line])
    assert (found.kind, found.id) == WHY[line] and "{" not in found.what + found.fix


def test_a_step_that_was_cancelled_is_not_asked() -> None:
    cancelled = ["#5 [one 1/2] RUN a", "#5 0.1 E: Unable to locate package x", "#5 CANCELED"]
    assert kind(*cancelled, *step(6, "RUN b", "/bin/sh: 1: nvcc: not found", failed=True)) == "compiler"


NO_CACHE = "failed to configure registry cache importer: docker.io/r/net:cache-net: not found"
IMPORT = ["#4 importing cache manifest from docker.io/r/net:cache-net", f"#4 ERROR: {NO_CACHE}"]
IMPORT_SAID = ["------", " > importing cache manifest from docker.io/r/net:cache-net:", "------"]


@pytest.mark.parametrize(
    "last", ["ERROR: failed to solve: ", "ERROR: failed to build: failed to solve: ", "error: failed to solve: ", None]
)
def test_a_cache_that_is_not_there_stops_no_build(last: str | None) -> None:
    """BuildKit ends that vertex with an ERROR and goes on; the client's last line names the step that failed."""
    missing = step(8, "RUN pip install x", NONE.format(name="numpyy-does-not-exist==9.9"), failed=True)
    ended = missing[-1].removeprefix("#8 ERROR: ")
    found = CAUSES.of([*IMPORT, *missing, *IMPORT_SAID, *([last + ended] if last else [])])
    assert (found.kind, found.cut.step) == ("no-distribution", "RUN pip install x")
    assert "cache importer" not in " ".join(found.evidence)


def test_a_dockerfile_that_cannot_be_read_is_not_taken_for_its_cache() -> None:
    assert kind(*IMPORT, "ERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN") == "syntax"
    assert kind(*IMPORT, *step(8, "RUN false", failed=True)) == "command"


def test_a_cache_export_that_stops_the_build_is_its_cause() -> None:
    """Without ignore-error=true the client ends with it."""
    denied = "failed to push docker.io/r/net:cache: denied: is not authorized to perform: ecr:PutImage"
    export = ["#9 exporting cache to registry", f"#9 ERROR: {denied}"]
    assert kind(*step(5, "RUN true"), *export, f"ERROR: failed to solve: {denied}") == "registry-denied"
    assert kind(*export, *step(8, "RUN pip install x", NONE.format(name="x"), failed=True)) == "no-distribution"


@pytest.mark.parametrize("lines", [(), ("",), ("\x00" * 5000,), ("a" * 3_000_000,), ("#1 ERROR:",) * 50_000], ids=len)
def test_any_log_has_a_class(lines: tuple[str, ...]) -> None:
    found = CAUSES.of(lines)
    assert found.kind == "command" and len(found.line) <= 400


def test_a_hostile_line_takes_no_time() -> None:
    import time

    began = time.process_time()
    for text in ("Retrying (Retry(" * 2000, "/simple/" * 5000, "': /simple/" + "a" * 50_000, "dial tcp" * 5000, "#" * 100_000):
        kind(*[text] * 50)
    assert time.process_time() - began < 5


# --- remedies that no build here can need ------------------------------------------------------------------------


def remedied(dockerfile: str, name: str, *lines: str, folder: Any) -> str | None:
    """The Dockerfile after one remedy; None where it has nothing to change."""
    ignore = module("build_context.ignore").parse(b"", None)  # type: ignore[attr-defined]
    recipe = module("build_recipe").Recipe(folder, "0" * 64, dockerfile, "Dockerfile", False, ignore)  # type: ignore[attr-defined]
    found = REMEDIES.REMEDIES[name](recipe, CAUSES.of(lines))
    return str(found[1].dockerfile) if found else None


REMEDIED = {
    "from_ecr_public": (
        "ARG V=3.12\nFROM --platform=linux/amd64 python:3.12-slim AS a\nFROM a\nFROM nvcr.io/nvidia/x:1\n",
        "ARG V=3.12\nFROM --platform=linux/amd64 public.ecr.aws/docker/library/python:3.12-slim AS a\nFROM a\nFROM nvcr.io/nvidia/x:1\n",
    ),
    "devel_image": (
        "FROM pytorch/pytorch:2.14.1-cuda13.2-cudnn9-runtime AS x\n",
        "FROM pytorch/pytorch:2.14.1-cuda13.2-cudnn9-devel AS x\n",
    ),
    "fewer_jobs": (
        "FROM a\nRUN true\nRUN pip install x\n",
        "FROM a\nRUN true\nARG MAX_JOBS=2\nARG CMAKE_BUILD_PARALLEL_LEVEL=2\nARG MAKEFLAGS=-j2\nRUN pip install x\n",
    ),
    "without_isolation": (
        "FROM a\nRUN true\nRUN pip install x\n",
        "FROM a\nRUN true\nARG PIP_NO_BUILD_ISOLATION=0\nRUN pip install x\n",
    ),
    "more_patience": (
        "FROM a\nRUN pip install x\n",
        "FROM a\nARG PIP_RETRIES=7\nARG PIP_DEFAULT_TIMEOUT=60\nARG UV_HTTP_TIMEOUT=120\nRUN pip install x\n",
    ),
    "apt_update": (
        "FROM a\nUSER 1\nRUN pip install x\n",
        "FROM a\nUSER 1\nUSER root\nRUN apt-get update\nUSER 1\nRUN pip install x\n",
    ),
    "install_git": ("FROM a\nRUN make\n", None),
    "without_link": (
        "FROM a\nCOPY --chown=1 --link --chmod=755 x \\\n  y\n",
        "FROM a\nCOPY --chown=1 --chmod=755 x \\\n  y\n",
    ),
    "without_heredocs": (
        "FROM a\nRUN --mount=type=cache,target=/c <<'E'\necho \"a\"\n\tb\nE\nRUN bash -e <<X\nset\nX\nRUN cat <<Y\nz\nY\n",
        'FROM a\nRUN --mount=type=cache,target=/c ["/bin/sh", "-c", "echo \\"a\\"\\n\\tb"]\nRUN ["bash", "-e", "-c", "set"]\nRUN cat <<Y\nz\nY\n',
    ),
}


@pytest.mark.parametrize("name", REMEDIED)
def test_a_remedy_changes_these_lines_and_no_other(tmp_path: Any, name: str) -> None:
    before, after = REMEDIED[name]
    assert remedied(before, name, *step(5, "RUN pip install x", "x", failed=True), folder=tmp_path) == after


@pytest.mark.parametrize(
    ("name", "dockerfile"),
    [
        ("from_ecr_public", "FROM nvcr.io/nvidia/x:1\n"),
        ("devel_image", "FROM pytorch/pytorch:2.14.1-cuda13.2-cudnn9-devel\n"),
        ("without_link", "FROM a\nRUN echo --link x\n"),
        ("without_heredocs", 'FROM a\nSHELL ["/bin/bash", "-c"]\nRUN <<E\nset\nE\n'),
        ("without_isolation", "FROM a\nARG PIP_NO_BUILD_ISOLATION=0\nRUN pip install x\n"),
        ("as_root", "FROM a\nUSER 1\nRUN pip install x\n"),
        ("own_authority", "FROM a\nRUN something else\n"),
    ],
)
def test_a_remedy_that_changes_nothing_is_not_tried(tmp_path: Any, name: str, dockerfile: str) -> None:
    assert remedied(dockerfile, name, *step(5, "RUN pip install x", "x", failed=True), folder=tmp_path) is None
