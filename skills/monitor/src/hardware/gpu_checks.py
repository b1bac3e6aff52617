"""Are a job's GPUs in use, and fit? Each check asks one question of what was seen; no data is `unknown`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware.gpu_facts import BAD_REASONS, REASONS
from run_view.status import duration
from trainyard_shell import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hardware.gpu_facts import Gpu, Seen

SHOWN = 8
IDLE_FAIL_S = 300.0
"""Longer than a checkpoint or an evaluation on one rank keeps the others waiting, in most jobs."""
IDLE_WARN_S = 1.0
WARM_C, HOT_C = 80, 85
"""HyperPod's alerts: above 80 C for five minutes, above 85 C for one."""
CRITICAL_XIDS = frozenset((46, 48, 54, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 142, 143, 151, 155, 156, 158))
"""As EKS' node monitoring agent has them: the node wants a reset or a replacement."""
REPLACE = "manage_hyperpod.py replace, or cordon the node and restart the job elsewhere"


def gpu_checks(seen: Seen) -> list[Check]:
    return [
        data_check(seen),
        lost_check(seen),
        idle_check(seen),
        temperature_check(seen.gpus),
        ecc_check(seen.gpus),
        throttling_check(seen.gpus),
        xid_check(seen.gpus),
    ]


def named(gpus: Sequence[Gpu], tell: Callable[[Gpu], str] = lambda gpu: "") -> str:
    """`job-worker-1/3 (88 C), ...`"""
    parts = [gpu.label + (f" ({said})" if (said := tell(gpu)) else "") for gpu in gpus[:SHOWN]]
    return ", ".join(parts) + (f" and {len(gpus) - SHOWN} more" if len(gpus) > SHOWN else "")


def data_check(seen: Seen) -> Check:
    """Was every GPU of the job seen?"""
    name, count, problems = "gpu.data", len(seen.gpus), "; ".join(seen.problems[:SHOWN]) or None
    if not count:
        text = "nothing is known of the GPUs" + (f" that the job holds ({seen.expected})" if seen.expected else "")
        return Check(name, "unknown", text, problems, seen.hint or "--prometheus URL; nvidia-smi in the image")
    whole = len({gpu.uuid or gpu.label for gpu in seen.gpus}) if any(gpu.is_mig for gpu in seen.gpus) else count
    if problems:
        return Check(name, "unknown", f"{count} GPUs seen, and not all places answered", problems, "the same call again")
    if seen.expected is not None and whole < seen.expected:
        text = f"the job holds {seen.expected} GPUs, and {whole} are seen"
        return Check(name, "unknown", text, f"source: {seen.source}", "cluster-manager health: gpu; the driver of those nodes")
    return Check(
        name, "pass", f"{count} GPUs seen" + (f" of {seen.expected}" if seen.expected else ""), f"source: {seen.source}"
    )


def lost_check(seen: Seen) -> Check:
    name, broken = "gpu.lost", [gpu for gpu in seen.gpus if gpu.broken]
    if seen.lost or broken:
        told = "; ".join([*seen.lost[:3], *([named(broken, lambda gpu: gpu.broken or "")] if broken else [])])
        return Check(name, "fail", f"{len(seen.lost) + len(broken)} GPUs do not answer their driver", told, REPLACE)
    return Check(name, "pass" if seen.gpus else "unknown", "every GPU that was seen answers" if seen.gpus else "none was seen")


def idle_check(seen: Seen) -> Check:
    """A GPU that did nothing for IDLE_FAIL_S is a fault; for less it may wait for an evaluation or a save on another rank."""
    name, silent = "gpu.idle", [gpu for gpu in seen.gpus if gpu.idle_s is None]
    watched = [gpu for gpu in seen.gpus if gpu.idle_s is not None]
    idle = [gpu for gpu in watched if (gpu.idle_s or 0) >= IDLE_WARN_S]
    if not watched:
        return Check(name, "unknown", "the use of no GPU is known", named(silent) or None, "MIG: DCGM_FI_PROF_GR_ENGINE_ACTIVE")
    if not any(gpu.watched_s >= IDLE_WARN_S for gpu in watched):
        unused = [gpu for gpu in watched if not gpu.use_percent]
        text = f"one moment shows {len(watched) - len(unused)} of {len(watched)} GPUs in use: it cannot tell an idle one"
        if unused:
            return Check(name, "unknown", text, named(unused), "--watch-s 30, or --prometheus URL")
    if idle:
        return _idle(name, seen, idle)
    if silent:
        return Check(
            name, "unknown", f"the use of {len(silent)} GPUs is not known", named(silent), "MIG: DCGM_FI_PROF_GR_ENGINE_ACTIVE"
        )
    return Check(
        name, "pass", f"all {len(watched)} GPUs were in use", f"watched for {duration(min(gpu.watched_s for gpu in watched))}"
    )


def _idle(name: str, seen: Seen, idle: list[Gpu]) -> Check:
    longest = max(gpu.idle_s or 0 for gpu in idle)
    held = f"the job holds {seen.expected or len(seen.gpus)}, {len(idle)} idle for {duration(longest)}"
    told = named(
        idle, lambda gpu: f"{duration(gpu.idle_s)}, {gpu.memory_used_mib:.0f} MiB" if gpu.memory_used_mib is not None else ""
    )
    fix = "fewer processes than GPUs (nproc_per_node)? A rank that waits: health, ranks; a job that hangs: diagnose_training.py stacks"
    return Check(name, "fail" if longest >= IDLE_FAIL_S else "warn", held, told, fix)


def temperature_check(gpus: Sequence[Gpu]) -> Check:
    name, told = "gpu.temperature", [gpu for gpu in gpus if gpu.temperature_c is not None]
    if not told:
        return Check(name, "unknown", "no temperature is known")
    for limit, status in ((HOT_C, "fail"), (WARM_C, "warn")):
        hot = [gpu for gpu in told if gpu.hot_s.get(limit, (gpu.temperature_c or 0) > limit and not gpu.hot_s)]
        if hot:
            text = f"{len(hot)} GPUs are above {limit} C"
            evidence = named(hot, lambda gpu: f"{gpu.temperature_c:.0f} C")
            return Check(name, status, text, evidence, "the cooling of those nodes; " + REPLACE)
    return Check(name, "pass", f"at most {max(gpu.temperature_c or 0 for gpu in told):.0f} C", f"{len(told)} GPUs")


def ecc_check(gpus: Sequence[Gpu]) -> Check:
    name, told = "gpu.ecc", [gpu for gpu in gpus if gpu.ecc_uncorrected is not None or gpu.remap_failed is not None]
    bad = [gpu for gpu in told if gpu.ecc_uncorrected or gpu.remap_failed]
    pending = [gpu for gpu in gpus if gpu.remap_pending]
    if bad:
        tell = lambda gpu: "row remap failed" if gpu.remap_failed else f"{gpu.ecc_uncorrected:.0f} errors"  # noqa: E731
        return Check(name, "fail", f"{len(bad)} GPUs have memory errors that ECC cannot correct", named(bad, tell), REPLACE)
    if pending:
        return Check(
            name, "warn", f"{len(pending)} GPUs wait for a reset to remap rows", named(pending), "reset the GPU between jobs"
        )
    if not told:
        return Check(name, "skipped", "no ECC counter is told: it may be off, or not exported")
    return Check(name, "pass", f"no uncorrected error on {len(told)} GPUs")


def throttling_check(gpus: Sequence[Gpu]) -> Check:
    name, told = "gpu.throttling", [gpu for gpu in gpus if gpu.reasons is not None]
    bad = [gpu for gpu in told if (gpu.reasons or 0) & BAD_REASONS]
    if bad:
        tell = lambda gpu: ", ".join(text for bit, text in REASONS.items() if (gpu.reasons or 0) & bit & BAD_REASONS)  # noqa: E731
        return Check(
            name,
            "warn",
            f"{len(bad)} GPUs are slowed down by heat or power",
            named(bad, tell),
            "their cooling and power; " + REPLACE,
        )
    if not told:
        return Check(name, "skipped", "no reason of the clocks is told: DCGM_FI_DEV_CLOCKS_EVENT_REASONS exports it")
    return Check(name, "pass", f"none of {len(told)} GPUs is slowed down")


def xid_check(gpus: Sequence[Gpu]) -> Check:
    name, told = "gpu.xid", [gpu for gpu in gpus if gpu.xid is not None]
    bad = [gpu for gpu in told if gpu.xid]
    if not told:
        return Check(name, "skipped", "nvidia-smi does not tell Xids: the kernel's log and DCGM do")
    critical = [gpu for gpu in bad if gpu.xid in CRITICAL_XIDS]
    if bad:
        text = f"the last Xid of {len(bad)} GPUs is {', '.join(sorted({str(gpu.xid) for gpu in bad}))}"
        return Check(name, "fail" if critical else "warn", text, named(critical or bad, lambda gpu: f"Xid {gpu.xid}"), REPLACE)
    return Check(name, "pass", f"no Xid on {len(told)} GPUs")
