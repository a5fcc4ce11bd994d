"""What the engine does, not what comes out: how many kernels, programs and compilations; what is kept and what is not computed."""
import gc
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import jitorch as torch
import jitorch.nn.functional as F
from jitorch import config
from jitorch.graph import record
from jitorch.graph.record import counters, flush
from jitorch.kernels.cpu import pool

rng = np.random.default_rng(0)


def floats(*shape, grad=False):
    t = torch.tensor(rng.standard_normal(shape).astype("float32"))
    return t.requires_grad_(True) if grad else t


def program_of(make):
    """The compiled program of one flush: `make` records, and returns what is to be kept alive."""
    flush()
    with config.using(tier="compiled"):
        built = []
        original = record.Program

        class Spy(original):
            def __init__(self, *args):
                super().__init__(*args)
                built.append(self)
        record.Program = Spy
        try:
            kept = make()
            flush()
        finally:
            record.Program = original
        del kept
    assert len(built) == 1, "one flush, one program"
    return built[0].compiled


def kernels(make) -> int:
    return program_of(make).kernel_count


# -- kernel counts -----------------------------------------------------------------------------------------------------
def test_softmax_is_one_kernel():
    x = floats(37, 51)
    assert kernels(lambda: F.softmax(x, -1)) == 1
    assert kernels(lambda: F.softmax(x, 0)) == 1
    assert kernels(lambda: F.log_softmax(x, -1)) == 1


def test_layer_norm_is_one_kernel():
    x, w, b = floats(37, 51), floats(51), floats(51)
    assert kernels(lambda: F.layer_norm(x, (51,), w, b)) == 1


def test_cross_entropy_is_one_kernel():
    x, y = floats(37, 11), torch.tensor(rng.integers(0, 11, 37))
    assert kernels(lambda: F.cross_entropy(x, y)) == 1


def test_mean_of_squared_difference_is_one_kernel():
    a, b = floats(33, 65), floats(33, 65)
    assert kernels(lambda: ((a - b) ** 2).mean()) == 1


def test_long_chain_is_one_kernel_and_allocates_its_output_alone():
    x = floats(1000)

    def chain():
        y = x
        for i in range(20):
            y = y * 1.5 + 0.25 if i % 2 else y.tanh()
        return y
    program = program_of(chain)
    assert program.kernel_count == 1
    assert program.arena_bytes == 0 and len(program.outputs) == 1


def test_dead_results_are_not_computed():
    x = floats(10)

    def make():
        dead = (x.exp() * 2).sum()
        live = x + 1
        del dead
        return live
    program = program_of(make)
    assert [v.name for s in program.steps for v in s.values] == ["add"]


# -- repeated programs -------------------------------------------------------------------------------------------------
def train_step(w, x, y, lr):
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= lr * w.grad
    w.grad = None
    flush()
    return loss


def test_nothing_is_built_after_two_steps_of_a_loop():
    w, x, y = floats(5, 1, grad=True), floats(16, 5), floats(16, 1)
    for i in range(2):
        train_step(w, x, y, 0.1 / (1 + i))
    before = counters.as_dict()
    for i in range(2, 6):
        train_step(w, x, y, 0.1 / (1 + i))
    after = counters.as_dict()
    assert after["programs_built"] == before["programs_built"]
    assert after["nodes"] == before["nodes"]
    assert after["generalised"] == before["generalised"]


def test_changing_numbers_become_run_time_scalars_at_their_second_value():
    x = floats(7)
    with config.using(tier="compiled"):
        results = [((x * k) + k / 2).tolist() for k in (1.5, 2.5, 3.5)]
        before = counters.programs_built, pool.stats()["compiled"]
        results += [((x * k) + k / 2).tolist() for k in (4.5, 5.5)]
        assert (counters.programs_built, pool.stats()["compiled"]) == before
    for k, got in zip((1.5, 2.5, 3.5, 4.5, 5.5), results):
        np.testing.assert_allclose(got, x.numpy() * np.float32(k) + np.float32(k / 2), rtol=1e-6)


def test_equal_numbers_of_different_type_or_sign_are_different():
    x = torch.tensor([1, 2, 3])
    assert (x * 1).dtype is torch.int64 and (x * 1.0).dtype is torch.float32 and (x * True).dtype is torch.int64
    z = torch.tensor([1.0])
    assert str((z * 0.0).item()) == "0.0" and str((z * -0.0).item()) == "-0.0"


def test_a_smaller_last_batch_compiles_no_elementwise_or_reduction_kernel():
    w, b = floats(12), floats(12)

    def step(n):
        x, y = floats(n, 12), torch.tensor(rng.integers(0, 12, n))
        return F.cross_entropy(F.layer_norm(torch.tanh(x * w), (12,), w, b), y).item(), x.sum(0).tolist()
    with config.using(tier="compiled"):
        step(64)
        before = pool.stats()["compiled"] + pool.stats()["loaded_from_disk"]
        step(17)
        assert pool.stats()["compiled"] + pool.stats()["loaded_from_disk"] == before


def test_shared_operands_are_told_apart():
    x, y = floats(4), floats(4)
    np.testing.assert_allclose((x * x).numpy(), x.numpy() ** 2, rtol=1e-6)
    np.testing.assert_allclose((x * y).numpy(), x.numpy() * y.numpy(), rtol=1e-6)


def test_a_value_read_before_backward_is_not_computed_again():
    x = floats(50, grad=True)
    with config.using(tier="compiled"):
        loss = (x.exp() * 3).sum()
        loss.item()
        program = program_of(lambda: loss.backward())
    assert all(v.name != "exp" for s in program.steps for v in s.values)


# -- limits ------------------------------------------------------------------------------------------------------------
def test_trie_is_bounded(monkeypatch):
    monkeypatch.setattr(record, "MAX_NODES", counters.nodes + 200)
    for i in range(1, 150):
        (torch.ones(i) + 1).sum().item()
    assert counters.nodes <= record.MAX_NODES + 10
    assert (torch.ones(3) + 1).sum().item() == 6


def test_long_recordings_flush_by_themselves():
    x = floats(3)
    y = x
    before = counters.flushes
    for _ in range(record.FLUSH_LENGTH + 10):
        y = y + 1.0
    assert counters.flushes > before
    np.testing.assert_allclose(y.numpy(), x.numpy() + record.FLUSH_LENGTH + 10, rtol=1e-3)


def live_bytes():
    gc.collect()
    return sum(o.nbytes for o in gc.get_objects() if issubclass(type(o), np.ndarray)), sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


@pytest.mark.parametrize("fails", [False, True])
def test_memory_is_flat_over_a_thousand_steps(fails):
    w, x, y = floats(8, 1, grad=True), floats(32, 8), floats(32, 1)

    def step():
        try:
            loss = ((x @ w - y).tanh() ** 2).mean()
            if fails:
                loss + torch.ones(3, 7) @ w       # raises: shapes
            loss.backward()
            with torch.no_grad():
                w.sub_(w.grad * 0.01)
            w.grad = None
            flush()
        except RuntimeError:
            assert fails
    with config.using(tier="reference"):
        for _ in range(10):
            step()
        flush()
        before, tensors = live_bytes()
        for _ in range(1000):
            step()
        flush()
        after, more = live_bytes()
    assert more <= tensors + 2
    assert after <= before + 10_000


def test_large_buffers_are_used_again():
    from jitorch.kernels import memory
    with config.using(tier="compiled"):
        x = torch.ones(300_000) * 1
        for _ in range(3):
            (x + 1).sum().item()
            y = x * 2
            flush()
            del y
        fresh = memory.memory_stats()["fresh"]
        for _ in range(20):
            y = x * 2
            flush()
            del y
        assert memory.memory_stats()["fresh"] == fresh


# -- tiers -------------------------------------------------------------------------------------------------------------
def test_the_switch_decides_the_tier():
    x = floats(9)
    with config.using(tier="reference"):
        before = counters.as_dict()
        (x * 2 + 1).tolist()
        assert counters.reference_runs == before["reference_runs"] + 1 and counters.compiled_runs == before["compiled_runs"]
    with config.using(tier="compiled"):
        before = counters.as_dict()
        (x * 2 + 1).tolist()
        assert counters.compiled_runs == before["compiled_runs"] + 1 and counters.reference_runs == before["reference_runs"]


def test_check_mode_finds_a_wrong_kernel():
    x = floats(9)

    def record_it():
        return (x * 3.25 - 1).sqrt()
    program = program_of(record_it)
    step = program.steps[0]
    step.kernel.source = step.kernel.source.replace(" * ", " + ")
    program.request()
    program.tables = None
    program.local = threading.local()
    with config.using(tier="compiled", check=True), pytest.raises(RuntimeError, match="differs from the reference"):
        record_it().tolist()


@pytest.mark.parametrize("seed", range(3))
def test_check_mode_takes_noise_for_noise(seed):
    torch.manual_seed(seed)
    x, w, v = torch.randn(64, 300), torch.randn(300, 50), torch.randn(50, 40)
    with config.using(tier="compiled", check=True):
        zero = (x @ w) @ v - x @ (w @ v)        # but for rounding
        results = zero / (zero.abs() + 1e-12), zero > 0, zero.argmax(1)
        assert results[0].abs().max().item() <= 1


def test_check_mode_lets_an_optimizer_divide_noise():
    torch.manual_seed(0)
    w = torch.randn(20, 30, requires_grad=True)
    x = torch.randn(40, 20)
    optimizer = torch.optim.Adam([w], lr=0.1)
    with config.using(tier="compiled", check=True):
        for _ in range(3):
            optimizer.zero_grad()
            F.softmax(x @ w, -1).sum().backward()       # always 40: the gradient is rounding
            optimizer.step()
        assert w.isfinite().all().item()


@pytest.mark.parametrize("wrong", [1.002, float("nan"), float("inf"), -1.0])
def test_check_mode_finds_one_wrong_element(wrong, monkeypatch):
    from jitorch.graph.compiled import CompiledProgram
    run = CompiledProgram.run

    def damaged(self, *args):
        results = run(self, *args)
        results[0][0][17] *= wrong
        return results
    monkeypatch.setattr(CompiledProgram, "run", damaged)
    x, w = floats(30, 40), floats(40, 50)
    for make in (lambda: x @ w, lambda: F.layer_norm(x, (40,)), lambda: (x @ w).relu() + 1, lambda: x.double() * 3):
        with config.using(tier="compiled", check=True), pytest.raises(RuntimeError, match="differs from the reference"):
            y = make()
            flush()
            y.tolist()


def test_same_bits_with_one_and_two_threads():
    from jitorch.kernels.cpu import executor
    x = floats(700, 900)
    had = executor.get_num_threads()

    def results():
        return [x.sum().item(), x.sum(0).tolist(), x.mean(1).tolist(), F.softmax(x, 1).tolist(), x.var().item()]
    try:
        with config.using(tier="compiled"):
            executor.set_num_threads(1)
            one = results()
            executor.set_num_threads(2)
            assert results() == one
    finally:
        executor.set_num_threads(had)


# -- errors and threads ------------------------------------------------------------------------------------------------
def test_a_failed_run_says_so_and_leaves_old_values():
    x = torch.tensor([1.0, 2.0, 3.0])
    with config.using(tier="reference"):
        y = x[torch.tensor([0, 1, 2]) + 5]        # indices not known yet: found out of range when they are computed
        x.add_(1)
        with pytest.raises(IndexError):
            y.tolist()
        with pytest.raises(RuntimeError, match="never computed"):
            y.tolist()
        assert x.tolist() == [1.0, 2.0, 3.0]
        assert (x + 1).tolist() == [2.0, 3.0, 4.0]


def test_out_of_range_in_a_kernel_raises():
    x = torch.tensor([1.0, 2.0, 3.0])
    with config.using(tier="compiled"):
        index = torch.tensor([0, 1, 2]) + 5
        with pytest.raises(IndexError):
            x[index].tolist()
        assert x[torch.tensor([0, 1]) + 1].tolist() == [2.0, 3.0]


def test_errors_come_from_the_users_line():
    with pytest.raises(RuntimeError, match="must match the size") as info:
        torch.ones(2, 3) + torch.ones(4)
    assert info.traceback[0].lineno + 1 == info.traceback[0].frame.code.firstlineno + 3


def test_two_threads_train_two_models():
    def train(seed, out):
        r = np.random.default_rng(seed)
        w = torch.tensor(r.standard_normal((4, 1)).astype("float32"), requires_grad=True)
        x, y = torch.tensor(r.standard_normal((8, 4)).astype("float32")), torch.tensor(r.standard_normal((8, 1)).astype("float32"))
        for _ in range(30):
            train_step(w, x, y, 0.1)
        out[seed] = w.detach().numpy().copy()
    together, alone = {}, {}
    threads = [threading.Thread(target=train, args=(s, together)) for s in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for s in range(3):
        train(s, alone)
        np.testing.assert_allclose(together[s], alone[s], rtol=1e-4)


def test_a_tensor_recorded_in_one_thread_is_read_in_another():
    box = []
    t = threading.Thread(target=lambda: box.append(floats(3) * 0 + 2))
    t.start()
    t.join()
    assert (box[0] + 1).tolist() == [3.0, 3.0, 3.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_use():
    x = floats(1000)
    with config.using(tier="compiled"):
        (x * 2).sum().item()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                got = (x * 2 + 1).sum().item()
                os._exit(0 if abs(got - (x.numpy() * 2 + 1).sum()) < 1e-2 else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0


SECOND = """
import jitorch as torch, sys
torch.config.tier = "compiled"
x = torch.arange(1000.) / 7
print(((x * 2 + 1).tanh().sum() + x.softmax(0).max()).item())
from jitorch.kernels.cpu import pool
print(pool.stats()["compiled"], "numba" in sys.modules)
"""


def test_a_second_process_loads_its_kernels_from_the_cache(tmp_path):
    env = {**os.environ, "JITORCH_CACHE_DIR": str(tmp_path)}
    runs = [subprocess.run([sys.executable, "-c", SECOND], env=env, capture_output=True, text=True, check=True).stdout.split() for _ in range(2)]
    assert runs[0][0] == runs[1][0]
    assert int(runs[0][1]) > 0
    assert runs[1][1:] == ["0", "False"]


# -- optimizers and steps ----------------------------------------------------------------------------------------------
def mlp():
    from jitorch import nn
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10))


def test_adam_update_of_a_model_is_one_kernel():
    net = mlp()
    opt = torch.optim.Adam(net.parameters())
    x, y = floats(16, 20), torch.tensor(rng.integers(0, 10, 16))
    for first in (True, False):          # the first step also makes the state
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        flush()
        program = opt.step() if first else program_of(opt.step)
    assert program.kernel_count == 1


def test_mlp_step_kernels():
    """Forward: 2 products, bias and ReLU, loss. Backward: gradient of the logits, 2 weight gradients, 1 input gradient, ReLU's mask.
    Update: weights (one kernel), biases (their gradient's sum over the batch and the update in one kernel)."""
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = floats(16, 20), torch.tensor(rng.integers(0, 10, 16))

    def step():
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss
    step()
    assert kernels(step) <= 13


def test_learning_rate_and_step_count_compile_nothing_after_two_steps():
    net = mlp()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    x, y = floats(16, 20), torch.tensor(rng.integers(0, 10, 16))
    with config.using(tier="compiled"):
        for i in range(6):
            opt.param_groups[0]["lr"] = 1e-3 / (1 + i)
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
            if i == 1:
                before = counters.programs_built, counters.nodes, pool.stats()["compiled"]
        assert (counters.programs_built, counters.nodes, pool.stats()["compiled"]) == before


def test_values_pass_between_threads_that_both_record():
    box, wrong, done = [], [], threading.Event()

    def produce():
        x, i = torch.ones(50), 0
        while not done.is_set():
            i += 1
            y = x * float(i) + 1
            for _ in range(10):
                y = y + 0.5
            if len(box) < 20:
                box.append((i, y))
            if i % 7 == 0:
                (y + 1).sum().item()

    def consume():
        seen = 0
        while seen < 200:
            if box:
                i, y = box.pop(0)
                got = (y * 2)[3].item() if seen % 2 else 2 * float(y.numpy()[5])
                if abs(got - 2 * (i + 6)) > 1e-3:
                    wrong.append((i, got))
                seen += 1
        done.set()
    threads = [threading.Thread(target=f) for f in (produce, consume)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    done.set()
    assert not wrong


def test_every_batch_of_a_data_set_is_the_same_program():
    data, w = floats(640, 20), floats(20, 1)
    built = []
    for i in range(0, 640, 32):
        (data[i:i + 32] @ w).tanh().sum().item()
        built.append(counters.programs_built)
    assert built[0] == built[-1]


def test_parts_of_a_storage_are_read_before_it_is_written():
    with config.using(tier="compiled"):
        a = torch.arange(40.0)
        part = a[3:7]
        before = part * 2
        a.add_(100)
        after = part + 0
        assert before.tolist() == [6.0, 8.0, 10.0, 12.0] and after.tolist() == [103.0, 104.0, 105.0, 106.0]
        grid = torch.arange(40.0).reshape(8, 5)
        column = grid[:, 1]
        before = column * 2
        column.mul_(-1)
        assert before.tolist() == [2.0 + 10 * i for i in range(8)] and grid[1].tolist() == [5.0, -6.0, 7.0, 8.0, 9.0]
