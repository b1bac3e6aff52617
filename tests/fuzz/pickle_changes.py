"""Changes of a pickle that keep to its grammar: opcodes, names, numbers, and values in each other as deep as they go."""

from __future__ import annotations

import io
import re
import zipfile
from random import Random

from tests.fuzz.checkpoint_files import torch_zip

OPCODES = [
    bytes([code])
    for code in b".()0123:BCFGIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95"
]
CODE = [
    ("os", "system"),
    ("torch", "os.system"),
    ("torch.serialization", "os.system"),
    ("collections", "abc.sys.modules"),
    ("torch", "Tensor.subprocess.Popen"),
    ("numpy", "os.system"),
    ("builtins", "eval"),
    ("posix", "system"),
    ("importlib", "import_module"),
]
HARMLESS = [
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "FloatStorage"),
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("mine", "Model"),
]


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, attribute: str, random: Random) -> bytes:
    """As protocol 4 says it, or as the older ones."""
    old = f"c{module}\n{attribute}\n".encode()
    return random.choice([old, text(module) + text(attribute) + b"\x93"])


NUMBERS = (0, 1, 2, 3, 7, 1 << 16, 1 << 24, 1 << 31, 1 << 40, 10**12, 1 << 62, 1 << 64, -1)
SHAPE_AND_STRIDES = re.compile(rb"(?<=QK.).+?(?=\x89\})", re.DOTALL)
"""Of the tensors in `checkpoint_files.py`: between the offset and whether a gradient is wanted."""


def number(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def shape_and_strides(random: Random) -> bytes:
    """Large dimensions, and strides of which some are zero: what a view may repeat for ever."""
    dimensions = random.randint(1, 3)
    shape = [random.choice(NUMBERS) for _ in range(dimensions)]
    repeats = random.random() < 0.5
    strides = [0 if repeats else random.choice([0, 0, 0, 1, random.choice(NUMBERS)]) for _ in range(dimensions)]
    return b"".join(b"(" + b"".join(map(number, values)) + b"t" for values in (shape, strides))


def nested(random: Random) -> bytes:
    """For behind a value: what stands on the stack becomes a value in values, deep or so that each level doubles it."""
    levels = random.choice([5, 40, 300, 3000])
    kind = random.randrange(4)
    if kind == 0:
        return b"\x85" * levels
    if kind == 1:
        return b"2\x86" * levels
    if kind == 2:  # lists of ten times the list before
        return (b"r\xff\xff\x00\x000](" + b"j\xff\xff\x00\x00" * 10 + b"e") * min(levels, 40)
    return b"2\x86" * min(levels, 300) + b"r\xff\xff\x00\x000}j\xff\xff\x00\x00Ns"  # a dictionary with it as a key


TOWER = re.compile(rb"\x85{2500,}")
STRETCH = 300


def stretched(data: bytes) -> bytes:
    """Tuples in tuples, higher than what fits an input: what is slow with a million of them is not with thousands."""
    if data[:2] != b"PK":
        return TOWER.sub(lambda tower: tower.group() * STRETCH, data)
    pickle = pickle_in(data)
    return torch_zip(TOWER.sub(lambda tower: tower.group() * STRETCH, pickle)) if pickle and TOWER.search(pickle) else data


def pickle_in(archive: bytes) -> bytes | None:
    """None: it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return opened.read("a/data.pkl")
    except Exception:  # whatever zipfile raises of damaged bytes
        return None


def mutate(data: bytes, random: Random) -> bytes:
    """`data` with one to five changes; those of an archive are made in its pickle."""
    pickle = pickle_in(data) if data[:2] == b"PK" else None
    return mutate_pickle(data, random) if pickle is None else torch_zip(mutate_pickle(pickle, random))


def mutate_pickle(data: bytes, random: Random) -> bytes:
    """Opcodes and names put in, doubled or taken out, where bytes alone would tear the pickle."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 3, 5])):
        at = random.randrange(len(changed) + 1)
        match random.randrange(8):
            case 0:
                changed[at:at] = random.choice(OPCODES)
            case 1:
                changed[at:at] = name(*random.choice(CODE + HARMLESS), random)
            case 2:
                del changed[at : at + random.randrange(1, 12)]
            case 3:
                changed[at:at] = changed[at : at + random.randrange(1, 40)]
            case 4:
                changed[at : at + 1] = random.choice(OPCODES)
            case 5:
                added = nested(random)
                _before_the_end(changed, added) if random.random() < 0.7 else changed.__setitem__(slice(at, at), added)
            case 6:
                _before_the_end(changed, b"0" + name(*random.choice(CODE), random))
            case 7:
                _other_shape(changed, random)
    return bytes(changed)


def _before_the_end(pickle: bytearray, added: bytes) -> None:
    """The value that the pickle stands for becomes another one."""
    end = pickle.rfind(b".")
    pickle[max(end, 0) : max(end, 0)] = added


def _other_shape(pickle: bytearray, random: Random) -> None:
    if found := SHAPE_AND_STRIDES.search(pickle):
        pickle[found.start() : found.end()] = shape_and_strides(random)
