from __future__ import annotations

import os

# Threads that wait by spinning slow each other down many times over on a machine that does more than one thing; the
# command line says the same. Has to be said before the first library with OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
