"""Which base image fits: each row of the table is asked what speaks against it, the rest are put in order."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from bases.images import Base, rows
from trainyard_gpus import Target, driver_of, has_kernels
from asked.versions import version
from packaging.specifiers import SpecifierSet


@dataclass(frozen=True)
class Needs:
    """What the image must have; None: it does not matter."""

    target: Target | None = None
    torch: SpecifierSet | None = None
    python: SpecifierSet | None = None
    today: datetime.date = field(default_factory=datetime.date.today)


@dataclass
class Candidate:
    """A row and what was found: against it, for it, and what nobody knows."""

    base: Base
    against: list[str] = field(default_factory=list)
    pros: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def reason(self) -> str:
        return "; ".join(
            self.pros + [f"not known: {doubt}" for doubt in self.doubts] + ([self.base.note] if self.base.note else [])
        )


def candidates(needs: Needs) -> tuple[list[Candidate], list[Candidate]]:
    """Those that fit, the best first, and those that do not."""
    judged = [judge(base, needs) for base in rows()]
    fitting = [each for each in judged if not each.against]
    return sorted(fitting, key=lambda each: _order(each, needs)), [each for each in judged if each.against]


def judge(base: Base, needs: Needs) -> Candidate:
    found = Candidate(base)
    _torch(found, needs)
    _python(found, needs)
    _gpu(found, needs)
    left = base.days_left(needs.today)
    if left is not None and left < 0:
        found.against.append(f"no patches since {base.end_of_patch}")
    elif left is not None:
        found.pros.append(f"patched until {base.end_of_patch}")
    else:
        found.doubts.append("its end of patch")
    return found


def _torch(found: Candidate, needs: Needs) -> None:
    has = version(found.base.torch)
    if needs.torch is None or not str(needs.torch) or has is None:
        found.pros.append(f"torch {found.base.torch}")
    elif needs.torch.contains(has, prereleases=True):
        found.pros.append(f"its torch {found.base.torch} meets {needs.torch}")
    else:
        found.against.append(f"its torch {found.base.torch} does not meet {needs.torch}")


def _python(found: Candidate, needs: Needs) -> None:
    if needs.python is None or not str(needs.python):
        return
    if found.base.python is None:
        found.doubts.append("its Python")
    elif any(needs.python.contains(f"{found.base.python}.{patch}") for patch in (0, 9, 99)):
        found.pros.append(f"its Python {found.base.python} meets {needs.python}")
    else:
        found.against.append(f"its Python {found.base.python} does not meet {needs.python}")


def _gpu(found: Candidate, needs: Needs) -> None:
    cuda, target = found.base.cuda, needs.target
    if cuda is None:
        return
    if target is None or target.gpu is None:
        wants_cpu = target is not None
        if wants_cpu and cuda != "cpu":
            found.doubts.append("why a CUDA image where there is no GPU")
        return
    if cuda == "cpu":
        named = "." not in target.instance_type
        found.against.append(
            f"no CUDA in it, which {target.gpu} needs"
            if named
            else f"no CUDA in it, and {target.instance_type} has {target.gpu}"
        )
        return
    runs = has_kernels(cuda, target)
    if runs:
        found.pros.append(f"CUDA {cuda} has kernels for {target.gpu} (sm_{target.sm}), driver {driver_of(cuda)} or newer")
    elif runs is None:
        found.doubts.append(f"whether CUDA {cuda} has kernels for {target.gpu}")
    else:
        found.against.append(f"CUDA {cuda} has no kernels for {target.gpu} (sm_{target.sm})")
    if target.efa:
        (found.pros if found.base.efa else found.doubts).append(f"EFA {found.base.efa}" if found.base.efa else "EFA in it")


def _order(each: Candidate, needs: Needs) -> tuple[object, ...]:
    """No GPU: the small image first. Then EFA where the target has it, few doubts, a long time of patches, a new torch."""
    gpu = needs.target is None or needs.target.gpu is not None
    efa = bool(needs.target and needs.target.efa)
    newest = version(each.base.torch)
    left = each.base.days_left(needs.today)
    release = newest.release if newest else ()
    return (
        (each.base.cuda == "cpu") is gpu,
        efa and not each.base.efa,
        bool(newest and newest.is_prerelease),
        len(each.doubts),
        -(left if left is not None else -1),
        tuple(-number for number in release),
    )
