"""How reductions accumulate: their dtypes, first values and steps."""
from __future__ import annotations

from .expressions import SUFFIX, cast, literal
from .writer import Writer

SUM_BLOCK = 4096        # elements added up in single precision before the sum goes on in double
IDENTITY = {"sum": 0, "prod": 1, "any": 0, "all": 1}
COMBINE = {"sum": "radd", "prod": "rmul", "max": "rmax", "min": "rmin", "any": "rmax", "all": "rmin"}


class ReducingWriter(Writer):
    def reduce_operands(self, reduces) -> list:
        return [s for v in reduces for s in self.operand_values(v)]
    def operand_dtype(self, v) -> str:
        source = self.view.inline.get((v, 0))
        return (source if source is not None else v.args[0]).dtype.name

    def accumulator_dtype(self, v) -> str:
        if v.name == "sum" and v.dtype.name == "float32":
            return "float64"
        if v.name in ("argmax", "argmin"):
            return self.operand_dtype(v)
        if v.name in ("any", "all") or self.operand_dtype(v) == "bool":
            return "uint8" if v.dtype.name == "bool" else v.dtype.name
        return v.dtype.name

    def identity(self, v) -> str:
        dtype = self.accumulator_dtype(v)
        if v.name in IDENTITY:
            return literal(IDENTITY[v.name], dtype)
        low = v.name in ("max", "argmax")
        if dtype in ("float32", "float64"):
            return f"{dtype}({'-' if low else ''}np.inf)"
        bounds = {"uint8": (0, 255), "bool": (0, 1)}.get(dtype) or (-(2 ** (8 * int(dtype[3:]) // 8 - 1)), 2 ** (int(dtype[3:]) - 1) - 1)
        if dtype not in ("uint8", "bool"):
            bits = int(dtype[3:])
            bounds = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return literal(bounds[0] if low else bounds[1], dtype)

    def start_accumulator(self, v) -> str:
        name = self.fresh("a")
        self.emit(f"{name} = {self.identity(v)}")
        if v.name in ("argmax", "argmin"):
            self.emit(f"{name}i = int64(-1)")
        return name

    def accumulate(self, v, name: str, text: str, blocked: bool = False) -> None:
        dtype = self.accumulator_dtype(v)
        if v.name in ("argmax", "argmin"):
            axis = next(a for a in self.view.reduce_axes[v] if a is not None)
            value, better = self.fresh("v"), self.fresh("b")
            self.emit(f"{value} = {text if dtype != 'bool' else f'as_u8({text})'}")
            if dtype in ("float32", "float64"):
                # the first NaN wins, then the first extreme
                self.emit(f"{better} = ({name}i < 0) | (({name} == {name}) & (({value} {'>' if v.name == 'argmax' else '<'} {name}) | ({value} != {value})))")
            else:
                self.emit(f"{better} = ({name}i < 0) | ({value} {'>' if v.name == 'argmax' else '<'} {name})")
            self.emit(f"{name} = select({better}, {value}, {name})")
            self.emit(f"{name}i = select({better}, int64({self.index_of[axis]}), {name}i)")
            return
        source = self.operand_dtype(v)
        if blocked:
            self.emit(f"{name}f = radd({name}f, {cast(text, 'float32') if source != 'float32' else text})")
            return
        if source != dtype:
            text = cast(text, dtype) if source != "bool" else f"as_{SUFFIX[dtype]}(as_u8({text}))"
        combined = f"{COMBINE[v.name]}({name}, {text})"
        self.emit(f"{name} = {combined}")

    def end_accumulator(self, v, name: str) -> str:
        if v.name in ("argmax", "argmin"):
            return f"{name}i"
        dtype = self.accumulator_dtype(v)
        if dtype == v.dtype.name:
            return name
        done = self.fresh("t")
        self.emit(f"{done} = {cast(name, v.dtype.name)}")
        return done
