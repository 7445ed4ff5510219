"""Compile the GPU kernels for a GPU that this machine may lack: `compile_kernels.py 90 bf16 32x64 64x64`.

The arguments are its compute capability, the precision of products, and numbers of queries and keys. For each kernel,
prints the shared memory it takes, the declared maximum, the number of its asynchronous products, and the bytes that
each thread spills from registers.
"""

import inspect
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton import compiler
from triton.backends.compiler import GPUTarget

from lxmert_tickets.model import adam_kernels, gpu_kernels
from lxmert_tickets.model.on_gpu import LEAST_SHARED_BYTES

INTEGERS = ("stride", "n_rows", "n_rows_each", "width")
ITEMSIZE = {"bf16": 2, "fp32": 4}
NUMBERS = ("scale", "dropout", "eps", "beta1", "beta2", "rest1", "rest2", "weight_decay", "clip_norm")
SEQUENCES = ("q_starts", "q_lengths", "k_starts", "k_lengths")
ALIGNED = ("stride", "width")  # multiples of 16, as are the addresses of all tensors but a seed's
READS_BINARIES = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
ALWAYS_FLOAT32 = (
    "residual", "gain", "shift", "output", "means", "inverse_deviations", "of_output", "of_residual", "of_parameters",
    "gradient", "weights", "exp_avg", "exp_avg_sq", "rate", "norm", "corrections", "sums",
)  # fmt: skip
CONSTANTS = {
    "N_HEADS": 12, "WIDTH": 64, "COLUMNS": 1024, "DROPS": True, "HAS_LOW": True, "IS_MASKED": True,
}  # fmt: skip


def type_of(argument: str, low: str) -> str:
    """Return the type of a kernel's argument, given products in the precision `low`."""
    if argument.isupper():
        return "constexpr"
    if argument == "n" or argument.endswith(INTEGERS):
        return "i32"
    if argument in NUMBERS:
        return "fp32"
    if argument in ALWAYS_FLOAT32:
        return "*fp32"
    others = {"seed": "*i64", "kept": "*u8"} | dict.fromkeys(SEQUENCES, "*i32")
    return others.get(argument, f"*{low}")


def main(capability: int, low: str, *pairs: str) -> None:
    for pair in pairs:
        queries, keys = map(int, pair.split("x"))
        said = gpu_kernels.shared_bytes(max(queries, keys), CONSTANTS["WIDTH"], ITEMSIZE[low])
        warps = gpu_kernels.warps(queries, keys, ITEMSIZE[low])
        for kernel in (gpu_kernels._attend, gpu_kernels._attend_backward):
            compiled(kernel, capability, low, said, warps, QUERIES=queries, KEYS=keys)
    for kernel in (gpu_kernels._end, gpu_kernels._end_backward):
        compiled(kernel, capability, low, LEAST_SHARED_BYTES)
    compiled(adam_kernels._squares, capability, low, LEAST_SHARED_BYTES, BLOCK=adam_kernels.BLOCK_OF_SQUARES)
    compiled(adam_kernels._update, capability, low, LEAST_SHARED_BYTES, BLOCK=adam_kernels.BLOCK)


def compiled(kernel: Any, capability: int, low: str, said: int, warps: int = 4, **blocks: int) -> None:
    arguments = list(inspect.signature(kernel.fn).parameters)
    types = {argument: type_of(argument, low) for argument in arguments}
    constants = {(arguments.index(name),): value for name, value in (CONSTANTS | blocks).items() if name in arguments}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(arguments)
        if name != "seed" and (types[name].startswith("*") or name.endswith(ALIGNED))
    }
    source = compiler.ASTSource(kernel, types, constants, aligned)
    made = compiler.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
    asynchronous = made.asm["ptx"].count("wgmma.mma_async")
    print(kernel.fn.__name__, made.metadata.shared, said, asynchronous, stack_bytes(made.asm["cubin"]))  # noqa: T201


def stack_bytes(binary: bytes) -> int:
    """Return the stack bytes per thread of the one kernel in `binary`."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        told = subprocess.run(
            [READS_BINARIES, "-res-usage", file.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
    [found] = re.findall(r"STACK:(\d+)", told.stdout)
    return int(found)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
