"""Which tensors of two checkpoints differ, and by how much. Equal means: bit for bit."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from checkpoint_folder.words import shown
from checkpoint_formats.any_path import recognise
from checkpoint_formats.tensors import readable
from tensor_reading.layout import LayoutError, Tensor
from tensor_reading.values import need_numpy, numbers_of, values

if TYPE_CHECKING:
    from tensor_reading.values import Array

CHUNK_ELEMENTS = 1 << 20
"""Decoded at once: numbers are compared as float64."""
ORDER = ("only in A", "only in B", "shape", "dtype", "unreadable", "values")


@dataclass(frozen=True)
class Difference:
    """How one tensor differs; `status` is one of ORDER, or `equal`."""

    name: str
    status: str
    a: str | None = None
    """dtype and shape there."""
    b: str | None = None
    elements: int = 0
    differing: int = 0
    """Elements whose bits differ (whose values differ, between two dtypes)."""
    max_abs: float | int | None = None
    """Greatest difference of finite values; None if there is none."""
    not_finite: int = 0
    """Elements that are NaN or infinite in one of the two and something else in the other."""
    note: str | None = None

    def row(self) -> dict[str, Any]:
        numbers = {
            "elements": self.elements,
            "differing": self.differing,
            "max_abs": self.max_abs,
            "not_finite": self.not_finite,
        }
        told = numbers if self.status in ("values", "dtype") else dict.fromkeys(numbers)
        return {"tensor": shown(self.name), "differs": self.status, **told, "a": self.a, "b": self.b, "note": self.note}


def named(tensors: Collection[Tensor], prefix: str, which: str) -> dict[str, Tensor]:
    """By name, those below `prefix` and without it. SkillError when nothing is left, or two share a name."""
    found: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name.startswith(prefix):
            name = tensor.name[len(prefix) :]
            if name in found:
                raise shell.SkillError("usage", f"two tensors of {which} are called {shown(name)}", hint="compare their files")
            found[name] = tensor
    if not found:
        what = f"no tensor whose name begins with {prefix!r}" if tensors and prefix else "no tensors"
        raise shell.SkillError("usage", f"{which} holds {what}", hint="manage_checkpoints.py tensors PATH")
    return found


def compare(a: dict[str, Tensor], b: dict[str, Tensor]) -> Iterator[Difference]:
    """One answer a name. Raises OSError, or SkillError without NumPy."""
    for name in [*a, *(name for name in b if name not in a)]:
        if name not in b:
            yield Difference(name, "only in A", a=_words(a[name]))
        elif name not in a:
            yield Difference(name, "only in B", b=_words(b[name]))
        else:
            yield _both(name, a[name], b[name])


def _words(tensor: Tensor) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}"


def _both(name: str, a: Tensor, b: Tensor) -> Difference:
    there, here = _words(a), _words(b)
    if note := a.note or b.note:
        return Difference(name, "unreadable", there, here, note=note)
    if a.shape != b.shape:
        return Difference(name, "shape", there, here)
    try:
        differing, max_abs, not_finite = _measure(a, b)
    except LayoutError as error:
        return Difference(name, "unreadable", there, here, note=shell.clean(str(error), 200))
    status = "dtype" if a.dtype != b.dtype else "values" if differing else "equal"
    return Difference(name, status, there, here, a.elements, differing, max_abs, not_finite)


def _measure(a: Tensor, b: Tensor) -> tuple[int, float | int | None, int]:
    """(elements that differ, greatest difference, elements that are not finite in one only)."""
    flat_a, flat_b = values(a).reshape(-1), values(b).reshape(-1)
    differing, greatest, not_finite = 0, None, 0
    for start in range(0, a.elements, CHUNK_ELEMENTS):
        part = slice(start, start + CHUNK_ELEMENTS)
        count, most, odd = _measure_chunk(flat_a[part], flat_b[part], a.dtype, b.dtype)
        differing, not_finite = differing + count, not_finite + odd
        greatest = most if greatest is None else greatest if most is None else max(greatest, most)
    return differing, greatest, not_finite


def _measure_chunk(a: Array, b: Array, dtype_a: str, dtype_b: str) -> tuple[int, float | int | None, int]:
    np = need_numpy()
    if dtype_a == dtype_b:
        unequal = _bits(a) != _bits(b)
        if unequal.ndim > 1:
            unequal = unequal.any(axis=1)
        if not unequal.any():
            return 0, None, 0
        a, b = a[unequal], b[unequal]
        if a.dtype.kind in "iu" and dtype_a not in ("BF16",) and not dtype_a.startswith("F8"):
            # In the unsigned type of the same width the difference of two whole numbers is exact.
            wide = f"u{a.dtype.itemsize}"
            return len(a), int((np.maximum(a, b).astype(wide) - np.minimum(a, b).astype(wide)).max()), 0
        return len(a), *_greatest(np, numbers_of(a, dtype_a), numbers_of(b, dtype_b))
    numbers_a, numbers_b = numbers_of(a, dtype_a), numbers_of(b, dtype_b)
    unequal = (numbers_a != numbers_b) & ~(np.isnan(numbers_a) & np.isnan(numbers_b))
    return int(unequal.sum()), *_greatest(np, numbers_a[unequal], numbers_b[unequal])


def _bits(array: Array) -> Array:
    np = need_numpy()
    if array.dtype.itemsize == 16:
        pairs: Array = np.ascontiguousarray(array).view("<u8").reshape(-1, 2)
        return pairs
    return array.view(f"<u{array.dtype.itemsize}" if array.dtype.itemsize > 1 else "u1")


def _greatest(np: Any, a: Array, b: Array) -> tuple[float | None, int]:
    """(greatest difference of finite values, pairs in which one is not finite and the other is something else)."""
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(over="ignore"):
        most = float(np.abs(a[finite] - b[finite]).max()) if finite.any() else None
    both_nan = np.isnan(a) & np.isnan(b)
    odd = int((~finite & ~both_nan).sum())
    return (most if most is None or math.isfinite(most) else None), odd


def summary(differences: list[Difference]) -> dict[str, int]:
    """How many of each kind; `equal` too."""
    return {word.replace(" ", "_").lower(): sum(each.status == word for each in differences) for word in ("equal", *ORDER)}


def sorted_by_weight(differences: list[Difference]) -> list[Difference]:
    """What differs, the kind of difference first, the greatest first."""
    unequal = [each for each in differences if each.status != "equal"]
    return sorted(unequal, key=lambda each: (ORDER.index(each.status), -each.not_finite, -(each.max_abs or 0), each.name))


# --- the verb ---


def answer(a: str, b: str, prefix_a: str, prefix_b: str, limit: int) -> shell.Result:
    need_numpy()
    found_a, found_b = recognise(Path(a)), recognise(Path(b))
    tensors_a, tensors_b = readable(found_a).tensors, readable(found_b).tensors
    try:
        found = list(compare(named(tensors_a, prefix_a, "A"), named(tensors_b, prefix_b, "B")))
    except OSError as error:
        raise shell.SkillError(
            "permission", f"{error.filename}: {error.strerror}", hint="read the files as their owner"
        ) from error
    counts, unequal = summary(found), sorted_by_weight(found)
    data: dict[str, Any] = {
        "a": a,
        "b": b,
        "kind_a": found_a.kind,
        "kind_b": found_b.kind,
        "total": len(found),
        **counts,
        "tensors": [each.row() for each in unequal[:limit]],
    }
    status = "pass" if not unequal else "unknown" if counts["unreadable"] == len(unequal) else "fail"
    words = f"{counts['equal']} of {len(found)} tensors are equal bit for bit"
    return shell.Result(data, checks=[shell.Check("compare.equal", status, words)], truncated=len(unequal) > limit)
