"""Data sets, samplers, collation, and the loader with its worker threads."""

from __future__ import annotations

import gc
import os
import threading
import time
import traceback
from collections import namedtuple

import numpy as np
import pytest

import jitorch as torch
from jitorch.utils import data
from jitorch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

Point = namedtuple("Point", "x y")


class Squares(Dataset):
    """i -> i * i, optionally slow or failing at one index."""

    def __init__(self, n=20, delay=0.0, bad=None, error=ValueError):
        self.n, self.delay, self.bad, self.error = n, delay, bad, error

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        time.sleep(self.delay)
        if i == self.bad:
            raise self.error("sample 7 is broken")
        return torch.tensor(float(i * i))


class Count(IterableDataset):
    """0 .. n-1, divided among the workers."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = data.get_worker_info()
        return iter(range(self.n) if info is None else range(info.id, self.n, info.num_workers))


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("jitorch-data-")]


def lists(loader):
    return [batch.tolist() for batch in loader]


# -- data sets ---------------------------------------------------------------------------------------------------------
def test_dataset_needs_getitem():
    with pytest.raises(NotImplementedError):
        Dataset()[0]


def test_tensor_dataset_rejects_sizes_that_differ():
    with pytest.raises(AssertionError, match="Size mismatch"):
        TensorDataset(torch.zeros(3), torch.zeros(2))


def test_concat_dataset():
    both = Squares(3) + Squares(4)
    assert len(both) == 7 and both.cumulative_sizes == [3, 7]
    assert [both[i].item() for i in range(7)] == [0, 1, 4, 0, 1, 4, 9]
    assert both[-1].item() == 9 and both[-7].item() == 0
    with pytest.raises(ValueError, match="absolute value"):
        both[-8]
    with pytest.raises(AssertionError):
        data.ConcatDataset([])
    with pytest.raises(AssertionError):
        data.ConcatDataset([Count(3)])


def test_chain_dataset():
    assert list(Count(2) + Count(3)) == [0, 1, 0, 1, 2]
    with pytest.raises(AssertionError):
        list(data.ChainDataset([Squares()]))


def test_subset_of_subset():
    part = data.Subset(data.Subset(Squares(10), [1, 3, 5, 7]), [3, 0])
    assert len(part) == 2 and [x.item() for x in part] == [49.0, 1.0]
    assert lists(DataLoader(part, batch_size=2)) == [[49.0, 1.0]]


@pytest.mark.parametrize("lengths, expected", [([5, 5], [5, 5]), ([0.5, 0.25, 0.25], [6, 2, 2]), ([0.7, 0.3], [7, 3])])
def test_random_split(lengths, expected):
    parts = data.random_split(range(10), lengths, generator=torch.Generator().manual_seed(1))
    assert [len(p) for p in parts] == expected
    assert sorted(i for p in parts for i in p.indices) == list(range(10))


def test_random_split_lengths_and_fractions():
    torch_data = pytest.importorskip("torch.utils.data")
    for lengths in ([0.6, 0.3, 0.1], [0.33, 0.33, 0.34], [3, 4, 4], [11]):
        ours = data.random_split(range(11), lengths)
        assert [len(p) for p in ours] == [len(p) for p in torch_data.random_split(range(11), lengths)]
    for bad in ([3, 3], [0.5, 0.6], [1.5, -0.5]):
        for module in (data, torch_data):
            with pytest.raises(ValueError):
                module.random_split(range(11), bad)
    with pytest.warns(UserWarning, match="might result in an empty dataset"):
        data.random_split(range(2), [0.9, 0.05, 0.05])


def test_getitems_is_used_and_checked():
    class AtOnce(Squares):
        def __getitems__(self, indices):
            return [torch.tensor(float(-i)) for i in indices][: self.keep]

    dataset = AtOnce(4)
    dataset.keep = 4
    assert lists(DataLoader(dataset, batch_size=4)) == [[0.0, -1.0, -2.0, -3.0]]
    dataset.keep = 2
    with pytest.raises(ValueError, match="gave 2 samples for 4 indices"):
        lists(DataLoader(dataset, batch_size=4))


# -- samplers ----------------------------------------------------------------------------------------------------------
def test_random_sampler():
    torch.manual_seed(3)
    first, second = list(data.RandomSampler(range(50))), list(data.RandomSampler(range(50)))
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    torch.manual_seed(3)
    assert list(data.RandomSampler(range(50))) == first
    long = list(data.RandomSampler(range(4), num_samples=10))
    assert sorted(long[:4]) == sorted(long[4:8]) == [0, 1, 2, 3] and len(long) == 10
    drawn = list(data.RandomSampler(range(4), replacement=True, num_samples=3000))
    assert len(drawn) == 3000 and set(drawn) == {0, 1, 2, 3}


def test_weighted_sampler():
    drawn = list(data.WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=torch.Generator().manual_seed(0)))
    assert len(drawn) == 4000 and 0 not in drawn
    assert 0.7 < drawn.count(2) / 4000 < 0.8
    assert sorted(data.WeightedRandomSampler([1.0, 1.0, 3.0], 3, replacement=False)) == [0, 1, 2]


def test_subset_and_batch_sampler():
    assert sorted(data.SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]
    batches = data.BatchSampler(data.SequentialSampler(range(7)), 3, drop_last=True)
    assert list(batches) == [[0, 1, 2], [3, 4, 5]] and len(batches) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d.BatchSampler(range(3), 0, False),
        lambda d: d.BatchSampler(range(3), 2, "no"),
        lambda d: d.RandomSampler(range(3), num_samples=0),
        lambda d: d.RandomSampler(range(3), replacement=1),
        lambda d: d.RandomSampler([]),
        lambda d: d.WeightedRandomSampler([1.0], 0),
        lambda d: d.WeightedRandomSampler([[1.0]], 1),
        lambda d: d.DataLoader([1], num_workers=-1),
        lambda d: d.DataLoader([1], timeout=-1),
        lambda d: d.DataLoader([1], prefetch_factor=2),
        lambda d: d.DataLoader([1], persistent_workers=True),
        lambda d: d.DataLoader([1], sampler=[0], shuffle=True),
        lambda d: d.DataLoader([1], batch_sampler=[[0]], batch_size=2),
        lambda d: d.DataLoader([1], batch_size=None, drop_last=True),
        lambda d: d.DataLoader([1], batch_size=0),
        lambda d: d.DataLoader([], shuffle=True),
    ],
)
def test_bad_arguments_raise_what_pytorch_raises(make):
    torch_data = pytest.importorskip("torch.utils.data")
    try:
        make(torch_data)
        expected = None
    except Exception as error:
        expected = type(error)
    if expected is None:
        make(data)
    else:
        with pytest.raises(expected):
            make(data)


def test_iterable_dataset_takes_no_order():
    for more in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="IterableDataset"):
            DataLoader(Count(3), **more)


def test_settings_are_fixed():
    loader = DataLoader(Squares())
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3
    loader.collate_fn = list
    assert loader.collate_fn is list


# -- collation ---------------------------------------------------------------------------------------------------------
SAMPLES = [
    [1, 2],
    [1.5, 2.5],
    [True, False],
    ["a", "b"],
    [b"a", b"b"],
    [{"k": 1, "v": [1.0, 2]}, {"k": 3, "v": [2.0, 4]}],
    [(1, "a"), (2, "b")],
    [[1, 2], [3, 4]],
    [np.float32(1), np.float32(2)],
    [np.arange(3), np.arange(3)],
    [np.ones((2, 2), np.uint8)] * 2,
    [Point(1, 2.0), Point(3, 4.0)],
    [((1, 2), {"a": (3,)}), ((4, 5), {"a": (6,)})],
]


def plain(x):
    """A structure without tensors of either library, which says what they were."""
    if hasattr(x, "dtype"):
        return (str(x.dtype), x.tolist())
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(*map(plain, x)) if hasattr(x, "_fields") else type(x)(map(plain, x))
    return x


@pytest.mark.parametrize("batch", SAMPLES, ids=str)
def test_collate_and_convert_as_pytorch(batch):
    torch_data = pytest.importorskip("torch.utils.data")
    assert plain(data.default_collate(batch)) == plain(torch_data.default_collate(batch))
    assert plain(data.default_convert(batch[0])) == plain(torch_data.default_convert(batch[0]))


@pytest.mark.parametrize(
    "batch, error",
    [
        ([None, None], TypeError),
        ([np.array("a"), np.array("b")], TypeError),
        ([[1], [1, 2]], RuntimeError),
        ([object()] * 2, TypeError),
        ([np.zeros(2), np.zeros(3)], RuntimeError),
    ],
)
def test_collate_errors(batch, error):
    torch_data = pytest.importorskip("torch.utils.data")
    for module in (data, torch_data):
        with pytest.raises(error):
            module.default_collate(batch)


def test_collate_tensors():
    batch = data.default_collate([torch.arange(3), torch.arange(3) + 1])
    assert batch.tolist() == [[0, 1, 2], [1, 2, 3]]
    leaf = torch.ones(2, requires_grad=True)
    data.default_collate([leaf * 2, leaf * 3]).sum().backward()
    assert leaf.grad.tolist() == [5.0, 5.0]
    mixed = data.default_collate([torch.tensor(1), torch.tensor(2.5)])
    assert mixed.dtype is torch.float32 and mixed.tolist() == [1.0, 2.5]


def test_batches_of_one_data_set_are_one_program():
    from jitorch.graph.record import counters

    x = TensorDataset(torch.randn(64, 3), torch.arange(64))
    totals = []
    for epoch in range(3):
        for rows, _ in DataLoader(x, batch_size=16, shuffle=True):
            totals.append((rows * 2).sum().item())
        if epoch == 0:
            made = counters.programs_built
    assert counters.programs_built - made <= 2  # the sampler's draws may turn a seed into a run-time number
    assert len(totals) == 12


# -- the loader --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_in_order(workers):
    dataset = TensorDataset(torch.arange(10), torch.arange(10).float().view(10, 1).expand(10, 4))
    batches = list(DataLoader(dataset, batch_size=4, num_workers=workers))
    assert [x.tolist() for x, _ in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [tuple(y.shape) for _, y in batches] == [(4, 4), (4, 4), (2, 4)]
    loader = DataLoader(dataset, batch_size=4, drop_last=True, num_workers=workers)
    assert len(loader) == len(list(loader)) == 2
    everything = [
        i for x, _ in DataLoader(dataset, batch_size=3, shuffle=True, num_workers=workers) for i in x.tolist()
    ]
    assert sorted(everything) == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_same_order_with_the_same_seed(workers):
    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return lists(DataLoader(Squares(), 5, shuffle=True, generator=generator, num_workers=workers))

    assert run(1) == run(1) != run(2)


@pytest.mark.parametrize("workers", [0, 2])
def test_samplers_collate_and_no_batches(workers):
    more = {"num_workers": workers}
    assert lists(DataLoader(Squares(), sampler=[3, 1, 2], batch_size=2, **more)) == [[9, 1], [4]]
    assert lists(DataLoader(Squares(), batch_sampler=[[1], [2, 3]], **more)) == [[1], [4, 9]]
    assert list(DataLoader(Squares(4), batch_size=None, collate_fn=float, **more)) == [0.0, 1.0, 4.0, 9.0]
    assert list(DataLoader([1, 2, 3], batch_size=2, collate_fn=sum, **more)) == [3, 3]


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("drop_last", [False, True])
def test_iterable(workers, drop_last):
    batches = lists(DataLoader(Count(10), batch_size=3, num_workers=workers, drop_last=drop_last))
    torch_data = pytest.importorskip("torch.utils.data")
    if workers == 0:

        class Same(torch_data.IterableDataset):
            def __iter__(self):
                return iter(range(10))

        assert batches == lists(torch_data.DataLoader(Same(), batch_size=3, drop_last=drop_last))
    numbers = [i for batch in batches for i in batch]
    assert len(set(numbers)) == len(numbers)
    if drop_last:
        assert all(len(b) == 3 for b in batches)
    else:
        assert sorted(numbers) == list(range(10))


def test_workers_compute_tensors_of_their_own():
    class Computed(Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return (torch.arange(4) + i).float().sqrt()

    got = torch.cat(list(DataLoader(Computed(), batch_size=4, num_workers=3, collate_fn=lambda s: torch.stack(s) * 2)))
    want = 2 * np.sqrt(np.arange(4) + np.arange(12)[:, None])
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


def test_workers_overlap_with_the_loop_and_one_another():
    started = time.perf_counter()
    for _ in DataLoader(Squares(16, delay=0.02), batch_size=2, num_workers=4):
        time.sleep(0.02)
    assert time.perf_counter() - started < 0.02 * (16 + 8) * 0.9  # one after the other would take this long


def test_prefetch_is_bounded():
    asked = []

    class Counting(Squares):
        def __getitem__(self, i):
            asked.append(i)
            return super().__getitem__(i)

    it = iter(DataLoader(Counting(100), num_workers=2, prefetch_factor=3))
    next(it)
    time.sleep(0.2)
    assert len(asked) <= 2 * 3 + 1


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_out_with_its_traceback_and_the_loop_can_go_on(workers):
    it = iter(DataLoader(Squares(10, bad=7), batch_size=2, num_workers=workers))
    good = [next(it).tolist() for _ in range(3)]
    assert good == [[0, 1], [4, 9], [16, 25]]
    with pytest.raises(ValueError, match="sample 7 is broken") as caught:
        next(it)
    assert "__getitem__" in "".join(traceback.format_exception(caught.value))
    if workers:
        assert next(it).tolist() == [64, 81]


@pytest.mark.parametrize("workers", [0, 2])
def test_stop_iteration_in_a_data_set_does_not_end_the_loop_quietly(workers):
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(Squares(10, bad=7, error=StopIteration), num_workers=workers))


def test_no_thread_is_left():
    gc.collect()  # an exception that an earlier test caught holds its frames, and those an iterator
    before = set(loader_threads())      # other tests' loaders may live on in a traceback

    def left():
        return set(loader_threads()) - before

    loader = DataLoader(Squares(40, delay=0.001), batch_size=2, num_workers=3)
    list(loader)
    assert not left()
    for _ in loader:
        break
    assert not left()
    with pytest.raises(KeyError):
        for _ in loader:
            raise KeyError
    gc.collect()
    assert not left()
    it = iter(loader)
    assert len(left()) == 3
    del it
    assert not left()


def test_persistent_workers():
    gc.collect()  # an exception that an earlier test caught holds its frames, and those an iterator
    seen = []
    loader = DataLoader(Squares(9), batch_size=3, num_workers=2, persistent_workers=True, worker_init_fn=seen.append)
    first = lists(loader)
    threads = loader_threads()
    assert len(threads) == 2
    for _ in loader:
        break  # what was under way is forgotten
    assert lists(loader) == first and loader_threads() == threads and sorted(seen) == [0, 1]
    old = iter(loader)
    assert lists(loader) == first
    with pytest.raises(RuntimeError, match="iterated over anew"):
        list(old)
    del loader, old
    gc.collect()
    assert not loader_threads()


def test_persistent_workers_restart_a_stream():
    loader = DataLoader(Count(7), batch_size=2, num_workers=2, persistent_workers=True)
    first = lists(loader)
    assert sorted(sum(first, [])) == list(range(7)) and lists(loader) == first


def test_worker_info_and_init():
    def init(worker):
        assert data.get_worker_info().id == worker

    class Who(Squares):
        def __getitem__(self, i):
            info = data.get_worker_info()
            return torch.tensor([info.id, info.num_workers, info.seed % 1000])

    assert data.get_worker_info() is None
    got = torch.cat(list(DataLoader(Who(8), num_workers=2, worker_init_fn=init))).tolist()
    assert [g[0] for g in got] == [0, 1] * 4 and all(g[1] == 2 for g in got)
    assert len({g[2] for g in got}) == 2


def test_a_failing_init_is_raised_in_the_loop():
    def init(worker):
        raise OSError("no such shard")

    with pytest.raises(OSError, match="no such shard"):
        list(DataLoader(Squares(4), num_workers=2, worker_init_fn=init))


def test_random_numbers_in_workers_are_reproducible():
    class Noisy(Squares):
        def __getitem__(self, i):
            time.sleep(0.0005 * (i * 7 % 5))
            return torch.rand(2)

    def run():
        torch.manual_seed(11)
        return lists(DataLoader(Noisy(12), batch_size=3, num_workers=3))

    first = run()
    assert run() == first
    flat = [x for batch in first for row in batch for x in row]
    assert len(set(flat)) == len(flat)


def test_timeout():
    with pytest.raises(RuntimeError, match="timed out after 0.05 seconds"):
        list(DataLoader(Squares(2, delay=0.3), num_workers=1, timeout=0.05))


def test_out_of_order():
    class Uneven(Squares):
        def __getitem__(self, i):
            time.sleep(0.2 if i == 0 else 0)
            return i

    first = lists(DataLoader(Uneven(4), num_workers=2, in_order=False))
    assert sorted(first) == [[0], [1], [2], [3]] and first[0] != [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_iterate_a_loader_with_kept_workers():
    loader = DataLoader(TensorDataset(torch.arange(4)), num_workers=2, persistent_workers=True)
    list(loader)
    pid = os.fork()
    if pid == 0:
        ok = [x.item() for (x,) in loader] == [0, 1, 2, 3]
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_ctrl_c_while_waiting():
    import signal
    import subprocess
    import sys

    code = (
        "import time\nfrom jitorch.utils.data import DataLoader\n"
        "class Slow:\n"
        "    def __len__(self): return 5\n"
        "    def __getitem__(self, i):\n"
        "        print('ready', flush=True); time.sleep(1.5); return i\n"
        "try:\n"
        "    for _ in DataLoader(Slow(), num_workers=1): pass\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert rest.endswith("interrupted\n") and process.returncode == 0
