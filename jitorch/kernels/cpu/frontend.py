"""From the source of a kernel to LLVM instructions, in one pass over its syntax tree.

Kernels are written in a small part of Python: assignments, `for` over `range`, `while`, `if`, calls of the prelude's functions and of helpers. What an
operation means there is Numba's affair: its rules give the types, its code generators write the instructions, and the prelude's functions are its
intrinsics. What is done here is what Numba's compiler does with a whole language in view, and takes three quarters of the time a kernel takes to compile:
to find out which name has which type. A kernel's names have one type each, that of their first assignment, so there is nothing to solve.

    >>> module = translate("def kernel(args, lo, hi):\\n    args[0] = uint64(hi - lo)\\n", "example", "<example>")
    >>> [function.name for function in module.functions]
    ['example']

Imports Numba: only the compile helpers import this module.
"""
from __future__ import annotations

import ast
import builtins
import inspect
import operator
import textwrap
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import FunctionType
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import callconv, cgutils, sigutils
from numba.core.registry import cpu_target
from numba.core.typing.templates import Signature

from . import prelude

KERNEL_SIGNATURE = types.void(types.CPointer(types.uint64), types.intp, types.intp)

OPERATORS: dict[type[ast.AST], Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.USub: operator.neg, ast.Invert: operator.invert,
}  # fmt: skip

BY_OPERATOR = frozenset((*OPERATORS.values(), operator.getitem, operator.setitem))     # Numba's code generators are found by these themselves
EXTREMES: dict[Any, Callable] = {builtins.min: operator.lt, builtins.max: operator.gt}


class KernelError(Exception):
    """A source is not a kernel: what, and in which line."""


class Typed(NamedTuple):
    """A value that instructions compute, and Numba's type of it."""

    kind: Any
    value: Any


# ---------------------------------------------------------------------------------------------------------------------
# Numba's rules
# ---------------------------------------------------------------------------------------------------------------------


@cache
def contexts() -> tuple[Any, Any]:
    """Numba's typing rules and code generators. Division by zero raises nothing."""
    typing, target = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    target.refresh()
    return typing, target.subtarget(error_model=callconv.create_error_model("numpy", target))


@cache
def rule(function: Any, kinds: tuple[Any, ...]) -> tuple[Signature, Callable]:
    """How Numba computes `function` of such arguments."""
    typing, target = contexts()
    resolved = typing.resolve_value_type(function)
    signature = typing.resolve_function_type(resolved, kinds, {})
    return signature, target.get_function(function if function in BY_OPERATOR else resolved, signature)


@cache
def definition(function: Any, kinds: tuple[Any, ...]) -> tuple[Signature, Callable]:
    """What an intrinsic does with such arguments."""
    found = function._defn(contexts()[0], *kinds)
    if found is None:
        raise KernelError(f"{function.__name__} takes no {', '.join(map(str, kinds))}")
    return found


def plain(kind: Any) -> Any:
    return types.unliteral(kind)


# ---------------------------------------------------------------------------------------------------------------------
# A module
# ---------------------------------------------------------------------------------------------------------------------


def translate(source: str, symbol: str, path: str) -> ir.Module:
    """An LLVM module that exports the function `kernel` of `source` as `symbol`, a C function.

    Raises KernelError for a source that is no kernel, what Numba raises for types that don't go together, or SyntaxError."""
    tree = ast.parse(source, path)
    scope = dict(prelude.NAMES, __name__="jitorch_kernel")
    exec(compile(tree, path, "exec"), scope)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    arguments, result = sigutils.normalize_signature(scope.get("SIGNATURE", KERNEL_SIGNATURE))
    target = contexts()[1]
    module = target.create_module(symbol)
    library = target.codegen().create_library(symbol)       # where Numba's generators ask for functions besides what they write
    with target.push_code_library(library):
        Module(module, functions).function(scope["kernel"], arguments, result or types.void, symbol)
    if library._linking_libraries:
        raise KernelError("an operation of this source needs functions of Numba's own")
    return module


class Wanted(Exception):
    """A function's result is of this type: write it again, knowing that."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


class Module:
    """The functions of an LLVM module: a kernel, and the helpers it calls, each for the types it is called with."""

    def __init__(self, module: ir.Module, functions: dict[str, ast.FunctionDef]) -> None:
        self.module, self.functions = module, functions
        self.helpers: dict[tuple[Any, tuple[Any, ...]], tuple[ir.Function, Any]] = {}

    def helper(self, function: FunctionType, kinds: tuple[Any, ...]) -> tuple[ir.Function, Any]:
        """A helper for such arguments, and the type of its result."""
        key = function, kinds
        if key not in self.helpers:
            try:
                written = self.function(function, kinds, types.void, self.new_name(function)), types.void
            except Wanted as wanted:
                written = self.function(function, kinds, wanted.kind, self.new_name(function)), wanted.kind
            written[0].linkage = "internal"
            if any(isinstance(node, (ast.For, ast.While)) for node in ast.walk(tree_of(function, self.functions))):
                written[0].attributes.add("noinline")       # its loops take longer than the call, and are not to be optimised for each
            self.helpers[key] = written
        return self.helpers[key]

    def new_name(self, function: FunctionType) -> str:
        return self.module.get_unique_name(function.__name__)

    def function(self, function: FunctionType, kinds: Sequence[Any], result: Any, symbol: str) -> ir.Function:
        target = contexts()[1]
        returned = ir.VoidType() if result == types.void else target.get_value_type(result)
        shape = ir.FunctionType(returned, [target.get_value_type(kind) for kind in kinds])
        written = ir.Function(self.module, shape, symbol)
        written.attributes.add("nounwind")
        try:
            Body(self, written, tree_of(function, self.functions), function.__globals__, kinds, result).write()
        except Wanted:
            del self.module.globals[symbol]
            raise
        return written


def tree_of(function: FunctionType, functions: dict[str, ast.FunctionDef]) -> ast.FunctionDef:
    own = functions.get(function.__name__)
    return own if own is not None and function.__module__ == "jitorch_kernel" else parsed(function)


@cache
def parsed(function: FunctionType) -> ast.FunctionDef:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    return tree


# ---------------------------------------------------------------------------------------------------------------------
# A function
# ---------------------------------------------------------------------------------------------------------------------


class Loop(NamedTuple):
    """A loop that is being written: where `continue` and `break` go."""

    again: ir.Block
    after: ir.Block


class Body:
    """The body of a function, statement by statement. Variables are places on the stack, which LLVM makes registers."""

    def __init__(self, module: Module, function: ir.Function, tree: ast.FunctionDef, scope: dict[str, Any], kinds: Sequence[Any], result: Any) -> None:
        self.module, self.tree, self.scope, self.result = module, tree, scope, result
        self.typing, self.target = contexts()
        self.llvm = function
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.places: dict[str, tuple[Any, ir.Value]] = {}
        self.loops: list[Loop] = []
        for argument, kind, value in zip(tree.args.args, kinds, function.args, strict=True):
            self.assign(argument.arg, Typed(kind, value))

    def write(self) -> None:
        self.block(self.tree.body)
        end = self.builder.block
        if end.is_terminated:
            return
        if self.result == types.void:
            self.builder.ret_void()
        elif any(end in block.terminator.operands for block in self.llvm.blocks if block is not end):
            raise self.wrong(self.tree, "not every way through it returns a value")
        else:
            self.builder.unreachable()

    def wrong(self, node: ast.AST, why: str) -> KernelError:
        return KernelError(f"line {getattr(node, 'lineno', '?')}, {ast.unparse(node).splitlines()[0]}: {why}")

    # ---- statements

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if self.builder.block.is_terminated:        # after a return: never reached
                return
            getattr(self, f"write_{type(statement).__name__}", self.write_other)(statement)

    def write_other(self, node: ast.stmt) -> None:
        raise self.wrong(node, "kernels have no such statement")

    def write_Pass(self, node: ast.Pass) -> None:
        pass

    def write_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):        # a docstring
            return
        self.value(node.value)

    def write_Assign(self, node: ast.Assign) -> None:
        (target,) = node.targets
        if not isinstance(target, ast.Tuple):
            self.store(target, self.value(node.value))
            return
        if isinstance(node.value, ast.Tuple):
            values = [self.value(element) for element in node.value.elts]
        else:
            whole = self.value(node.value)
            kinds = getattr(whole.kind, "types", None)
            if kinds is None:
                raise self.wrong(node, f"{whole.kind} is no tuple")
            parts = cgutils.unpack_tuple(self.builder, whole.value)
            values = [Typed(kind, part) for kind, part in zip(kinds, parts, strict=True)]
        for element, each in zip(target.elts, values, strict=True):
            self.store(element, each)

    def write_AugAssign(self, node: ast.AugAssign) -> None:
        before = ast.copy_location(type(node.target)(**{**vars(node.target), "ctx": ast.Load()}), node.target)
        self.store(node.target, self.apply(OPERATORS[type(node.op)], self.value(before), self.value(node.value)))

    def store(self, target: ast.expr, value: Typed) -> None:
        if isinstance(target, ast.Name):
            self.assign(target.id, value, target)
        elif isinstance(target, ast.Subscript):
            self.apply(operator.setitem, self.value(target.value), self.value(target.slice), value)
        else:
            raise self.wrong(target, "kernels assign to names and elements")

    def assign(self, name: str, value: Typed, node: ast.AST | None = None) -> None:
        kind = plain(value.kind)
        if name not in self.places:
            with self.builder.goto_entry_block():
                form = self.target.get_value_type(kind)
                place = self.builder.alloca(form, name=name)
                self.builder.store(ir.Constant(form, None), place)
            self.places[name] = kind, place
        declared, place = self.places[name]
        if kind != declared:
            raise self.wrong(node or self.tree, f"{name} is {declared} before, and {kind} here")
        self.builder.store(value.value, place)

    def write_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self.builder.ret_void()
            return
        value = self.value(node.value)
        if self.result == types.void:
            raise Wanted(plain(value.kind))
        self.builder.ret(self.cast(value, self.result))

    def write_If(self, node: ast.If) -> None:
        condition = self.truth(node.test)
        if isinstance(condition, ir.Constant):          # decided by a number that the source holds
            self.block(node.body if condition.constant else node.orelse)
            return
        then, after = self.new_block("then"), self.new_block("after")
        otherwise = self.new_block("otherwise") if node.orelse else after
        self.builder.cbranch(condition, then, otherwise)
        for start, statements in ((then, node.body), (otherwise, node.orelse)):
            if start is not after:
                self.begin(start)
                self.block(statements)
                self.go(after)
        self.begin(after)

    def write_While(self, node: ast.While) -> None:
        test, body, after = (self.new_block(name) for name in ("while", "do", "done"))
        self.loops.append(Loop(test, after))
        self.builder.branch(test)
        self.begin(test)
        condition = self.truth(node.test)
        if isinstance(condition, ir.Constant) and condition.constant:
            self.builder.branch(body)
        else:
            self.builder.cbranch(condition, body, after)
        self.begin(body)
        self.block(node.body)
        self.go(test)
        self.loops.pop()
        self.begin(after)

    def write_For(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range" and isinstance(node.target, ast.Name)):
            raise self.wrong(node, "kernels loop over ranges")
        first, last, step = self.range(call)
        kind = first.kind
        compare, add = (self.builder.icmp_signed, "nsw") if kind.signed else (self.builder.icmp_unsigned, "nuw")
        counter = cgutils.alloca_once_value(self.builder, first.value)
        test, body, again, after = (self.new_block(name) for name in ("for", "do", "next", "done"))
        self.loops.append(Loop(again, after))
        self.builder.branch(test)

        self.begin(test)
        at = self.builder.load(counter)
        less, more = (partial(compare, sign, at, last.value) for sign in ("<", ">"))
        if isinstance(step.value, ir.Constant):
            inside = less() if step.value.constant > 0 else more()
        elif kind.signed:
            inside = self.builder.select(compare(">", step.value, ir.Constant(at.type, 0)), less(), more())
        else:
            inside = less()
        self.builder.cbranch(inside, body, after)

        self.begin(body)
        self.assign(node.target.id, Typed(kind, at), node)
        self.block(node.body)
        self.go(again)
        self.begin(again)
        self.builder.store(self.builder.add(at, step.value, flags=(add,)), counter)
        self.builder.branch(test)
        self.loops.pop()
        self.begin(after)

    def range(self, call: ast.Call) -> tuple[Typed, Typed, Typed]:
        """First number, end and step, all of the type that Numba counts such a range in."""
        values = [self.value(argument) for argument in call.args]
        signature, _ = rule(builtins.range, tuple(plain(v.kind) for v in values))
        kind = signature.args[0]
        numbers = [Typed(kind, self.cast(v, kind)) for v in values]
        if len(numbers) == 1:
            numbers.insert(0, Typed(kind, ir.Constant(numbers[0].value.type, 0)))
        if len(numbers) == 2:
            numbers.append(Typed(kind, ir.Constant(numbers[0].value.type, 1)))
        return numbers[0], numbers[1], numbers[2]

    def write_Continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1].again)

    def write_Break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1].after)

    # ---- blocks and loops

    def new_block(self, name: str) -> ir.Block:
        return ir.Block(self.llvm, name)

    def begin(self, block: ir.Block) -> None:
        """Write on at the start of this block, which comes after all others so far."""
        self.llvm.blocks.append(block)
        self.builder.position_at_end(block)

    def go(self, block: ir.Block) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    # ---- expressions

    def value(self, node: ast.expr) -> Typed:
        return getattr(self, f"value_{type(node).__name__}", self.value_other)(node)

    def value_other(self, node: ast.expr) -> Typed:
        raise self.wrong(node, "kernels have no such expression")

    def value_Constant(self, node: ast.Constant) -> Typed:
        return self.constant(node.value, node)

    def constant(self, number: Any, node: ast.expr) -> Typed:
        if isinstance(number, bool):
            return Typed(types.boolean, ir.Constant(ir.IntType(1), number))
        if isinstance(number, int):
            return Typed(types.literal(number), ir.Constant(ir.IntType(64), number))
        if isinstance(number, float):
            return Typed(types.float64, ir.Constant(ir.DoubleType(), number))
        raise self.wrong(node, f"{number!r} is no number")

    def value_Name(self, node: ast.Name) -> Typed:
        if node.id in self.places:
            kind, place = self.places[node.id]
            return Typed(kind, self.builder.load(place))
        return self.constant(self.known(node), node)

    def value_Attribute(self, node: ast.Attribute) -> Typed:
        return self.constant(self.known(node), node)

    def known(self, node: ast.expr) -> Any:
        """What a name of the source, the prelude or Python stands for."""
        if isinstance(node, ast.Attribute):
            return getattr(self.known(node.value), node.attr)
        if isinstance(node, ast.Name):
            for names in (self.scope, vars(builtins)):
                if node.id in names:
                    return names[node.id]
        raise self.wrong(node, "no such name")

    def value_BinOp(self, node: ast.BinOp) -> Typed:
        return self.apply(OPERATORS[type(node.op)], self.value(node.left), self.value(node.right))

    def value_Compare(self, node: ast.Compare) -> Typed:
        (sign,), (right,) = node.ops, node.comparators
        return self.apply(OPERATORS[type(sign)], self.value(node.left), self.value(right))

    def value_Subscript(self, node: ast.Subscript) -> Typed:
        return self.apply(operator.getitem, self.value(node.value), self.value(node.slice))

    def value_UnaryOp(self, node: ast.UnaryOp) -> Typed:
        if isinstance(node.op, ast.Not):
            return Typed(types.boolean, self.builder.not_(self.truth(node.operand)))
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            number: Any = node.operand.value
            return self.constant(-number, node)
        return self.apply(OPERATORS[type(node.op)], self.value(node.operand))

    def value_IfExp(self, node: ast.IfExp) -> Typed:
        return self.either(self.truth(node.test), lambda: self.value(node.body), lambda: self.value(node.orelse))

    def value_BoolOp(self, node: ast.BoolOp) -> Typed:
        """Of truths only: the second operand is not looked at where the first one decides."""

        def joined(operands: list[ast.expr]) -> ir.Value:
            first = self.truth(operands[0])
            if len(operands) == 1:
                return first
            decided = Typed(types.boolean, ir.Constant(ir.IntType(1), isinstance(node.op, ast.Or)))
            ways: list[Callable[[], Typed]] = [lambda: Typed(types.boolean, joined(operands[1:])), lambda: decided]
            return self.either(first, *(ways if isinstance(node.op, ast.And) else ways[::-1])).value

        return Typed(types.boolean, joined(node.values))

    def either(self, condition: ir.Value, then: Callable[[], Typed], otherwise: Callable[[], Typed]) -> Typed:
        ways = [self.new_block("then"), self.new_block("otherwise")]
        after = self.new_block("after")
        self.builder.cbranch(condition, *ways)
        values, ends = [], []
        for block, way in zip(ways, (then, otherwise), strict=True):
            self.begin(block)
            values.append(way())
            ends.append(self.builder.block)
        kind = self.typing.unify_types(*(plain(v.kind) for v in values))
        for i, end in enumerate(ends):
            self.builder.position_at_end(end)
            values[i] = Typed(kind, self.cast(values[i], kind))
            self.builder.branch(after)
        self.begin(after)
        joined = self.builder.phi(values[0].value.type)
        for each, end in zip(values, ends, strict=True):
            joined.add_incoming(each.value, end)
        return Typed(kind, joined)

    def value_Call(self, node: ast.Call) -> Typed:
        function = self.known(node.func)
        values = [self.value(argument) for argument in node.args]
        if node.keywords:
            raise self.wrong(node, "kernels pass arguments by position")
        if isinstance(function, types.Type):
            return Typed(function, self.cast(values[0], function))
        if hasattr(function, "_defn"):
            signature, write = definition(function, tuple(v.kind for v in values))
            return Typed(signature.return_type, write(self.target, self.builder, signature, self.arguments(values, signature)))
        if isinstance(function, FunctionType):
            kinds = tuple(plain(v.kind) for v in values)
            helper, result = self.module.helper(function, kinds)
            return Typed(result, self.builder.call(helper, [v.value for v in values]))
        if function in EXTREMES:
            return self.extreme(EXTREMES[function], values)
        return self.apply(function, *values)

    def extreme(self, closer: Callable, values: list[Typed]) -> Typed:
        """min and max: the first of those that no other one is closer than."""
        kind = self.typing.unify_types(*(plain(v.kind) for v in values))
        best, *others = (Typed(kind, self.cast(v, kind)) for v in values)
        for other in others:
            best = Typed(kind, self.builder.select(self.apply(closer, other, best).value, other.value, best.value))
        return best

    def apply(self, function: Any, *values: Typed) -> Typed:
        """By Numba's rule for these types."""
        signature, write = rule(function, tuple(plain(v.kind) for v in values))
        return Typed(signature.return_type, write(self.builder, self.arguments(values, signature)))

    def arguments(self, values: Sequence[Typed], signature: Signature) -> list[ir.Value]:
        return [self.cast(v, kind) for v, kind in zip(values, signature.args, strict=True)]

    def cast(self, value: Typed, kind: Any) -> ir.Value:
        kind, source = plain(kind), plain(value.kind)
        return value.value if source == kind else self.target.cast(self.builder, value.value, source, kind)

    def truth(self, node: ast.expr) -> ir.Value:
        value = self.value(node)
        kind = plain(value.kind)
        return value.value if kind == types.boolean else self.target.is_true(self.builder, kind, value.value)
