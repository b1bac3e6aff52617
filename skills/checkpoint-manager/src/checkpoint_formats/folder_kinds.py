"""What a folder is, by the marks of its format: names, indexes, manifests. No tensor's bytes are read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from checkpoint_folder.words import shown
from checkpoint_format import ANY_RUN, FORMAT, MANIFEST, DamagedError, read_json, read_manifest, step_inside
from checkpoint_formats.dcp_folder import DATA_SUFFIX, METADATA, read_dcp
from checkpoint_formats.file_kinds import UNKNOWN, Found, Part, problem_of, recognise_file
from checkpoint_formats.folder_parts import (
    absent_in,
    deepspeed_missing,
    deepspeed_step,
    is_deepspeed_file,
    names_in,
    numbered_gaps,
    parts_of,
    step_by_name,
    weight_map,
)
from tensor_reading.layout import LayoutError
from tensor_reading.safetensors_file import read_header
from torch_reading.pickle_values import PickleError

_SHARD_OF_RANK = re.compile(r"shard-(\d{5})-model-\d{5}-of-\d{5}\.safetensors", re.ASCII)
_HF_WEIGHTS = re.compile(r"(?:adapter_)?model(?:-\d{5}-of-\d{5})?\.safetensors", re.ASCII)


def recognise_folder(path: Path) -> Found:
    names = names_in(path)
    absent = absent_in(path, names)
    for look in (_trainyard, _hf_trainer, _deepspeed, _dcp, _safetensors_folder, _bin_folder, _collection):
        found = look(path, names - absent.keys())
        if found is not None:
            return _with_absent(found, absent)
    parts = tuple(parts_of(path, sorted(names)[:1000]))
    like = "huggingface" if any(name.endswith((".safetensors", ".bin")) for name in absent) else None
    found = Found(path, UNKNOWN, (f"{len(names)} names, none of a known format",), parts, named_like=like)
    return _with_absent(found, absent)


def _with_absent(found: Found, absent: dict[str, str]) -> Found:
    """Names behind which no file is are missing, whoever misses them."""
    known = [name for name in absent if any(missing.startswith(shown(name, 200)) for missing in found.missing)]
    words = [f"{shown(name, 200)}: {why}" for name, why in sorted(absent.items()) if name not in known]
    told = tuple(
        f"{missing}: {absent[name]}" if (name := missing.partition(" ")[0]) in absent else missing for missing in found.missing
    )
    return replace(found, missing=(*told, *words))


def _trainyard(path: Path, names: set[str]) -> Found | None:
    if MANIFEST in names:
        try:
            manifest = read_json(path / MANIFEST)
        except (OSError, ValueError):
            manifest = None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            damaged = step_inside(path.name) is not None
            return (
                Found(path, UNKNOWN, (f"a step's name and a damaged {MANIFEST}",), named_like="trainyard-step")
                if damaged
                else None
            )
        return _trainyard_step(path, names)
    steps = sorted(name for name in names if step_inside(name) is not None and (path / name / MANIFEST).is_file())
    if steps:
        inside = tuple(recognise_folder(path / name) for name in steps)
        return Found(path, "trainyard-checkpoints", (f"{len(steps)} folders named step_N with a {MANIFEST}",), inside=inside)
    if "checkpoints" in names and (path / "checkpoints").is_dir() and {"runner.json", "run.json", "steps.jsonl"} & names:
        return _trainyard(path / "checkpoints", names_in(path / "checkpoints"))
    return None


def _trainyard_step(path: Path, names: set[str]) -> Found:
    evidence = (f"{MANIFEST} of format {FORMAT}",)
    try:
        manifest = read_manifest(path.resolve(), ANY_RUN)
    except (DamagedError, OSError) as error:
        return Found(path, "trainyard-step", evidence, tuple(parts_of(path, sorted(names))), problem=str(error))
    listed = [*sorted(manifest["files"]), MANIFEST]
    missing = tuple(name for name in listed if name not in names)
    parts = tuple(parts_of(path, [name for name in listed if name in names]))
    return Found(path, "trainyard-step", evidence, parts, missing, manifest["step"], "the manifest")


def _hf_trainer(path: Path, names: set[str]) -> Found | None:
    if "trainer_state.json" not in names:
        return None
    try:
        state = read_json(path / "trainer_state.json")
    except (OSError, ValueError):
        state = None
    step = state.get("global_step") if isinstance(state, dict) else None
    where = {"step": step, "step_from": "trainer_state.json"} if type(step) is int else step_by_name(path)
    inside = tuple(found for name in sorted(names) if (path / name).is_dir() and (found := _deeper(path / name)))
    parts = parts_of(path, [name for name in sorted(names) if (path / name).is_file()])
    weights = [part for part in parts if part.role == "weights"]
    missing = _gaps(path, names)
    if not weights and not inside:
        missing.append("the model's weights")
    problem = None if state is not None else "trainer_state.json cannot be read"
    return Found(
        path, "hf-trainer", ("trainer_state.json",), tuple(parts), tuple(missing), inside=inside, problem=problem, **where
    )


def _deeper(path: Path) -> Found | None:
    """A folder inside a checkpoint or a collection, if it is a checkpoint itself."""
    names = names_in(path)
    absent = absent_in(path, names)
    for look in (_trainyard, _hf_trainer, _deepspeed, _dcp, _safetensors_folder, _bin_folder):
        if found := look(path, names - absent.keys()):
            return _with_absent(found, absent)
    return None


def _deepspeed(path: Path, names: set[str]) -> Found | None:
    files = sorted(name for name in names if is_deepspeed_file(name))
    if files:
        absent, marks = deepspeed_missing(path, files)
        step, step_from = deepspeed_step(path, files)
        where = {"step": step, "step_from": step_from} if step is not None else step_by_name(path)
        return Found(path, "deepspeed", marks, tuple(parts_of(path, files)), absent, **where)
    folders = sorted(name for name in names if (path / name).is_dir())
    inside = tuple(found for name in folders if (found := _deepspeed(path / name, names_in(path / name))))
    if not inside or not all(found.kind == "deepspeed" for found in inside):
        return None
    parts: list[Part] = []
    missing: list[str] = []
    tag = ""
    evidence = [f"*_model_states.pt or *_optim_states.pt in {', '.join(shown(found.path.name, 80) for found in inside[:5])}"]
    if "latest" in names and (path / "latest").is_file() and (path / "latest").stat().st_size < 1000:
        tag = (path / "latest").read_text(encoding="utf-8", errors="replace").strip()
        evidence.append(f"`latest` names {shown(tag, 80)}")
        parts = parts_of(path, ["latest"])
        if tag not in {found.path.name for found in inside}:
            missing.append(f"folder {shown(tag, 80)}, which `latest` names")
    told = next((found.step for found in inside if found.path.name == tag), None)
    step_from = f"{tag}, which `latest` names" if told is not None else None
    return Found(path, "deepspeed-folder", tuple(evidence), tuple(parts), tuple(missing), told, step_from, inside=inside)


def _dcp(path: Path, names: set[str]) -> Found | None:
    data = sorted(name for name in names if name.endswith(DATA_SUFFIX))
    if METADATA not in names:
        if not data:
            return None
        missing: tuple[str, ...] = (f"{METADATA}: without it nothing says what is in the data files",)
        marks = (f"{len(data)} files *{DATA_SUFFIX}",)
        return Found(path, "dcp", marks, tuple(parts_of(path, data)), missing, **step_by_name(path))
    try:
        folder = read_dcp(path)
    except (LayoutError, PickleError) as error:
        kind = "dcp" if data else UNKNOWN
        like = None if data else "dcp"
        parts = tuple(parts_of(path, [METADATA, *data]))
        evidence = (f"{METADATA} and {len(data)} files *{DATA_SUFFIX}",)
        known = {**problem_of(error), "problem": f"{METADATA}: {error}", "suspicions": tuple(error.suspicions)}
        return Found(path, kind, evidence, parts, named_like=like, **known, **step_by_name(path))
    missing = tuple(name for name in sorted(folder.by_file) if not (path / name).is_file())
    present = sorted({*data, *folder.by_file} - set(missing))
    evidence = (f"{METADATA} of torch.distributed.checkpoint: {len(folder.tensors)} tensors, {len(folder.by_file)} data files",)
    parts = tuple(parts_of(path, [METADATA, *present]))
    named = tuple(folder.suspicions)
    return Found(path, "dcp", evidence, parts, missing, suspicions=named, **step_by_name(path))


def _safetensors_folder(path: Path, names: set[str]) -> Found | None:
    files = sorted(name for name in names if name.endswith(".safetensors"))
    index = sorted(name for name in names if name.endswith(".safetensors.index.json"))
    if not files and not index:
        return None
    sharded = next((name for name in files if _has_offsets(path / name)), None)
    if sharded:
        gaps = [*_rank_gaps(names), *_missing_weights(path, names)]
        evidence = (f"safetensors with DCP_SHARDING_INFO ({sharded})",)
        return Found(path, "dcp-safetensors", evidence, tuple(parts_of(path, files + index)), tuple(gaps), **step_by_name(path))
    others = [name for name in sorted(names) if name.endswith(".json") and name not in index and (path / name).is_file()]
    marks = [*index[:2], *(name for name in files if _HF_WEIGHTS.fullmatch(name)), *({"config.json"} & names)]
    if not marks:
        return None  # a folder with some safetensors files in it
    missing = tuple(_gaps(path, names))
    return Found(
        path, "huggingface", tuple(marks[:4]), tuple(parts_of(path, files + index + others)), missing, **step_by_name(path)
    )


def _has_offsets(path: Path) -> bool:
    try:
        return bool(read_header(path).offsets)
    except (LayoutError, OSError):
        return False


def _rank_gaps(names: set[str]) -> list[str]:
    """Ranks below the greatest one without a file; a missing last rank leaves no trace in this layout."""
    ranks = {int(match[1]) for name in names if (match := _SHARD_OF_RANK.fullmatch(name))}
    return [f"a file of shard {number}" for number in range(1, min(max(ranks, default=0), 100_000)) if number not in ranks]


def _missing_weights(path: Path, names: set[str]) -> list[str]:
    """Shards that an index names and that are not there."""
    missing = []
    for name in sorted(names):
        if name.endswith(".index.json"):
            try:
                listed = set(weight_map(path / name).values())
            except (LayoutError, OSError) as error:
                missing.append(f"a readable {name} ({error})")
            else:
                missing += [f"{shown(each, 200)} (named by {name})" for each in sorted(listed - names)]
    return missing


def _gaps(path: Path, names: set[str]) -> list[str]:
    """What an index names and what a series lacks, each once."""
    missing = _missing_weights(path, names)
    return [*missing, *(gap for gap in numbered_gaps(names) if not any(told.startswith(gap) for told in missing))]


def _bin_folder(path: Path, names: set[str]) -> Found | None:
    files = sorted(name for name in names if re.fullmatch(r"(pytorch_model|adapter_model)[\w.-]*\.bin", name))
    index = sorted(name for name in names if name.endswith(".bin.index.json"))
    if not files and not index:
        return None
    others = [name for name in sorted(names) if name.endswith(".json") and name not in index and (path / name).is_file()]
    missing = tuple(_gaps(path, names))
    parts = tuple(parts_of(path, files + index + others))
    return Found(path, "huggingface-bin", tuple(index + files[:3]), parts, missing, **step_by_name(path))


def _collection(path: Path, names: set[str]) -> Found | None:
    """A folder that only holds checkpoints."""
    inside: list[Found] = []
    for name in sorted(names)[:1000]:
        each = path / name
        if each.is_dir():
            found = _deeper(each)
        else:
            found = (
                recognise_file(each)
                if each.suffix in (".ckpt", ".pt", ".pth", ".bin", ".safetensors") and each.is_file()
                else None
            )
        if found is not None:
            inside.append(found)
    if not inside:
        return None
    return Found(path, "collection", (f"{len(inside)} checkpoints in it",), inside=tuple(inside))
