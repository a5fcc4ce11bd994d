"""Trees of tuples, lists, dicts and named tuples: taken apart and put together again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple


class TreeSpec(NamedTuple):
    """The shape of a tree: the kind of its root, what that kind needs to be made, and the shapes below. A leaf has kind None."""

    kind: type | None
    context: Any
    children: tuple

    @property
    def num_leaves(self) -> int:
        return 1 if self.kind is None else sum(c.num_leaves for c in self.children)


LEAF = TreeSpec(None, None, ())
MADE: dict[type, tuple[Callable, Callable]] = {}        # what users registered: (flatten, unflatten)


def register_pytree_node(cls: type, flatten_fn: Callable, unflatten_fn: Callable, **more) -> None:
    """Let a class be part of trees: flatten_fn(x) gives (children, context), unflatten_fn(children, context) makes one again."""
    MADE[cls] = (flatten_fn, unflatten_fn)


def children_of(tree) -> tuple[list, Any] | None:
    kind = type(tree)
    if kind in MADE:
        children, context = MADE[kind][0](tree)
        return list(children), context
    if kind in (dict, OrderedDict):
        return list(tree.values()), list(tree)
    if kind in (list, tuple) or (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        return list(tree), None
    return None


def tree_flatten(tree, is_leaf: Callable | None = None) -> tuple[list, TreeSpec]:
    """(leaves, shape) of a tree; None is a leaf.

    >>> from jitorch.utils._pytree import tree_flatten, tree_unflatten
    >>> leaves, spec = tree_flatten({"a": 1, "b": (2, [3])})
    >>> leaves, tree_unflatten([x * 10 for x in leaves], spec)
    ([1, 2, 3], {'a': 10, 'b': (20, [30])})
    """
    found = None if is_leaf is not None and is_leaf(tree) else children_of(tree)
    if found is None:
        return [tree], LEAF
    leaves: list = []
    specs = []
    for child in found[0]:
        below, spec = tree_flatten(child, is_leaf)
        leaves += below
        specs.append(spec)
    return leaves, TreeSpec(type(tree), found[1], tuple(specs))


def tree_unflatten(leaves, treespec: TreeSpec):
    """The tree of a shape with the given leaves. ValueError for another number of them."""
    if isinstance(leaves, TreeSpec):
        leaves, treespec = treespec, leaves
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to a pytree that holds {treespec.num_leaves} items"
        )
    rest = iter(leaves)

    def build(spec):
        if spec.kind is None:
            return next(rest)
        children = [build(c) for c in spec.children]
        if spec.kind in MADE:
            return MADE[spec.kind][1](children, spec.context)
        if spec.kind in (dict, OrderedDict):
            return spec.kind(zip(spec.context, children, strict=True))
        return spec.kind(*children) if hasattr(spec.kind, "_fields") else spec.kind(children)

    return build(treespec)


def tree_map(func: Callable, tree, *rests, is_leaf: Callable | None = None):
    """The tree with func of its leaves (and of those of other trees of the same shape)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    return tree_unflatten([func(*xs) for xs in zip(leaves, *(tree_flatten(r, is_leaf)[0] for r in rests), strict=True)], spec)


def tree_leaves(tree, is_leaf: Callable | None = None) -> list:
    """The leaves of a tree."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree, is_leaf: Callable | None = None) -> TreeSpec:
    """The shape of a tree."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map_only(kind, func: Callable, tree, is_leaf: Callable | None = None):
    """The tree with func of the leaves that are of a kind."""
    return tree_map(lambda x: func(x) if isinstance(x, kind) else x, tree, is_leaf=is_leaf)


def tree_all(predicate: Callable, tree, is_leaf: Callable | None = None) -> bool:
    """Whether a predicate holds for all leaves."""
    return all(map(predicate, tree_leaves(tree, is_leaf)))


def tree_any(predicate: Callable, tree, is_leaf: Callable | None = None) -> bool:
    """Whether a predicate holds for any leaf."""
    return any(map(predicate, tree_leaves(tree, is_leaf)))
