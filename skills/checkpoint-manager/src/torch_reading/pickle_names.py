"""What is known of the names in a pickle: those that build data, those that are code, and those that nobody here knows.

The list of harmless names is one of exact pairs (module, name). Everything else that can be reached in Python's own library is code:
whatever a checkpoint needs from there is listed. So is a name with dots that reaches through its module (`torch` + `os.system`, which
protocol 4 resolves attribute by attribute), an alias of a well-known one in somebody's module, and a function that is called. What is
left is a class of a library or of the user: not known to be harmless, for its import and its constructor are code that is not read here.
"""

from __future__ import annotations

import _compat_pickle
import builtins
import sys
from dataclasses import dataclass, field

NOT_KNOWN = "not known to be harmless: unpickling would import and call it"
RUNS_CODE = "would run code"
MAX_FINDINGS = 1000


@dataclass(frozen=True)
class Suspicion:
    """A name that is not known to be harmless."""

    name: str
    why: str

    @property
    def runs_code(self) -> bool:
        return self.why != NOT_KNOWN


def _words(text: str) -> set[str]:
    return set(text.split())


# --- harmless: exact pairs -----------------------------------------------------------------------------------------

REBUILD = {
    *_words("_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state"),
    *_words("_rebuild_sparse_tensor _rebuild_nested_tensor _rebuild_qtensor _rebuild_meta_tensor_no_storage"),
    *_words("_rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy _rebuild_sparse_csr_tensor"),
}
TORCH_DTYPES = {
    *_words("float64 double float32 float float16 half bfloat16 complex32 complex64 complex128 cfloat cdouble bool"),
    *_words("uint8 uint16 uint32 uint64 int8 int16 int32 int64 short int long"),
    *_words("float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2"),
    *_words("quint8 qint8 qint32 quint4x2 quint2x4 per_tensor_affine per_channel_affine per_channel_affine_float_qparams"),
    *_words("per_tensor_symmetric per_channel_symmetric bits1x8 bits2x4 bits4x2 bits8 bits16"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
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
_PATHS = _words("Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath")
_EXCEPTIONS = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)}
HARMLESS: dict[str, set[str]] = {
    "torch._utils": REBUILD,
    "torch": {*TORCH_DTYPES, *STORAGE_ELEMENT_BYTES, "Size", "device", "Tensor", "dtype", "layout", "memory_format"},
    "torch.cuda": {name for name in STORAGE_ELEMENT_BYTES if name != "UntypedStorage"},
    "torch.storage": {"UntypedStorage", "TypedStorage"},
    "torch.nn.parameter": {"Parameter", "Buffer"},
    "torch._tensor": {"_rebuild_from_type_v2"},
    "torch.serialization": {"_get_layout"},
    "torch.torch_version": {"TorchVersion"},
    f"{_DCP}.metadata": _words(
        "Metadata TensorStorageMetadata BytesStorageMetadata ChunkStorageMetadata TensorProperties MetadataIndex StorageMeta "
        "_MEM_FORMAT_ENCODING"
    ),
    f"{_DCP}.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch.distributed.device_mesh": {"DeviceMesh"},
    "torch.distributed.tensor": {"DTensor"},
    "torch.distributed.tensor._dtensor_spec": {"DTensorSpec", "TensorMeta"},
    "torch.distributed.tensor.placement_types": {"Shard", "Replicate", "Partial", "_StridedShard"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "builtins": _words("set frozenset list dict tuple int float str bytes bytearray complex bool slice range object NoneType")
    | _EXCEPTIONS,
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor", "__newobj__", "__newobj_ex__"},
    "argparse": {"Namespace"},
    "types": {"SimpleNamespace"},
    **{io: {"BytesIO", "StringIO"} for io in ("io", "_io")},  # Transformer Engine's extra state
    "typing": _words("Any Union Optional List Dict Tuple Set"),
    "datetime": {"datetime", "date", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "random": {"Random"},
    "uuid": {"UUID", "SafeUUID"},
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,
    "numpy": {"ndarray", "dtype"},
    **{f"numpy.{core}.multiarray": {"_reconstruct", "scalar"} for core in ("core", "_core")},
    **{f"numpy.{core}.numeric": {"_frombuffer"} for core in ("core", "_core")},
    "numpy.dtypes": {f"{kind}DType" for kind in _words("Float64 Float32 Float16 Int64 Int32 Int16 Int8 UInt8 UInt32 Bool")},
    "numpy.random._pickle": _words("__randomstate_ctor __generator_ctor __bit_generator_ctor"),
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "numpy.random._mt19937": {"MT19937"},
    "numpy.random._pcg64": {"PCG64", "PCG64DXSM"},
}
"""Module -> names that build data and do nothing else."""
HARMLESS["__builtin__"] = HARMLESS["builtins"] | {"unicode", "long", "xrange"}
HARMLESS["copy_reg"], HARMLESS["exceptions"] = HARMLESS["copyreg"], _EXCEPTIONS

CALLS_ITS_FIRST = {"torch._tensor._rebuild_from_type_v2"}
"""Harmless but for the function that they are given, and call."""

# --- code ----------------------------------------------------------------------------------------------------------

STANDARD = {
    *sys.stdlib_module_names,
    *(name.partition(".")[0] for name in _compat_pickle.IMPORT_MAPPING),
    *(module for module, _ in _compat_pickle.NAME_MAPPING),  # Python 2's names, which old protocols translate
    *_words(
        "asynchat asyncore cgi cgitb distutils imp imghdr lib2to3 nntplib pipes smtpd spwd telnetlib uu xdrlib _posixsubprocess"
    ),
}
"""Python's own library, of any version: what is harmless there stands above."""
OUTSIDE = _words(
    "pip setuptools dill cloudpickle joblib requests httpx urllib3 pkg_resources wheel virtualenv IPython pexpect paramiko"
)
RUNNING_MODULES = _words(
    "torch.hub torch.utils.cpp_extension torch.utils.model_zoo torch.jit torch.package torch.distributed.run torch.distributed.rpc "
    "torch.distributed.launch torch.distributed.elastic torch.multiprocessing torch.utils.collect_env torch._inductor torch._dynamo "
    "torch.onnx torch.fx torch.ops torch.classes torch.library numpy.f2py numpy.distutils numpy.ctypeslib "
    "numpy.testing numpy.compat numpy.lib"
)
"""Modules of libraries, with everything below them, that a checkpoint has no use for and an attacker has."""
REACHED = _words(
    "os posix nt sys subprocess builtins __builtin__ importlib shutil socket ctypes pickle _pickle cPickle marshal runpy pty "
    "multiprocessing __import__ __globals__ __builtins__ __class__ __subclasses__ __dict__ __getattribute__ __call__ __code__ __reduce__"
)
"""Nobody's class is called or lies below one of these: whoever names one reaches for it through something else."""
ALIASES = _words(
    "system popen popen2 popen3 popen4 Popen spawn spawnl spawnv spawnvp execl execv execve execvp fork forkpty check_output check_call "
    "getoutput getstatusoutput eval exec execfile compile open fdopen load loads load_module load_source import_module find_class Unpickler "
    "_load _legacy_load load_library load_state_dict_from_url download_url_to_file urlopen urlretrieve fromfile memmap loadtxt genfromtxt "
    "getattr setattr delattr attrgetter methodcaller itemgetter partial partialmethod reduce apply exec_command run_module run_path "
    "runstring rmtree unlink remove rmdir rename write_text write_bytes read_text read_bytes extractall unpack_archive CDLL WinDLL "
    "PyDLL LoadLibrary InteractiveInterpreter InteractiveConsole FunctionType CodeType MethodType LambdaType ModuleType"
)
"""Names that are code whatever module they are taken from: modules import each other's functions."""


def is_class_like(name: str) -> bool:
    """Named as classes are: `Linear`, `_Config`."""
    letters = name.lstrip("_")
    return bool(letters) and letters[0].isupper()


def judged(module: str, name: str) -> str | None:
    """Why a name is not harmless; None for one that only builds data."""
    if name in HARMLESS.get(module, ()):
        return None
    inside, words = module.split("."), name.split(".")
    prefixes = {".".join((*inside, *words)[:count]) for count in range(1, len(inside) + len(words) + 1)}
    if inside[0] in STANDARD or inside[0] in OUTSIDE or prefixes & RUNNING_MODULES:
        return RUNS_CODE
    if {*inside, *words} & REACHED or words[-1] in ALIASES:
        return RUNS_CODE
    if len(words) > 1 and not all(map(is_class_like, words)):  # a nested class has dots; nothing else that is pickled has
        return RUNS_CODE
    return NOT_KNOWN


@dataclass
class Suspicions:
    """The names in one pickle that are not known to be harmless: each once, and MAX_FINDINGS of each kind."""

    found: dict[Suspicion, None] = field(default_factory=dict)

    def add(self, name: str, why: str = RUNS_CODE) -> None:
        # Code is found however many unknown names stand before it.
        if len(self.found) < (MAX_FINDINGS if why == NOT_KNOWN else 2 * MAX_FINDINGS):
            self.found.pop(Suspicion(name[:300], NOT_KNOWN), None)
            self.found.setdefault(Suspicion(name[:300], why))

    def judge(self, module: str, name: str) -> None:
        """Add a name that the pickle wants imported, unless it only builds data."""
        why = judged(module, name)
        if why is not None and Suspicion(f"{module}.{name}"[:300], RUNS_CODE) not in self.found:
            self.add(f"{module}.{name}", why)

    def judge_call(self, module: str, name: str) -> None:
        """The pickle calls it: a function that nobody here knows is code, a class is as its name was judged."""
        if judged(module, name) == NOT_KNOWN and not is_class_like(name.rpartition(".")[2]):
            self.add(f"{module}.{name}")
