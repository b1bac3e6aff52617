"""What a pickle holds, as data: plain values, placeholders for whatever unpickling would import or call, and what is known of its names.

Some names are known to do nothing but build data, some to run code. A name on neither list is suspicious too: unpickling would
import its module and call it, and what that does is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Suspicion:
    """A name that is not known to be harmless."""

    name: str
    why: str

    @property
    def runs_code(self) -> bool:
        return self.why != NOT_KNOWN


class PickleError(Exception):
    """The pickle is torn, malformed or beyond the bounds; the text says which.

    `suspicions`: the names found before that. Unpickling would have come as far, and run them.
    """

    suspicions: tuple[Suspicion, ...] = ()


class TooLargeError(PickleError):
    """More than the bounds allow: nothing is known about the rest."""


@dataclass(frozen=True)
class Global:
    """A name that unpickling would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Pairs:
    """A dictionary as its (key, value) pairs, in order."""

    items: list[tuple[Any, Any]] = field(default_factory=list)

    def get(self, key: str | int) -> Any:
        """The value of a plain key (the last one wins, as in a dictionary), None if there is none."""
        return next((value for name, value in reversed(self.items) if type(name) is type(key) and name == key), None)

    def keys(self) -> set[str]:
        return {key for key, _ in self.items if isinstance(key, str)}


@dataclass(eq=False)
class Group:
    """A set or frozenset."""

    items: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class Call:
    """What unpickling would get by calling `function` (a Global, or something computed) with `args`; nothing was called."""

    function: Any
    args: Any
    state: Any = None
    pairs: Pairs = field(default_factory=Pairs)
    items: list[Any] = field(default_factory=list)

    def of(self, *names: str) -> bool:
        """Is it a call of one of these names (`torch._utils._rebuild_tensor_v2`)?"""
        return isinstance(self.function, Global) and str(self.function) in names


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something outside the pickle: a storage, in torch's files."""

    id: Any


NOT_KNOWN = "not known to be harmless: unpickling would import and call it"
RUNS_CODE = "would run code"
MAX_FINDINGS = 1000


@dataclass
class Reading:
    """One pickle, read."""

    value: Any
    suspicions: list[Suspicion]
    size_bytes: int
    """Bytes up to and including its end mark."""
    references: list[Persistent] = field(default_factory=list)
    """Every reference to something outside, in order."""


# --- names ---


def _words(text: str) -> set[str]:
    return set(text.split())


REBUILD = {
    *_words("_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state"),
    *_words("_rebuild_sparse_tensor _rebuild_nested_tensor _rebuild_qtensor _rebuild_meta_tensor_no_storage"),
    *_words("_rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy"),
}
TORCH_DTYPES = {
    *_words("float64 double float32 float float16 half bfloat16 complex32 complex64 complex128 cfloat cdouble bool"),
    *_words("uint8 uint16 uint32 uint64 int8 int16 int32 int64 short int long"),
    *_words("float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2"),
    *_words("quint8 qint8 qint32 quint4x2 quint2x4 per_tensor_affine per_channel_affine per_channel_affine_float_qparams"),
    *_words("strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc"),
    *_words("contiguous_format channels_last channels_last_3d preserve_format"),
}
STORAGE_ELEMENT_BYTES = {
    "ComplexDoubleStorage": 16,
    **dict.fromkeys(_words("DoubleStorage LongStorage ComplexFloatStorage"), 8),
    **dict.fromkeys(_words("FloatStorage IntStorage QInt32Storage"), 4),
    **dict.fromkeys(_words("HalfStorage BFloat16Storage ShortStorage"), 2),
    **dict.fromkeys(_words("CharStorage ByteStorage BoolStorage UntypedStorage"), 1),
    **dict.fromkeys(_words("QUInt8Storage QInt8Storage QUInt4x2Storage QUInt2x4Storage"), 1),
}
_DCP = "torch.distributed.checkpoint"
HARMLESS: dict[str, set[str]] = {
    "torch._utils": REBUILD,
    "torch": {*TORCH_DTYPES, *STORAGE_ELEMENT_BYTES, "Size", "device", "Tensor", "dtype", "layout", "memory_format"},
    "torch.cuda": {name for name in STORAGE_ELEMENT_BYTES if name != "UntypedStorage"},
    "torch.storage": {"UntypedStorage", "TypedStorage"},
    "torch.nn.parameter": {"Parameter", "Buffer"},
    "torch._tensor": {"_rebuild_from_type_v2"},
    "torch.serialization": {"_get_layout"},
    f"{_DCP}.metadata": {
        "Metadata",
        "TensorStorageMetadata",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "TensorProperties",
        "MetadataIndex",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    },
    f"{_DCP}.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch.distributed.device_mesh": {"DeviceMesh"},
    "torch.distributed.tensor": {"DTensor"},
    "torch.distributed.tensor._dtensor_spec": {"DTensorSpec", "TensorMeta"},
    "torch.distributed.tensor.placement_types": {"Shard", "Replicate", "Partial", "_StridedShard"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "builtins": _words("set frozenset list dict tuple int float str bytes bytearray complex bool slice range object NoneType"),
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "argparse": {"Namespace"},
    "types": {"SimpleNamespace"},
    "datetime": {"datetime", "date", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "uuid": {"UUID"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"},
    "pathlib._local": {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"},
    "numpy": {"ndarray", "dtype"},
    **{f"numpy.{core}.multiarray": {"_reconstruct", "scalar"} for core in ("core", "_core")},
    **{f"numpy.{core}.numeric": {"_frombuffer"} for core in ("core", "_core")},
    "numpy.dtypes": {f"{kind}DType" for kind in _words("Float64 Float32 Float16 Int64 Int32 Int16 Int8 UInt8 UInt32 Bool")},
}
"""Module -> names that build data and do nothing else."""
HARMLESS["__builtin__"] = HARMLESS["builtins"] | {"unicode", "long"}
HARMLESS["copy_reg"] = HARMLESS["copyreg"]

RUNNING_MODULES = {
    *_words(
        "os posix nt subprocess _posixsubprocess sys shutil socket ctypes _ctypes multiprocessing pty webbrowser runpy commands"
    ),
    *_words("importlib imp pkgutil zipimport code codeop marshal pickle _pickle cPickle dill cloudpickle joblib shelve"),
    *_words("inspect pdb bdb cProfile profile timeit trace platform asyncio threading _thread signal tempfile pip"),
    *_words("urllib http ftplib smtplib requests httpx ensurepip venv distutils setuptools functools operator _operator"),
    *_words("torch.hub torch.utils.cpp_extension torch.utils.model_zoo torch.jit torch.package torch.distributed.run"),
}
"""Modules, with everything below them, that a checkpoint has no use for and an attacker has."""
_RUNNING_BUILTINS = _words(
    "eval exec execfile compile open input __import__ getattr setattr delattr globals locals vars breakpoint help map filter "
    "apply reduce type print exit quit memoryview property classmethod staticmethod super"
)
RUNNING_NAMES = {
    "builtins": _RUNNING_BUILTINS,
    "__builtin__": _RUNNING_BUILTINS,
    "torch": {"load", "save", "compile", "ops", "classes"},
    "torch.serialization": {"load", "_load", "_legacy_load"},
    "torch.storage": {"_load_from_bytes"},
    "types": {"FunctionType", "CodeType", "LambdaType", "MethodType", "ModuleType"},
    "numpy": {"load", "fromfile", "memmap", "loadtxt", "genfromtxt"},
    "numpy.testing._private.utils": {"runstring"},
    "pathlib": {"Path.unlink", "Path.write_bytes", "Path.write_text"},
}


@dataclass
class Suspicions:
    """The names in one pickle that are not known to be harmless: each once, and at most MAX_FINDINGS of them."""

    found: dict[Suspicion, None] = field(default_factory=dict)

    def add(self, name: str, why: str = RUNS_CODE) -> None:
        if len(self.found) < MAX_FINDINGS:
            self.found.setdefault(Suspicion(name[:300], why))

    def judge(self, module: str, name: str) -> None:
        """Add a name that the pickle wants imported, unless it only builds data."""
        if name in HARMLESS.get(module, ()):
            return
        parents = {module[:at] for at, letter in enumerate(module) if letter == "."} | {module}
        # A dotted name reaches through its module: `torch` + `hub.load` is torch.hub's.
        reached = {f"{module}.{name[:at]}" for at, letter in enumerate(name) if letter == "."}
        runs_code = (parents | reached) & RUNNING_MODULES or name in RUNNING_NAMES.get(module, ())
        self.add(f"{module}.{name}", RUNS_CODE if runs_code else NOT_KNOWN)
