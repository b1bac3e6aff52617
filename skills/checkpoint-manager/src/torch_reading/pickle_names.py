"""Which names in a pickle are known to do nothing but build data, and which are known to run code.

A name on neither list is suspicious too: unpickling would import its module and call it, and what that does is not known here.
"""

from __future__ import annotations


def _words(text: str) -> set[str]:
    return set(text.split())


REBUILD = {
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_tensor_v3",
    "_rebuild_parameter",
    "_rebuild_parameter_with_state",
    "_rebuild_sparse_tensor",
    "_rebuild_nested_tensor",
    "_rebuild_qtensor",
    "_rebuild_meta_tensor_no_storage",
    "_rebuild_device_tensor_from_cpu_tensor",
    "_rebuild_device_tensor_from_numpy",
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
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexDoubleStorage": 16,
    "ComplexFloatStorage": 8,
    "QUInt8Storage": 1,
    "QInt8Storage": 1,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
    "UntypedStorage": 1,
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


def judge(module: str, name: str) -> str:
    """`harmless`, `runs-code`, or `not-known` for one name that a pickle wants imported."""
    if name in HARMLESS.get(module, ()):
        return "harmless"
    parents = {module[:at] for at, letter in enumerate(module) if letter == "."} | {module}
    # A dotted name reaches through its module: `torch` + `hub.load` is torch.hub's.
    reached = {f"{module}.{name[:at]}" for at, letter in enumerate(name) if letter == "."}
    if (parents | reached) & RUNNING_MODULES or name in RUNNING_NAMES.get(module, ()):
        return "runs-code"
    return "not-known"
