"""A text as a vector without a model: how often each run of three letters stands in it, hashed into a fixed number of places."""

import hashlib

import numpy as np
from numpy.typing import NDArray

WIDTH = 2048
RUN = 3


def letters(text: str) -> NDArray[np.float32]:
    """float32 [WIDTH], of length 1. Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning", arXiv:0902.2206."""
    found = np.zeros(WIDTH, np.float32)
    plain = " ".join(text.split())
    for start in range(max(1, len(plain) - RUN + 1)):
        digest = hashlib.blake2b(plain[start : start + RUN].encode(), digest_size=4).digest()
        found[int.from_bytes(digest, "little") % WIDTH] += 1
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-12), np.float32)
