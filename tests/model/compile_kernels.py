"""Compile the GPU kernels for a GPU that need not be here: `compile_kernels.py 90 bf16 32x64 64x64`.

Given are its compute capability, the precision of products, and numbers of queries and keys. Printed is the shared
memory that each kernel takes, and what it is said to take at most.
"""

import inspect
import sys

from triton import compiler
from triton.backends.compiler import GPUTarget

from lxmert_tickets.model import gpu_kernels

INTEGERS = ("stride", "n_rows", "n_rows_each", "width")
ITEMSIZE = {"bf16": 2, "fp32": 4}
NUMBERS = ("scale", "dropout", "eps")
ALWAYS_FLOAT32 = (
    "residual", "gain", "shift", "output", "means", "inverse_deviations", "of_output", "of_residual", "of_parameters",
)  # fmt: skip
CONSTANTS = {
    "N_HEADS": 12, "WIDTH": 64, "COLUMNS": 1024, "DROPS": True, "HAS_LOW": True,
}  # fmt: skip


def type_of(argument: str, low: str) -> str:
    """Return the type of a kernel's argument, where products are in the precision `low`."""
    if argument.isupper():
        return "constexpr"
    if argument.endswith(INTEGERS):
        return "i32"
    if argument in NUMBERS:
        return "fp32"
    if argument == "seed":
        return "*i64"
    if argument.endswith(("starts", "lengths")):
        return "*i32"
    return "*fp32" if argument in ALWAYS_FLOAT32 else f"*{low}"


def main(capability: int, low: str, *blocks: str) -> None:
    for block in blocks:
        queries, keys = map(int, block.split("x"))
        compile_all(capability, low, CONSTANTS | {"QUERIES": queries, "KEYS": keys})


def compile_all(capability: int, low: str, given: dict[str, int]) -> None:
    kernels = [gpu_kernels._attend, gpu_kernels._attend_backward, gpu_kernels._end, gpu_kernels._end_backward]
    for kernel in kernels:
        arguments = list(inspect.signature(kernel.fn).parameters)
        types = {argument: type_of(argument, low) for argument in arguments}
        constants = {(arguments.index(name),): value for name, value in given.items() if name in arguments}
        source = compiler.ASTSource(kernel, types, constants)
        compiled = compiler.compile(source, target=GPUTarget("cuda", capability, 32))
        said = gpu_kernels.shared_bytes(max(given["QUERIES"], given["KEYS"]), given["WIDTH"], ITEMSIZE[low])
        print(kernel.fn.__name__, compiled.metadata.shared, said)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
