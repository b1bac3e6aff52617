"""`mfu`: measured against expected use of the GPU's peak, where tokens, parameters and device are known; else `unknown` says what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from hardware.flops import FLOP_A_TOKEN, HEAD_BYTES, Told, amount, expected, gpu_name, peak, told_by
from log_metrics.verb import read_source, summary_of
from log_reading.notes import unit_of
from log_reading.source import find_source
from trainyard_files import Unusable, open_regular

if TYPE_CHECKING:
    from log_reading.source import LogSource

NAME = "mfu"
FAR_BELOW = 0.5
"""Of what is expected: below it something holds the job back."""


@dataclass(frozen=True)
class Given:
    """The options."""

    parameters: str | None
    gpu: str | None
    precision: str
    gpus: int | None
    tokens_per_s: float | None
    per_gpu: bool | None
    """Whether the tokens are one GPU's; None: by the unit in the log."""
    expect: float | None


def mfu_result(path: str, given: Given) -> shell.Result:
    source = find_source(path)
    if not source.paths:
        raise shell.SkillError("usage", "`mfu` reads a log twice, so not from stdin", hint="give a file or a run folder")
    found, told = read_source(source, "auto", None), _told(source)
    throughput, unit = summary_of(found)["median_throughput"], unit_of(found)
    tokens = given.tokens_per_s or (throughput if isinstance(throughput, float | int) else None)
    gpu = gpu_name(given.gpu) if given.gpu else told.gpu
    parameters = amount(given.parameters) if given.parameters else told.parameters
    each, missing = _tokens_a_gpu(tokens, unit, given)
    missing += ["--parameters"] if parameters is None else []
    missing += ["--gpu"] if gpu is None else []
    limit = peak(gpu, given.precision) if gpu else None
    if gpu and limit is None:
        missing.append(f"a peak of {gpu} in {given.precision}")
    measured = FLOP_A_TOKEN * parameters * each / limit if parameters and each and limit else None
    data = {
        "mfu": measured,
        "told_by_log": told.own_mfu,
        "expected": given.expect or expected()[0],
        "tokens_per_s_per_gpu": each,
        "throughput_unit": unit,
        "parameters": parameters,
        "gpu": gpu,
        "precision": given.precision,
        "peak_flops": limit,
    }
    return shell.Result(data, [mfu_check(data, missing, given.expect)])


def mfu_check(data: dict[str, Any], missing: list[str], wanted: float | None) -> shell.Check:
    measured = data["mfu"] if data["mfu"] is not None else data["told_by_log"]
    least, published = (wanted, "as the caller expects") if wanted else expected()
    if measured is None:
        return shell.Check(NAME, "unknown", f"not known: {', '.join(missing)}", None, "give the options that are missing")
    if not 0 < measured <= 1:
        text = f"{measured:.0%} of the peak cannot be: parameters, tokens, GPU or precision are not those of this job"
        return shell.Check(
            NAME, "unknown", text, _sum(data), "active parameters of a mixture of experts; --per-gpu or --whole-job"
        )
    text = f"{measured:.1%} of the peak" + (
        f" of {data['gpu']} in {data['precision']}" if data["mfu"] is not None else ", as the log has it"
    )
    if measured < FAR_BELOW * least:
        fix = "data loading, small batches, EFA (`efa`), a slow rank (`ranks`), heat (`gpu`), or attention that is not counted"
        return shell.Check(NAME, "warn", f"{text}, far below the {least:.0%} that can be expected", published, fix)
    return shell.Check(NAME, "pass", f"{text}; expected: {least:.0%} or more", published)


def _sum(data: dict[str, Any]) -> str:
    return (
        f"6 x {data['parameters']:.4g} x {data['tokens_per_s_per_gpu']:.6g} / {data['peak_flops']:.4g}"
        if data["mfu"]
        else "told by the log"
    )


def _tokens_a_gpu(tokens: float | None, unit: str | None, given: Given) -> tuple[float | None, list[str]]:
    """(tokens of one GPU a second, what is missing for it). Whose tokens a bare `tokens/s` counts, nobody can see."""
    if tokens is None:
        return None, ["--tokens-per-s (the log has no throughput)"]
    per_gpu = (
        given.per_gpu if given.per_gpu is not None else any(word in (unit or "") for word in ("device", "gpu", "rank")) or None
    )
    if unit and "token" not in unit and not given.tokens_per_s:
        return None, [f"--tokens-per-s (the log counts {unit})"]
    if per_gpu is None:
        return None, ["--per-gpu or --whole-job (whose tokens the log counts)"]
    if per_gpu:
        return tokens, []
    return (tokens / given.gpus, []) if given.gpus else (None, ["--gpus"])


def _told(source: LogSource) -> Told:
    try:
        with open_regular(source.paths[-1]) as file:
            head = file.read(HEAD_BYTES)
            file.seek(max(0, file.seek(0, 2) - HEAD_BYTES))
            return told_by(head, file.read(HEAD_BYTES))
    except (OSError, Unusable):
        return Told()
