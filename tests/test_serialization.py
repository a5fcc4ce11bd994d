"""Saved files: what goes in comes out, nothing in them runs, damage is noticed, PyTorch reads and writes the same."""

from __future__ import annotations

import io
import math
import os
import pickle
import random
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import jitorch as torch
from jitorch.pickles import Global, Writer


def through(obj, **more):
    f = io.BytesIO()
    torch.save(obj, f)
    f.seek(0)
    return torch.load(f, **more)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return (
            type(a) is type(b)
            and a.dtype is b.dtype
            and a.shape == b.shape
            and np.array_equal(a.detach().numpy(), b.detach().numpy(), equal_nan=a.dtype.is_floating_point)
        )
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


VALUES = [
    None,
    True,
    False,
    0,
    1,
    255,
    256,
    65535,
    -1,
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**63,
    -(2**100),
    0.0,
    -0.0,
    1e-310,
    math.inf,
    math.nan,
    1 - 2j,
    "",
    "text",
    "é\u4e2d\U0001f600",
    b"",
    b"\x00\xff bytes",
    bytearray(b"abc"),
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
    [],
    [1, [2, [3]]],
    {},
    {"a": 1, 2: "b", (3, 4): None},
    OrderedDict(b=1, a=2),
    set(),
    {1, 2},     # of numbers: the order of strings in a set differs between processes, and this names a test
    frozenset([1]),
    torch.float32,
    torch.bool,
    torch.device("cpu"),
    torch.device("cuda", 1),
    torch.Size([2, 3]),
    torch.Size([]),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values(value):
    got = through({"v": value})["v"]
    assert same(value, got) and repr(value) == repr(got)


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64],
    ids=str,
)
def test_dtypes_and_shapes(dtype):
    for shape in [(), (3,), (2, 3), (0,), (2, 0, 3)]:
        t = (torch.randn(shape) * 50).to(dtype)
        assert same(t, through(t))


def test_special_floats_keep_their_bits():
    bits = np.array([0x7FC00001, 0xFFC00000, 0x80000000, 1, 0x7F800000], np.uint32)
    t = torch.from_numpy(bits.view(np.float32))
    assert np.array_equal(through(t).numpy().view(np.uint32), bits)


def test_views_share_their_storage_after_loading():
    x = torch.arange(12).float().view(3, 4)
    got = through([x, x.t(), x[1:, ::2], x])
    assert all(map(same, got, [x, x.t(), x[1:, ::2], x])) and got[0] is got[3]
    got[0][1, 0] = -1.0
    assert got[1][0, 1].item() == -1.0 and got[2][0, 0].item() == -1.0
    part = through(x[1])
    assert part.tolist() == [4.0, 5.0, 6.0, 7.0] and part.storage_offset() == 4


def test_shared_and_cyclic_containers():
    inner = [1]
    inner.append(inner)
    got = through({"a": inner, "b": inner})
    assert got["a"] is got["b"] and got["a"][1] is got["a"]


def test_requires_grad_is_kept_and_history_is_not():
    leaf = torch.ones(2, requires_grad=True)
    got = through({"leaf": leaf, "computed": leaf * 2, "plain": torch.ones(1)})
    assert got["leaf"].requires_grad and got["computed"].is_leaf and not got["plain"].requires_grad
    (got["leaf"] * 3).sum().backward()
    assert got["leaf"].grad.tolist() == [3.0, 3.0]


def test_loaded_tensors_are_recorded_like_others():
    x = torch.randn(4, 5)
    loaded = through(x)
    loaded += 1
    assert torch.equal(loaded.sum(0), (x + 1).sum(0))


def test_parameters_modules_and_optimizers():
    nn = torch.nn
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    checkpoint = through({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 4})
    again = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    again.load_state_dict(checkpoint["model"])
    assert checkpoint["model"]._metadata == model.state_dict()._metadata
    other = torch.optim.Adam(again.parameters(), lr=0.5)
    other.load_state_dict(checkpoint["optimizer"])
    assert other.param_groups[0]["lr"] == 0.01
    x = torch.randn(5, 3)
    assert torch.equal(model(x), again(x))
    p = through(nn.Parameter(torch.ones(2), requires_grad=False))
    assert type(p) is nn.Parameter and not p.requires_grad


# -- refusals ----------------------------------------------------------------------------------------------------------
class Mine:
    pass


@pytest.mark.parametrize(
    "obj, says",
    [
        (Mine(), "Mine can't be saved"),
        ([lambda: 0], "function"),
        (np.float64(1.0), "torch.from_numpy"),
        (np.zeros(2), "torch.from_numpy"),
        ({"d": type("D", (dict,), {})()}, "can't be saved"),
        (object, "type"),
    ],
)
def test_other_objects_are_not_saved(obj, says, tmp_path):
    with pytest.raises(TypeError, match=says):
        torch.save(obj, tmp_path / "x.pt")
    assert os.listdir(tmp_path) == []


def test_a_module_is_refused_with_advice():
    with pytest.raises(TypeError, match=r"state_dict\(\)"):
        torch.save(torch.nn.Linear(1, 1), io.BytesIO())


def archive(structure: bytes, **entries: bytes) -> io.BytesIO:
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w") as z:
        z.writestr("archive/data.pkl", structure)
        for name, data in entries.items():
            z.writestr(f"archive/data/{name}", data)
    f.seek(0)
    return f


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


def test_a_malicious_file_runs_nothing(tmp_path):
    target = tmp_path / "owned"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps({"w": Evil(target)}, protocol)
        with pytest.raises(pickle.UnpicklingError, match="open|not allowed"):
            torch.load(archive(data))
        with pytest.raises(RuntimeError, match="not a whole file of tensors"):
            torch.load(io.BytesIO(data))
        with pytest.raises(pickle.UnpicklingError):
            torch.load(archive(data), weights_only=False)
    assert not target.exists()
    pickle.loads(data)
    assert target.exists()


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",  # a function
        b"\x80\x02cjitorch.serialization\nread_archive\n.",  # one of ours
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00xK\x01sb.",  # an attribute of an OrderedDict
        b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeK\x01sb.",  # an attribute of one of our objects
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01sb.",
        b"\x80\x02]K\x01\x85R.",  # calling a list
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",  # NEWOBJ
        b"\x80\x02(K\x01i__builtin__\nset\n.",  # INST
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02Px\n.",  # PERSID
    ],
)
def test_what_is_not_allowed(code):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(archive(code))


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b".",
        b"\x80\x02",
        b"\x80\x02K\x01K\x02.",
        b"\x80\x02u.",
        b"\x80\x02e.",
        b"\x80\x02(.",
        b"\x80\x02h\x07.",
        b"\x80\x02\x85.",
        b"\x80\x02](K\x01(e.",
        b"\x80\x02}]K\x01s.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02X\xff\xff\xff\x7fab.",
        b"\x80\x02Q.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02c__builtin__\nset\nK\x01\x85R.",
        b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    ],
)
def test_a_broken_structure_is_an_error(code):
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        torch.load(archive(code))


def geometry(offset, shape, strides, numel=4, kind="FloatStorage", key="0"):
    from jitorch.pickles import Call, Persistent

    class Reference:
        pass

    def special(obj):
        if type(obj) is Global:
            return obj
        return Persistent(("storage", Global("torch", kind), key, "cpu", numel)) if type(obj) is Reference else obj

    call = Call(
        Global("torch._utils", "_rebuild_tensor_v2"), (Reference(), offset, shape, strides, False, OrderedDict())
    )
    # a Global is a tuple: wrapped, so that the writer hands it to `special`
    return archive(Writer(lambda obj: call if obj is start else special(obj)).finish(start), **{"0": b"\0" * 16})


start = object()


def test_a_tensor_may_not_reach_outside_of_its_storage():
    assert torch.load(geometry(0, (2, 2), (2, 1))).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    for offset, shape, strides in [
        (1, (2, 2), (2, 1)),
        (0, (2, 2), (4, 1)),
        (0, (5,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (2,), (1, 1)),
        (0, (2.0,), (1,)),
        (2**62, (2,), (2**62,)),
        (4, (), ()),
    ]:
        with pytest.raises(RuntimeError, match="damaged"):
            torch.load(geometry(offset, shape, strides))
    for more in (
        {"numel": 5},
        {"numel": "4"},
        {"kind": "DoubleStorage", "numel": 4},
        {"key": "1"},
        {"key": "../0"},
        {"key": 0},
    ):
        with pytest.raises(RuntimeError):
            torch.load(geometry(0, (1,), (1,), **more))


# -- damage ------------------------------------------------------------------------------------------------------------
def saved_bytes():
    f = io.BytesIO()
    torch.save({"w": torch.arange(6).float().view(2, 3), "n": [1, "two", None]}, f)
    return f.getvalue()


def test_a_truncated_file_names_itself(tmp_path):
    data = saved_bytes()
    path = tmp_path / "cut.pt"
    for n in [*range(0, len(data), 13), len(data) - 1]:
        path.write_bytes(data[:n])
        with pytest.raises(RuntimeError, match="cut.pt"):
            torch.load(path)


def test_a_changed_byte_is_noticed_or_harmless():
    data, rng = saved_bytes(), random.Random(0)
    right = torch.load(io.BytesIO(data))
    noticed = 0
    for _ in range(600):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            got = torch.load(io.BytesIO(bytes(changed)))
        except (RuntimeError, pickle.UnpicklingError):
            noticed += 1
        else:
            assert same(right, got)
    assert noticed > 150


def test_other_files(tmp_path):
    path = tmp_path / "text.pt"
    path.write_text("hello")
    with pytest.raises(RuntimeError, match="text.pt is not a whole file of tensors"):
        torch.load(path)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a.txt", "hello")
    with pytest.raises(RuntimeError, match="text.pt"):
        torch.load(path)
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "none.pt")


def test_compressed_or_overlong_entries_are_refused():
    good = saved_bytes()
    bombed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(bombed, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    bombed.seek(0)
    with pytest.raises(RuntimeError, match="compressed"):
        torch.load(bombed)


# -- on disk -----------------------------------------------------------------------------------------------------------
def test_an_error_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    torch.save([1], path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        torch.save([torch.ones(3), Mine()], path)

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        torch.save([torch.ones(3)], path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pt"]


def test_paths(tmp_path):
    torch.save(1, str(tmp_path / "a.pt"))
    torch.save(2, tmp_path / "b.pt")
    os.symlink(tmp_path / "a.pt", tmp_path / "link.pt")
    torch.save(3, tmp_path / "link.pt")
    assert torch.load(tmp_path / "a.pt") == 3 and os.path.islink(tmp_path / "link.pt")
    with open(tmp_path / "c.pt", "wb") as f:
        torch.save(4, f)
    with open(tmp_path / "c.pt", "rb") as f:
        assert torch.load(f) == 4
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        torch.save(1, tmp_path / "no" / "a.pt")
    umask = os.umask(0)
    os.umask(umask)
    assert os.stat(tmp_path / "b.pt").st_mode & 0o777 == 0o666 & ~umask


def test_the_same_contents_are_the_same_bytes():
    assert saved_bytes() == saved_bytes()


def test_map_location():
    t = torch.ones(2)
    for where in (None, "cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, name: storage):
        assert same(through(t, map_location=where), t)
    with pytest.raises(RuntimeError, match="cuda"):
        through(t, map_location="cuda")


# -- PyTorch -----------------------------------------------------------------------------------------------------------
def test_pytorch_reads_our_files():
    real = pytest.importorskip("torch")
    x = torch.arange(6).view(2, 3)
    ours = {
        "x": x,
        "t": x.t(),
        "values": [v for v in VALUES if type(v) in (int, float, str, bytes, tuple, list, set, complex)],
        "p": torch.nn.Parameter(torch.ones(2)),
        "d": torch.float64,
        "size": torch.Size([1, 2]),
        "where": torch.device("cpu"),
        "state": torch.nn.BatchNorm2d(3).state_dict(),
    }
    f = io.BytesIO()
    torch.save(ours, f)
    f.seek(0)
    theirs = real.load(f, weights_only=True)
    assert theirs["x"].tolist() == x.tolist() and theirs["t"].stride() == (1, 3)
    assert theirs["t"].untyped_storage().data_ptr() == theirs["x"].untyped_storage().data_ptr()
    assert repr(theirs["values"]) == repr(ours["values"])
    assert (
        type(theirs["p"]) is real.nn.Parameter and theirs["d"] is real.float64 and theirs["size"] == real.Size([1, 2])
    )
    assert theirs["where"] == real.device("cpu")
    real.nn.BatchNorm2d(3).load_state_dict(theirs["state"])
    assert theirs["state"]._metadata == real.nn.BatchNorm2d(3).state_dict()._metadata


def test_we_read_pytorchs_files(tmp_path):
    real = pytest.importorskip("torch")
    base = real.randn(3, 4)
    model = real.nn.Sequential(real.nn.Conv2d(1, 2, 3), real.nn.BatchNorm2d(2))
    optimizer = real.optim.Adam(model.parameters())
    model(real.randn(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    theirs = {
        "base": base,
        "view": base[1:, ::2],
        "ints": real.arange(4),
        "flags": real.tensor([True, False]),
        "empty": real.zeros(0, 2),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "p": real.nn.Parameter(real.ones(2)),
        "other": [None, 1, 2.5, "s", b"b", (1, 2), {3}, real.float32, real.Size([1]), real.device("cpu"), 2**70],
    }
    path = tmp_path / "theirs.pth"
    real.save(theirs, path)
    ours = torch.load(path, map_location="cpu")
    for name in ("base", "view", "ints", "flags", "empty"):
        assert np.array_equal(ours[name].numpy(), theirs[name].numpy())
    ours["base"][1, 0] = 7.0
    assert ours["view"][0, 0].item() == 7.0
    assert repr(ours["other"]) == repr(theirs["other"])
    assert type(ours["p"]) is torch.nn.Parameter and ours["p"].requires_grad
    nn = torch.nn
    mine = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    mine.load_state_dict(ours["model"])
    same_optimizer = torch.optim.Adam(mine.parameters())
    same_optimizer.load_state_dict(ours["optimizer"])
    x = real.randn(2, 1, 5, 5)
    np.testing.assert_allclose(mine(torch.from_numpy(x.numpy())).detach().numpy(), model(x).detach().numpy(), atol=1e-5)


def test_whole_modules_of_pytorch_are_refused():
    real = pytest.importorskip("torch")
    f = io.BytesIO()
    real.save(real.nn.Linear(1, 1), f)
    f.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(f)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "complex64", "complex128"])
def test_half_precision_and_complex_tensors_travel_both_ways(name):
    real = pytest.importorskip("torch")
    values = real.randn(2, 3).to(getattr(real, name))
    f = io.BytesIO()
    real.save({"x": values}, f)
    f.seek(0)
    ours = torch.load(f)["x"]
    assert ours.dtype is getattr(torch, name) and ours.tolist() == values.tolist()
    f = io.BytesIO()
    torch.save({"x": ours}, f)
    f.seek(0)
    assert real.load(f)["x"].equal(values)
