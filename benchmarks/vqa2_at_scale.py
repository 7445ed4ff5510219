"""What VQA v2 costs, stage by stage: a made-up VQA v2 at 1/20 of its size through the real rules, and what follows.

    python benchmarks/vqa2_at_scale.py FOLDER [--scale 0.05] [--steps 12]

Everything has its real format and its real size per image: 36 regions of 2048 numbers, LXMERT base, 5.4 questions per
image (real ones, if the sample is available). A local web server provides the files; the rules download, convert,
split, encode, import weights, and make masks. Their time and memory are measured by Snakemake itself. Training and
prediction are measured over some steps (network_at_scale.py). FOLDER needs about 12 GB for a scale of 0.05, and keeps
everything but the network trained for `--steps`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(PROJECT),
    str(PROJECT / "tests"),
    str(PROJECT / "tests" / "model"),
    str(PROJECT / "tests" / "workflow"),
]

import pandas as pd
import yaml
from made_up_checkpoints import write_original_checkpoint
from made_up_vqa2 import Sizes, configuration, made_up_texts, real_texts, write_sources
from web_site import served

from lxmert_tickets.model.architecture import Architecture

IMAGES = {"train2014": 82_783, "val2014": 40_504, "test2015": 81_434}
QUESTIONS_PER_IMAGE = 5.4
EXPERIMENT = "vqa2_at_scale"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=12)
    args = parser.parse_args()
    folder = args.folder.resolve()
    site = folder / "site"
    if not site.exists():
        make_site(site, args.scale)
    stages = run_rules(folder, site, args.scale)
    print(stage_table(stages, args.scale))
    print(disk_table(folder, args.scale))
    made = [folder / "results" / EXPERIMENT, folder / "resources/vqa2/features/trainval2014.h5"]
    network = [sys.executable, "-m", "benchmarks.network_at_scale", *made, "--steps", str(args.steps)]
    subprocess.run(network, cwd=PROJECT, check=True)


def make_site(site: Path, scale: float) -> None:
    """Write the files that the web server provides."""
    sizes = Sizes(
        **{part: round(n * scale) for part, n in IMAGES.items()},
        questions_per_image=QUESTIONS_PER_IMAGE, n_regions=36, feature_dim=2048, vocab_size=30_522,
    )  # fmt: skip
    started = time.monotonic()
    write_sources(site, sizes, real_texts() or made_up_texts())
    write_original_checkpoint(site / "weights/model_LXRT.pth", Architecture(n_answers=1))
    print(f"made the site in {time.monotonic() - started:.0f} s", file=sys.stderr)


def run_rules(folder: Path, site: Path, scale: float) -> pd.DataFrame:
    """Run the workflow up to the first training; return a row per job: its rule, wildcards, seconds and megabytes."""
    config = folder / "overlay.yaml"
    results = f"results/{EXPERIMENT}"
    targets = [f"{results}/data/{split}/questions.h5" for split in ("train", "minival", "test")]
    targets += [f"{results}/seed0/random/s50/start.safetensors"]
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", PROJECT / "Snakefile", "--directory", folder, *targets,
        "--workflow-profile", PROJECT / "profiles/default", "--cores", str(os.cpu_count()), "--quiet", "rules",
        "--configfile", PROJECT / "config.yaml", PROJECT / "configs/vqa2.yaml", config,
    ]  # fmt: skip
    with served(site) as web_site:
        overlay = {
            "experiment": EXPERIMENT,
            "seeds": [0],
            "vqa2": {
                "sources": configuration(web_site.url),
                "minival": "drawn",
                "minival_images": round(5000 * scale),
            },
            "weights": {"source": "original"},
        }
        config.write_text(yaml.safe_dump(overlay))
        subprocess.run(command, check=True, stdout=sys.stderr)
    rows = []
    for file in sorted((folder / results / "benchmarks").glob("*.tsv")):
        rule, _, which = file.stem.partition(".")
        rows.append({"rule": rule, "which": which, **pd.read_csv(file, sep="\t").iloc[0][["s", "max_rss"]]})
    return pd.DataFrame(rows)


def stage_table(stages: pd.DataFrame, scale: float) -> str:
    """Return seconds and memory of every job, and its seconds at full size, scaled where they grow with the data."""
    lines = ["| job | seconds here | peak memory (MB) | seconds at full size |", "|---|---:|---:|---:|"]
    for row in stages.itertuples():
        of_network = row.rule in {"import_weights", "snapshot_initial_weights", "prune_random"}
        fixed = of_network or row.which in {"model_LXRT.pth", "vocab.txt"}
        full = row.s if fixed else row.s / scale
        memory = f"{float(row.max_rss):.0f}" if row.s > 2 else ""  # shorter jobs end before they are sampled
        lines.append(f"| {row.rule} {row.which} | {row.s:.1f} | {memory} | {full:.0f} |")
    return "\n".join(lines) + "\n"


def disk_table(folder: Path, scale: float) -> str:
    """Return the bytes on disk, here and at full size."""
    lines = ["| files | GB here | GB at full size |", "|---|---:|---:|"]
    kinds = {
        "zips of features": ("resources/vqa2/*_obj36.zip", scale),
        "converted features": ("resources/vqa2/features/*.h5", scale),
        "questions and annotations, zipped": ("resources/vqa2/v2_*.zip", scale),
        "encoded questions": (f"results/{EXPERIMENT}/data/*/questions.h5", scale),
        "one network's weights": (f"results/{EXPERIMENT}/seed0/initial.safetensors", 1),
        "one mask": (f"results/{EXPERIMENT}/seed0/random/s50/mask.safetensors", 1),
    }
    for what, (pattern, share) in kinds.items():
        size = sum(file.stat().st_size for file in folder.glob(pattern)) / 1e9
        lines.append(f"| {what} | {size:.3f} | {size / share:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
