"""Zips made for the tests."""

import io
import zipfile

import numpy as np


def zip_bytes(n_bytes: int = 200_000, seed: int = 0, name: str = "train.tsv") -> bytes:
    """Return a zip of one member of `n_bytes` that do not compress: equal arguments give equal bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name, (2015, 1, 1, 0, 0, 0)), np.random.default_rng(seed).bytes(n_bytes))
    return content.getvalue()
