"""Region features to HDF5, ours against the usual loop: time, memory, and the floor.

    python benchmarks/feature_conversion.py [--images 1500] [--rounds 3] [--folder FOLDER]

The usual loop is what users write: csv.DictReader, base64.b64decode, numpy.frombuffer, h5py; it checks nothing, does
not flush to disk, and knows the number of images. Contenders take turns, each in its own process; imports do not count,
starting our decoding processes does. The time is the least of all rounds, the memory the largest. The floor is the
unavoidable work: inflating the stream on one core, decoding base64 on all, and writing the output to disk, each
measured alone in the same rounds and assumed to overlap.
"""

import argparse
import base64
import csv
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from io import TextIOWrapper
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import h5py
import numpy as np
import pybase64

from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.data.feature_sources import find_table
from lxmert_tickets.data.feature_tsv import COLUMNS, write_feature_row
from lxmert_tickets.environment import available_cores

REGIONS, DIM = 36, 2048
SHARE_OF_ZEROS = 0.3
MEMBER = "train2014_obj36.tsv"
ARRAYS = {"objects_id": "<i8", "objects_conf": "<f4", "attrs_id": "<i8", "attrs_conf": "<f4"}


def make_inputs(folder: Path, n_images: int) -> None:
    """Write a.tsv and a.zip: exponential numbers mixed with zeros deflate to 57 %, the real ones to 56 %."""
    rng = np.random.default_rng(0)
    width_height = np.array([640, 480, 640, 480], np.float32)
    with open(folder / "a.tsv", "wb") as handle:
        for index in range(n_images):
            features = 1.2 * rng.standard_exponential((REGIONS, DIM), dtype=np.float32)
            features[rng.random((REGIONS, DIM)) < SHARE_OF_ZEROS] = 0
            corners = np.sort(rng.random((REGIONS, 2, 2), dtype=np.float32), axis=1)
            boxes = corners.reshape(REGIONS, 4) * width_height
            write_feature_row(handle, f"COCO_train2014_{index:012d}", 480, 640, boxes, features)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "a.tsv", MEMBER)


def ours(source: Path, output: Path, n_images: int) -> None:
    convert_features([source], output, metadata={})


def usual(source: Path, output: Path, n_images: int) -> None:
    csv.field_size_limit(sys.maxsize)
    if source.suffix == ".zip":
        lines = TextIOWrapper(zipfile.ZipFile(source).open(MEMBER))  # noqa: SIM115
    else:
        lines = open(source)  # noqa: SIM115
    with lines, h5py.File(output, "w") as file:
        stored = file.create_dataset("features", (n_images, REGIONS, DIM), "<f2")
        stored_boxes = file.create_dataset("boxes", (n_images, REGIONS, 4), "<f4")
        sizes, names = [], []
        for index, item in enumerate(csv.DictReader(lines, COLUMNS, delimiter="\t")):
            height, width, n_boxes = int(item["img_h"]), int(item["img_w"]), int(item["num_boxes"])
            for name, dtype in ARRAYS.items():
                np.frombuffer(base64.b64decode(item[name]), dtype)
            boxes = np.frombuffer(base64.b64decode(item["boxes"]), "<f4").reshape(n_boxes, 4)
            features = np.frombuffer(base64.b64decode(item["features"]), "<f4").reshape(n_boxes, -1)
            stored[index] = features.astype("<f2")
            stored_boxes[index] = boxes / [width, height, width, height]
            sizes.append((height, width))
            names.append(item["img_id"])
        file["size"], file["image_id"] = np.array(sizes), names


def inflate(source: Path, output: Path, n_images: int) -> None:
    buffer = memoryview(bytearray(1 << 20))
    with find_table(source).opened() as reader:
        while reader.read_into(buffer):
            pass


def decode_base64(source: Path, output: Path, n_images: int) -> None:
    """Decode one image's features `n_images` times: they stay in the cache, so memory bandwidth does not count."""
    cell = base64.b64encode(np.ones((REGIONS, DIM), "<f4").tobytes())
    for _ in range(n_images):
        pybase64.b64decode(cell, validate=True)


def write(source: Path, output: Path, n_images: int) -> None:
    row = np.random.default_rng(0).bytes(REGIONS * DIM * 2)
    with open(output, "wb") as file:
        for _ in range(n_images):
            file.write(row)
        file.flush()
        os.fsync(file.fileno())


CONTENDERS = {
    "ours, zip": (ours, "a.zip"), "usual loop, zip": (usual, "a.zip"),
    "ours, TSV": (ours, "a.tsv"), "usual loop, TSV": (usual, "a.tsv"),
    "inflate": (inflate, "a.zip"), "base64": (decode_base64, "a.tsv"), "write": (write, "a.tsv"),
}  # fmt: skip


def contend(name: str, folder: Path, n_images: int) -> None:
    """Run one contender in this process, and print its seconds and peak memory, including all its processes."""
    work, source = CONTENDERS[name]
    output = folder / "out.h5"
    output.unlink(missing_ok=True)
    os.sync()  # what the previous one left to write
    before = time.perf_counter()
    work(folder / source, output, n_images)
    seconds = time.perf_counter() - before
    own = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest child
    print(json.dumps({"seconds": seconds, "peak_bytes": 1024 * (own + child * available_cores())}))


def measure(folder: Path, n_images: int, n_rounds: int) -> dict[str, dict[str, float]]:
    best: dict[str, dict[str, float]] = {}
    for _ in range(n_rounds):
        for name in CONTENDERS:
            command = [sys.executable, __file__, "contend", name, str(folder), str(n_images)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            seen = best.setdefault(name, found)
            seen["seconds"] = min(seen["seconds"], found["seconds"])
            seen["peak_bytes"] = max(seen["peak_bytes"], found["peak_bytes"])
    return best


def show(best: dict[str, dict[str, float]], n_images: int) -> None:
    seconds = {name: found["seconds"] for name, found in best.items()}
    cores = available_cores()
    decoding = seconds["base64"] / cores
    inflating = max(seconds["inflate"], (seconds["inflate"] + seconds["base64"]) / cores)
    floors = {"zip": max(inflating, seconds["write"]), "TSV": max(decoding, seconds["write"])}
    alone = "inflate {inflate:.2f} s, base64 {base64:.3f} s, write and flush {write:.2f} s".format(**seconds)
    print(f"{n_images} images, {cores} cores; alone: {alone}\n")
    print("| | seconds | ms an image | times faster | floor | share of the floor | peak memory |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in list(CONTENDERS)[:4]:
        who, source = name.split(", ")
        floor, took = floors[source], seconds[name]
        ratio = seconds[f"usual loop, {source}"] / took
        print(f"| {who}, {source} | {took:.2f} | {1000 * took / n_images:.2f} | {ratio:.1f} | {floor:.2f} s "
              f"| {100 * floor / took:.0f} % | {best[name]['peak_bytes'] / 1e6:.0f} MB |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="with room for 1.2 GB; a temporary one in it is used")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        make_inputs(Path(temporary), options.images)
        show(measure(Path(temporary), options.images, options.rounds), options.images)


if __name__ == "__main__":
    if sys.argv[1:2] == ["contend"]:
        contend(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
