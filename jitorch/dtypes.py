"""Element types and PyTorch's promotion rules."""
from __future__ import annotations

import numpy as np


class dtype:
    """An element type, printed and compared as PyTorch's.

    >>> import jitorch
    >>> jitorch.float32, jitorch.float32.itemsize, jitorch.int64.is_floating_point
    (torch.float32, 4, False)
    """

    __slots__ = ("name", "np", "itemsize", "is_floating_point", "is_complex", "is_signed", "category", "rank", "label", "cast",
                 "differentiable", "compute")

    def __init__(self, name: str, numpy_name: str, category: int, rank: int, label: str):
        self.name, self.label = name, label
        if name != "bfloat16":      # NumPy has none: ml_dtypes is imported when it is asked for
            self.np = np.dtype(numpy_name)
            self.cast = self.np.type
        self.itemsize = np.dtype(numpy_name).itemsize
        self.is_floating_point, self.is_complex = category == FLOAT, category == COMPLEX
        self.differentiable = category >= FLOAT
        self.is_signed = name != "bool" and not name.startswith("uint")
        self.category, self.rank = category, rank
        self.compute = self         # what references compute in: float32 for the half precision dtypes

    def __getattr__(self, name: str):
        if name in ("np", "cast") and self.name == "bfloat16":
            import ml_dtypes
            self.np = np.dtype(ml_dtypes.bfloat16)
            self.cast = self.np.type
            return getattr(self, name)
        raise AttributeError(f"'dtype' object has no attribute '{name}'")

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self):
        return (by_name, (self.name,))

    def __deepcopy__(self, memo):
        return self

    def to_complex(self) -> dtype:
        """The complex dtype whose parts are of this dtype. TypeError for integers."""
        return TO_COMPLEX[self]

    def to_real(self) -> dtype:
        """The dtype of a complex dtype's parts; a real dtype itself."""
        return TO_REAL.get(self, self)


BOOL, INT, FLOAT, COMPLEX = 0, 1, 2, 3     # promotion categories, in PyTorch's order

bool_ = dtype("bool", "bool", BOOL, 0, "Bool")
uint8 = dtype("uint8", "uint8", INT, 1, "Byte")
int8 = dtype("int8", "int8", INT, 2, "Char")
int16 = dtype("int16", "int16", INT, 3, "Short")
int32 = dtype("int32", "int32", INT, 4, "Int")
int64 = dtype("int64", "int64", INT, 5, "Long")
float16 = dtype("float16", "float16", FLOAT, 6, "Half")
bfloat16 = dtype("bfloat16", "uint16", FLOAT, 7, "BFloat16")
float32 = dtype("float32", "float32", FLOAT, 8, "Float")
float64 = dtype("float64", "float64", FLOAT, 9, "Double")
complex64 = dtype("complex64", "complex64", COMPLEX, 10, "ComplexFloat")
complex128 = dtype("complex128", "complex128", COMPLEX, 11, "ComplexDouble")
float16.compute = bfloat16.compute = float32

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128)
HALVES = frozenset((float16, bfloat16))
ITEMSIZE = {d.name: d.itemsize for d in ALL}     # bytes, by names as kernels have them
ALIASES = {"short": int16, "int": int32, "long": int64, "half": float16, "float": float32, "double": float64, "cfloat": complex64,
           "cdouble": complex128}
BY_NAME = {d.name: d for d in ALL} | ALIASES
FROM_NUMPY = {d.np: d for d in ALL if d is not bfloat16}
FROM_PYTHON = {bool: bool_, int: int64, float: float32, complex: complex64}
TO_COMPLEX = {float32: complex64, float64: complex128, float16: complex64, bfloat16: complex64, complex64: complex64, complex128: complex128}
TO_REAL = {complex64: float32, complex128: float64}

_default = float32


def by_name(name: str) -> dtype:
    return BY_NAME[name]


def get_default_dtype() -> dtype:
    """The dtype of new floating point tensors made from Python numbers.

    >>> import jitorch
    >>> jitorch.get_default_dtype()
    torch.float32
    """
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the default floating point dtype. Raises TypeError unless ``d`` is a floating point dtype."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    if d is not _default:
        from .graph import record
        record.flush()              # what is recorded was meant with the old default, and rules for shape and dtype ran with it
        record.forget()
    _default = d


def from_numpy(d: np.dtype) -> dtype:
    """The dtype of a NumPy dtype. Raises TypeError for one that jitorch has no tensor type for."""
    found = FROM_NUMPY.get(np.dtype(d))
    if found is None:
        if str(d) == "bfloat16":
            return bfloat16
        raise TypeError(f"can't convert np.ndarray of type {d}. The only supported types are: float64, float32, float16, bfloat16, complex64, "
                        "complex128, int64, int32, int16, int8, uint8, and bool.")
    return found


def limits(d: dtype):
    """NumPy's finfo of a floating point dtype, or of a complex dtype's parts."""
    if d is bfloat16:
        import ml_dtypes
        return ml_dtypes.finfo(d.np)
    return np.finfo(d.np)


def of_number(value) -> dtype:
    """The dtype a Python number stands for (bool, int64, or the default floating point dtype)."""
    t = type(value)
    if t is float or isinstance(value, float):
        return _default
    if isinstance(value, complex):
        return TO_COMPLEX[_default]
    return FROM_PYTHON.get(t) or (bool_ if isinstance(value, bool) else int64)


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that holds both, as ``torch.promote_types``.

    >>> import jitorch
    >>> jitorch.promote_types(jitorch.int64, jitorch.float32)
    torch.float32
    >>> jitorch.promote_types(jitorch.uint8, jitorch.int8)
    torch.int16
    """
    if a is b:
        return a
    if a.category == INT and b.category == INT and uint8 in (a, b):
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    if a.category == COMPLEX or b.category == COMPLEX:
        wide = float64 in (a, b) or complex128 in (a, b)
        return complex128 if wide else complex64
    if a in HALVES and b in HALVES:
        return float32
    return a if a.rank > b.rank else b


def result_type(metas) -> dtype:
    """Promotion over operands: those with dimensions first, then 0-d tensors, then Python numbers (Python types).

    A lower class changes the result only when its category (bool < int < float < complex) is higher; a complex number or 0-d tensor leaves
    floats their precision.
    """
    best: list[dtype | None] = [None, None, None]
    for m in metas:
        if m is None:
            continue
        if isinstance(m, type):
            level, d = 2, (_default if m is float else TO_COMPLEX[_default] if m is complex else FROM_PYTHON[m])
        else:
            level, d = (0 if m.shape else 1), m.dtype
        held = best[level]
        best[level] = d if held is None else promote_types(held, d)
    result: dtype | None = None
    for candidate in best:
        if candidate is not None and (result is None or candidate.category > result.category):
            result = candidate if result is None or result.category != FLOAT else TO_COMPLEX[result]
    return result or _default
