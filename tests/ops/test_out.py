"""`out=`: results are written into the tensors that are given, also where there are several."""
import ast
from pathlib import Path

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")

A, B = [[4.0, 1.0], [1.0, 3.0]], [[1.0], [2.0]]
SEVERAL = {
    **{name: lambda t, a, b, name=name, **out: getattr(t.linalg, name)(a, **out) for name in (
        "slogdet", "svd", "qr", "eigh", "eig", "lu", "lu_factor", "lu_factor_ex", "inv_ex", "cholesky_ex", "ldl_factor", "ldl_factor_ex")},
    "solve_ex": lambda t, a, b, **out: t.linalg.solve_ex(a, b, **out),
    "old qr": lambda t, a, b, **out: t.qr(a, **out),
    "old svd": lambda t, a, b, **out: t.svd(a, **out),
    "geqrf": lambda t, a, b, **out: t.geqrf(a, **out),
    "triangular_solve": lambda t, a, b, **out: t.triangular_solve(b, a, **out),
    "lu_unpack": lambda t, a, b, **out: t.lu_unpack(*t.linalg.lu_factor(a), **out),
}


@pytest.mark.filterwarnings("ignore:torch.qr is deprecated", "ignore:torch.svd is deprecated", "ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize("name", SEVERAL)
def test_several_results(name):
    written = []
    for t in (jitorch, torch):
        a, b = t.tensor(A), t.tensor(B)
        out = tuple(t.empty(0, dtype=x.dtype) for x in SEVERAL[name](t, a, b))
        given = SEVERAL[name](t, a, b, out=out)
        assert all(x is y for x, y in zip(given, out, strict=True))
        written.append([x.numpy() for x in out])
    for ours, theirs in zip(*written, strict=True):     # signs of vectors are free
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-5, atol=1e-6)


def test_no_function_takes_out_and_forgets_it():
    forgotten = []
    for path in (Path(jitorch.__file__).parent / "ops").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "out" in {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}:
                read = {n.id for part in node.body for n in ast.walk(part) if isinstance(n, ast.Name)}
                forgotten += [f"{path.name}: {node.name}"] if "out" not in read else []
    assert forgotten == []
