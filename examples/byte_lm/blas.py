"""One thread for OpenBLAS, set before torch loads it: with products this small more threads cost more than
they bring, and processor time is what runs report."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
