"""A package whose setup.py imports torch or NumPy: pip and uv build it in an environment of its own, in which neither is.

That holds even where torch stands in the same requirements: nothing of a call is installed before all of it is built. So it takes two
installations: torch in an earlier one, then the package with --no-build-isolation.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from asked.versions import version
from asked.wants import Want
from attempts import edits
from attempts.causes import Cause, classified
from attempts.context_files import place
from attempts.local_packages import local_wants
from attempts.wanted import installs_of, package_of, want_named, wants_of
from build_recipe import Recipe
from dockerfiles.installs import WITH_VALUE, Install
from dockerfiles.shell import Command, bare, commands
from dockerfiles.stages import Stage
from dockerfiles.text import Instruction
from packaging.version import Version

BUILDING = re.compile(
    r"Getting requirements to build|Preparing metadata|[Bb]uild backend|build_meta|pip-build-env|setup\.py (?:egg_info|bdist_wheel)|Building wheel for|_in_process"
)
NAMED = (
    re.compile(r"Failed to (?:download and )?build:? [`']?(?P<name>[A-Za-z0-9][\w.-]*)"),
    re.compile(r"indicates that `(?P<name>[\w.-]+)@"),
    re.compile(r"Failed building wheel for (?P<name>[\w.-]+)"),
)
COLLECTED = re.compile(
    r"\s*Collecting (?P<name>[\w.-]+)|\s*Building wheel for (?P<name2>[\w.-]+)|\s*Processing (?:\S*/)?(?P<name3>[A-Za-z]\w*)(?=[-.\s]|$)"
)
TOOLS = ("wheel", "packaging", "ninja")
EXTENSIONS = "flash-attn|causal-conv1d|mamba-ssm|torch-(?:scatter|sparse|cluster|spline-conv)|apex|pytorch3d|detectron2|natten|grouped-gemm|sageattention|transformer-engine-torch|nvdiffrast|tinycudann"
"""Whose builds import torch as well: one attempt for all of them."""
HELPERS = ("numpy", "cython", "pybind11", "torch", "torchvision", "psutil", "einops")
"""Of what is asked for, what such a build imports too."""


def building(cause: Cause) -> bool:
    """Whether the line comes out of a package's build."""
    lines = cause.cut.lines
    at = next((index for index, line in enumerate(lines) if line.strip()[:400] == cause.line), len(lines))
    return any(BUILDING.search(line) for line in lines[max(0, at - 80) : at + 1])


def package(cause: Cause) -> str | None:
    """The package that was being built, as the log names it."""
    lines = cause.cut.lines
    for pattern in NAMED:
        if found := next((match for line in lines if (match := pattern.search(line))), None):
            return found["name"].rstrip(".")
    at = next((index for index, line in enumerate(lines) if line.strip()[:400] == cause.line), len(lines))
    found = next((match for line in reversed(lines[:at]) if (match := COLLECTED.match(line))), None)
    return next((name for name in found.groups() if name), None) if found else None


CUDA_ONLY = re.compile(
    r"flash-attn|causal-conv1d|mamba-ssm|natten|grouped-gemm|sageattention|transformer-engine-torch|nvdiffrast|tinycudann"
)
"""Their builds stop without nvcc; those of the other extensions leave their CUDA part out."""


def unisolated(run: Instruction) -> bool:
    """Whether the command itself says it: then the module is not in the image at all."""
    return "--no-build-isolation" in run.value or bool(re.search(r"\bPIP_NO_BUILD_ISOLATION=", run.value))


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    if cause.kind != "missing-module" or not building(cause):
        return None
    module = cause.said["module"]
    found = edits.failed(recipe, cause.cut)
    if found and unisolated(found[1]):
        return _absent(recipe, cause, *found)
    name = package(cause)
    asked = want_named(recipe, package_of(module), *found) if found else None
    every = [want for each in installs_of(recipe, *found) for want in _wants(recipe, each, found[1])] if found else []
    built = next((each for each in every if name and each.name == _canonical(name)), None)
    title = _bare(built) if built and (built.pin or _is_local(built)) else name or "the package"
    first = _bare(asked[0]) if asked else package_of(module)
    if asked and found and asked[1].line < found[1].line:
        where, then = f"line {asked[1].line} installs {first}, but ", "setuptools and wheel in an earlier RUN"
    else:
        where = f"{module} is asked for ({asked[0].place}), but not there: " if asked else ""
        then = f"{first} in an earlier RUN"
    fix = (
        f"{where}pip builds {title} in an environment of its own, which has nothing that this image or this call installs; "
        f"install {then}, then `pip install --no-build-isolation {title}`, or take a wheel of it that fits this {module}{_cpu_only(recipe, found, module, name or '')}"
    )
    places = [*([f"{built.place}: {built.text}"] if built else []), *([place(recipe, found[1])] if found else [])]
    what = f"the build of {name or 'a package'} imports {module}, which pip keeps out of it"
    return replace(
        classified(cause, "isolation", fix=fix, places=places, what=what), remedies=("separate_install", "without_isolation")
    )


def _wants(recipe: Recipe, install: Install, run: Instruction) -> list[Want]:
    return [*wants_of(recipe, install), *local_wants(recipe, install, run)]


def _is_local(each: Want) -> bool:
    return each.asked.startswith((".", "/"))


def _absent(recipe: Recipe, cause: Cause, stage: Stage, run: Instruction) -> Cause | None:
    """None where an earlier RUN installs it: that is another Python's, and told elsewhere."""
    module, name = cause.said["module"], package(cause) or "the package"
    asked = want_named(recipe, package_of(module), stage, run)
    if asked and asked[1].line < run.line:
        return None
    first = _bare(asked[0]) if asked else package_of(module)
    fix = f"install {first} in a RUN before line {run.line}: --no-build-isolation builds with what the image has by then{_cpu_only(recipe, (stage, run), module, name)}"
    what = f"the build of {name} imports {module}, which is not in the image yet"
    remedy = ("separate_install",) if asked else ()
    return replace(classified(cause, "missing-module", fix=fix, places=[place(recipe, run)], what=what), remedies=remedy)


def _bare(each: Want) -> str:
    """Without its marker, which a shell would have to quote; the image's Python and platform decided about it already."""
    return each.text.partition(";")[0].strip()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _cpu_only(recipe: Recipe, found: tuple[Stage, Instruction] | None, module: str, name: str) -> str:
    from image_rules.packages import has_nvcc

    if found is None or module != "torch" or has_nvcc(recipe.parsed.chain(found[0])[-1].image):
        return ""
    if CUDA_ONLY.fullmatch(_canonical(name)):
        return f". {name} needs nvcc, which this image does not have: take a -devel base image"
    return ". Without nvcc in the image it is built for the CPU only; for CUDA take a -devel base image"


def separate_install(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Two installations before the one that failed: what the build imports, then the package without isolation."""
    found, name = edits.failed(recipe, cause.cut), package(cause)
    if "separate_install" not in cause.remedies or found is None or name is None:
        return None
    install = next(
        (
            each
            for each in installs_of(recipe, *found)
            if any(want.name == _canonical(name) for want in _wants(recipe, each, found[1]))
        ),
        None,
    )
    command = _command(found[1], install) if install and install.tool in ("pip", "uv") else None
    if install is None or command is None:
        return None
    wants = _wants(recipe, install, found[1])
    built = next(each for each in wants if each.name == _canonical(name))
    module = package_of(cause.said["module"])
    first = [each for each in wants if each is not built and each.name in (module, *HELPERS)]
    others = [each for each in wants if each is not built and re.fullmatch(EXTENSIONS, each.name) and module == "torch"]
    if not all(each.text for each in (built, *first, *others)):  # with hashes, which a second call would have to repeat
        return None
    more = dict.fromkeys(url for each in wants for url in each.indexes if url not in install.indexes)
    indexes = [f"--extra-index-url={url}" for url in more]
    lines = [
        _line(found[1], command, [*indexes, *map(_bare, first), _setuptools(first), *TOOLS]),
        _line(found[1], command, [*indexes, "--no-build-isolation", *map(_bare, (built, *others))]),
    ]
    if _is_local(built):  # which pip builds once more in the command itself
        lines.append("ARG PIP_NO_BUILD_ISOLATION=0")
    text = edits.before(recipe, cause.cut, lines)
    what = f"{' and '.join(each.asked for each in first) or 'the tools of its build'} first, then {' and '.join(each.asked for each in (built, *others))} with --no-build-isolation{_cpu_only(recipe, found, cause.said['module'], name)}"
    return (
        (what, replace(recipe, dockerfile=text))
        if text and text != recipe.dockerfile and not {*lines} & {*recipe.dockerfile.split("\n")}
        else None
    )


def _setuptools(first: list[Want]) -> str:
    """torch before 2.4 takes `packaging` out of pkg_resources where it looks at CUDA, which setuptools 70 no longer has."""
    pin = next((version(each.pin) for each in first if each.name == "torch" and each.pin), None)
    return "setuptools<70" if pin is not None and pin < Version("2.4") else "setuptools"


def _command(run: Instruction, install: Install) -> Command | None:
    """The installer's words in front of what it installs, with the options that say from where and how."""
    for each in commands(run):
        command = bare(each)
        if command.lines and command.lines[0] == install.place.line and "install" in command.words:
            return command
    return None


def _line(run: Instruction, command: Command, wanted: list[str]) -> str:
    at = command.words.index("install") + 1
    head, options, waiting = list(command.words[:at]), [], ""
    for word in command.words[at:]:
        name = word.partition("=")[0]
        if waiting:
            options += [waiting, word] if waiting not in ("-r", "--requirement", "-e", "--editable") else []
            waiting = ""
        elif WITH_VALUE.fullmatch(word) or word in ("-e", "--editable"):
            waiting = word
        elif (
            word.startswith("-")
            and not re.match(r"-r.|--requirement=|-e.|--editable=", word)
            and name != "--no-build-isolation"
        ):
            options.append(word)
    flags = "".join(f"--{name}={value} " for name, said in run.flags.items() for value in said.split("\n"))
    return f"RUN {flags}" + " ".join(_quoted(word) for word in [*head, *options, *wanted])


def _quoted(word: str) -> str:
    return f'"{word}"' if "$" in word and '"' not in word else shlex.quote(word)
