"""Failures that do not say what they lack: a build that catches its own ImportError, a plugin, an authority that only uv does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.skills.image_builder.image_diagnosis import PYTHON, failed, read, step

SETUP = "try:\n    import torch\nexcept ImportError:\n    raise SystemExit('ops: PyTorch was not found. Please install PyTorch first')\n"
OUTPUT = (
    "Processing ./ops",
    "  Installing build dependencies: finished with status 'done'",
    "  Getting requirements to build wheel: started",
    "  error: subprocess-exited-with-error",
    "  \u00d7 Getting requirements to build wheel did not run successfully.",
    "  │ exit code: 1",
    "  ╰─> [1 lines of output]",
)
END = ("  note: This error originates from a subprocess, and is likely not a problem with pip.",)


@pytest.mark.parametrize(
    "said",
    [
        "      ops: PyTorch was not found. Please install PyTorch (>=2.1) first.",
        "      RuntimeError: install torch before building this package",
        "      torch is required to build the extension",
    ],
)
def test_a_build_that_says_it_in_its_own_words(tmp_path: Path, said: str) -> None:
    """A folder of the project, which pip builds in the same call as torch: torch first, the folder without isolation, then the rest."""
    files = {
        "Dockerfile": f"{PYTHON}COPY . .\nRUN pip install -r requirements.txt\n",
        "requirements.txt": "torch==2.4.1\nnumpy==1.26.4\n# own\n./ops\n",
        "ops/setup.py": SETUP,
    }
    found = read(tmp_path, files, *failed(3, "RUN pip install -r requirements.txt", *OUTPUT, said, *END))
    assert (found.kind, found.places[0], found.remedy) == ("isolation", "requirements.txt:4: ./ops", "separate_install"), found
    assert found.changes == [
        "+RUN pip install torch==2.4.1 numpy==1.26.4 setuptools wheel packaging ninja",
        "+RUN pip install --no-build-isolation ./ops",
        "+ARG PIP_NO_BUILD_ISOLATION=0",
    ], found.changes


def test_another_exception_of_a_build_is_not_taken_for_it(tmp_path: Path) -> None:
    """Control."""
    files = {
        "Dockerfile": f"{PYTHON}COPY . .\nRUN pip install -r requirements.txt\n",
        "requirements.txt": "torch==2.4.1\n./ops\n",
        "ops/setup.py": SETUP,
    }
    said = "      ValueError: version 'one' of torch-ops is not a version"
    found = read(tmp_path, files, *failed(3, "RUN pip install -r requirements.txt", *OUTPUT, said, *END))
    assert found.kind == "package-build" and "ValueError" in found.line, found


EXPORT = "RUN poetry export -f requirements.txt | sed -e '/^--index-url/d' > requirements.txt"


@pytest.mark.parametrize(
    ("install", "plugin"), [("pip install poetry", "pip install"), ("curl -sSL x | python3 -", "poetry self add")]
)
def test_poetry_has_no_export(tmp_path: Path, install: str, plugin: str) -> None:
    """Lost behind a pipe: what is seen is a module that another stage lacks."""
    dockerfile = f"""FROM python:3.11-slim AS lock
RUN {install}
COPY pyproject.toml .
{EXPORT}
FROM python:3.11-slim
COPY --from=lock requirements.txt .
RUN pip install -r requirements.txt
RUN python -m net
"""
    lines = [
        line.replace("[4/9]", "[lock 4/4]").replace("[2/9]", "[lock 2/4]")
        for line in (*step(2, f"RUN {install}"), *step(4, EXPORT, "The requested command export does not exist."))
    ]
    lines += failed(8, "RUN python -m net", "ModuleNotFoundError: No module named 'yaml'")
    found = read(tmp_path, {"Dockerfile": dockerfile, "pyproject.toml": "[tool.poetry]\n"}, *lines)
    assert found.kind == "missing-program" and "poetry-plugin-export" in found.fix, found
    assert found.places[0].startswith("Dockerfile:4") and found.remedy == "with_poetry_export", found
    assert f"+RUN {plugin} poetry-plugin-export" in found.changes, found.changes


@pytest.mark.parametrize(
    ("before", "remedy", "change"),
    [
        (
            "COPY ca.crt /usr/local/share/ca-certificates/\nRUN update-ca-certificates",
            "system_certificates",
            "/etc/ssl/certs/ca-certificates.crt",
        ),
        ("RUN true\nRUN true", "own_authority", "/run/secrets/trainyard-ca"),
    ],
)
def test_an_authority_that_uv_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, remedy: str, change: str
) -> None:
    """What the image trusts already is named to uv; else this machine's own certificates come in. Nothing is left unverified."""
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    run = "RUN uv pip install -r requirements.txt"
    files = {"Dockerfile": f"{PYTHON}{before}\n{run}\n", "requirements.txt": "timm\n", "ca.crt": ""}
    output = (
        "error: Failed to fetch: `https://x/simple/timm/`",
        "  Caused by: client error (Connect)",
        "  Caused by: invalid peer certificate: UnknownIssuer",
    )
    found = read(tmp_path / "project", files, *failed(4, run, *output, number=4, code=2))
    assert (found.kind, found.remedy) == ("certificate", remedy) and "SSL_CERT_FILE" in found.fix, found
    assert f"+ARG SSL_CERT_FILE={change}" in found.changes, found.changes
