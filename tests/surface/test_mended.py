"""What programs were seen to find different from PyTorch: each case runs in both."""
from __future__ import annotations

import math

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).normal(size=(2, 3, 9, 7)).astype("float32")
Z = (np.random.default_rng(1).normal(size=(3, 3)) + 1j * np.random.default_rng(2).normal(size=(3, 3))).astype("complex64")
NAN, INF = float("nan"), float("inf")


def gradient(f):
    def run(t, values):
        x = t.tensor(values, requires_grad=True)
        f(t, x).sum().backward()
        return x.grad

    return run


def doubling(t):
    class Double(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    a = t.tensor([1.0, -2.0], requires_grad=True)
    b = a.clone()
    c = Double.apply(b)
    assert c is b
    b.sin().sum().backward()
    return a.grad


def written_view(t):
    class Fill(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, number):
            ctx.mark_dirty(x)
            return x.fill_(number)

        @staticmethod
        def backward(ctx, g):
            return t.zeros_like(g), None

    a = t.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    b = a * 3
    Fill.apply(b[0], 5.0)
    b.square().sum().backward()
    return [b, a.grad]


CASES = {
    "smoothed bilinear": lambda t: t.nn.functional.interpolate(t.tensor(X), size=(4, 5), mode="bilinear", antialias=True),
    "smoothed bicubic": lambda t: t.nn.functional.interpolate(t.tensor(X), size=(20, 3), mode="bicubic", antialias=True, align_corners=True),
    "smoothed by a factor": lambda t: t.nn.functional.interpolate(t.tensor(X), scale_factor=0.4, mode="bicubic", antialias=True),
    "atan2 at zero": lambda t: gradient(lambda t, x: t.atan2(x, x))(t, [0.0, 1.0]),
    "elu at nan": lambda t: gradient(lambda t, x: t.nn.functional.elu(x))(t, [NAN, -1.0, 1.0, -INF, INF]),
    "lgamma": lambda t: t.tensor([-INF, INF, -1.0, 0.5]).lgamma(),
    "hermite": lambda t: t.special.hermite_polynomial_h(t.tensor([0.5, NAN, 2.0]), t.tensor([NAN, 0.0, INF])),
    "airy": lambda t: t.special.airy_ai(t.tensor([1e30, 1.0])),
    "NumPy's functions": lambda t: [np.exp(t.tensor([1.0, 2.0])), np.multiply(t.tensor([1.0]), 2), np.ones(2) == t.ones(2), t.ones(2) + np.ones(2)],
    "dirty": doubling,
    "dirty view": written_view,
    "batched gradients": lambda t: (lambda x: t.autograd.grad(x ** 2, x, t.eye(3), is_grads_batched=True)[0])(t.tensor([1.0, 2.0, 3.0], requires_grad=True)),
    "sizes": lambda t: [t.tensor((1, *t.ones(2, 3).shape)), t.tensor(t.ones(2, 3).shape * 2), t.tensor((4,) + t.ones(2).shape)],
    "vdot": lambda t: [f(t.tensor([1 + 2j, -1j]), t.tensor([1 + 1j, 3.0])) for f in (t.vdot, t.dot)],
    "complex spreads": lambda t: [f(t.tensor(Z)) for f in (t.var, t.std, lambda z: t.var_mean(z, 0)[0], lambda z: t.std(z, 1, correction=0))],
    "complex spread's gradient": lambda t: gradient(lambda t, z: t.var(z) + t.std(z))(t, Z),
    "complex covariance": lambda t: [t.cov(t.tensor(Z)), t.corrcoef(t.tensor(Z)), t.cov(t.tensor(Z), fweights=t.tensor([1, 2, 1]))],
    "vecdot": lambda t: t.linalg.vecdot(t.tensor(Z), t.tensor(Z[::-1].copy())),
    "complex filler": lambda t: t.tensor(Z).masked_fill(t.tensor(Z).real > 0, 1j),
    "alpha of masks": lambda t: [t.ones(2, dtype=d).add(t.ones(2, dtype=t.bool), alpha=3) for d in (t.bool, t.int32, t.uint8, t.float16)],
    "fewer indices than dimensions": lambda t: t.arange(125.0).reshape(5, 5, 5)[[0, 2, 3], [1, 3, 3], [0, 0, 2]],
    "set_": lambda t: t.empty(0).set_(t.arange(6.0).untyped_storage(), 1, (2, 2), (2, 1)),
}


def arrays(found):
    return [np.asarray(x.detach().numpy()) for x in (found if isinstance(found, (list, tuple)) else [found])]


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name, tier):
    with jitorch.config.using(tier=tier):
        ours, theirs = arrays(CASES[name](jitorch)), arrays(CASES[name](torch))
    assert len(ours) == len(theirs)
    for mine, right in zip(ours, theirs, strict=True):
        assert mine.shape == right.shape and mine.dtype == right.dtype
        np.testing.assert_allclose(mine, right, rtol=2e-5, atol=2e-5, equal_nan=True)


def test_sizes_stay_sizes():
    size = jitorch.ones(2, 3).shape
    assert all(isinstance(s, jitorch.Size) for s in ((1,) + size, size + (1,), size * 2, 2 * size, size[:1]))


def function(t, backward):
    class Mine(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

    Mine.backward = staticmethod(backward)
    return Mine


def twice(t):
    f = function(t, t.autograd.function.once_differentiable(lambda ctx, g: ctx.saved_tensors[0] * g))
    x = t.ones(2, requires_grad=True)
    g, = t.autograd.grad(f.apply(x).sum(), x, create_graph=True)
    return t.autograd.grad(g.sum(), x)


WRONG = {
    "too many gradients": lambda t: function(t, lambda ctx, g: (g, g)).apply(t.ones(2, requires_grad=True)).sum().backward(),
    "another shape": lambda t: function(t, lambda ctx, g: t.ones(7)).apply(t.ones(2, requires_grad=True)).sum().backward(),
    "called": lambda t: function(t, lambda ctx, g: g)()(t.ones(2)),
    "differentiated twice": twice,
    "as_strided outside": lambda t: t.ones(4).as_strided((2, 2), (200, 200)),
    "as_strided before": lambda t: t.ones(4).as_strided((2,), (1,), -1),
    "as_strided_ outside": lambda t: t.ones(4).as_strided_((9,), (1,)),
    "scatter outside": lambda t: t.as_strided_scatter(t.ones(4, 4), t.ones(2, 2), (2, 2), (200, 200)),
    "loss of other sizes": lambda t: t.nn.functional.mse_loss(t.ones(2, 3), t.ones(4, 5)),
    "float of several": lambda t: float(t.ones(2)),
    "places in floats": lambda t: t.sort(t.ones(3), out=(t.empty(3), t.empty(3))),
    "smoothed in 3d": lambda t: t.nn.functional.interpolate(t.ones(1, 1, 4), size=2, mode="linear", antialias=True),
    "interpolated matrix": lambda t: t.nn.functional.interpolate(t.ones(2, 3), 2),
    "complex root": lambda t: t.tensor([1 + 2j], requires_grad=True).sum().backward(),
    "steps": lambda t: t.linspace(0, 3, 1.0),
    "complex filler": lambda t: t.ones(2).masked_fill(t.tensor(True), 1j),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        WRONG[name](torch)
    with pytest.raises(type(theirs.value)):
        WRONG[name](jitorch)


def test_samplers_of_several_processes():
    from torch.utils.data import DistributedSampler as Theirs

    from jitorch.utils.data.distributed import DistributedSampler as Ours

    for n, processes, drop in ((7, 3, False), (7, 3, True), (2, 5, False), (6, 3, True), (0, 2, False)):
        for rank in range(processes):
            args = {"num_replicas": processes, "rank": rank, "shuffle": False, "drop_last": drop}
            assert list(Ours(range(n), **args)) == list(Theirs(range(n), **args)) and len(Ours(range(n), **args)) == len(Theirs(range(n), **args))
    parts = [Ours(range(10), 2, rank) for rank in (0, 1)]
    first = [list(p) for p in parts]
    assert sorted(sum(first, [])) == list(range(10))
    parts[0].set_epoch(1)
    assert list(parts[0]) != first[0]


def test_capsules():
    from jitorch.utils.dlpack import from_dlpack, to_dlpack

    x = jitorch.arange(3.0)
    y = from_dlpack(to_dlpack(x))
    x[0] = 5
    assert y.tolist() == [5.0, 1.0, 2.0]


@pytest.mark.parametrize("tier", ["reference", "compiled"])
def test_lerp_rounds_as_pytorch_does(tier):
    numbers = np.random.default_rng(0)
    a, z = (numbers.standard_normal(1000).astype("float32") for _ in range(2))
    with jitorch.config.using(tier=tier):
        for weight in (0.05, 0.3, 0.5, 0.95, -0.7):
            ours = jitorch.tensor(a).lerp(jitorch.tensor(z), weight)
            assert (ours.numpy() == torch.tensor(a).lerp(torch.tensor(z), weight).numpy()).all()


def test_muon_follows_pytorch_to_the_last_bit():
    """Its products are rounded to bfloat16: one last bit of the average before them would be seen."""
    start = np.random.default_rng(2).standard_normal((5, 3)).astype("float32")
    gradients = np.random.default_rng(3).standard_normal((20, 5, 3)).astype("float32")

    def run(t):
        p = t.nn.Parameter(t.tensor(start))
        optimizer = t.optim.Muon([p], lr=0.05)
        for g in gradients:
            p.grad = t.tensor(g)
            optimizer.step()
        return p.detach().numpy()

    np.testing.assert_allclose(run(jitorch), run(torch), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kinds", [("float32", "bfloat16"), ("float32", "int8"), ("bfloat16", "bfloat16"), ("int64", "int8"), ("float16", "float16")])
def test_alpha_is_multiplied_in_the_dtype_of_the_result(kinds):
    numbers = np.random.default_rng(4)
    x, y = numbers.standard_normal(200) * 3, numbers.standard_normal(200) * 30
    alpha = 0.3 if "float" in kinds[0] else 100
    for name in ("add", "sub", "rsub"):
        both = []
        for t in (torch, jitorch):
            a, b = (t.tensor(v).to(getattr(t, kind)) for v, kind in zip((x, y), kinds, strict=True))
            both.append(getattr(t, name)(*((b, a) if name == "rsub" else (a, b)), alpha=alpha).to(t.float64).numpy())
        if kinds[0] != "float32":       # the last few elements of halves are rounded once more in PyTorch
            assert np.mean(both[0] != both[1]) <= (0.03 if "16" in kinds[0] else 0)
        np.testing.assert_allclose(both[1], both[0], rtol=1e-2 if "16" in kinds[0] else 1e-6, atol=1e-6)


def test_edges_of_bins_out_of_order_hold_nothing():
    x = np.random.default_rng(0).standard_normal((30, 2)).astype("float32")
    x[3, 0], x[4, 1] = np.nan, 9.0
    for density in (False, True):
        for edges in ([[-1.0, 1.0, 0.0], [-2.0, 0.0, 2.0]], [[-1.0, 0.0, 0.5, 2.0], [-0.5, 9.0]]):
            hist = [np.asarray(t.histogramdd(t.tensor(x), [t.tensor(e) for e in edges], density=density).hist) for t in (torch, jitorch)]
            np.testing.assert_allclose(hist[1], hist[0], rtol=1e-6)


def test_addbmm_in_place_enlarges():
    for t in (torch, jitorch):
        x = t.ones(1)
        assert x.addbmm_(t.ones(2, 2, 3), t.ones(2, 3, 1)) is x and x.tolist() == [[7.0], [7.0]]


LIMITS = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1.0, -1.0, -2.5, 3.5]
AT_LIMITS = {
    "trigamma": lambda t, x: t.polygamma(1, x),
    "polygamma": lambda t, x: t.polygamma(4, x),
    "igamma": lambda t, x: t.stack([t.igamma(x, y) for y in x]),
    "igammac": lambda t, x: t.stack([t.igammac(x, y) for y in x]),
    "zeta": lambda t, x: t.stack([t.special.zeta(x, y) for y in x]),
    "degrees that fit into no integer": lambda t, x: t.special.chebyshev_polynomial_t(x[5:], t.tensor(1e20)),
    "gradient of digamma": lambda t, x: slope(t, t.digamma, x),
    "gradient of i1": lambda t, x: slope(t, t.special.i1, x[2:]),
    "gradient of i1e": lambda t, x: slope(t, t.special.i1e, x[2:]),
    "gradient of polar": lambda t, x: slope(t, lambda a: t.view_as_real(t.polar(a, t.ones_like(a))), x[3:]),
}


def slope(t, function, x):
    x = x.clone().requires_grad_()
    function(x).sum().backward()
    return x.grad


@pytest.mark.parametrize("name", AT_LIMITS)
def test_special_functions_at_their_limits(name):
    ours, theirs = (AT_LIMITS[name](t, t.tensor(LIMITS)).numpy() for t in (jitorch, torch))
    # what PyTorch gives at poles of trigamma is the rounding of pi: huge numbers
    np.testing.assert_allclose(ours, theirs, rtol=1e-3 if "gamma" in name else 1e-5)


def test_conjugates_and_powers():
    x = jitorch.ones(2)
    assert x.conj_physical() is x
    for t in (torch, jitorch):
        with pytest.raises(RuntimeError, match="requires dtype Double"):
            t.ones(2).float_power_(2)
        assert t.ones(2, dtype=t.float64).float_power_(2).tolist() == [1.0, 1.0]


A = np.random.default_rng(5).normal(size=(2, 3, 3)).astype("float32")
SYMMETRIC = (A + A.swapaxes(1, 2) + 8 * np.eye(3, dtype="float32")).astype("float32")
WRITTEN = {
    "linalg.qr": (A,), "qr": (A,), "linalg.eigh": (SYMMETRIC,), "linalg.eig": (SYMMETRIC,), "linalg.svd": (A,), "svd": (A,), "linalg.slogdet": (A,),
    "linalg.lu": (A,), "linalg.lu_factor": (A,), "linalg.lu_factor_ex": (A,), "linalg.cholesky_ex": (SYMMETRIC,), "linalg.inv_ex": (A,),
    "linalg.solve_ex": (A, A), "linalg.ldl_factor": (SYMMETRIC,), "linalg.ldl_factor_ex": (SYMMETRIC,), "geqrf": (A,), "triangular_solve": (A, SYMMETRIC),
    "renorm": (A, 2, 0, 1.0), "narrow_copy": (A, 1, 0, 2), "unbind_copy": (A,), "transpose_copy": (A, 0, 1),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_out_is_written(name):
    """A function that takes `out` and leaves it as it was would be wrong in silence."""
    function = jitorch
    for part in name.split("."):
        function = getattr(function, part)
    args = [jitorch.tensor(a) if isinstance(a, np.ndarray) else a for a in WRITTEN[name]]
    plain = function(*args)
    several = isinstance(plain, tuple)
    for room in (lambda r: jitorch.full_like(r, 7), lambda r: jitorch.empty(0, dtype=r.dtype)):
        out = tuple(room(r) for r in plain) if several else room(plain)
        given = function(*args, out=out)
        for r, o, g in zip(plain, out, given, strict=True) if several else [(plain, out, given)]:
            assert g is o and o.shape == r.shape
            np.testing.assert_array_equal(o.numpy(), r.numpy())


def test_nuclear_norm_is_written():
    out = jitorch.zeros(2)
    assert jitorch.norm(jitorch.tensor(A), "nuc", (1, 2), out=out) is out and (out > 0).all()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2, 1), (2, 3)])
def test_sum_to_size_adds_up_even_one_number(dtype, shape):
    for size in ([], [1], [1, 1], [3], [1, 3], [2, 3], [2, 1]):
        ours, theirs = jitorch.ones(shape, dtype=getattr(jitorch, dtype)), torch.ones(shape, dtype=getattr(torch, dtype))
        try:
            want = theirs.sum_to_size(size)
        except RuntimeError:
            with pytest.raises(RuntimeError, match="not expandable"):
                ours.sum_to_size(size)
            continue
        got = ours.sum_to_size(size)
        assert (tuple(got.shape), str(got.dtype), got.tolist()) == (tuple(want.shape), str(want.dtype), want.tolist())
