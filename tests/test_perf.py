"""The benchmarks' own arithmetic: a wrong ratio would be believed."""

import json
from functools import partial

import numpy as np
import pytest

from perf import cases, harness, limits, peers, report, suites
from perf.harness import Budget, Comparison, Settings


@pytest.fixture
def only_torch(monkeypatch):
    """As if PyTorch were installed with a C++ compiler, and JAX were not."""
    monkeypatch.setattr(peers, "missing", lambda peer: "jax is not installed" if peer == "jax" else "")


@pytest.mark.parametrize("asked, quick, expected", [
    (None, True, ("torch",)),
    (None, False, ("torch", "compile")),
    ("compile, torch", True, ("torch", "compile")),
    ("none", False, ()),
])
def test_peers_are_picked(only_torch, asked, quick, expected):
    assert peers.pick(asked, quick)[0] == expected


def test_a_peer_that_is_left_out_is_named(only_torch):
    assert peers.pick("jax", False) == ((), ["JAX takes no part: jax is not installed"])
    assert peers.pick(None, True)[1] == []
    with pytest.raises(ValueError, match="no such peer: mxnet; there are torch, compile, jax"):
        peers.pick("torch,mxnet", False)


def test_torch_compile_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(peers.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    assert "C++ compiler" in peers.missing("compile") and peers.missing("torch") == ""


def test_a_kernel_is_bound_by_bytes_or_by_operations():
    work = limits.Work(read=600, written=400, flops=3000)
    assert limits.roofline(work, bandwidth=10, rate=100) == (100, "bytes")
    assert limits.roofline(work, bandwidth=100, rate=100) == (30, "flops")


def test_the_share_is_the_least_time_over_the_kernels():
    work = limits.Work(read=600, written=400, flops=3000)
    # a copy of 2,000 bytes takes half as long as the kernel, which moves 1,000: it could take a quarter of its time
    assert limits.share(work, limits.Limit("copy", None, 2000), [0.5]) == [0.25]
    assert limits.share(work, limits.Limit("FMA", None, 6000), [1.0, 2.0]) == [0.5, 1.0]


def test_a_kernel_is_held_against_the_loop_that_takes_longer(monkeypatch):
    monkeypatch.setattr(limits, "shortest", lambda call: call())
    monkeypatch.setattr(limits, "copies", lambda moved: limits.Limit("copy", lambda: 1.0, moved))
    monkeypatch.setattr(limits, "reads", lambda moved: limits.Limit("read", lambda: 1.0, moved))
    monkeypatch.setattr(limits, "multiply_adds", lambda: limits.Limit("FMA", lambda: 1.0, 1e6))
    chosen = [limits.limit_of(work).name for work in (
        limits.Work(1 << 20, 1 << 20), limits.Work(1 << 20, 4), limits.Work(1 << 20, 4, 0.9e6), limits.Work(1 << 20, 4, 2e6))]
    assert chosen == ["copy", "read", "read", "FMA"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [limits.copies, limits.reads])
def test_the_loops_do_their_work(kind, threads, monkeypatch):
    seen = []
    monkeypatch.setattr(limits, "aligned", lambda count: seen.append(np.full(count, 0.5, np.float32)) or seen[-1])
    limit = kind(1 << 16, threads, 2)
    limit.call()
    assert limit.work == 2 << 16
    if kind is limits.copies:       # 0.5 * 0.5, everywhere
        assert len(seen[0]) == 1 << 13 and (seen[1] == 0.25).all()
    else:                           # every number twice, and what the kernel leaves of the array for the sums
        for x, out, (_, width) in zip(seen[0::2], seen[1::2], limits.STREAMS, strict=True):
            assert out.sum() == 2 * x.sum() + 0.5 * (128 - width) * threads


def test_inputs_and_results_are_counted_once():
    case = cases.Case(None, None, (cases.Array((100, 8)), cases.Array((100,), classes=8)), {}, flops=5)
    assert cases.work_of(case, ()) == (3200 + 800, 4, 5)
    assert cases.work_of(case._replace(grads=1), ()) == (3200 + 800 + 4, 4 + 3200, 5)


def test_gradients_cost_operations_too():
    found = cases.kernel_cases()
    assert found["conv3x3 relu 64x32x32 + backward"].flops == 3 * found["conv3x3 relu 64x32x32"].flops
    assert all(set(case.goals) == {"torch", "compile"} for case in found.values())


def test_a_wrong_result_is_not_timed():
    with pytest.raises(AssertionError, match="gradient 1 differs from torch's"):
        cases.check_agreement({"jitorch": [np.ones(3), np.ones(3)], "torch": [np.ones(3), np.zeros(3)]})


def test_a_wrong_result_is_an_error_row():
    pytest.importorskip("torch")
    case = cases.Case(lambda fw, x: x + (fw.name == "jitorch"), None, (cases.Array((8,)),), {})
    found = suites.beside_peers("a", "ms", ["jitorch", "torch"], partial(cases.call_of, case), Settings(quick=True), {},
                                partial(cases.checked_work, case))
    assert found["ours"] is None and "result differs from torch's" in found["error"]


def test_ratios_are_of_neighbours():
    timing = Comparison({"jitorch": [1.0, 4.0, 2.0], "torch": [2.0, 4.0, 8.0]})
    found = report.timed_row("x", "ms", timing, goals={"torch": 0.4})
    assert found["ours"] == 2000.0 and found["peers"]["torch"]["value"] == 4000.0
    assert found["peers"]["torch"]["ratio"] == 0.5 and found["peers"]["torch"]["best"] == 0.5
    assert found["peers"]["torch"]["reached"] is False and found["runs"] == 3


def test_long_calls_get_fewer_runs(monkeypatch):
    monkeypatch.setattr(harness, "calls_in", lambda call, sample: (1, 3.0))
    monkeypatch.setattr(harness, "REST", 0.0)
    assert len(harness.compare({"a": int}, runs=11, sample=1, longest=12).seconds["a"]) == harness.FEWEST_RUNS
    assert len(harness.compare({"a": int}, runs=3, sample=1, longest=1).seconds["a"]) == 3
    assert len(harness.compare({"a": int}, runs=11, sample=1, longest=1e3).seconds["a"]) == 11


def test_a_row_tells_its_share_of_the_limit(monkeypatch):
    monkeypatch.setattr(limits, "limit_of", lambda work: limits.Limit("FMA", int, 2e3))
    monkeypatch.setattr(suites, "timed", lambda calls, settings: Comparison({name: [1.0, 2.0] for name in calls}))
    found = suites.beside_peers("a", "ms", ["jitorch"], lambda name: int, Settings(), work=limits.Work(flops=1e3))
    assert (found["bound"], found["share"]) == ("FMA", 0.5)
    assert suites.beside_peers("a", "ms", ["jitorch"], lambda name: int, Settings())["share"] is None


def failing(name: str, who: str):
    if name == who:
        raise NotImplementedError(f"{who} has no such op")
    return lambda: [np.ones(1)]


def test_an_error_is_a_row(monkeypatch):
    settings = Settings(quick=True, peers=("torch",))
    ours = suites.beside_peers("a", "ms", ["jitorch", "torch"], partial(failing, who="jitorch"), settings)
    assert ours["ours"] is None and ours["error"] == "NotImplementedError: jitorch has no such op"
    theirs = suites.beside_peers("b", "ms", ["jitorch", "torch"], partial(failing, who="torch"), settings, {"torch": 1.0})
    assert theirs["ours"] > 0 and theirs["peers"]["torch"]["reached"] is None
    shown = report.table([ours, theirs], ["torch"])
    assert "error: NotImplementedError: jitorch" in shown and "torch: error: NotImplementedError: torch" in shown


def test_the_compilers_seconds_are_limited(monkeypatch):
    monkeypatch.setattr(peers, "forget_compiled", lambda: None)
    settings = Settings(budget=Budget(0.0))
    assert suites.prepared(["compile"], lambda name: int, settings)[2] == {}
    errors = suites.prepared(["compile"], lambda name: int, settings)[2]
    assert "--compile-seconds" in errors["compile"]


def test_late_rows_say_so():
    late = Settings(until=0.0)
    rows = [suites.beside_peers("a", "ms", ["jitorch"], failing, late), suites.guarded("b", "s", failing, late)]
    assert all("--seconds" in each["error"] and each["ours"] is None for each in rows)


def test_a_record_names_machine_and_misses(tmp_path, monkeypatch, capsys):
    def small(settings, names):
        assert names == ["jitorch", "torch"]
        for name in ("an add", "a product"):
            yield report.row(name, "us", 1.5, peers={"torch": report.beside(1.0, [1.5, 1.6], 1.4, goal=0.9)}, runs=2)
    monkeypatch.setattr(suites, "SUITES", {"small": suites.Suite(small, ("torch", "jax"))})
    monkeypatch.setattr(peers, "missing", lambda peer: "")
    assert suites.main(["small", "--peers", "torch,compile", "-k", "add", "--json", str(tmp_path / "new" / "a.json"), "--markdown", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1.48-1.62 1.40 0.90 NO" in shown and "a product" not in shown
    where = json.loads((tmp_path / "new" / "a.json").read_text())["machine"]
    record = (tmp_path / f"{where['date']}-{where['commit']}.md").read_text()
    assert where["processor"] in record and "## small" in record
    assert "| an add | 1.5 us |  |  | 1, ratio 1.55 (1.48 to 1.62), best 1.40, goal 0.90 **missed** | 2 |  |" in record


@pytest.mark.parametrize("args", [["large"], ["--peers", "mxnet"]])
def test_unknown_names_are_refused(args, capsys):
    with pytest.raises(SystemExit) as raised:
        suites.main(args)
    assert raised.value.code == 2 and "there are" in capsys.readouterr().err


def test_rows_fit_a_terminal():
    beside = report.beside(12345.0, [1.25, 1.5, 1.75], 1.5, goal=0.9)
    row = report.row("n" * report.NAME_WIDTH, "ms", 12345.0, peers={peer: beside for peer in peers.TITLES}, share=1.0,
                     bound="copy", note="w" * 300)
    row["peers"]["jax"] = report.beside(12345.0, [1.25, 1.5, 1.75], 1.5)
    assert max(map(len, report.table([row], list(peers.TITLES)).splitlines()[:2])) <= report.WIDTH


def test_a_case_is_recorded_as_a_user_would():
    """Memory that NumPy holds on to would be read at once, and every operation would run alone."""
    from jitorch.graph.measure import recording
    case = cases.kernel_cases()["20 elementwise ops 16 MB"]._replace(inputs=(cases.Array((64,)),))
    call = cases.call_of(case, "jitorch")
    with harness.compiled():
        call()
        with recording() as costs:
            call()
    assert [(cost.runs, cost.kernels) for cost in costs] == [(1, 1)]
