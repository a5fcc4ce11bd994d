"""The `jitorch` command: each command through Typer's runner, and once as a process."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import jitorch
from jitorch.cli import bench, scripts
from jitorch.cli.app import app
from jitorch.cli.demo import find_example
from jitorch.cli.scripts import span
from jitorch.graph.measure import recording
from jitorch.graph.program import Program

SCRIPT = """
import sys
import jitorch as torch
x = torch.arange(1000.)
for step in range(4):
    y = (x * 2 + step).tanh()
    total = y.sum()
    print("total", round(total.item(), 2), sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(SCRIPT)
    return path


def run(*args: str):
    return CliRunner().invoke(app, list(map(str, args)))


def table(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines() if line.strip().startswith("program.py:")]


def test_help_lists_the_commands():
    shown = run("--help")
    assert shown.exit_code == 0
    assert all(name in shown.output for name in ("demo", "env", "cache", "profile", "show", "bench"))


def test_env_shows_what_a_bug_report_needs():
    shown = run("env")
    assert shown.exit_code == 0
    for name in "jitorch python numpy numba llvmlite scipy processor vectors threads tier cache".split():
        assert any(line.startswith(name + " ") for line in shown.output.splitlines()), name
    assert jitorch.__version__ in shown.output and "bits, code for" in shown.output


def test_cache_info_and_clear(tmp_path, monkeypatch):
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(tmp_path / "kernels"))
    assert "0 kernels, 0.0 MB" in run("cache", "info").output
    (tmp_path / "kernels" / ("a" * 64 + ".kernel")).write_bytes(b"x" * 1_000_000)
    assert "1 kernel, 1.0 MB" in run("cache", "info").output
    assert "removed 1 kernel " in run("cache", "clear").output
    assert not list((tmp_path / "kernels").iterdir())


def test_cache_info_where_there_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(tmp_path / "file" / "kernels"))
    shown = run("cache", "info")
    assert shown.exit_code == 0 and "anew in every process" in shown.output and "can't be used" in shown.output
    assert run("cache", "clear").exit_code == 1


def test_profile_shows_a_row_for_each_program(script):
    with jitorch.config.using(tier="compiled"):
        shown = run("profile", script, "--flag", "a")
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("total") == 4 and "['--flag', 'a']" in shown.output
    rows = table(shown.output)
    assert rows and sum(int(row[3]) for row in rows) == 4           # runs
    assert all(float(row[5]) > 0 for row in rows)                   # us of a run
    assert "loaded from the cache" in shown.output


def test_profile_names_the_lines_of_the_script(script, tmp_path):
    """Also where other code of this process recorded the same steps before."""
    other = tmp_path / "other.py"
    other.write_text(SCRIPT)
    with jitorch.config.using(tier="compiled"):
        run("profile", other)
        shown = run("profile", script).output
    assert "program.py" in shown and "other.py" not in shown


def test_profile_of_the_reference_tier_counts_its_runs(script):
    with jitorch.config.using(tier="reference"):
        rows = table((shown := run("profile", script)).output)
    assert sum(int(row[4]) for row in rows) == 4 and "0.00 in compiled runs" in shown.output


def test_show_prints_kernels_under_the_users_lines(script):
    with jitorch.config.using(tier="compiled"):
        shown = run("show", script)
    assert shown.exit_code == 0, shown.output
    assert "# program.py:6  y = (x * 2 + step).tanh()" in shown.output
    assert "def kernel(args, lo, hi):" in shown.output and "tanh" in shown.output.split("def kernel")[1]


def test_show_limits_the_kernels(script):
    with jitorch.config.using(tier="compiled"):
        shown = run("show", "--rows", "1", script)
    assert shown.output.count("def kernel") == 1


def test_show_without_kernels_says_so(tmp_path):
    empty = tmp_path / "empty.py"
    empty.write_text("import jitorch\n")
    assert "no kernels were generated" in run("show", empty).output


@pytest.mark.parametrize(("ending", "status", "said"), [
    ("raise SystemExit(3)", 3, ""), ("raise SystemExit('no data')", 1, "no data"), ("1 / 0", 1, "ZeroDivisionError"),
    ("raise KeyboardInterrupt", 130, "interrupted")])
def test_a_scripts_end_is_the_commands_end(tmp_path, capfd, ending, status, said):
    script = tmp_path / "ends.py"
    script.write_text(f"import jitorch as torch\nprint(torch.ones(2).sum().item())\n{ending}\n")
    argv, path = list(sys.argv), list(sys.path)
    assert scripts.run_script(script, []) == status
    out = capfd.readouterr()
    assert out.out == "2.0\n" and said in out.err and "runpy" not in out.err
    assert sys.argv == argv and sys.path == path


def test_a_script_that_is_not_there_is_an_error():
    shown = run("profile", "/nowhere/program.py")
    assert shown.exit_code == 2 and "does not exist" in shown.output


def test_recording_leaves_the_engine_as_it_was():
    before = Program.run, Program.run_reference
    with pytest.raises(ValueError, match="x"), recording() as costs:
        raise ValueError("x")
    assert (Program.run, Program.run_reference) == before and costs == []


def test_costs_count_bytes_of_leaves_and_results():
    x = jitorch.ones(1 << 10)
    x.sum().item()
    with jitorch.config.using(tier="compiled"), recording() as costs:
        y = x + 1
        y.sum().item()
    assert len(costs) == 1 and costs[0].kernels >= 1
    assert costs[0].bytes >= 2 * 4 * (1 << 10)
    del y


def test_span_shortens_lines():
    assert span([]) == "" and span(["a.py:3", "a.py:3"]) == "a.py:3"


def test_demo_finds_the_example_and_passes_options():
    assert find_example("digits.py") is not None
    shown = run("demo", "--help")
    assert shown.exit_code == 0 and "--quick" in shown.output and "--picture" in shown.output


SUITES = """
def main(args, program):
    print(program, *args)
    return 3
"""


@pytest.fixture
def fake_perf(tmp_path, monkeypatch):
    (tmp_path / "perf").mkdir()
    (tmp_path / "perf" / "__init__.py").write_text("")
    (tmp_path / "perf" / "suites.py").write_text(SUITES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "perf"}
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "perf"]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_bench_passes_its_arguments_on(fake_perf, capfd):
    shown = run("bench", "kernels", "--quick", "-k", "softmax", "--help")
    assert shown.exit_code == 3
    assert "jitorch bench kernels --quick -k softmax --help" in shown.output + capfd.readouterr().out


def test_bench_without_perf_says_where_it_is(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(bench, "find_perf", lambda: None)
    assert bench.run_bench([]) == 1
    assert "clone" in capfd.readouterr().err


def test_as_a_process():
    done = subprocess.run([sys.executable, "-m", "jitorch", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "jitorch [OPTIONS]" in done.stdout, done.stderr


@pytest.mark.parametrize(("name", "value", "said"), [
    ("JITORCH_TIER", "fast", "use one of auto, compiled, reference"), ("JITORCH_CHECK", "yes", "use one of 0, 1"),
    ("JITORCH_DEBUG", "4", "use one of 0, 1, 2, 3"), ("JITORCH_NUM_THREADS", "0", "use an integer from 1 to 1024")])
def test_a_switch_that_can_not_be_is_a_line_of_the_command_and_an_exception_of_the_import(name, value, said):
    env = {**os.environ, name: value}
    done = subprocess.run([sys.executable, "-m", "jitorch", "env"], capture_output=True, text=True, timeout=60, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"jitorch: {name}='{value}': {said}\n")
    done = subprocess.run([sys.executable, "-c", "import jitorch"], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 1 and done.stderr.endswith(f"ValueError: {name}='{value}': {said}\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes close otherwise")
def test_a_closed_pipe_ends_a_script_without_a_word(tmp_path):
    script = tmp_path / "talks.py"
    script.write_text("for i in range(100000): print(i, 'x' * 50)\n")
    with subprocess.Popen([sys.executable, "-m", "jitorch", "run", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"0 x")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_importing_the_package_does_not_import_the_command():
    code = "import jitorch, sys; print([m for m in ('typer', 'rich', 'numba', 'jitorch.cli') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


PRODUCTS = """
import jitorch as torch
a, b = torch.ones(96, 200), torch.ones(200, 300)
torch.relu(a @ b).sum().item()
print(torch.relu(a @ b).sum().item())
"""


def test_tune_keeps_blocks_that_later_programs_use(tmp_path, monkeypatch):
    from jitorch.kernels.cpu import tuning
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr("jitorch.cli.tune.seconds", lambda shape, program, numbers: numbers[2] / 1e6)  # short slices win
    script = tmp_path / "products.py"
    script.write_text(PRODUCTS)
    with jitorch.config.using(tier="compiled"):
        shown = run("tune", script)
    shape = "float32 1x96x300x200 k by t"
    assert shown.exit_code == 0 and shape in shown.output and "1 kept in" in shown.output, shown.output
    assert "200 us, 128 in blocks of 96 x 320 x 128" in shown.output
    assert tuning.chosen(shape) == (96, 320, 128)
    with jitorch.config.using(tier="compiled"):         # a later process cuts like this, and computes the same
        assert "5760000.0" in run("show", script).output


def test_tune_measures_real_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(tmp_path / "kernels"))
    script = tmp_path / "products.py"
    script.write_text(PRODUCTS)
    with jitorch.config.using(tier="compiled"):
        shown = run("tune", script)
    assert shown.exit_code == 0 and "float32 1x96x300x200 k by t: " in shown.output, shown.output


def test_damaged_blocks_are_those_of_the_cost_model(tmp_path, monkeypatch):
    from jitorch.kernels import cache
    from jitorch.kernels.cpu import tuning
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(folder))
    monkeypatch.setattr(cache, "_told", set())
    (folder / tuning.NAME).write_text('{"' + tuning.processor() + '": {"a": [0, 1, 2]}}')
    assert tuning.chosen("a") is None
    with pytest.warns(RuntimeWarning, match="blocks of"):
        cache.warn_of_problems()
    assert tuning.keep({"b": (8, 32, 4)}) and tuning.chosen("b") == (8, 32, 4)
