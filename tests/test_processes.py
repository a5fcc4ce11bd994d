"""Other processes and interrupts: spawn, Ctrl-C, exit."""
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest


def run(code: str, **env) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, **env}, capture_output=True, text=True, timeout=120)


def test_import_is_light():
    done = run("""
        import sys, jitorch
        heavy = [m for m in ("numba", "scipy", "torch", "rich", "typer", "llvmlite", "sklearn", "PIL") if m in sys.modules]
        print(heavy)
    """)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_forked_pool_after_use():
    done = run("""
        import multiprocessing, jitorch as torch
        def work(n):
            return (torch.arange(float(n)) * 2).sum().item()
        if __name__ == "__main__":
            torch.config.tier = "compiled"
            work(10)
            import concurrent.futures as f
            with f.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
                print(list(pool.map(work, [3, 4])))
    """)
    assert done.stdout.strip() == "[6.0, 12.0]", done.stderr


def test_spawned_process_gets_tensors(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent("""
        import multiprocessing
        import jitorch as torch
        def work(t):
            return (t * 2).sum().item()
        if __name__ == "__main__":
            x = torch.ones(5) + 1
            x.sum().item()
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [x]))
    """))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[20.0]", done.stderr


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("tier", ["compiled", "reference"])
def test_interrupt_leaves_a_usable_process(tier):
    """Ctrl-C in a compile (the first runs) or in a long run."""
    program = textwrap.dedent("""
        import jitorch as torch
        print("ready", flush=True)
        try:
            while True:
                for n in range(1, 60):
                    x = torch.ones(400, 1000) * 1
                    y = x
                    for k in range(n):
                        y = (y * 1.001 + k).tanh()
                    y.sum().item()
        except KeyboardInterrupt:
            pass
        print((torch.arange(5.) * 2).tolist(), flush=True)
    """)
    import tempfile
    with tempfile.TemporaryDirectory() as cache:
        p = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "JITORCH_TIER": tier, "JITORCH_CACHE_DIR": cache},
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert p.stdout.readline().strip() == "ready"
        time.sleep(1.0)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
    assert out.strip() == "[0.0, 2.0, 4.0, 6.0, 8.0]", err
    assert p.returncode == 0
