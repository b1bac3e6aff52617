"""What a Dockerfile installs: the requirements, files, indexes and flags of pip, uv, conda and poetry in its RUNs."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field, replace

from dockerfiles.expand import CannotExpand, expand, filled
from dockerfiles.shell import Command, bare, commands
from dockerfiles.stages import Dockerfile, Stage
from asked.conda import conda_want
from asked.requirements import is_path
from asked.wants import NoRequirement, Place, Want, told, want

WITH_VALUE = re.compile(
    r"-[rcifptnbC]|--(?:requirement|constraint|(?:extra-|default-)?index(?:-url)?|find-links|target|prefix|root|python(?:-version)?|platform|abi"
    r"|implementation|cache-dir|timeout|retries|trusted-host|proxy|cert|no-binary|only-binary|torch-backend|extra|group|override|exclude-newer"
    r"|log|src|build-constraint|name|config-settings?|global-option|progress-bar|report|upgrade-strategy|link-mode|project|directory|with|file)"
)
"""Options that take the next word, of pip, uv and conda."""
PIP = re.compile(r"(?:.*/)?pip(?:3(?:\.\d+)?)?")
CONDA = re.compile(r"(?:.*/)?(?:conda|mamba|micromamba)")
RUNNERS = re.compile(r"(?:.*/)?(?:xargs|conda|mamba|micromamba|nice|timeout)")
"""Programs that run the command behind their own options."""


@dataclass(frozen=True)
class Install:
    """One command that installs packages."""

    tool: str
    """pip | uv | uv-sync | conda | poetry"""
    stage: int
    place: Place
    wants: tuple[Want, ...] = ()
    files: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    torch_backend: str | None = None
    local: bool = False
    """Whether the project itself is installed (`pip install .`)."""
    extras: frozenset[str] = frozenset()
    wrong: tuple[str, ...] = ()
    folder: str = "/"
    """The folder of the image in which it runs."""

    @property
    def named(self) -> tuple[str, ...]:
        """The requirement and environment files whose name is known."""
        return tuple(file for file in self.files if not re.search(r"[$*`]", file))


@dataclass
class Words:
    """A command's words, sorted."""

    plain: list[tuple[str, int]] = field(default_factory=list)
    valued: list[tuple[str, str]] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)

    def all(self, *names: str) -> tuple[str, ...]:
        return tuple(value for name, value in self.valued if name in names)


def installs(docker: Dockerfile, stage: Stage) -> list[Install]:
    """The installations of one stage, in order."""
    found = []
    folder = docker.first_workdir(stage)
    for each, values in stage.body:
        if each.keyword == "WORKDIR":
            folder = posixpath.join(folder, filled(each.value, values))
        elif each.keyword == "RUN":
            here = folder
            for command in commands(each):
                words = bare(_filled(command, values)).words
                if words[:1] == ("cd",) and len(words) > 1:
                    here = posixpath.join(here, words[1])
                made = _install(_filled(command, values), docker.file, stage.index)
                if made is not None:
                    found.append(_with_environment(replace(made, folder=posixpath.normpath(here)), values))
    return found


def _filled(command: Command, values: dict[str, str]) -> Command:
    """With the values of ARG and ENV put in; a word that cannot be filled stays as it stands."""

    def fill(word: str) -> str:
        missing: set[str] = set()
        try:
            filled = expand(word, values, missing)
        except CannotExpand:
            return word
        return word if missing else filled

    return replace(command, words=tuple(fill(word) if "$" in word else word for word in command.words))


def _with_environment(made: Install, values: dict[str, str]) -> Install:
    """PIP_INDEX_URL and its like count as options do."""
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")
    urls = tuple(url for name in names for url in values.get(name, "").split())
    if made.tool == "uv" and made.torch_backend is None:
        made = replace(made, torch_backend=values.get("UV_TORCH_BACKEND"))
    if not urls:
        return made
    return replace(made, indexes=made.indexes + urls, wants=tuple(told(list(made.wants), indexes=made.indexes + urls)))


def _install(command: Command, file: str, stage: int) -> Install | None:
    command = bare(command)
    words = command.words
    start = next((at for at, word in enumerate(words) if at and PIP.fullmatch(word)), 0) if words else 0
    if start and (words[start - 1] == "-m" or RUNNERS.fullmatch(words[0])):
        command = Command(words[start:], command.lines[start:])
        words = command.words
    tool, skip = _tool(words)
    if tool is None:
        return None
    sorted_words = _sort(words[skip:], command.lines[skip:])
    place = Place(file, command.lines[0])
    if tool == "conda":
        wants = [each for text, line in sorted_words.plain if (each := conda_want(text, Place(file, line)))]
        return Install("conda", stage, place, tuple(wants), files=sorted_words.all("-f", "--file"))
    return _of_pip(tool, stage, place, sorted_words)


def _tool(words: tuple[str, ...]) -> tuple[str | None, int]:
    """Which installer it is, and how many words name it."""
    if len(words) > 1 and PIP.fullmatch(words[0]) and "install" in words[1:4]:
        return "pip", words.index("install") + 1
    if words and words[0].rpartition("/")[2] == "uv":
        if words[1:3] == ("pip", "install"):
            return "uv", 3
        if words[1:2] in (("sync",), ("add",)):
            return ("uv-sync" if words[1] == "sync" else "uv"), 2
    if words and CONDA.fullmatch(words[0]):
        verb = next((at for at, word in enumerate(words[1:4], start=1) if word in ("install", "update", "create")), None)
        return ("conda", verb + 1) if verb else (None, 0)
    if len(words) > 1 and words[0].rpartition("/")[2] == "poetry" and words[1] == "install":
        return "poetry", 2
    return None, 0


def _sort(words: tuple[str, ...], lines: tuple[int, ...]) -> Words:
    found, waiting = Words(), ""
    for word, line in zip(words, lines, strict=True):
        name, is_set, value = word.partition("=")
        if waiting:
            found.valued.append((waiting, word))
            waiting = ""
        elif WITH_VALUE.fullmatch(word) or word in ("-e", "--editable"):
            waiting = word
        elif word.startswith("--") and is_set and WITH_VALUE.fullmatch(name):
            found.valued.append((name, value))
        elif re.match(r"-[rcif].", word):
            found.valued.append((word[:2], word[2:]))
        elif word.startswith("-"):
            found.flags.add(word)
        elif word:
            found.plain.append((word, line))
    return found


def _of_pip(tool: str, stage: int, place: Place, words: Words) -> Install:
    wants: list[Want] = []
    wrong: list[str] = []
    local, extras = False, set(words.all("--extra", "--group"))
    editable = [(text, place.line) for name, text in words.valued if name in ("-e", "--editable")]
    for text, line in [*words.plain, *editable]:
        only_path = (text, line) in editable and "://" not in text  # -e takes a folder or a URL, never a name
        if text == "-" or only_path or (is_path(text) and not text.endswith(".whl")):
            local = local or text.partition("[")[0].rstrip("/") in (".", "", "./.")
            extras |= set(re.split(r"[,\s]+", text.partition("[")[2].rstrip("]")))
            continue
        try:
            wants.append(want(text, Place(place.file, line)))
        except NoRequirement as error:
            if not re.search(r"[$*{}]", text):  # a variable that nobody knows here, or a shell's pattern
                wrong.append(f"{text[:200]}: {error}")
    indexes = words.all("-i", "--index-url", "--extra-index-url", "--index", "--default-index")
    options = frozenset(
        words.flags
        & {"--no-deps", "--no-build-isolation", "--pre", "--upgrade", "-U", "--force-reinstall", "--system-site-packages"}
    )
    return Install(
        tool,
        stage,
        place,
        wants=tuple(told(wants, options=options, indexes=indexes)),
        files=words.all("-r", "--requirement"),
        constraints=words.all("-c", "--constraint"),
        indexes=indexes,
        options=options,
        torch_backend=next(iter(words.all("--torch-backend")), None),
        local=local or tool in ("uv-sync", "poetry"),
        extras=frozenset(extras - {""}),
        wrong=tuple(wrong),
    )
