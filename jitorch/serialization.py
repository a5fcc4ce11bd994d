"""`save` and `load`: tensors and the containers around them, in PyTorch's file format, safe and atomic.

A file is an uncompressed zip: `data.pkl` describes the structure (see pickles.py: it is interpreted, never unpickled),
`data/<n>` holds the memory of storage n, little-endian. PyTorch reads these files, and its own are read here.
"""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np

from . import dtypes
from .device import check as check_device
from .device import device
from .graph.record import Meta, Size, Storage, contiguous_strides, stored
from .layouts import layout
from .pickles import Call, Global, Persistent, Reader, Writer
from .tensor import Tensor

ROOT = "archive"
STORAGE_CLASSES = {
    f"{name}Storage": d
    for name, d in {
        "Bool": dtypes.bool_,
        "Byte": dtypes.uint8,
        "Char": dtypes.int8,
        "Short": dtypes.int16,
        "Int": dtypes.int32,
        "Long": dtypes.int64,
        "Float": dtypes.float32,
        "Double": dtypes.float64,
        "Half": dtypes.float16,
        "BFloat16": dtypes.bfloat16,
        "ComplexFloat": dtypes.complex64,
        "ComplexDouble": dtypes.complex128,
    }.items()
}
CLASS_OF = {d: name for name, d in STORAGE_CLASSES.items()}
UNSUPPORTED = ("UntypedStorage",)
REBUILD_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
REBUILD_PARAMETER = Global("torch._utils", "_rebuild_parameter")
REBUILD_SPARSE = Global("torch._utils", "_rebuild_sparse_tensor")
LAYOUT = Global("torch.serialization", "_get_layout")
DAMAGE = (  # what reading a damaged or forged file can raise
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    OSError,
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)


# ---------------------------------------------------------------------------------------------------------------------
# Saving
# ---------------------------------------------------------------------------------------------------------------------


def save(obj: Any, f: str | os.PathLike | IO[bytes], pickle_module: Any = None, pickle_protocol: int = 2,
         _use_new_zipfile_serialization: bool = True) -> None:
    """Write tensors and containers of them to a file, which `load` here or in PyTorch reads.

    obj: dicts, OrderedDicts, lists, tuples, sets of tensors, parameters, numbers, strings, bytes, None, dtypes, sizes,
        devices, to any depth: state dicts of modules and optimizers, checkpoints. Tensors that share memory still do
        after loading; gradients and history are not saved.
    f: a path, or a binary file object. A file on disk appears whole under its name or not at all: an error or a crash
        in the middle leaves what was there.

    The other arguments are PyTorch's: the format is always the same, today's.
    TypeError for anything else in obj; RuntimeError if the directory doesn't exist.

    >>> import io, jitorch as torch
    >>> f = io.BytesIO()
    >>> torch.save({"w": torch.ones(2), "step": 3}, f)
    >>> _ = f.seek(0)
    >>> torch.load(f)
    {'w': tensor([1., 1.]), 'step': 3}
    """
    storages: dict[Storage, str] = {}
    structure = Writer(partial(in_file, storages=storages)).finish(obj)
    write = partial(write_archive, structure=structure, storages=storages)
    if not isinstance(f, (str, os.PathLike)):
        write(f)
        return
    path = os.path.realpath(f)
    if not os.path.isdir(os.path.dirname(path)):
        raise RuntimeError(f"Parent directory {os.path.dirname(os.fspath(f))} does not exist.")
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device: there is nothing to put in its place
        with open(path, "wb") as file:
            write(file)
        return
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def in_file(obj: Any, storages: dict[Storage, str]) -> Global | Call | Persistent | None:
    """How something that is no plain container stands in the structure; None: it can't."""
    if isinstance(obj, Tensor):
        return tensor_in_file(obj, storages)
    if isinstance(obj, Storage):
        number = storages.setdefault(obj, str(len(storages)))
        kind = StorageClass(obj.meta.dtype)
        return Persistent(("storage", kind, number, "cpu", obj.meta.numel))
    if isinstance(obj, StorageClass):
        return Global("torch", CLASS_OF[obj.dtype])
    if isinstance(obj, dtypes.dtype):
        return Global("torch", obj.name)
    if isinstance(obj, Size):
        return Call(Global("torch", "Size"), (tuple(obj),))
    if isinstance(obj, layout):
        return Call(LAYOUT, (repr(obj),))
    if isinstance(obj, device):
        return Call(Global("torch", "device"), (obj.type,) if obj.index is None else (obj.type, obj.index))
    return None


def tensor_in_file(t: Tensor, storages: dict[Storage, str]) -> Call:
    if is_parameter(t):
        return Call(REBUILD_PARAMETER, (t.detach(), t.requires_grad, OrderedDict()))
    if t.is_sparse:
        return Call(REBUILD_SPARSE, (t.layout, (t._indices(), t._values().detach(), t.shape, t.is_coalesced())))
    m = t._meta
    return Call(
        REBUILD_TENSOR, (t._storage, m.offset, tuple(m.shape), tuple(m.strides), t.requires_grad, OrderedDict())
    )


def is_parameter(t: Tensor) -> bool:
    module = sys.modules.get("jitorch.nn.parameter")  # without it there can be no parameters
    return module is not None and isinstance(t, module.Parameter)


class StorageClass:
    """The class of storages of a dtype."""

    def __init__(self, dtype: dtypes.dtype):
        self.dtype = dtype


def write_archive(file: IO[bytes], structure: bytes, storages: dict[Storage, str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:

        def entry(name: str, data: Any) -> None:
            info = zipfile.ZipInfo(f"{ROOT}/{name}")  # with a fixed date: the same contents, the same bytes
            with archive.open(info, "w", force_zip64=len(data) > 2**31) as out:
                out.write(data)

        entry("data.pkl", structure)
        entry("byteorder", b"little")
        for storage, number in storages.items():
            values = np.ascontiguousarray(storage.array())
            if storage.meta.dtype is dtypes.bfloat16:       # NumPy can't swap the bytes of a dtype that is not its own
                values = values.view(np.uint16)
            values = values.astype(values.dtype.newbyteorder("<"), copy=False)
            entry(f"data/{number}", values.reshape(-1).view(np.uint8).data)
        entry("version", b"3\n")


# ---------------------------------------------------------------------------------------------------------------------
# Loading
# ---------------------------------------------------------------------------------------------------------------------


def load(f: str | os.PathLike | IO[bytes], map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = None,
         mmap: bool | None = None, **pickle_load_args: Any) -> Any:
    """Read what `save`, here or in PyTorch, has written.

    map_location: where tensors go: "cpu", a device, a dict from device names to device names, or a function of a
        storage and its device's name (it is not asked: there is one place). RuntimeError for another device.
    weights_only: as in PyTorch, but there is no other way here: code in a file is never run. mmap and the arguments for
        pickle change nothing.

    RuntimeError that names the file if it is damaged or something else; pickle.UnpicklingError if it holds objects
    other than tensors, numbers, strings and containers; FileNotFoundError.

    >>> import jitorch as torch, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model.pt")
    >>> model = torch.nn.Linear(2, 1)
    >>> torch.save(model.state_dict(), path)
    >>> model.load_state_dict(torch.load(path))
    <All keys matched successfully>
    """
    check_location(map_location)
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return read_archive(file, os.fspath(f))
    return read_archive(f, str(getattr(f, "name", "the file object")))


def check_location(where: Any) -> None:
    if where is None or callable(where):
        return
    for place in where.values() if isinstance(where, dict) else [where]:
        check_device(place)


def read_archive(file: IO[bytes], name: str) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            return Archive(archive).structure()
    except UnpicklingError as error:
        raise UnpicklingError(f"{name}: {error}") from None
    except zipfile.BadZipFile as error:
        raise RuntimeError(
            f"{name} is not a whole file of tensors: {error}. (Files of other kinds, among them plain pickles, are "
            "not read, because they could run code.)"
        ) from error
    except DAMAGE as error:
        raise RuntimeError(f"{name} is damaged: {type(error).__name__}: {error}") from error


class Archive:
    """An open file: its entries, and the storages read from it so far."""

    def __init__(self, archive: zipfile.ZipFile):
        self.archive = archive
        self.entries = {info.filename: info for info in archive.infolist()}
        found = [name for name in self.entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(found) != 1:
            raise ValueError("a zip file without the structure of a file of tensors")
        self.root = found[0].removesuffix("data.pkl")
        self.storages: dict[str, Storage] = {}

    def structure(self) -> Any:
        order = self.entries.get(self.root + "byteorder")
        if order is not None and self.archive.read(order) != b"little":
            raise ValueError("numbers in big-endian order are not supported")
        names: dict[Global, Any] = {Global("torch", d.name): d for d in dtypes.ALL}
        names |= {Global("torch", name): StorageClass(d) for name, d in STORAGE_CLASSES.items()}
        makers: dict[Global, Callable] = {
            REBUILD_TENSOR: rebuild_tensor,
            REBUILD_PARAMETER: rebuild_parameter,
            REBUILD_SPARSE: rebuild_sparse,
            LAYOUT: str,
            Global("torch", "Size"): Size,
            Global("torch", "device"): device,
        }
        makers |= {Global("torch", kind): partial(unsupported, kind) for kind in UNSUPPORTED}
        return Reader(names, makers, self.storage).read(self.archive.read(self.root + "data.pkl"))

    def storage(self, key: Any) -> Storage:
        """The storage that a reference in the structure names."""
        kind, storage_class, number, _, numel = key
        if isinstance(storage_class, Global):
            unsupported(storage_class.name)
        if kind != "storage" or type(storage_class) is not StorageClass or type(number) is not str:
            raise ValueError("a reference to something that is no storage")
        known = self.storages.get(number)
        if known is None:
            known = self.storages[number] = self.read_storage(self.root + "data/" + number, storage_class.dtype)
        if known.meta.dtype is not storage_class.dtype or known.meta.numel < numel:
            raise ValueError(f"storage {number} is not what the structure says")
        return known

    def read_storage(self, name: str, dtype: dtypes.dtype) -> Storage:
        info = self.entries[name]
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"{name} is compressed")
        numel, rest = divmod(info.file_size, dtype.itemsize)
        end = self.archive.start_dir  # nothing can be larger than what lies before the directory
        if rest or info.file_size > end:
            raise ValueError(f"{name} has {info.file_size} bytes")
        values = np.empty(numel, dtype.np)
        target = values.view(np.uint8).data
        with self.archive.open(info) as entry:
            at = 0
            while at < info.file_size:
                n = entry.readinto(target[at:])  # type: ignore[attr-defined]
                if not n:
                    raise EOFError(f"{name} ends too early")
                at += n
            entry.read(1)  # the end has been seen: the checksum is compared
        if dtype is dtypes.bool_ and values.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"{name} holds bytes that are no booleans")
        return stored(Meta((numel,), dtype), values)


def rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any, *_: Any
) -> Tensor:
    """A tensor over a storage. ValueError if it would reach outside of it."""
    if type(storage) is not Storage or not all(type(x) is int and x >= 0 for x in (offset, *shape, *strides)):
        raise ValueError("a tensor whose geometry is not made of numbers")
    if len(shape) != len(strides):
        raise ValueError("a tensor with another number of strides than dimensions")
    if 0 not in shape and offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) >= storage.meta.numel:
        raise ValueError(f"a tensor of shape {list(shape)} that reaches outside of its storage")
    meta = Meta(tuple(shape), storage.meta.dtype, tuple(strides), offset)
    t = Tensor.__new__(Tensor)
    t._storage = storage
    t._meta = adopt(storage, meta)
    t.requires_grad_(bool(requires_grad))
    return t


def adopt(storage: Storage, meta: Meta) -> Meta:
    """The storage's own geometry for a tensor that covers it all in order, so that using it whole is no view."""
    whole = storage.meta
    if meta.offset or meta.numel != whole.numel or tuple(meta.strides) != contiguous_strides(meta.shape):
        return meta
    if len(whole.shape) == 1 and meta.shape != whole.shape:
        whole = storage.meta = Meta(meta.shape, meta.dtype)
    return whole if whole.shape == meta.shape else meta


def rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    from .nn.parameter import Parameter

    return Parameter(data, bool(requires_grad))


def rebuild_sparse(kind: Any, data: Any) -> Tensor:
    from .ops.sparse import sparse_coo_tensor

    if kind != "torch.sparse_coo":
        raise UnpicklingError(f"tensors of the layout {kind} are not supported: save them as dense or sparse_coo tensors")
    indices, values, size, *coalesced = data
    return sparse_coo_tensor(indices, values, size, is_coalesced=bool(coalesced and coalesced[0]))


def unsupported(kind: str, *_: Any) -> Any:
    raise UnpicklingError(
        f"tensors of {kind.removesuffix('Storage')} are not supported: convert them to float32 before saving"
    )


def add_safe_globals(safe_globals) -> None:
    """Raises NotImplementedError: files are interpreted and never run, so no class of a program's can be made from one."""
    raise NotImplementedError("add_safe_globals(): files hold tensors and plain Python values; save a state_dict")


def get_safe_globals() -> list:
    """The classes that files may name besides tensors and plain values: none."""
    return []
