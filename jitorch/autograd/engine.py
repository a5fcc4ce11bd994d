"""The backward pass: a walk over the nodes, latest recorded first. No recursion, so a chain of any length works."""
from __future__ import annotations

import heapq

from ..graph.record import local
from .node import GradNode, edge_of, sparse_used, state
from .replay import Note, again


def run(roots, gradients, *, keep: bool, create: bool, wanted=None, accumulate: bool = True):
    """Send `gradients` (None: ones) into `roots`. Returns {id(tensor): gradient} for the tensors in `wanted`.

    keep: saved values stay for another pass. create: the pass itself is recorded. accumulate: leaves get `.grad`.
    """
    tape = local.tape
    was, tape.differentiates = tape.differentiates, create
    try:
        taken = {id(g._storage) for g in gradients if g is not None}
        captured: dict[int, object] = {}
        if wanted is None and not create and len(roots) == 1 and not state.anomaly:
            arrived = again(roots[0], gradients[0], keep)
            if arrived is None:
                arrived = walk_and_learn(roots[0], gradients[0], keep)
            points = None
        else:
            targets = capture_points(wanted)
            useful = None if wanted is None or accumulate else reaching(roots, wanted)
            arrived = walk(roots, gradients, keep, targets, captured, useful)
            points = None if wanted is None else targets.get(None, ())
        for leaf, g in arrived:
            if leaf._hooks:
                for hook in list(leaf._hooks):
                    changed = hook(g)
                    g = g if changed is None else changed
            if points is None:
                deposit(leaf, g, taken)
            elif id(leaf) in points:
                captured[id(leaf)] = g
                if accumulate:
                    deposit(leaf, g, taken)
        return captured
    finally:
        tape.differentiates = was


def walk_and_learn(root, gradient, keep) -> list:
    """`walk` from one root; the next pass like it need not be walked (see replay.py)."""
    note = Note.begin(root, gradient)
    arrived = walk((root,), (gradient,), keep, {}, {}, None, note)
    if note is not None:
        note.end(arrived)
    return arrived


def walk(roots, gradients, keep, targets: dict, captured: dict, useful: set | None, note: Note | None = None) -> list:
    """Run the rules. Returns the leaves that gradients arrived at, as (leaf, gradient), in order of arrival.

    targets: see `capture_points`; their gradients go into `captured`. useful: the nodes to be visited; None: all.
    """
    pending: dict[GradNode, dict[int, object]] = {}
    leaves: dict[int, tuple] = {}       # id -> (leaf, gradient), in order of arrival
    heap: list[tuple[int, GradNode]] = []

    def send(edge, g):
        if edge is None or g is None:
            return
        target, nr = edge if edge.__class__ is tuple else (edge, 0)
        if target.__class__ is GradNode:
            if useful is not None and target not in useful:
                return
            slot = pending.get(target)
            if slot is None:
                slot = pending[target] = {}
                heapq.heappush(heap, (-target.seq, target))
            held = slot.get(nr)
            slot[nr] = g if held is None else held + g
        else:
            entry = leaves.get(id(target))
            leaves[id(target)] = (target, g if entry is None else entry[1] + g)

    for root, g in zip(roots, gradients):
        send(edge_of(root), ones_like(root) if g is None else g)
    while heap:
        _, node = heapq.heappop(heap)
        step, edges, grads = node.step, node.edges, pending.pop(node)
        if node.watched or targets:
            arrived(node, grads, targets, captured)
        outs = [grads.get(i) for i in range(len(step.metas))]
        node.needs = tuple([e is not None for e in edges]) if useful is None else tuple(
            [e is not None and ((target := target_of(e)).__class__ is not GradNode or target in useful) for e in edges])
        if step.metas[0].dtype.is_complex and not step.op.wirtinger:
            results = conjugated(step.op.vjp(node, *conjugated(outs)))
        else:
            results = step.op.vjp(node, *outs)
        if results.__class__ is not tuple:
            results = (results,)
        if state.anomaly:
            from .anomaly import examine
            examine(node, results)
        if node.extra:
            for hook in list(node.extra):
                changed = hook(results, tuple(outs))
                results = results if changed is None else changed if isinstance(changed, tuple) else (changed,)
        for edge, meta, g in zip(edges, step.inputs, results):
            if edge is not None and g is not None:
                send(edge, fitted(g, meta))
        if note is not None:
            note.visit(node)
        if not keep:
            node.free()
    return list(leaves.values())


def ones_like(root):
    from ..ops.dispatch import PUBLIC
    return PUBLIC["ones_like"](root).detach()


def target_of(edge):
    """The node or leaf that an edge leads to; None if there is no edge."""
    return edge[0] if edge.__class__ is tuple else edge


def capture_points(wanted):
    """{node: [(output number, tensor id)], None: ids of leaves} for the tensors whose gradient is asked for."""
    points: dict = {}
    for t in wanted or ():
        fn = t.grad_fn
        if fn is None:
            points.setdefault(None, set()).add(id(t))
        else:
            points.setdefault(fn, []).append((t._output_nr, id(t)))
    return points


def reaching(roots, wanted) -> set:
    """The nodes from which a wanted tensor can be reached: the others need not run."""
    goal_nodes = {t.grad_fn for t in wanted if t.grad_fn is not None}
    goal_leaves = {id(t) for t in wanted if t.grad_fn is None}
    order, seen, stack = [], set(), [r.grad_fn for r in roots if r.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        order.append(node)
        stack.extend(target for e in node.edges if (target := target_of(e)).__class__ is GradNode)
    useful: set = set()
    for node in sorted(order, key=lambda n: n.seq):
        targets = [target_of(e) for e in node.edges]
        if node in goal_nodes or any(t in useful if t.__class__ is GradNode else id(t) in goal_leaves for t in targets):
            useful.add(node)
    return useful


def arrived(node: GradNode, grads: dict, targets: dict, captured: dict) -> None:
    """Hooks, retained gradients and captures of a node whose gradients are complete."""
    for nr, hook in list(node.hooks or ()):
        if nr in grads:
            changed = hook(grads[nr])
            if changed is not None:
                grads[nr] = changed
    for nr, ref in (node.retained or {}).items():
        t = ref()
        if t is not None and nr in grads:
            t.grad = grads[nr].clone() if t.grad is None else t.grad + grads[nr]
    for nr, key in targets.get(node, ()):
        if nr in grads:
            captured[key] = grads[nr]


def conjugated(grads):
    """Gradients with complex ones conjugated, a tuple."""
    grads = grads if isinstance(grads, (tuple, list)) else (grads,)
    return tuple([g.conj() if g is not None and g._meta.dtype.is_complex else g for g in grads])


def fitted(g, meta):
    """A gradient in the shape and dtype of the input it belongs to: broadcast dimensions are summed."""
    m = g._meta
    if m.shape != meta.shape:
        g = g.sum_to_size(meta.shape)
    if m.dtype is not meta.dtype:
        if m.dtype.is_complex and not meta.dtype.is_complex:
            g = g.real
        g = g.to(meta.dtype)
    return g


def deposit(leaf, g, taken: set) -> None:
    """Accumulate into `.grad`. A gradient that others may hold too is copied first."""
    if sparse_used and (g.is_sparse or (leaf.grad is not None and leaf.grad.is_sparse)):
        leaf.grad = g if leaf.grad is None else leaf.grad + g
    elif leaf.grad is None:
        if not state.enabled:
            if g._rg:
                g = g.detach()
            if id(g._storage) in taken or g._meta is not g._storage.meta:
                g = g.clone()
        taken.add(id(g._storage))
        leaf.grad = g
    elif state.enabled:
        leaf.grad = leaf.grad + g
    else:
        leaf.grad.add_(g)
    if leaf._post_hooks:
        for hook in list(leaf._post_hooks):
            hook(leaf)
