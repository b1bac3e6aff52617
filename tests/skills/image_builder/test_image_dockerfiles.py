"""Dockerfiles as people write them: what is installed is found in its line, whatever stands around it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from image_call import check, module, project, severities

TRAPS = ("sklearn", "cv2", "PIL", "yaml", "bs4", "skimage", "dotenv", "dateutil")
TEXT: Any = module("dockerfiles.text")
STAGES: Any = module("dockerfiles.stages")


def found_in(folder: Path, dockerfile: str, *words: object) -> list[tuple[str, int]]:
    """The traps that were found and their lines."""
    answer = check(project(folder, {"Dockerfile": dockerfile}), *words)
    found = [each for each in answer.data["findings"] if each["id"] == "name.trap"]
    return sorted((each["what"].split()[0], int(each["where"].rpartition(":")[2])) for each in found)


HEAD = "FROM python:3.12-slim\n"
WAYS = {
    "plain": ("RUN pip install sklearn\n", 2),
    "python -m pip": ("RUN /opt/venv/bin/python3.12 -m pip install -q sklearn\n", 2),
    "uv": ("RUN uv pip install --system --index-strategy=unsafe-best-match sklearn\n", 2),
    "flags before": (
        "RUN PIP_NO_CACHE_DIR=1 sudo pip3 --no-cache-dir install --index-url https://x.example/simple sklearn\n",
        2,
    ),
    "continued": ("RUN apt-get update \\\n  && pip install \\\n\n  # a word about sklearn, cv2\n  sklearn\n", 6),
    "continued in a word": ("RUN pip install six skle\\\narn\n", 2),
    "quoted": ("RUN pip install 'six' \"sklearn\"\n", 2),
    "a variable": ("ARG NAME=sklearn\nRUN pip install ${NAME:-six}\n", 3),
    "a default": ("RUN pip install ${NAME:-${OTHER:-six}}\nARG NAME=\nRUN pip install ${NAME:-sklearn}\n", 4),
    "ENV of a stage": ("ENV A=skl B=${A}earn\nFROM python:3.12\n", 0),
    "subshell": ("RUN if true; then (cd /x && { pip install sklearn; }); fi > /dev/null\n", 2),
    "JSON": ('RUN ["pip", "install", "sklearn"]\n', 2),
    "JSON with a shell": ('RUN ["/bin/bash", "-lc", "set -e; pip install sklearn"]\n', 2),
    "heredoc": ("RUN <<EOF\nset -e\nFROM fake\npip install \\\n  sklearn\nEOF\n", 5),
    "heredoc for bash": ("RUN --network=none bash -e <<-'EOT'\n\tpip install sklearn\n\tEOT\n", 3),
    "two heredocs": ("RUN cat <<A >/x && bash <<B\npip install cv2\nA\npip install six\nB\n", 0),
    "heredoc of python": ("RUN python - <<EOF\npip install sklearn\nEOF\n", 0),
    "heredoc of COPY": ("COPY <<run.sh /x\nRUN pip install sklearn\nrun.sh\n", 0),
    "comment": ("# RUN pip install sklearn\nRUN true # pip install sklearn\n", 0),
    "other words": ("RUN echo pip install-sklearn; pip download sklearn\n", 0),
    "a redirection": ("RUN pip install six > sklearn\n", 0),
    "options with values": ("RUN pip install -t sklearn --python-version 3.12 six -c x.txt\n", 0),
    "unused stage": ("FROM python:3.12 AS unused\nRUN pip install sklearn\n" + HEAD, 0),
    "copied stage": ("FROM python:3.12 AS used\nRUN pip install sklearn\n" + HEAD + "COPY --from=used /a /b\n", 3),
    "stage by number": ("FROM python:3.12\nRUN pip install sklearn\n" + HEAD + "COPY --from=1 /a /b\n", 3),
    "chain": ("FROM python:3.12 AS Base\nRUN pip install sklearn\nFROM base\n", 3),
    "conda": ("RUN conda install -y -c conda-forge sklearn=1.2\n", 2),
    "lower case": ("run pip install sklearn\n", 2),
    "tabs": ("RUN\tpip\tinstall\tsklearn\n", 2),
    "a here-string": ("RUN cat <<< 'x' && pip install sklearn\n", 2),
    "a shift": ("RUN echo $((1<<2)) && pip install sklearn\n", 2),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_installed_is_found_in_its_line(tmp_path: Path, name: str) -> None:
    text, line = WAYS[name]
    assert found_in(tmp_path, HEAD + text) == ([("sklearn", line)] if line else [])


def test_the_escape_directive_is_obeyed(tmp_path: Path) -> None:
    text = "# escape=`\n" + HEAD + "RUN pip install `\n  six C:\\ `\n  sklearn\n"
    assert found_in(tmp_path / "a", text) == [("sklearn", 5)]
    assert check(project(tmp_path / "b", {"Dockerfile": "# a comment\n" + text})).code == 2, (
        "control: behind a comment it is none"
    )


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    text = "\ufeff" + (HEAD + "RUN pip install \\\n  six \\\n  sklearn\n").replace("\n", "\r\n")
    assert found_in(tmp_path, text) == [("sklearn", 4)]


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("ARG V=3.12\nFROM python:${V}-slim\n", "python:3.12-slim"),
        ("ARG V\nFROM python:${V:-3.12}-slim\n", "python:3.12-slim"),
        ("ARG A=py B=thon\nARG IMAGE=${A}${B}\nFROM --platform=$BUILDPLATFORM ${IMAGE}:3.12 AS x\n", "python:3.12"),
        ("ARG R=reg/\nARG V=3.12\nFROM ${R#reg/}python:$V\n", "python:3.12"),
        ("FROM python:3.11 AS a\nFROM a AS b\nFROM B\n", "python:3.11"),
        ("FROM python:3.12 AS a\nARG V=3.9\nFROM python:3.${V:+12}${V-12}\n", "python:3.12"),
        ("FROM python:3.12@sha256:" + "a" * 64 + "\n", "python:3.12@sha256:" + "a" * 64),
    ],
)
def test_the_image_behind_the_last_from_is_found(tmp_path: Path, text: str, image: str) -> None:
    answer = check(project(tmp_path, {"Dockerfile": text + "RUN pip install six\n"}))
    assert answer.data["image"]["base"] == image, answer.data
    assert severities(answer).get("base.known") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no instruction"),
        ("# only a comment\n", "holds no instruction"),
        ("RUN true\n", "line 1: RUN before the first FROM"),
        ("FROM a b\n", "line 1"),
        ("FROM python\nFRO python\n", "line 2: unknown instruction 'FRO'"),
        ("FROM python\nRUN <<EOF\nnever ends\n", "line 2: no line 'EOF'"),
        ("FROM ${A\n", "line 1: a ${ without its }"),
        ("FROM ${A^^}\n", "line 1"),
        ("# escape=x\nFROM python\n", "escape directive"),
        ("FROM python AS 1x\n", "no name for a stage"),
        ("ARG A=xxxxxxxxxx\n" + "".join("ARG A=$A$A$A$A$A$A$A$A\n" for _ in range(9)) + "FROM $A\n", "grows beyond"),
    ],
)
def test_a_dockerfile_that_does_not_parse_is_refused_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    found = check(project(tmp_path, {"Dockerfile": text, "train.py": ""}))
    assert found.code == 2 and "does not parse" in found.error["message"] and why in found.error["message"]


def test_another_dockerfile_can_be_named(tmp_path: Path) -> None:
    folder = project(tmp_path, {"Dockerfile": HEAD, "docker/gpu.Dockerfile": HEAD + "RUN pip install sklearn\n"})
    assert severities(check(folder, "--dockerfile", "docker/gpu.Dockerfile")) == {"name.trap": "fail"}
    assert severities(check(folder)) == {}
    assert check(folder, "--dockerfile", "gone").code == 2


def test_files_are_found_by_where_they_are_copied_to(tmp_path: Path) -> None:
    text = (
        HEAD
        + "COPY deps/gpu.txt /tmp/r.txt\nRUN pip install -r /tmp/r.txt\nRUN --mount=type=bind,source=deps/b.txt,target=/t/b2.txt pip install -r/t/b2.txt\n"
    )
    folder = project(
        tmp_path, {"Dockerfile": text, "deps/gpu.txt": "sklearn\n", "deps/b.txt": "cv2\n", "requirements.txt": "yaml\n"}
    )
    found = [(each["what"].split()[0], each["where"]) for each in check(folder).data["findings"]]
    assert found == [("sklearn", "deps/gpu.txt:1"), ("cv2", "deps/b.txt:1")], "and what is not installed is not judged"


# --- random ones, with a known answer -----------------------------------------------------------------------------


def written(seed: int) -> tuple[str, str, list[tuple[str, int]]]:
    """A Dockerfile, its base image, and the traps in it with their lines."""
    source = random.Random(seed)
    escape = source.choice("\\`")
    lines = [f"# escape={escape}"] if escape == "`" or source.random() < 0.3 else []
    version = source.choice(["3.11", "3.12"])
    lines += source.choice(
        [
            [f"FROM python:{version}"],
            [f"ARG V={version}", "FROM python:${V:-9}"],
            ["FROM scratch AS x", f"FROM python:{version} AS y"],
        ]
    )
    planted: list[tuple[str, int]] = []
    for _ in range(source.randint(1, 5)):
        source.choice([noise, heredoc, chain])(source, escape, lines, planted)
    return "\n".join(lines) + "\n", f"python:{version}", sorted(set(planted))


def noise(source: random.Random, escape: str, lines: list[str], planted: list[tuple[str, int]]) -> None:
    lines += source.choice(
        [["# RUN pip install cv2"], [""], ["ENV A=1 \\", "  B=2"] if escape == "\\" else ["ENV A=1"], ["WORKDIR /x"], ["  # x"]]
    )


def heredoc(source: random.Random, escape: str, lines: list[str], planted: list[tuple[str, int]]) -> None:
    quoted, tabs = source.choice(["EOF", "'EOF'", '"EOF"']), source.choice(["", "-"])
    lines.append(f"RUN <<{tabs}{quoted}")
    for _ in range(source.randint(1, 3)):
        trap = source.choice(TRAPS)
        lines.append(source.choice([f"pip install {trap}", f"true && pip install {trap}; true"]))
        planted.append((trap, len(lines)))
        lines.append(source.choice(["FROM fake", "# pip install cv2", "", "COPY a b"]))
    lines.append("\tEOF" if tabs else "EOF")


def chain(source: random.Random, escape: str, lines: list[str], planted: list[tuple[str, int]]) -> None:
    lines.append(f"RUN true {escape}")
    for _ in range(source.randint(1, 4)):
        if source.random() < 0.3:
            lines.append(source.choice(["# pip install cv2", "", "   # x"]))
        trap = source.choice(TRAPS)
        quote = source.choice(["", "'", '"'])
        lines.append(
            f" && pip install --no-cache-dir {quote}{trap}{quote}{source.choice(['', ' six'])} {escape}{source.choice(['', ' '])}"
        )
        planted.append((trap, len(lines)))
    lines.append(" && true")


@pytest.mark.parametrize("seed", range(20))
def test_random_dockerfiles_are_read(tmp_path: Path, seed: int) -> None:
    text, image, planted = written(seed)
    answer = check(project(tmp_path, {"Dockerfile": text}))
    assert answer.data["image"]["base"] == image
    found = {
        (each["what"].split()[0], int(each["where"].rpartition(":")[2]))
        for each in answer.data["findings"]
        if each["id"] == "name.trap"
    }
    assert found == set(planted), text


def test_random_text_is_parsed_or_refused() -> None:
    """Never another exception, and never without an end."""
    pieces = [
        "FROM x\n",
        "RUN ",
        "<<EOF",
        "EOF\n",
        "\\\n",
        "`\n",
        "${",
        "}",
        "'",
        '"',
        "$A",
        "ARG A=",
        " AS ",
        "COPY --from=",
        "\n",
        "# escape=`\n",
        "[",
        '["a"]',
        "\0",
        "é",
    ]
    parsed = 0
    for seed in range(3000):
        source = random.Random(seed)
        text = "FROM x\n" + "".join(source.choice(pieces) for _ in range(source.randint(0, 25)))
        try:
            STAGES.parse(text)
            parsed += 1
        except TEXT.NotADockerfile:
            pass
    assert 200 < parsed < 2900, "control: some are parsed, some are refused"
