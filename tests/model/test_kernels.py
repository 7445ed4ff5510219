"""The GPU kernels without a GPU: interpreted, they give the right numbers, and they compile for real GPUs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packages import install

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Triton."""
    folder = tmp_path_factory.mktemp("packages")
    install(folder, HERE / "requirements-triton.txt")
    return folder


def run(packages: Path, *command: object) -> str:
    paths = os.pathsep.join(map(str, (packages, ROOT, os.environ.get("PYTHONPATH", ""))))
    environment = os.environ | {
        "PYTHONPATH": paths,
        "TRITON_CACHE_DIR": str(packages / "cache"),
        "TRITON_INTERPRET": "0",  # where Triton is installed, `kernels_here` has switched it on in this process
        "OMP_NUM_THREADS": "1",
    }
    ran = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_interpreted_kernels_match_the_plain_implementation(packages: Path) -> None:
    files = [HERE / f"test_{what}.py" for what in ("on_gpu", "network_on_gpu", "adam_kernels")]
    said = run(packages, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files)
    passed = re.search(r"(\d+) passed", said)
    assert passed, said
    assert int(passed[1]) >= 39
    assert "skipped" not in said


@pytest.mark.parametrize(("capability", "low"), [(86, "bf16"), (90, "bf16"), (90, "fp32")])
def test_kernels_compile_spill_little_take_at_most_their_declared_memory_and_wait_for_products(
    packages: Path, capability: int, low: str
) -> None:
    blocks = ["16x64", "32x32", "32x64", "64x32", "64x64"]  # of VQA v2's sentences, [CLS] and regions
    if (capability, low) == (90, "bf16"):
        blocks += ["16x128", "64x128", "128x64", "128x128"]  # the others lack the shared memory for 100 regions
    found = run(packages, HERE / "compile_kernels.py", capability, low, *blocks).splitlines()
    assert len(found) == 2 * len(blocks) + 4
    for line in found:
        kernel, taken, said, asynchronous, spilt = line.split()
        assert int(taken) <= int(said), kernel
        assert int(asynchronous) == 0, kernel
        assert int(spilt) <= 256, kernel  # bytes per thread; with too few warps, thousands
