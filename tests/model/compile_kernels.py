"""Compile the GPU kernels for a GPU that need not be here: `compile_kernels.py 90 bf16 32x64 64x64`.

Given are its compute capability, the precision of products, and numbers of queries and keys. Printed is the shared
memory that each kernel takes, what it is said to take at most, and how many of its products are asynchronous.
"""

import inspect
import sys
from typing import Any

from triton import compiler
from triton.backends.compiler import GPUTarget

from lxmert_tickets.model import adam_kernels, gpu_kernels
from lxmert_tickets.model.on_gpu import LEAST_SHARED_BYTES

INTEGERS = ("stride", "n_rows", "n_rows_each", "width")
ITEMSIZE = {"bf16": 2, "fp32": 4}
NUMBERS = ("scale", "dropout", "eps", "beta1", "beta2", "rest1", "rest2", "weight_decay", "clip_norm")
SEQUENCES = ("q_starts", "q_lengths", "k_starts", "k_lengths")
ALWAYS_FLOAT32 = (
    "residual", "gain", "shift", "output", "means", "inverse_deviations", "of_output", "of_residual", "of_parameters",
    "gradient", "weights", "exp_avg", "exp_avg_sq", "rate", "norm", "corrections", "sums",
)  # fmt: skip
CONSTANTS = {
    "N_HEADS": 12, "WIDTH": 64, "COLUMNS": 1024, "DROPS": True, "HAS_LOW": True, "IS_MASKED": True,
}  # fmt: skip


def type_of(argument: str, low: str) -> str:
    """Return the type of a kernel's argument, where products are in the precision `low`."""
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
        for kernel in (gpu_kernels._attend, gpu_kernels._attend_backward):
            compiled(kernel, capability, low, said, QUERIES=queries, KEYS=keys)
    for kernel in (gpu_kernels._end, gpu_kernels._end_backward):
        compiled(kernel, capability, low, LEAST_SHARED_BYTES)
    compiled(adam_kernels._squares, capability, low, LEAST_SHARED_BYTES, BLOCK=adam_kernels.BLOCK_OF_SQUARES)
    compiled(adam_kernels._update, capability, low, LEAST_SHARED_BYTES, BLOCK=adam_kernels.BLOCK)


def compiled(kernel: Any, capability: int, low: str, said: int, **blocks: int) -> None:
    arguments = list(inspect.signature(kernel.fn).parameters)
    types = {argument: type_of(argument, low) for argument in arguments}
    constants = {(arguments.index(name),): value for name, value in (CONSTANTS | blocks).items() if name in arguments}
    source = compiler.ASTSource(kernel, types, constants)
    made = compiler.compile(source, target=GPUTarget("cuda", capability, 32))
    print(kernel.fn.__name__, made.metadata.shared, said, made.asm["ptx"].count("wgmma.mma_async"))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
