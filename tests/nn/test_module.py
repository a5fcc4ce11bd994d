"""Module: registration, walks, state, hooks, copies; each function runs on jitorch and on PyTorch and must give the
same.
"""

from __future__ import annotations

import copy
import pickle

import pytest

import jitorch

torch = pytest.importorskip("torch")
CASES = []


def case(function):
    CASES.append(function)
    return function


def message(function, *kinds):
    """The type and text of the error that a function raises."""
    with pytest.raises(kinds or (Exception,)) as caught:
        function()
    return type(caught.value).__name__, str(caught.value).replace("jitorch", "torch")


def net(t):
    class Net(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = t.nn.Linear(3, 4)
            self.rest = t.nn.ModuleList([t.nn.Linear(4, 4), t.nn.BatchNorm1d(4)])
            self.scale = t.nn.Parameter(t.ones(4))
            self.register_buffer("seen", t.zeros(1))
            self.register_buffer("hidden", t.zeros(2), persistent=False)
            self.register_parameter("absent", None)

        def forward(self, x):
            for layer in (self.first, *self.rest):
                x = layer(x)
            return x * self.scale

    return Net()


@case
def names(t):
    m = net(t)
    return (
        [n for n, _ in m.named_parameters()],
        [n for n, _ in m.named_buffers()],
        [n for n, _ in m.named_modules()],
        [n for n, _ in m.named_children()],
        list(m.state_dict()),
        [tuple(p.shape) for p in m.parameters()],
        [n for n, _ in m.named_parameters(prefix="a", recurse=False)],
        [n for n, _ in m.named_modules(prefix="b")],
    )


@case
def printed(t):
    m = net(t)
    return (
        repr(m),
        repr(t.nn.Sequential(t.nn.ReLU(), m)),
        repr(t.nn.ModuleDict({"a": t.nn.Tanh()})),
        repr(t.nn.ModuleList()),
    )


@case
def shared_parameters_count_once(t):
    m = t.nn.Sequential(t.nn.Linear(2, 2), t.nn.Linear(2, 2))
    m[1].weight = m[0].weight
    return (
        [n for n, _ in m.named_parameters()],
        [n for n, _ in m.named_parameters(remove_duplicate=False)],
        list(m.state_dict()),
        [n for n, _ in t.nn.Sequential(m, m).named_modules()],
        [n for n, _ in t.nn.Sequential(m, m).named_modules(remove_duplicate=False)],
    )


@case
def registration_errors(t):
    m, fresh = net(t), t.nn.Module.__new__(t.nn.Module)
    return [
        message(f)
        for f in (
            lambda: m.register_parameter("a.b", None),
            lambda: m.register_parameter("", None),
            lambda: m.register_parameter("forward", None),
            lambda: m.register_parameter("w", t.ones(1)),
            lambda: m.register_parameter("w", 3),
            lambda: m.register_parameter(3, None),
            lambda: m.register_parameter("w", t.nn.Parameter(t.ones(1)) * 2),
            lambda: m.register_buffer("a.b", None),
            lambda: m.register_buffer("", None),
            lambda: m.register_buffer("first", t.ones(1)),
            lambda: m.register_buffer("w", 3),
            lambda: m.register_buffer(3, None),
            lambda: m.add_module("a.b", t.nn.ReLU()),
            lambda: m.add_module("", t.nn.ReLU()),
            lambda: m.add_module("scale", t.nn.ReLU()),
            lambda: m.add_module("w", 3),
            lambda: m.add_module(3, t.nn.ReLU()),
            lambda: setattr(m, "scale", t.ones(1)),
            lambda: setattr(m, "scale", "x"),
            lambda: setattr(m, "first", 3),
            lambda: setattr(m, "seen", 3),
            lambda: m.nothing,
            lambda: delattr(m, "nothing"),
            lambda: fresh.register_parameter("w", None),
            lambda: fresh.register_buffer("w", None),
            lambda: setattr(fresh, "w", t.nn.Parameter(t.ones(1))),
            lambda: setattr(fresh, "w", t.nn.ReLU()),
            lambda: m.train("yes"),
            lambda: m.load_state_dict(3),
            lambda: m.to(t.int64),
            lambda: t.nn.Module()(1),
            lambda: m.get_submodule("first.x"),
            lambda: m.get_submodule("seen"),
            lambda: m.get_parameter("first.x"),
            lambda: m.get_parameter("first"),
            lambda: m.get_buffer("rest.1.weight"),
            lambda: m.set_submodule("", t.nn.ReLU()),
            lambda: m.set_submodule("a", t.nn.ReLU(), strict=True),
            lambda: m.set_submodule("first", 3),
        )
    ]


@case
def attributes(t):
    m = net(t)
    m.scale = None
    m.first = None
    m.seen = None
    seen = [list(m._parameters), list(m._modules), list(m._buffers), m.scale, m.first, m.seen]
    m.rest = t.nn.Parameter(t.ones(2))
    m.scale = t.nn.Parameter(t.ones(2))
    seen += [list(m._parameters), list(m._modules), list(m.state_dict())]
    m.new = t.nn.Buffer(t.ones(2))
    m.other = t.nn.Buffer(t.ones(2), persistent=False)
    m.new = t.zeros(3)
    m.plain = t.ones(1)
    seen += [list(m._buffers), list(m.state_dict()), tuple(m.new.shape), "plain" in m.__dict__]
    m.new = t.nn.Linear(1, 1)
    del m.scale, m.new, m.other
    seen += [list(m._parameters), list(m._modules), list(m._buffers), sorted(m._non_persistent_buffers_set)]
    return seen


@case
def directory(t):
    names = dir(net(t))
    return [n in names for n in ("first", "scale", "seen", "forward", "training", "nothing")], "0" in dir(
        t.nn.Sequential(t.nn.ReLU())
    )


@case
def finding(t):
    m = net(t)
    m.set_submodule("rest.0", t.nn.Tanh())
    return (
        repr(m.get_submodule("rest.0")),
        m.get_submodule("") is m,
        tuple(m.get_parameter("rest.1.weight").shape),
        tuple(m.get_buffer("rest.1.running_mean").shape),
    )


@case
def modes(t):
    m = net(t).eval()
    off = [x.training for x in m.modules()]
    m.train()
    m.requires_grad_(False)
    return off, [x.training for x in m.modules()], [p.requires_grad for p in m.parameters()]


@case
def conversion(t):
    m = net(t)
    p = m.scale
    m(t.ones(5, 3)).sum().backward()
    m.double()
    seen = [
        [str(v.dtype) for v in m.state_dict().values()],
        m.scale is p,
        str(p.grad.dtype),
        p.requires_grad,
        p.is_leaf,
    ]
    m.float()
    seen.append([str(v.dtype) for v in m.state_dict().values()])
    m.to(t.float64).to("cpu").to(t.ones(1))
    return seen, [str(v.dtype) for v in m.state_dict().values()], m.cpu() is m


@case
def applied(t):
    seen = []
    net(t).apply(lambda m: seen.append(type(m).__name__))
    return seen


@case
def zeroing(t):
    m = net(t)
    m(t.ones(5, 3)).sum().backward()
    m.zero_grad(set_to_none=False)
    zeros = [p.grad.abs().sum().item() for p in m.parameters()]
    m.zero_grad()
    return zeros, [p.grad is None for p in m.parameters()]


@case
def loading(t):
    m = t.nn.Sequential(t.nn.Linear(2, 3), t.nn.BatchNorm1d(3))
    state = {k: t.ones_like(v) * 2 for k, v in m.state_dict().items()}
    result = [
        str(m.load_state_dict(state)),
        m[0].weight.tolist(),
        m[1].num_batches_tracked.item(),
        m[0].weight.requires_grad,
    ]
    short = {k: v for k, v in state.items() if k != "0.bias"} | {
        "x": t.ones(1),
        "1.y": t.ones(1),
        "0.weight": t.ones(3, 3),
    }
    result.append(message(lambda: m.load_state_dict(short)))
    del short["0.weight"]
    keys = m.load_state_dict(short, strict=False)
    result += [list(keys.missing_keys), list(keys.unexpected_keys), keys._fields]
    result.append(message(lambda: m.load_state_dict(state | {"0.bias": 3})).__getitem__(0))
    held = m[0].weight
    m.load_state_dict({k: v * 3 for k, v in state.items()}, assign=True)
    return result, m[0].weight is held, type(m[0].weight).__name__, m[0].weight.tolist()


@case
def loading_a_scalar(t):
    m = t.nn.Module()
    m.p = t.nn.Parameter(t.tensor(1.0))
    m.load_state_dict({"p": t.tensor([5.0])})
    return m.p.item()


@case
def state_shares_memory(t):
    m = t.nn.Linear(2, 2)
    state = m.state_dict()
    with t.no_grad():
        m.weight.fill_(7.0)
    kept = m.state_dict(keep_vars=True)["weight"]
    return (
        state["weight"].tolist(),
        state["weight"].requires_grad,
        kept is m.weight,
        dict(state._metadata),
        dict(m.state_dict(prefix="a.")._metadata),
    )


@case
def extra_state(t):
    class Counted(t.nn.Module):
        n = 3

        def get_extra_state(self):
            return {"n": self.n}

        def set_extra_state(self, state):
            self.n = state["n"]

    m, other = t.nn.Sequential(Counted()), t.nn.Sequential(Counted())
    m[0].n = 5
    other.load_state_dict(m.state_dict())
    return (
        list(m.state_dict()),
        other[0].n,
        message(lambda: other.load_state_dict({})),
        message(lambda: t.nn.Sequential(t.nn.ReLU()).load_state_dict(m.state_dict())),
    )


@case
def state_hooks(t):
    m, seen = t.nn.Linear(1, 1), []
    m.register_state_dict_pre_hook(lambda module, prefix, keep: seen.append(("before", prefix, keep)))
    m.register_state_dict_post_hook(lambda module, state, prefix, meta: state.update(extra=t.ones(1)) or None)
    m.register_load_state_dict_pre_hook(lambda module, state, *rest: state.pop("extra") is None or None)
    m.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())
    state = m.state_dict()
    del state["bias"]
    return list(state), seen, str(m.load_state_dict(state))


@case
def forward_hooks(t):
    m, seen = t.nn.Linear(2, 2), []
    with t.no_grad():
        m.weight.fill_(1.0)
        m.bias.fill_(0.0)
    a = m.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    b = m.register_forward_hook(lambda module, args, out: out + 1)
    c = m.register_forward_hook(
        lambda module, args, kwargs, out: seen.append((len(args), sorted(kwargs))), with_kwargs=True, prepend=True
    )
    out = [m(t.ones(1, 2)).tolist()]
    a.remove()
    out.append(m(t.ones(1, 2)).tolist())
    b.remove()
    c.remove()
    d = m.register_forward_pre_hook(lambda module, args, kwargs: ((), {"input": args[0] * 3}), with_kwargs=True)
    out.append(m(t.ones(1, 2)).tolist())
    d.remove()
    m.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    return out, seen, message(lambda: m(t.ones(1, 2)))[0], len(m._forward_hooks)


@case
def hooks_that_always_run(t):
    class Broken(t.nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    m, seen = Broken(), []
    m.register_forward_hook(lambda *args: seen.append("plain"))
    m.register_forward_hook(lambda *args: seen.append("always"), always_call=True)
    return message(lambda: m(t.ones(1))), seen


@case
def backward_hooks(t):
    m, seen = t.nn.Linear(2, 2), []
    with t.no_grad():
        m.weight.fill_(2.0)

    def show(grads):
        return [None if g is None else g.tolist() for g in grads]

    a = m.register_full_backward_hook(lambda module, into, out: seen.append(("hook", show(into), show(out))))
    m.register_full_backward_pre_hook(lambda module, out: seen.append(("pre", show(out))))
    m.register_full_backward_pre_hook(lambda module, out: (out[0] * 3,))
    x = t.ones(1, 2, requires_grad=True)
    m(x).sum().backward()
    m(t.ones(1, 2)).sum().backward()
    a.remove()
    m.register_full_backward_hook(lambda module, into, out: (into[0] * 10,))
    y = t.ones(1, 2, requires_grad=True)
    m(y).sum().backward()
    return (
        seen,
        x.grad.tolist(),
        y.grad.tolist(),
        m.weight.grad.tolist(),
        message(lambda: m.register_backward_hook(print)),
    )


@case
def backward_hooks_of_several_values(t):
    class Two(t.nn.Module):
        def forward(self, a, n, b):
            return a * b, a + n

    m, seen = Two(), []
    m.register_full_backward_hook(
        lambda module, into, out: seen.append(([g is None for g in into], [g is None for g in out]))
    )
    a, b = t.ones(2, requires_grad=True), t.ones(2)
    p, q = m(a, 3, b)
    (p.sum() + q.sum()).backward()
    p, q = m(a, 3, b)
    p.sum().backward()
    return seen, a.grad.tolist()


@case
def global_hooks(t):
    module, seen = t.nn.modules.module, []
    with (
        module.register_module_forward_hook(lambda m, args, out: seen.append(type(m).__name__)),
        module.register_module_forward_pre_hook(lambda m, args: seen.append("before")),
        module.register_module_parameter_registration_hook(lambda m, name, p: seen.append(name)),
    ):
        t.nn.Sequential(t.nn.Linear(1, 1), t.nn.ReLU())(t.ones(1, 1))
    t.nn.Linear(1, 1)(t.ones(1, 1))
    return seen


@case
def copies(t):
    m = net(t)
    m(t.ones(4, 3)).sum().backward()
    c = copy.deepcopy(m)
    with t.no_grad():
        m.scale.fill_(5.0)
    same = [n for n, _ in c.named_parameters()] == [n for n, _ in m.named_parameters()]
    return (
        same,
        c.scale.tolist(),
        type(c.scale).__name__,
        c.scale.requires_grad,
        c.scale.grad is None,
        c.rest[1] is not m.rest[1],
    )


@case
def containers(t):
    nn = t.nn
    s = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    out = [
        len(s),
        repr(s[1]),
        repr(s[-1]),
        repr(s[:2]),
        repr(s + nn.Sequential(nn.Tanh())),
        repr(s * 2),
        len(2 * s),
        repr([m for m in s]),
    ]
    s.append(nn.Tanh()).insert(1, nn.Sigmoid())
    s += nn.Sequential(nn.ReLU())
    del s[0]
    s[0] = nn.GELU()
    out += [repr(s), repr(s.pop(1)), list(s._modules), repr(s.extend([nn.ELU()]))]
    m = nn.ModuleList([nn.ReLU() for _ in range(4)] + [nn.Linear(1, 1)])
    m += [nn.Tanh()]
    m.insert(0, nn.Sigmoid())
    out += [repr(m), repr(m[1:3]), len(m + [nn.ReLU()]), repr(m.pop(-1)), repr(m[-1])]
    del m[1:3]
    out += [repr(m), list(m._modules)]
    d = nn.ModuleDict([["a", nn.ReLU()], ["b", nn.Tanh()]])
    d.update({"c": nn.ELU()})
    out += [
        repr(d),
        list(d),
        len(d),
        "a" in d,
        repr(d.pop("a")),
        [k for k, _ in d.items()],
        [repr(v) for v in d.values()],
        list(d.keys()),
    ]
    named = nn.Sequential(t.nn.modules.container.OrderedDict(x=nn.ReLU(), y=nn.Tanh()))
    out += [repr(named), repr(named.x), repr(named[:1])]
    return out, [
        message(f)
        for f in (
            lambda: s[9],
            lambda: s + 3,
            lambda: s * 0,
            lambda: s * "a",
            lambda: m[20],
            lambda: m.extend(3),
            lambda: d["q"],
            lambda: d.update(3),
            lambda: d.update([(1, 2, 3)]),
            lambda: nn.ModuleList([3]),
        )
    ]


@case
def parameter_containers(t):
    nn = t.nn
    p = nn.ParameterList([t.ones(2, 3), nn.Parameter(t.zeros(1)), 5])
    p.append(t.ones(1)).extend([t.ones(2)])
    p += [t.ones(3)]
    out = [
        len(p),
        repr(p),
        [n for n, _ in p.named_parameters()],
        list(p.state_dict()),
        repr(p[1:3]),
        p[2],
        [type(x).__name__ for x in p],
    ]
    p[0] = t.zeros(4)
    d = nn.ParameterDict({"b": t.ones(2), "a": nn.Parameter(t.zeros(1))})
    d["c"] = 3
    out += [
        tuple(p[0].shape),
        repr(d),
        list(d),
        [n for n, _ in d.named_parameters()],
        "a" in d,
        d.get("q", 7),
        list(d.copy()),
        len(d),
        list(reversed(d)),
        type(d.pop("b")).__name__,
        d.popitem(),
        list(d.keys()),
        list(d | nn.ParameterDict({"z": t.ones(1)})),
        list(d.fromkeys(["m", "n"], t.ones(1))),
    ]
    return out, [
        message(f)
        for f in (
            lambda: p(),
            lambda: d(3),
            lambda: p[30],
            lambda: p.extend(3),
            lambda: d.update(3),
            lambda: p.extend(t.ones(2)),
        )
    ]


@case
def parameters_are_tensors(t):
    base = t.ones(2, 2)
    p = t.nn.Parameter(base)
    q = t.nn.Parameter(base, requires_grad=False)
    with t.no_grad():
        p.fill_(3.0)
    return (
        isinstance(p, t.nn.Parameter),
        isinstance(p, t.Tensor),
        isinstance(base, t.nn.Parameter),
        base.tolist(),
        q.requires_grad,
        repr(q),
        repr(t.nn.Parameter(t.tensor([1.5]))),
        type(p * 2) is t.Tensor,
        type(copy.deepcopy(p)).__name__,
        p.is_leaf,
        message(lambda: t.nn.Parameter(t.tensor([1]))),
    )


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__)
def test_same_as_torch(function):
    assert repr(function(jitorch)) == repr(function(torch))


class Net(jitorch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = jitorch.nn.Linear(2, 3)
        self.norm = jitorch.nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.layer(x))


def test_pickling():
    m = Net().eval()
    x = jitorch.ones(4, 2)
    again = pickle.loads(pickle.dumps(m))
    assert not again.training and type(again.layer.weight) is jitorch.nn.Parameter and again.layer.weight.requires_grad
    assert again(x).tolist() == m(x).tolist()
    assert again.register_forward_hook(lambda *a: None).id is not None


def test_other_devices_are_refused():
    m = jitorch.nn.Linear(1, 1)
    for move in (m.cuda, lambda: m.to("cuda:0"), lambda: jitorch.nn.Linear(1, 1, device="cuda")):
        with pytest.raises(RuntimeError, match="CUDA"):
            move()


def test_data_parallel_keeps_names():
    m = jitorch.nn.DataParallel(jitorch.nn.Linear(2, 1))
    assert list(m.state_dict()) == ["module.weight", "module.bias"]
    assert (
        m(jitorch.ones(3, 2)).shape == (3, 1)
        and m.module(jitorch.ones(3, 2)).tolist() == m(jitorch.ones(3, 2)).tolist()
    )
