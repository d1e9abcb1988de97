"""One module a stage: `run` is the science, `main` the plumbing. DVC alone calls them, as `python -m tasks.<stage>`."""

import os

# Read by OpenMP when torch is first imported: idle threads sleep instead of spinning, which on a busy machine
# makes a training step ten times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
