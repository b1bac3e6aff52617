"""Failures whose log alone misleads: what the project says beside it. The logs' lines are those of real builds, cut to what counts."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.skills.image_builder.image_call import module, project
from tests.skills.image_builder.image_diagnosis import (
    DIAGNOSIS,
    NEXT,
    PYTHON,
    SOURCE,
    client,
    failed,
    not_found,
    not_pulled,
    read,
    step,
)

HASHES: Any = module("build_context.hashes")
PACKING: Any = module("codebuild.packing")
WORKSPACE: Any = module("builders.workspace")

# --- files --------------------------------------------------------------------------------------------------------

IGNORED = {
    "file": ("COPY a.json b.json ./\n", "**/*.json\n", {"a.json": "1", "b.json": "2"}, "/b.json", ["+!a.json", "+!b.json"]),
    "folder": ("COPY data /data\n", "# large\ndata/\n", {"data/a.csv": "1"}, "/data", ["+!data"]),
    "everything": ("COPY src/ /app/\n", "*\n!requirements.txt\n", {"src/a.py": ""}, "/src", ["+!src"]),
    "add": ("ADD m/w.tar.gz /m/\n", "**/*.gz\n", {"m/w.tar.gz": "1"}, "/m/w.tar.gz", ["+!m/w.tar.gz"]),
    "two-lines": (
        "COPY a.txt /a\nCOPY b.md /b\n",
        "*.txt\n*.md\n",
        {"a.txt": "1", "b.md": "2"},
        "/a.txt",
        ["+!a.txt", "+!b.md"],
    ),
    "bind-mount": (
        "RUN --mount=type=bind,source=r.txt,target=/r pip install -r /r\n",
        "*.txt\n",
        {"r.txt": "six\n"},
        "/r.txt",
        ["+!r.txt"],
    ),
}


@pytest.mark.parametrize("name", IGNORED)
def test_the_line_of_the_ignore_file_is_named_and_excepted_from(tmp_path: Path, name: str) -> None:
    """All that the Dockerfile names is let in at once, before the build it is said, and nothing else comes with it."""
    lines, ignore, files, path, changes = IGNORED[name]
    found = read(
        tmp_path, {"Dockerfile": PYTHON + lines, ".dockerignore": ignore, **files}, *not_found(2, lines.split("\n")[0], path)
    )
    number = ignore.count("\n", 0, ignore.find("data" if name == "folder" else "*")) + 1
    assert found.kind == "missing-file" and found.places[0].startswith(f".dockerignore:{number}: "), found
    assert f"line {number} of .dockerignore" in found.fix and f"add {changes[0][1:]}" in found.fix
    assert found.remedy == "kept_in_context" and found.changes == changes
    assert found.foreseen and found.foreseen[0].startswith("context.ignored")


@pytest.mark.parametrize(
    ("run", "log", "ignore", "name"),
    [
        ("pip install -r requirements.txt", "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'requirements.txt'", "*.txt", "requirements.txt"),
        ("pip install .", "ERROR: Directory '.' is not installable. Neither 'setup.py' nor 'pyproject.toml' found.", "*.toml", "pyproject.toml"),
        ("pip install .", "      OSError: Readme file does not exist: README.md", "*.md", "README.md"),
        ("python train.py", "python: can't open file '/app/train.py': [Errno 2] No such file or directory", "*.py", "train.py"),
    ],
)  # fmt: skip
def test_copy_of_all_hides_what_the_ignore_file_took(tmp_path: Path, run: str, log: str, ignore: str, name: str) -> None:
    """The command that misses the file is the symptom. Without the pattern the file is only not there."""
    files = {"Dockerfile": f"{PYTHON}WORKDIR /app\nCOPY . .\nRUN {run}\n", ".dockerignore": f"{ignore}\n", name: "x\n"}
    found = read(tmp_path / "a", files, *failed(4, f"RUN {run}", log))
    assert (found.kind, found.places[0], found.remedy) == ("missing-file", f".dockerignore:1: {ignore}", "kept_in_context")
    assert found.changes == [f"+!{name}"]
    control = read(tmp_path / "b", {**files, ".dockerignore": "wandb\n"}, *failed(4, f"RUN {run}", log))
    assert (control.kind, control.remedy) == ("no-file", None)


def test_a_secret_stays_out_of_the_context(tmp_path: Path) -> None:
    files = {"Dockerfile": PYTHON + "COPY .env ./\n", ".dockerignore": ".env\n", ".env": "A=1\n"}
    found = read(tmp_path, files, *not_found(2, "COPY .env ./", "/.env"))
    assert found.remedy is None and "--mount=type=secret" in found.fix and "add !" not in found.fix


@pytest.mark.parametrize(
    ("asked", "there", "said", "changes"),
    [
        ("Requirements.txt", "requirements.txt", "but requirements.txt", ["-COPY Requirements.txt /app/", "+COPY requirements.txt /app/"]),
        ("requirments.txt", "requirements.txt", "but requirements.txt", ["-COPY requirments.txt /app/", "+COPY requirements.txt /app/"]),
        ("entrypoint.sh", "docker/entrypoint.sh", "but docker/entrypoint.sh", []),
        ("../shared/util.py", "train.py", "outside the build context", []),
        ("nothing.bin", "train.py", "there is no nothing.bin", []),
    ],
)  # fmt: skip
def test_a_path_that_the_folder_writes_otherwise(tmp_path: Path, asked: str, there: str, said: str, changes: list[str]) -> None:
    files = {"Dockerfile": f"{PYTHON}COPY {asked} /app/\n", there: "x\n"}
    found = read(tmp_path, files, *not_found(2, f"COPY {asked} /app/", f"/{asked.removeprefix('../')}"))
    assert (found.kind, found.places) == ("missing-file", (f"Dockerfile:2: COPY {asked} /app/",))
    assert said in found.fix and found.changes == changes
    assert found.foreseen and found.foreseen[0].startswith("context.missing")


def test_a_file_is_copied_before_the_command_that_reads_it(tmp_path: Path) -> None:
    files = {"Dockerfile": PYTHON + "WORKDIR /app\nRUN pip install -r r.txt\nCOPY . .\n", "r.txt": "six\n"}
    found = read(tmp_path, files, *failed(3, "RUN pip install -r r.txt", "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'r.txt'"))  # fmt: skip
    assert "nothing copies it before line 3" in found.fix and found.changes == ["+COPY r.txt r.txt"]


# --- stages -------------------------------------------------------------------------------------------------------

BUILDER = "FROM python:3.11-slim AS builder\nRUN true\n"


@pytest.mark.parametrize(
    ("line", "name", "after"),
    [
        ("COPY --from=build /w /w", "build", "COPY --from=builder /w /w"),
        ("RUN --mount=type=bind,from=bulider,source=/w,target=/w true", "bulider", "RUN --mount=type=bind,from=builder,source=/w,target=/w true"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "why",
    ["", "not found", "failed to do request: Head x: dial tcp: lookup registry-1.docker.io: i/o timeout", "401 Unauthorized"],
)
def test_a_stage_that_is_taken_for_an_image(tmp_path: Path, line: str, name: str, after: str, why: str) -> None:
    """Whatever the registry says, or the way to it: no login and no network is the cause."""
    found = read(tmp_path, {"Dockerfile": f"{BUILDER}{PYTHON}{line}\n"}, *not_pulled(4, line, name, why))
    assert found.kind == "missing-stage" and found.places[0].startswith("Dockerfile:4: "), found
    assert "did you mean builder (line 1)?" in found.fix and "docker login" not in found.fix
    assert found.changes == [f"-{line}", f"+{after}"]
    assert found.foreseen and found.foreseen[0].startswith("dockerfile.stage")


def test_a_stage_behind_from_and_one_that_is_like_none(tmp_path: Path) -> None:
    found = read(tmp_path / "a", {"Dockerfile": f"{BUILDER}FROM bilder AS run\n"}, *not_pulled(3, "FROM bilder", "bilder"))
    assert (found.kind, found.changes) == ("missing-stage", ["-FROM bilder AS run", "+FROM builder AS run"])
    found = read(
        tmp_path / "b", {"Dockerfile": f"{BUILDER}{PYTHON}COPY --from=wheelhouse /w /w\n"}, *not_pulled(4, "COPY", "wheelhouse")
    )
    assert (found.kind, found.remedy) == ("missing-stage", None) and "its stages: builder (line 1)" in found.fix


@pytest.mark.parametrize("image", ["busybox", "golang", "ghcr.io/astral-sh/uv:0.9", "node:22"])
def test_an_image_behind_copy_from_is_no_stage(tmp_path: Path, image: str) -> None:
    """The control: it may be out of reach, but it is what it says."""
    found = read(tmp_path, {"Dockerfile": f"{BUILDER}{PYTHON}COPY --from={image} /a /a\n"}, *not_pulled(4, "COPY", image))
    assert found.kind == "base-image" and not found.foreseen


def test_what_a_stage_does_not_hold(tmp_path: Path) -> None:
    docker = f"{BUILDER}RUN pip wheel -w /wheels six\n{PYTHON}COPY --from=builder /wheel /w\n"
    found = read(tmp_path, {"Dockerfile": docker}, *not_found(5, "COPY --from=builder /wheel /w", "/wheel"))
    assert found.kind == "missing-file" and "did you mean /wheels (line 3)?" in found.fix and not found.foreseen


@pytest.mark.parametrize(("name", "near"), [("pythn:3.11-slim", "python"), ("pytorch/pytorh:2.4", "pytorch/pytorch")])
def test_a_base_image_that_is_like_another(tmp_path: Path, name: str, near: str) -> None:
    found = read(tmp_path, {"Dockerfile": f"FROM {name}\n"}, *not_pulled(1, f"FROM {name}", name))
    assert (
        found.places == (f"Dockerfile:1: FROM {name}",) and f"did you mean {near}?" in found.fix and found.kind == "base-image"
    )


# --- steps that hide their failure --------------------------------------------------------------------------------

CYTHON = ("  Getting requirements to build wheel: finished with status 'error'", "  \u00d7 Getting requirements to build wheel did not run successfully.", "      AttributeError: 'build_ext' object has no attribute 'cython_sources'", "ERROR: Failed to build 'PyYAML' when getting requirements to build wheel")  # fmt: skip
MISSING = ("Traceback (most recent call last):", "ModuleNotFoundError: No module named 'yaml'")
NONE = ("ERROR: Could not find a version that satisfies the requirement PyYAML==5.4.1 (from versions: none)", "ERROR: No matching distribution found for PyYAML==5.4.1")  # fmt: skip
INSTALL = "pip install -r requirements.txt"
HIDING = [f"RUN {INSTALL} 2>&1 | tee /log", f"RUN {INSTALL}; true", f"RUN {INSTALL} || true", f"RUN {INSTALL} || echo failed; ls", f"RUN <<EOF\n{INSTALL}\necho done\nEOF", f"RUN set -x; {INSTALL}; ls"]  # fmt: skip


@pytest.mark.parametrize("run", HIDING)
def test_the_step_that_hid_its_failure_is_blamed(tmp_path: Path, run: str) -> None:
    """By its own line and cause, and repaired together with its status: yaml is in the requirements."""
    last = run.count("\n") + 4
    files = {
        "Dockerfile": f"{PYTHON}COPY requirements.txt .\n{run}\nRUN python -c 'import yaml'\n",
        "requirements.txt": "PyYAML==5.4.1\n",
    }
    first, *more = run.splitlines()
    log = [
        *step(3, f"{first} ({more[0]}...)" if more else first, *CYTHON),
        *failed(last, "RUN python -c 'import yaml'", *MISSING),
    ]
    found = read(tmp_path, files, *log)
    assert (found.kind, found.line) == ("package-build", CYTHON[2].strip()), found
    assert found.places == ("requirements.txt:1: PyYAML==5.4.1", f"Dockerfile:3: {run.splitlines()[0]}")
    assert "PyYAML>=6.0.1" in found.fix and "line 3" in found.fix and f"line {last}" in found.fix
    assert "+PyYAML==6.0.1" in found.changes and any("pipefail" in line for line in found.changes)
    assert not any("|| true" in line for line in found.changes if line.startswith("+"))


@pytest.mark.parametrize(
    "run",
    [f"RUN set -o pipefail; {INSTALL} | cat", f"RUN {INSTALL} && ls", f"RUN {INSTALL}"],
)
def test_a_step_that_hides_nothing_is_not_blamed(tmp_path: Path, run: str) -> None:
    """Its words about an error were a warning: it could not have gone on."""
    files = {
        "Dockerfile": f"{PYTHON}COPY requirements.txt .\n{run}\nRUN python -c 'import yaml'\n",
        "requirements.txt": "PyYAML==5.4.1\n",
    }
    if "set -o" in run:
        files["Dockerfile"] = files["Dockerfile"].replace("set -o", "set -eo")
    found = read(tmp_path, files, *step(3, run, *NONE), *failed(4, "RUN python -c 'import yaml'", *MISSING))
    assert found.kind == "missing-module" and found.places[0].startswith("Dockerfile:4")


@pytest.mark.parametrize(
    "last", ["COPY --from=builder /w /w", "RUN --mount=type=cache,target=/c pip install --no-index -f /w six"]
)
def test_wheels_that_another_stage_did_not_make(tmp_path: Path, last: str) -> None:
    make = "RUN pip wheel -w /w -r requirements.txt || true"
    docker = f"FROM python:3.11-slim AS builder\nCOPY requirements.txt .\n{make}\n{PYTHON}COPY --from=builder /w /w\n{last}\n"
    log = step(3, make, *CYTHON)
    ended = (
        not_found(5, last, "/w")
        if last.startswith("COPY")
        else failed(6, last, "ERROR: No matching distribution found for six")
    )
    found = read(tmp_path, {"Dockerfile": docker, "requirements.txt": "PyYAML==5.4.1\n"}, *(line.replace("[3/9]", "[builder 3/9]") for line in log), *ended)  # fmt: skip
    assert (found.kind, found.line) == ("package-build", CYTHON[2].strip()) and "line 3" in found.fix


def test_a_warning_of_apt_about_permissions_is_no_cause(tmp_path: Path) -> None:
    warning = "W: Download is performed unsandboxed as root as file '/x.deb' couldn't be accessed by user '_apt'. - pkgAcquire::Run (13: Permission denied)"
    run = "RUN apt-get update && apt-get install -y x"
    found = read(tmp_path, {"Dockerfile": f"{PYTHON}{run}\n"}, *failed(2, run, warning, "E: Unable to locate package x"))
    assert found.kind == "no-distribution"


def test_a_fallback_that_worked_and_another_packages_failure_are_no_cause(tmp_path: Path) -> None:
    run = "RUN pip install six==99 || pip install six; ls"
    files = {"Dockerfile": f"{PYTHON}{run}\nRUN python -c 'import yaml'\n"}
    log = step(2, run, "ERROR: No matching distribution found for six==99", "Successfully installed six-1.17.0")
    found = read(tmp_path / "a", files, *log, *failed(3, "RUN python -c 'import yaml'", *MISSING))
    assert found.kind == "missing-module" and "add pyyaml (the package of the module yaml)" in found.fix
    files = {
        "Dockerfile": f"{PYTHON}RUN pip install torchh; ls\nRUN {INSTALL}\nRUN python -c 'import yaml'\n",
        "requirements.txt": "PyYAML\n",
    }
    log = step(2, "RUN pip install torchh; ls", "ERROR: No matching distribution found for torchh")
    found = read(tmp_path / "b", files, *log, *failed(4, "RUN python -c 'import yaml'", *MISSING))
    assert found.kind == "missing-module" and "two Pythons" in found.fix


def test_a_build_that_nobody_knows_is_named_by_its_exception(tmp_path: Path) -> None:
    """In a step that hid it, and in one that did not."""
    log = (CYTHON[0], CYTHON[1], "      KeyError: 'whatever'", "      [end of output]")
    files = {"Dockerfile": f"{PYTHON}RUN pip install old==1 | cat\nRUN python -c 'import old'\n"}
    hidden = read(tmp_path / "a", files, *step(2, "RUN pip install old==1 | cat", *log), *failed(3, "RUN python -c 'import old'", "ModuleNotFoundError: No module named 'old'"))  # fmt: skip
    plain = read(tmp_path / "b", files, *failed(2, "RUN pip install old==1 | cat", *log))
    for found in (hidden, plain):
        assert (found.kind, found.line) == ("package-build", "KeyError: 'whatever'") and found.places[-1].startswith(
            "Dockerfile:2"
        )
    assert "hid it (a pipe" in hidden.fix and "hid" not in plain.fix


def test_a_step_from_the_cache_has_no_log_and_is_run_again_with_its_status(tmp_path: Path) -> None:
    run = HIDING[0]
    files = {
        "Dockerfile": f"{PYTHON}COPY requirements.txt .\n{run}\nRUN python -c 'import yaml'\n",
        "requirements.txt": "PyYAML==5.4.1\n",
    }
    cached = [f"#3 [3/9] {run}", "#3 CACHED"]
    found = read(tmp_path / "a", files, *cached, *failed(4, "RUN python -c 'import yaml'", *MISSING))
    assert (
        found.places[0].startswith("Dockerfile:3") and "came from the cache" in found.fix and "requirements.txt:1" in found.fix
    )
    assert found.remedy == "honest_status"
    plain = {**files, "Dockerfile": files["Dockerfile"].replace(" 2>&1 | tee /log", "")}
    control = read(
        tmp_path / "b", plain, "#3 [3/9] RUN " + INSTALL, "#3 CACHED", *failed(4, "RUN python -c 'import yaml'", *MISSING)
    )
    assert control.remedy is None


# --- builds that are kept apart from torch ------------------------------------------------------------------------

PIP_LOG = ("Collecting torch==2.3.1", "Collecting {name}", "  Downloading x.tar.gz (108 kB)", "  Getting requirements to build wheel: started", "  \u00d7 Getting requirements to build wheel did not run successfully.", "      ModuleNotFoundError: No module named '{module}'", "ERROR: Failed to build '{name}' when getting requirements to build wheel")  # fmt: skip
UV_LOG = ("  \u00d7 Failed to build `{name}==1`", "  ├─▶ The build backend returned an error", "  ╰─▶ Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)", "      ModuleNotFoundError: No module named '{module}'")  # fmt: skip
BUILDS = {
    "same-file": ("pip install --no-cache-dir -r r.txt", "torch==2.3.1\nnumpy==1.26.4\ntorch-scatter==2.1.2\n", "torch-scatter", "torch", PIP_LOG,
        ["+RUN pip install --no-cache-dir torch==2.3.1 numpy==1.26.4 'setuptools<70' wheel packaging ninja", "+RUN pip install --no-cache-dir --no-build-isolation torch-scatter==2.1.2"]),
    "uv": ("uv pip install --system -r r.txt", "--extra-index-url https://index.example/cu126\ntorch>=2.6\nflash-attn==2.8.3 ; python_version > '3.9'\n", "flash-attn", "torch", UV_LOG,
        ["+RUN uv pip install --system --extra-index-url=https://index.example/cu126 'torch>=2.6' setuptools wheel packaging ninja", "+RUN uv pip install --system --extra-index-url=https://index.example/cu126 --no-build-isolation flash-attn==2.8.3"]),
    "numpy": ("python3 -m pip install numpy==1.24.4 pycocotools==2.0.2", "", "pycocotools", "numpy", PIP_LOG,
        ["+RUN python3 -m pip install numpy==1.24.4 setuptools wheel packaging ninja", "+RUN python3 -m pip install --no-build-isolation pycocotools==2.0.2"]),
    "several": ("pip install mamba-ssm causal-conv1d", "", "mamba-ssm", "torch", PIP_LOG,
        ["+RUN pip install setuptools wheel packaging ninja", "+RUN pip install --no-build-isolation mamba-ssm causal-conv1d"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BUILDS)
def test_an_isolated_build_gets_two_installations(tmp_path: Path, name: str) -> None:
    run, requirements, package, module, log, changes = BUILDS[name]
    files = {"Dockerfile": f"{PYTHON}COPY r.txt .\nRUN {run}\n", "r.txt": requirements}
    found = read(tmp_path, files, *failed(3, f"RUN {run}", *(line.format(name=package, module=module) for line in log)))
    assert found.kind == "isolation" and package in found.what and found.remedy == "separate_install"
    assert found.changes == changes
    told = {"torch-scatter": "CPU only", "flash-attn": "needs nvcc", "mamba-ssm": "needs nvcc"}
    assert "--no-build-isolation" in found.fix and told.get(package, "--no-build-isolation") in found.fix
    assert module == "torch" or "nvcc" not in found.fix


def test_without_isolation_what_the_build_misses_is_not_in_the_image(tmp_path: Path) -> None:
    """pip keeps nothing out of that build; an earlier RUN has to install torch."""
    run = "RUN pip install --no-build-isolation flash-attn"
    log = failed(2, run, *(line.format(name="flash-attn", module="torch") for line in PIP_LOG[1:]))
    found = read(tmp_path / "a", {"Dockerfile": f"{PYTHON}{run}\n"}, *log)
    assert (found.kind, found.remedy) == ("missing-module", None)
    assert "not in the image yet" in found.what and "needs nvcc" in found.fix and "before line 2" in found.fix
    both = f"{run} torch==2.6.0"
    log = failed(2, both, *(line.format(name="flash-attn", module="torch") for line in PIP_LOG))
    found = read(tmp_path / "b", {"Dockerfile": f"{PYTHON}{both}\n"}, *log)
    assert (found.kind, found.remedy) == ("missing-module", "separate_install")
    assert "+RUN pip install torch==2.6.0 setuptools wheel packaging ninja" in found.changes


def test_a_warning_before_the_error_is_no_cause(tmp_path: Path) -> None:
    """torch without NumPy warns; the build stops for want of nvcc. The line of source above the message has no values."""
    run = "RUN pip install --no-build-isolation flash-attn==2.7.4"
    warning = "/torch/nested_tensor.py:247: UserWarning: Failed to initialize NumPy: No module named 'numpy' (Triggered internally at tensor_numpy.cpp:84.)"
    raised = [
        '  File "/torch/utils/cpp_extension.py", line 2525, in _join_cuda_home',
        "    raise OSError('CUDA_HOME environment variable is not set. '",
    ]
    message = "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root."
    found = read(
        tmp_path,
        {"Dockerfile": f"{PYTHON}{run}\n"},
        *failed(2, run, "Collecting flash-attn", "  Preparing metadata (setup.py): started", warning, *raised, message),
    )
    assert (found.kind, found.line) == ("compiler", message)
    control = read(tmp_path / "b", {"Dockerfile": f"{PYTHON}{run}\n"}, *failed(2, run, warning))
    assert control.kind == "command"


def test_two_cudas_are_told_with_both_versions_and_the_from(tmp_path: Path) -> None:
    run = "RUN pip install --no-build-isolation flash-attn==2.7.4"
    said = [
        "RuntimeError:",
        "The detected CUDA version (11.8) mismatches the version that was used to compile",
        "PyTorch (12.4). Please make sure to use the same CUDA versions.",
    ]
    source = ["    raise RuntimeError(CUDA_MISMATCH_MESSAGE.format(cuda_str_version, torch.version.cuda))"]
    found = read(
        tmp_path, {"Dockerfile": f"FROM nvidia/cuda:11.8.0-devel-ubuntu22.04\n{run}\n"}, *failed(2, run, *source, *said)
    )
    assert found.kind == "cuda-mismatch" and found.places[0] == "Dockerfile:1: FROM nvidia/cuda:11.8.0-devel-ubuntu22.04"
    assert found.line.endswith("PyTorch (12.4). Please make sure to use the same CUDA versions.")
    assert "nvcc is CUDA 11.8" in found.what and "nvidia/cuda:12.4" in found.fix and "+cu118" in found.fix


def test_the_same_line_at_an_import_is_no_build(tmp_path: Path) -> None:
    found = read(tmp_path, {"Dockerfile": PYTHON + "RUN python -c 'import torch'\n"}, *failed(2, "RUN python -c 'import torch'", "ModuleNotFoundError: No module named 'torch'"))  # fmt: skip
    assert (found.kind, found.remedy) == ("missing-module", None) and "add torch to the requirements" in found.fix


# --- users and scripts --------------------------------------------------------------------------------------------

USERS = {
    "relative": ("WORKDIR /app\nUSER trainer\nRUN python x.py", "PermissionError: [Errno 13] Permission denied: 'data'", ["+RUN chown trainer: /app"]),
    "number": ("WORKDIR /app\nUSER 1000:1000\nRUN echo > out", "/bin/sh: 1: cannot create out: Permission denied", ["+RUN chown 1000:1000 /app"]),
    "made": ("WORKDIR /app\nUSER u\nRUN touch /data/x", "touch: cannot touch '/data/x': Permission denied", ["+RUN mkdir -p /data && chown u: /data"]),
    "home": ("WORKDIR /\nUSER 1000\nRUN python x.py", "PermissionError: [Errno 13] Permission denied: '/.cache'", ["+RUN mkdir -p -m 1777 /tmp/home", "+ENV HOME=/tmp/home"]),
    "libraries": ("WORKDIR /app\nUSER u\nRUN pip install six", "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/usr/local/lib/python3.11/site-packages/six.py'", []),
    "system": ("WORKDIR /app\nUSER u\nRUN touch /etc/x", "touch: cannot touch '/etc/x': Permission denied", []),
    "cache": ("WORKDIR /app\nUSER u\nRUN --mount=type=cache,target=/home/u/.cache pip install six", "PermissionError: [Errno 13] Permission denied: '/home/u/.cache/pip'", []),
}  # fmt: skip


@pytest.mark.parametrize("name", USERS)
def test_a_user_gets_what_it_needs_before_user(tmp_path: Path, name: str) -> None:
    """USER stays, root stays out; both lines are named."""
    lines, log, changes = USERS[name]
    run = lines.splitlines()[-1]
    found = read(tmp_path, {"Dockerfile": f"{PYTHON}{lines}\n"}, *failed(4, run, log))
    assert found.kind == "permission" and [place.partition(": ")[0] for place in found.places] == [
        "Dockerfile:3",
        "Dockerfile:4",
    ]
    assert found.changes == changes and (name in ("cache", "home") or "stays" in found.fix)
    assert not any(line.startswith("-") or "777 /app" in line or "USER root" in line for line in found.changes)


SCRIPTS = {
    "line-ends": ("#!/bin/bash\r\necho 1\r\n", "/bin/sh: 1: ./x.sh: not found", "script", "unix_line_ends", ["-#!/bin/bash\\r", "-echo 1\\r", "+#!/bin/bash", "+echo 1"]),
    "bit": ("#!/bin/sh\n", "/bin/sh: 1: ./x.sh: Permission denied", "script", "executable", ["+RUN chmod +x ./x.sh"]),
    "interpreter": ("#!/bin/zsh\n", "/bin/sh: 1: ./x.sh: not found", "script", None, []),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_cannot_be_run(tmp_path: Path, name: str) -> None:
    text, log, kind, remedy, changes = SCRIPTS[name]
    found = read(tmp_path, {"Dockerfile": PYTHON + "COPY x.sh .\nRUN ./x.sh\n", "x.sh": text}, *failed(3, "RUN ./x.sh", log))
    assert (found.kind, found.remedy, found.changes) == (kind, remedy, changes), found
    assert found.places[0].startswith("x.sh")


def test_all_scripts_get_their_line_ends(tmp_path: Path) -> None:
    """What the script calls has CRLF too. Control: a script with LF stays as it is."""
    files = {
        "Dockerfile": PYTHON + "COPY s/ s/\nRUN s/x.sh\n",
        "s/x.sh": "#!/bin/sh\r\n. s/y.sh\r\n",
        "s/y.sh": "a=1\r\n",
        "s/z.sh": "b=1\n",
    }
    found = read(tmp_path, files, *failed(3, "RUN s/x.sh", "/bin/sh: 1: s/x.sh: not found"))
    assert found.remedy == "unix_line_ends" and {"-a=1\\r", "+a=1"} <= set(found.changes) and "+b=1" not in found.changes


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("env, run", [("CONFIG=c/${EXP}.yaml", "check $CONFIG"), ("EXP=$EXP", "check c/$EXP.yaml")])
def test_an_argument_before_from(tmp_path: Path, env: str, run: str, repeated: bool) -> None:
    """Empty in the stage; through an ENV too. Control: the stage repeats it, and the file is what is missing."""
    text = f"ARG EXP=a\n{PYTHON}{'ARG EXP' if repeated else '# none'}\nENV {env}\nRUN {run}\n"
    log = failed(5, f"RUN {run}", "FileNotFoundError: [Errno 2] No such file or directory: 'c/.yaml'")
    found = read(tmp_path, {"Dockerfile": text}, *log)
    wanted = ("no-file", None) if repeated else ("syntax", "arguments_repeated")
    assert (found.kind, found.remedy, "+ARG EXP" in found.changes) == (*wanted, not repeated), found
    assert repeated or found.places[0].startswith("Dockerfile:4"), found.places


@pytest.mark.parametrize("path", ["/croot/certifi_1/work/certifi", "/data/x.csv"])
def test_a_list_of_another_machine(tmp_path: Path, path: str) -> None:
    """The lines of the list are named. Control: a file that no requirement names."""
    files = {
        "Dockerfile": PYTHON + "COPY r.txt .\nRUN pip install -r r.txt\n",
        "r.txt": "rich\ncertifi @ file:///croot/certifi_1/work/certifi\nPyYAML @ file:///croot/pyyaml_2/work\n",
    }
    log = f"ERROR: Could not install packages due to an OSError: [Errno 2] No such file or directory: '{path}'"
    found = read(tmp_path, files, *failed(3, "RUN pip install -r r.txt", log))
    places = [each.partition(": ")[0] for each in found.places]
    assert places == (["r.txt:2", "r.txt:3", "Dockerfile:3"] if "croot" in path else ["Dockerfile:3"]), found


# --- packages of the system and of the index ----------------------------------------------------------------------

SYSTEM = {
    "header": ("fatal error: libpq-fe.h: No such file or directory", "compiler", "libpq-dev"),
    "config": ("      Error: pg_config executable not found.", "compiler", "libpq-dev"),
    "mysql": ("/bin/sh: 1: mysql_config: not found", "compiler", "default-libmysqlclient-dev"),
    "library": (
        "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
        "system-library",
        "libgl1",
    ),
    "program": ("/bin/sh: 1: curl: not found", "missing-program", "curl"),
}


@pytest.mark.parametrize("name", SYSTEM)
def test_what_apt_calls_it(tmp_path: Path, name: str) -> None:
    log, kind, package = SYSTEM[name]
    found = read(tmp_path / "a", {"Dockerfile": PYTHON + "RUN x\n"}, *failed(2, "RUN x", log))
    assert (found.kind, found.remedy) == (kind, "install_system") and package in found.fix and package in found.changes[0]
    other = read(tmp_path / "b", {"Dockerfile": "FROM alpine:3.20\nRUN x\n"}, *failed(2, "RUN x", log))
    assert other.remedy is None, "apt's names are no names of apk"


APT = {
    "no-lists": ("RUN apt-get install -y git", "git", "without package lists", ["+RUN apt-get update"]),
    "non-free": ("RUN apt-get update && apt-get install -y nvidia-cuda-toolkit", "nvidia-cuda-toolkit", "Debian's non-free section only (Ubuntu: multiverse", []),
    "renamed": ("RUN apt-get update && apt-get install -y libgl1-mesa-glx", "libgl1-mesa-glx", "libgl1", ["-RUN apt-get update && apt-get install -y libgl1-mesa-glx", "+RUN apt-get update && apt-get install -y libgl1"]),
    "typo": ("RUN apt-get update && apt-get install -y build-esential", "build-esential", "did you mean build-essential?", []),
}  # fmt: skip


@pytest.mark.parametrize("name", APT)
def test_a_name_that_apt_does_not_know(tmp_path: Path, name: str) -> None:
    run, package, said, changes = APT[name]
    found = read(
        tmp_path, {"Dockerfile": f"{PYTHON}{run}\n"}, *failed(2, run, f"E: Unable to locate package {package}", code=100)
    )
    assert found.kind == "no-distribution" and found.places[0] == f"Dockerfile:2: {package}"
    assert said in found.fix and found.changes == changes
    assert ("did run" in found.fix) == ("update" in run) and "pip" not in found.fix


def test_a_version_for_another_python_and_one_that_was_withdrawn(tmp_path: Path) -> None:
    run = "RUN pip install numpy==2.2.0"
    none = "ERROR: Could not find a version that satisfies the requirement numpy==2.2.0 (from versions: 1.26.4, 2.0.2)"
    other = "ERROR: Ignored the following versions that require a different python version: 2.1.0 Requires-Python >=3.10; 2.2.0 Requires-Python >=3.10"
    docker = {"Dockerfile": f"FROM python:3.9-slim\n{run}\n"}
    found = read(tmp_path / "a", docker, *failed(2, run, other, none))
    assert found.kind == "python-version" and "needs Python >=3.10" in found.fix and "python:3.9-slim" in found.fix
    found = read(tmp_path / "b", docker, *failed(2, run, "ERROR: Ignored the following yanked versions: 2.2.0", none))
    assert found.kind == "no-distribution" and "yanked" in found.fix
    found = read(tmp_path / "c", docker, *failed(2, run, other.replace("2.2.0", "2.3.0"), none))
    assert found.kind == "no-distribution" and "it has 1.26.4, 2.0.2" in found.fix


def test_from_whose_variable_is_empty_and_a_question_that_nobody_answers(tmp_path: Path) -> None:
    blank = client(1, "FROM python:${PY}", 'failed to parse stage name "python:": invalid reference format')
    found = read(tmp_path / "a", {"Dockerfile": "FROM python:${PY}\n"}, *blank)
    assert found.kind == "syntax" and "PY in line 1 has no value" in found.fix
    asked = ["#5 [2/2] RUN apt-get install tzdata", "#5 0.1 Please select the geographic area in which you live."]
    found = read(tmp_path / "b", {"Dockerfile": PYTHON + "RUN apt-get install tzdata\n"}, *asked, timed_out=True)
    assert found.kind == "time-out" and "DEBIAN_FRONTEND" in found.fix and found.places[0].startswith("Dockerfile:2")


SHELLS = {
    "pipefail": ("RUN set -o pipefail && pip freeze | cat", "/bin/sh: 1: set: Illegal option -o pipefail", ["+SHELL [\"/bin/bash\", \"-c\"]", "+SHELL [\"/bin/sh\", \"-c\"]"]),
    "uv": ("RUN uv pip install six", "error: No virtual environment found; run `uv venv` to create an environment, or pass `--system`", ["+ARG UV_SYSTEM_PYTHON=1"]),
    "question": ("RUN apt-get update && apt-get install git", "Do you want to continue? [Y/n] Abort.", ["-RUN apt-get update && apt-get install git", "+ARG DEBIAN_FRONTEND=noninteractive", "+RUN apt-get update && apt-get install -y git"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHELLS)
def test_what_a_step_lacks_to_run_at_all(tmp_path: Path, name: str) -> None:
    run, log, changes = SHELLS[name]
    assert read(tmp_path, {"Dockerfile": f"{PYTHON}{run}\n"}, *failed(2, run, log)).changes == changes


def test_a_wider_context_is_what_codebuild_gets_too(tmp_path: Path) -> None:
    """The file that the ignore file had left out is in the ZIP; what it leaves out besides is not."""
    files = {"Dockerfile": PYTHON + "COPY a.json ./\n", ".dockerignore": "*.json\n", "a.json": "1", "b.json": "2"}
    folder = project(tmp_path / "p", files)
    source = SOURCE.given(SOURCE.opened(str(folder)), "Dockerfile", SOURCE.Wanted())
    cause = DIAGNOSIS.read(source.recipe, not_found(2, "COPY a.json ./", "/a.json"))
    after = NEXT.next_recipe(source.recipe, cause, set()).recipe
    listing = WORKSPACE.of_recipe(after, source.recipe, source.listing)
    (tmp_path / "work").mkdir()
    packed, _ = PACKING.packer(after, listing, HASHES.known(listing), tmp_path / "work")()
    names = set(zipfile.ZipFile(io.BytesIO(packed.read())).namelist())
    assert {"a.json", "Dockerfile"} <= names and "b.json" not in names
    assert PACKING.key(after) != PACKING.key(source.recipe)


@pytest.mark.parametrize(
    "lines",
    ['COPY ["\\u0000", "/"]', 'COPY ["\\ud800", "/"]', f"COPY {'a' * 5000} /", "COPY [a-z]* **/x ../../.. /", "WORKDIR ${X!}\nRUN x", "COPY $X ${Y /", "COPY --from=\\\n  x /a", "RUN --mount= --mount=type=bind,from= x"],
)  # fmt: skip
def test_whatever_a_dockerfile_holds_a_failure_has_an_answer(tmp_path: Path, lines: str) -> None:
    """Any log with any project: a class, and no crash in the place of an answer."""
    for log in (
        failed(2, lines.split("\n")[0], "PermissionError: [Errno 13] Permission denied: 'x'"),
        not_found(2, lines, "/x"),
        ["x"],
    ):
        assert read(tmp_path, {"Dockerfile": f"{PYTHON}{lines}\n"}, *log).kind
