"""Random access to region features at VQA v2's row size: our memory map against h5py, one item at a time."""

import os
import shutil
import time
from pathlib import Path

import numpy as np

from benchmarks import contenders
from benchmarks.contenders import largest
from benchmarks.figures import Figure
from benchmarks.made_up_data import FEATURE_DIM, N_REGIONS, write_features

STORED_BYTES = N_REGIONS * FEATURE_DIM * 2
WANTED_BYTES = 2e9
BATCH, BATCHES, FIRST_BATCHES = 32, 100, 5
ROUNDS = 3


def prepare(path: str) -> dict[str, float]:
    """Write 2 GB of features, or as many as fit in a quarter of the memory and of the free disk space."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    room = min(memory, shutil.disk_usage(Path(path).parent).free) / 4
    n_images = int(min(WANTED_BYTES, room) / STORED_BYTES)
    write_features(Path(path), n_images, N_REGIONS, FEATURE_DIM)
    return {"images": n_images}


def ours(path: str) -> dict[str, float]:
    import torch

    from lxmert_tickets.data.features import open_features
    from lxmert_tickets.training.device import set_up_process
    from lxmert_tickets.training.regions import Regions

    set_up_process(1)
    features = open_features(path)
    regions = Regions(features, torch.device("cpu"))
    return _timed(len(features.image_ids), regions.gather)


def peer(path: str) -> dict[str, float]:
    import h5py
    import torch

    with h5py.File(path) as file:
        features, boxes = file["features"], file["boxes"][()]

        def gather(rows: np.ndarray) -> object:
            items = [(torch.from_numpy(features[row].astype(np.float32)), torch.from_numpy(boxes[row])) for row in rows]
            return torch.stack([item for item, _ in items]), torch.stack([box for _, box in items])

        return _timed(len(features), gather)


def _timed(n_images: int, gather: object) -> dict[str, float]:
    rng = np.random.default_rng(1)
    batches = [rng.integers(n_images, size=BATCH) for _ in range(FIRST_BATCHES + BATCHES)]
    for rows in batches[:FIRST_BATCHES]:
        gather(rows)
    started = time.perf_counter()
    for rows in batches[FIRST_BATCHES:]:
        gather(rows)
    return {"rate": BATCH * BATCHES / (time.perf_counter() - started)}


def read_features(folder: Path) -> Figure:
    """Return images per second, and what memory bandwidth allows if each row is read once and stays in the cache."""
    path = folder / "features_of_vqa2.h5"
    n_images = contenders.run("feature_reading", "prepare", path)["images"]
    found = contenders.alternate("feature_reading", ["ours", "peer"], path, rounds=ROUNDS)
    bandwidth = largest([contenders.run("machine", "read_bandwidth") for _ in range(ROUNDS)], "bytes")
    path.unlink()
    note = (
        f"batches of {BATCH} of {n_images:.0f} images ({n_images * STORED_BYTES / 1e9:.1f} GB), page cache warm, one "
        f"thread; the floor is reading each row once, at {bandwidth / 1e9:.1f} GB/s"
    )
    rates = (largest(found[contender], "rate") for contender in ("ours", "peer"))
    return Figure("read_features", *rates, bandwidth / STORED_BYTES, note)


CONTENDERS = {"prepare": prepare, "ours": ours, "peer": peer}
