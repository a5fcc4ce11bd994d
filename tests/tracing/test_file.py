"""Programs in files: another process, other batch sizes, damaged files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import zipfile

import pytest

import jitorch as torch
import jitorch.nn as nn
import jitorch.nn.functional as F
from jitorch import config


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = self.drop(x).reshape(x.shape[0], -1)
        return {"logits": self.fc(x), "best": self.fc(x).argmax(1), "rows": x.shape[0]}


def traced_net(n=3):
    torch.manual_seed(0)
    net = Net().eval()
    traced = torch.trace(net)
    with torch.no_grad():
        for _ in range(3):
            traced(torch.randn(n, 1, 8, 8))
    return net, traced


def test_loads_and_runs(tmp_path):
    net, traced = traced_net()
    torch.jit.save(traced, tmp_path / "model.jt")
    loaded = torch.jit.load(tmp_path / "model.jt")
    assert isinstance(loaded, nn.Module) and not loaded.training
    assert loaded.state_dict().keys() <= net.state_dict().keys() and torch.equal(loaded.fc.weight, net.fc.weight)
    with torch.no_grad():
        for n in (3, 7, 2, 1, 64, 3):
            x = torch.randn(n, 1, 8, 8)
            mine, real = loaded(x), net(x)
            assert mine["rows"] == n and torch.equal(mine["best"], real["best"])
            assert torch.allclose(mine["logits"], real["logits"], atol=1e-6)
        flipped = torch.randn(8, 8, 1, 3).permute(3, 2, 1, 0)
        assert torch.allclose(loaded(flipped)["logits"], net(flipped)["logits"], atol=1e-6)


def test_what_jit_trace_ran_once_is_saved_as_in_pytorch(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    with pytest.raises(RuntimeError, match="nothing is captured yet"):      # in train mode another run would change statistics
        torch.jit.trace(net, x).save(tmp_path / "model.jt")
    assert net[1].num_batches_tracked.item() == 1
    traced = torch.jit.trace(net.eval(), x)
    torch.jit.save(traced, tmp_path / "model.jt")
    assert traced(x).requires_grad
    loaded = torch.jit.load(tmp_path / "model.jt")
    for n in (5, 9):
        x = torch.randn(n, 3)
        assert torch.allclose(loaded(x), net(x), atol=1e-6)


def test_another_process_without_the_class(tmp_path):
    net, traced = traced_net()
    traced.save(tmp_path / "model.jt")
    with torch.no_grad():
        want = net(torch.arange(5 * 64).reshape(5, 1, 8, 8) / 320)["logits"].tolist()
    code = (
        "import sys, json, jitorch as torch; m = torch.jit.load(sys.argv[1]); "
        "print(json.dumps(m(torch.arange(5 * 64).reshape(5, 1, 8, 8) / 320)['logits'].tolist())); "
        "assert 'test_file' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.jt")], capture_output=True, text=True, check=True)
    assert torch.allclose(torch.tensor(json.loads(done.stdout)), torch.tensor(want), atol=1e-6)


OTHERS = os.environ.get("JITORCH_TEST_PYTHONS", "").split()      # other interpreters that have the dependencies


@pytest.mark.skipif(not OTHERS, reason="JITORCH_TEST_PYTHONS names no other interpreters")
@pytest.mark.parametrize("python", OTHERS)
def test_another_python(tmp_path, python):
    """A file that this version of Python saved, and one the other way round."""
    net, traced = traced_net()
    traced.save(tmp_path / "model.jt")
    inputs = [torch.arange(n * 64).reshape(n, 1, 8, 8) / 320 for n in (5, 2)]
    with torch.no_grad():
        want = [net(x)["logits"].tolist() for x in inputs]
    code = """
import sys, json
import jitorch as torch
model = torch.jit.load(sys.argv[1])
made = [model(torch.arange(n * 64).reshape(n, 1, 8, 8) / 320)["logits"].tolist() for n in (5, 2)]
f = torch.trace(lambda v: {"twice": v @ torch.arange(6.0).reshape(3, 2), "sum": v.sum().item()})
for _ in range(3):
    f(torch.ones(4, 3))
f.save(sys.argv[2])
print(json.dumps([list(sys.version_info[:2]), f.replays, made]))
"""
    done = subprocess.run([python, "-c", code, str(tmp_path / "model.jt"), str(tmp_path / "back.jt")], capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(torch.__file__))})  # fmt: skip
    version, replays, made = json.loads(done.stdout)
    assert version != list(sys.version_info[:2]) and replays >= 1
    for a, b in zip(made, want, strict=True):
        assert torch.allclose(torch.tensor(a), torch.tensor(b), atol=1e-6)
    back = torch.jit.load(tmp_path / "back.jt")
    got = back(torch.ones(4, 3) * 2)
    assert got["twice"].tolist() == [[12.0, 18.0]] * 4 and got["sum"] == 24.0


def test_branches_are_saved(tmp_path):
    f = torch.trace(lambda x: x * 2 if x.sum() > 0 else x - 1)
    for s in (1.0, 1.0, 1.0, -1.0, -1.0, -1.0):
        f(torch.full((3,), s))
    f.save(tmp_path / "f.jt")
    g = torch.jit.load(tmp_path / "f.jt")
    assert g(torch.ones(3)).tolist() == [2.0] * 3 and g(-torch.ones(3)).tolist() == [-2.0] * 3
    with pytest.raises(RuntimeError, match=r"takes \(float32\[3\]\), but got \(float32\[4\]\)"):
        g(torch.ones(4))


def test_branches_have_constants_of_their_own(tmp_path):
    @torch.trace
    def f(x):
        y = x * torch.tensor([5.0, 7.0])
        if x.sum() > 0:
            return y + torch.tensor([1.0, 2.0])
        return y + torch.tensor([30.0, 40.0])

    calls = [torch.full((2,), v) for v in (1.0, -1.0)]
    for _ in range(3):
        want = [f(x).tolist() for x in calls]
    f.save(tmp_path / "f.jt")
    loaded = torch.jit.load(tmp_path / "f.jt")
    assert [loaded(x).tolist() for x in calls] == want == [[6.0, 9.0], [25.0, 33.0]]


def test_a_branch_that_was_never_taken_is_an_error(tmp_path):
    f = torch.trace(lambda x: x * 2 if x.sum() > 0 else x - 1)
    for _ in range(3):
        f(torch.ones(3))
    f.save(tmp_path / "f.jt")
    with pytest.raises(RuntimeError, match="other values of a number"):
        torch.jit.load(tmp_path / "f.jt")(-torch.ones(3))


def test_sizes_that_are_compared_are_not_general(tmp_path):
    f = torch.trace(lambda x: x * 2 if x.shape[0] > 10 else x * 3)
    for _ in range(3):
        f(torch.ones(3))
    f.save(tmp_path / "f.jt")
    with pytest.raises(RuntimeError, match=r"takes \(float32\[3\]\)"):
        torch.jit.load(tmp_path / "f.jt")(torch.ones(4))
    with pytest.raises(RuntimeError, match="not general"):
        f.save(tmp_path / "f.jt", general=True)


def test_dropout_and_statistics_go_on(tmp_path):
    """In one tier: the other one rounds sums otherwise, and kernels may be ready at any time."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    traced = torch.trace(net)
    with torch.no_grad(), config.using(tier="compiled"):
        for _ in range(3):
            traced(torch.randn(4, 3))
    traced.save(tmp_path / "f.jt")
    loaded = torch.jit.load(tmp_path / "f.jt")
    x = torch.randn(4, 3)
    torch.manual_seed(5)
    with torch.no_grad(), config.using(tier="compiled"):
        want = [net(x), net(x), net[0].running_mean.clone()]
        torch.manual_seed(5)
        got = [loaded(x), loaded(x), loaded.get_buffer("0.running_mean") if "running_mean" in loaded._modules["0"]._buffers
               else loaded.get_parameter("0.running_mean")]  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    with pytest.raises(RuntimeError, match="train mode"):
        loaded.eval()


def test_what_cannot_be_saved_says_why(tmp_path):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @torch.trace
    def step(x):
        o.zero_grad()
        (w * x).sum().backward()
        o.step()

    with pytest.raises(RuntimeError, match="nothing is captured"):
        step.save(tmp_path / "f.jt")
    for _ in range(4):
        step(torch.ones(3))
    with pytest.raises(RuntimeError, match="training step"):
        step.save(tmp_path / "f.jt")
    loaded_input = torch.ones(3, requires_grad=True)
    f = torch.trace(lambda x: x * 2)
    for _ in range(3):
        f(torch.ones(3))
    f.save(tmp_path / "f.jt")
    with pytest.raises(RuntimeError, match="no gradient"):
        torch.jit.load(tmp_path / "f.jt")(loaded_input)


def members(path):
    with zipfile.ZipFile(path) as z:
        return {n: z.read(n) for n in z.namelist()}


def write(path, parts):
    with zipfile.ZipFile(path, "w") as z:
        for n, data in parts.items():
            z.writestr(n, data)


def test_damaged_files(tmp_path):
    _, traced = traced_net()
    good = tmp_path / "model.jt"
    traced.save(good)
    data = good.read_bytes()
    for cut in (0, 10, len(data) // 2, len(data) - 5):
        (tmp_path / "cut.jt").write_bytes(data[:cut])
        with pytest.raises(RuntimeError, match="damaged"):
            torch.jit.load(tmp_path / "cut.jt")
    flipped = bytearray(data)
    flipped[len(data) // 3] ^= 255
    (tmp_path / "bit.jt").write_bytes(flipped)
    with pytest.raises(RuntimeError, match="damaged"):
        torch.jit.load(tmp_path / "bit.jt")
    parts = members(good)
    changed = {**parts, "program.json": parts["program.json"].replace(b'"relu"', b'"tanh"') + b" "}
    write(tmp_path / "changed.jt", changed)
    with pytest.raises(RuntimeError, match="changed after it was saved"):
        torch.jit.load(tmp_path / "changed.jt")
    for text, words in (
        (parts["program.json"].replace(b'"version": 1', b'"version": 99'), "version 99"),
        (parts["program.json"].replace(b'"max_pool2d', b'"rm_rf').replace(b'"convolution', b'"rm_rf').replace(b'"relu"', b'"rm_rf"'), "rm_rf|damaged"),
    ):
        digests = {k: hashlib.sha256(v).hexdigest() for k, v in {**parts, "program.json": text}.items() if k != "digests.json"}
        write(tmp_path / "new.jt", {**parts, "program.json": text, "digests.json": json.dumps(digests).encode()})
        with pytest.raises(RuntimeError, match=words):
            torch.jit.load(tmp_path / "new.jt")(torch.ones(3, 1, 8, 8))
    with pytest.raises(FileNotFoundError):
        torch.jit.load(tmp_path / "nowhere.jt")


def rewritten(path, to, change):
    """A file whose program was changed, with digests that fit."""
    parts = members(path)
    program = json.loads(parts["program.json"])
    change(program)
    parts["program.json"] = json.dumps(program).encode()
    parts["digests.json"] = json.dumps({k: hashlib.sha256(v).hexdigest() for k, v in parts.items() if k != "digests.json"}).encode()
    write(to, parts)
    return to


def steps_of(program):
    return next(e["run"] for e in program["programs"][0]["root"]["events"] if "run" in e)


def step(program, name):
    return next(s for s in steps_of(program)["steps"] if s[0] == name)


def longer_leaf(p):
    steps_of(p)["steps"][0][5][0]["meta"][0]["size"][1] += 5


def view_beyond_its_base(p):
    step(p, "view")[2]["tuple"][2] = 10**6


def other_slots(p):
    step(p, "convolution")[1][0] = 99


def result_of_another_shape(p):
    step(p, "relu")[5][0]["meta"][0]["size"][-1] = 10**6


def write_to_an_input(p):
    steps_of(p)["wanted"][0][1] = 0


def place_that_is_not_there(p):
    steps_of(p)["leaves"][0][0] = ["out", 7, 0]


def leaf_that_begins_late(p):
    steps_of(p)["leaves"][0][1:] = [3, 10**5]


def storage_too_small(p):
    p["programs"][0]["root"]["ending"]["storages"][0][1]["meta"][0]["size"][0] = 10**6


def tensor_that_is_not_there(p):
    p["programs"][0]["root"]["ending"]["tensors"][0][1] = 42


def no_programs(p):
    p["programs"] = None


@pytest.mark.parametrize("change", [longer_leaf, view_beyond_its_base, other_slots, result_of_another_shape, write_to_an_input,
                                    place_that_is_not_there, leaf_that_begins_late, storage_too_small, tensor_that_is_not_there, no_programs])  # fmt: skip
def test_programs_that_can_not_have_been_captured(tmp_path, change):
    """Whoever changed a file may have changed its digests, too: nothing outside of the program's memory is touched."""
    _, traced = traced_net()
    traced.save(tmp_path / "model.jt")
    assert torch.jit.load(rewritten(tmp_path / "model.jt", tmp_path / "same.jt", lambda p: None))(torch.ones(3, 1, 8, 8))
    with pytest.raises(RuntimeError, match="damaged"):
        torch.jit.load(rewritten(tmp_path / "model.jt", tmp_path / "new.jt", change))(torch.ones(3, 1, 8, 8))


def places_in(x, path=()):
    yield path
    for k, v in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
        yield from places_in(v, (*path, k))


@pytest.mark.parametrize("seed", range(4))
def test_programs_changed_at_random(tmp_path, seed):
    """Each gives an error that says so, or something: it never ends the process."""
    _, traced = traced_net()
    traced.save(tmp_path / "model.jt")
    program = json.loads(members(tmp_path / "model.jt")["program.json"])
    rng, values = random.Random(seed), [None, -1, 0, 1, 3, 10**6, 2**40, 1.5, "x", [], {}, {"n": [0, 0]}, {"n": [2, 1]}, {"tensor": 99}, True]
    places = [p for p in places_in(program) if p]
    outcomes = set()
    for _ in range(60):
        where = rng.choice(places)

        def change(p, where=where):
            for k in where[:-1]:
                p = p[k]
            p[where[-1]] = rng.choice(values)
        try:
            torch.jit.load(rewritten(tmp_path / "model.jt", tmp_path / "new.jt", change))(torch.ones(3, 1, 8, 8))
            outcomes.add("ran")
        except (RuntimeError, IndexError) as error:
            outcomes.add("damaged" if "damaged" in str(error) else "told")
    assert "damaged" in outcomes
