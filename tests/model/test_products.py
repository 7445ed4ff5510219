"""Processor, size and kind of product decide which of torch's two libraries multiplies."""

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toy_sublayers import feeding, rows, sublayers

from lxmert_tickets.model import on_cpu
from lxmert_tickets.model.places import Places

NAMES = ("LEAST_PRODUCTS", "LEAST_PRODUCTS_OF_INPUTS", "LEAST_PRODUCTS_OF_WEIGHTS")
ALWAYS, NEVER = 1, math.inf


@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_without_avx_512_onednn_never_computes_gradients(monkeypatch: pytest.MonkeyPatch, capability: str) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    of_product, *of_gradients = on_cpu._least_products()
    assert math.isfinite(of_product)
    assert of_gradients == [NEVER, NEVER]


def test_with_avx_512_onednn_computes_large_products_and_smaller_ones_where_mkl_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(on_cpu, "processor", lambda: ("AuthenticAMD", 25))
    others = on_cpu._least_products()
    assert max(others) < NEVER
    monkeypatch.setattr(on_cpu, "processor", lambda: ("AuthenticAMD", 26))
    zen_5 = on_cpu._least_products()
    assert max(zen_5[:2]) < min(others)
    assert zen_5[2] == others[2]


def test_a_torch_built_without_onednn_never_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_has_mkldnn", False)
    assert on_cpu._least_products() == (NEVER, NEVER, NEVER)


class Multiplied(TorchDispatchMode):
    """Notes the shapes of oneDNN's products."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        if operator is torch.ops.mkldnn._linear_pointwise.default:
            self.shapes.append(tuple(result.shape))
        return result


@pytest.mark.parametrize(
    ("least", "shapes"),
    [
        ((ALWAYS, NEVER, NEVER), [(6, 20), (6, 48)]),
        ((NEVER, ALWAYS, NEVER), [(6, 20), (6, 48)]),
        ((NEVER, NEVER, ALWAYS), [(48, 20), (20, 48)]),
        ((NEVER, NEVER, NEVER), []),
    ],
    ids=["products", "gradients of inputs", "gradients of weights", "nothing"],
)
def test_each_kind_of_product_has_its_own_least_size_for_onednn(
    monkeypatch: pytest.MonkeyPatch, least: tuple[float, ...], shapes: list[tuple[int, int]]
) -> None:
    for name, value in zip(NAMES, least, strict=True):
        monkeypatch.setattr(on_cpu, name, value)
    with Multiplied() as forward:
        [output] = sublayers([rows(6)], [Places(2, 3)], [feeding()])
    with Multiplied() as backward:
        output.sum().backward()
    of_products, of_gradients = (shapes, []) if least[0] == ALWAYS else ([], shapes)
    assert forward.shapes == of_products
    assert backward.shapes == of_gradients
