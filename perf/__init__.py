"""The benchmark suites and their records; see README.md in this directory."""
import os

THREADS = int(os.environ.get("JITORCH_NUM_THREADS") or 2)      # of jitorch and of each peer

# read by NumPy's BLAS when it is loaded, which the modules of this package do
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, str(THREADS))
