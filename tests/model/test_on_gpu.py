"""Each function for GPUs gives the outputs and gradients of the plain implementation (see `kernels_here`)."""

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy_sublayers
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from kernels_here import DEVICE, LOW, MARKS, _way, four_each, philox  # noqa: F401 (a fixture)
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from toy_sublayers import H, are_tokens, gradients_of, one_way, sublayers

from lxmert_tickets.model import adam_kernels, gpu_kernels, on_gpu, operators
from lxmert_tickets.model.places import Places

pytestmark = MARKS
ON_DEVICE = (toy_sublayers.rows, toy_sublayers.attending, toy_sublayers.feeding)
rows, attending, feeding = (partial(make, device=DEVICE) for make in ON_DEVICE)
# The interpreter is slow.
few = settings(max_examples=3 if DEVICE.type == "cpu" else 30, deadline=None, phases=[Phase.explicit, Phase.generate])


def outcome(
    operator: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor], every: Sequence[Places]
) -> list[Tensor]:
    """Return the output of `operator` at tokens, and the gradients that `inputs` get from there."""
    output = torch.cat(list(operator()))
    torch.manual_seed(8)
    tokens = torch.cat([are_tokens(places.apart).to(DEVICE) for places in every])
    gradient = torch.randn(output.shape).to(DEVICE) * tokens[:, None]
    return [output.detach()[tokens], *gradients_of(output, inputs, gradient)]


def agree(operator: Callable[[], Sequence[Tensor]], inputs: Sequence[Tensor], *every: Places) -> bool:
    found = outcome(operator, inputs, every)
    # Of torch's attentions, the one whose products are those of `torch.matmul`: on a GPU, others put them together from
    # less precise ones, and near 0, as gradients of keys' biases are, errors come close to the tolerance.
    with pytest.MonkeyPatch.context() as patch, sdpa_kernel(SDPBackend.MATH):
        patch.setattr(operators, "engine_of", lambda *_: None)
        expected = outcome(operator, inputs, every)
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found, expected, strict=True))


def padded(lengths: list[int], n_places: int, n_rows: int) -> Places:
    present = (torch.arange(n_places) < torch.tensor(lengths)[:, None]).to(DEVICE)
    return Places.of(len(lengths), n_places, present, n_rows)


lengths = st.lists(st.integers(1, 18), min_size=2, max_size=2)
places = st.one_of(
    st.builds(Places, st.just(2), st.integers(1, 7)),
    lengths.map(lambda given: padded(given, 18, 2 * 18)),
    lengths.map(lambda given: padded(given, 18, sum(given) + 2)),
)
"""Of two sequences: without padding, padded, packed."""
shared = st.one_of(places, st.builds(lambda n: Places(1, n).shared_by(torch.tensor([0, 0], device=DEVICE)), st.just(5)))
"""Also of two that share their rows."""
SHARED = Places(1, 5).shared_by(torch.tensor([0, 0], device=DEVICE))


@few
@given(places, shared)
@example(Places(2, 3), SHARED)
def test_attention_from_one_stream_to_another_matches_the_plain_implementation(
    of_rows: Places, of_context: Places
) -> None:
    given, part = [rows(of_rows.n_rows), rows(of_context.n_rows, seed=1)], attending()
    assert agree(lambda: one_way(given, [of_rows, of_context], part), [*given, *part.parameters()], of_rows)


@few
@given(places, shared)
@example(Places(2, 3), SHARED)
def test_attention_between_two_streams_matches_the_plain_implementation(one: Places, other: Places) -> None:
    given, part = [rows(one.n_rows), rows(other.n_rows, seed=1)], attending()
    assert agree(lambda: sublayers(given, [one, other], [part]), [*given, *part.parameters()], one, other)


@few
@given(places, st.permutations(["attention", "feed-forward", "feed-forward"]))
def test_consecutive_sublayers_match_the_plain_implementation(its: Places, kinds: list[str]) -> None:
    given = rows(its.n_rows)
    parts = [attending() if kind == "attention" else feeding() for kind in kinds]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    assert agree(lambda: sublayers([given], [its], parts), [given, *parameters], its)


def test_attention_writes_no_row_outside_all_sequences() -> None:
    n_rows = 10
    its = padded([3, 5], 6, n_rows)  # packed, with two rows left over
    given = [rows(n_rows, H, seed).detach() for seed in range(4)]
    heads = on_gpu._heads_of(its, its, 3, torch.tensor([7], device=DEVICE), 0.0)
    written = [torch.full_like(given[0], torch.nan) for _ in range(4)]
    gpu_kernels.attend(*given[:3], written[0], heads)
    gpu_kernels.attend_backward(*given, *written[1:], heads)
    for each in written:
        assert each.isnan().all(dim=1).tolist() == [False] * 8 + [True] * 2
        assert each[:8].isfinite().all()


def test_huge_attention_logits_give_finite_outputs_and_gradients() -> None:
    its, part = Places(1, 2), attending()
    given = torch.full((2, H), 1e4, device=DEVICE).requires_grad_()
    [attended] = sublayers([given], [its], [part])
    attended.sum().backward()
    assert attended.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in (given, *part.parameters()))


NEEDED = gpu_kernels.shared_bytes(36, 64, itemsize=4)


@pytest.mark.parametrize(
    ("width", "dtype", "shared_bytes", "expected"),
    [
        (64, torch.float32, NEEDED, True),
        (64, torch.float32, NEEDED - 1, False),
        (64, torch.float64, 2 * NEEDED, False),
        (48, torch.float32, NEEDED, False),  # no power of two
        (8, torch.float32, NEEDED, False),
        (16, torch.float32, None, True),  # none said
        (64, torch.float32, None, False),
    ],
)
def test_rows_are_taken_if_they_are_float32_and_their_heads_fit_the_gpu(
    monkeypatch: pytest.MonkeyPatch, width: int, dtype: torch.dtype, shared_bytes: int | None, expected: bool
) -> None:
    said = {} if shared_bytes is None else {"shared_memory_per_block_optin": shared_bytes}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(**said))
    assert on_gpu.takes(torch.zeros(2, 3 * width, dtype=dtype), [Places(1, 20), Places(1, 36)], 3) is expected


def test_each_use_of_dropout_has_its_own_probability_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[float, int]] = []
    attend, end = gpu_kernels.attend, gpu_kernels.end

    def noted_attend(*tensors_and_heads: Any) -> None:
        heads = tensors_and_heads[-1]
        used.append((heads.dropout, int(heads.seed[0])))
        attend(*tensors_and_heads)

    def noted_end(*given: Any) -> Any:
        *_, seed, dropout = given
        used.append((dropout, int(seed[0])))
        return end(*given)

    monkeypatch.setattr(gpu_kernels, "attend", noted_attend)
    monkeypatch.setattr(gpu_kernels, "end", noted_end)
    its, given = Places(2, 3), rows(6)
    parts, last = [feeding(), attending((0.2, 0.3))], attending((0.4, 0.5))
    sublayers([given, given], [its, its], parts)
    one_way([given, given], [its, its], last)
    assert [dropout for dropout, _ in used] == [0.0, 0.3, 0.3, 0.2, 0.5, 0.4]
    assert len({seed for _, seed in used}) == len(used)


REAL = [(36, 36, 0.1), (1, 20, 0.1), (20, 36, 0.0), (36, 20, 0.1), (20, 20, 0.1)]
"""Numbers of LXMERT's queries and keys on VQA v2, and a dropout."""


@pytest.mark.parametrize(("n_queries", "n_keys", "dropout"), REAL[:2] if DEVICE.type == "cpu" else REAL)
def test_attention_of_real_size_is_accurate_in_the_precision_of_products(
    n_queries: int, n_keys: int, dropout: float
) -> None:
    n_heads, n_sequences = (1, 2) if DEVICE.type == "cpu" else (12, 32)
    shapes = (n_sequences, n_queries), (n_sequences, n_keys), (n_sequences, n_keys), (n_sequences, n_queries)
    width, (of_queries, of_keys) = 64 * n_heads, (Places(*shape) for shape in shapes[:2])
    q, k, v, gradient = (rows(n * each, width, seed).detach().to(LOW) for seed, (n, each) in enumerate(shapes))
    heads = on_gpu._heads_of(of_queries, of_keys, n_heads, torch.tensor([7], device=DEVICE), dropout)
    attended, (of_q, of_k, of_v) = torch.empty_like(q), map(torch.empty_like, (q, k, v))
    gpu_kernels.attend(q, k, v, attended, heads)
    gpu_kernels.attend_backward(gradient, q, k, v, of_q, of_k, of_v, heads)
    values = torch.eye(n_keys, 64, device=DEVICE, dtype=LOW).repeat(n_sequences, n_heads)
    kept = torch.empty_like(q)
    gpu_kernels.attend(q, k, values, kept, heads)  # so the output is the attention weights

    def by_head(tensor: Tensor, n_places: int) -> Tensor:
        return tensor.double().view(n_sequences, n_places, n_heads, 64).transpose(1, 2)

    exact = [by_head(tensor, n).requires_grad_() for tensor, (_, n) in zip((q, k, v), shapes, strict=False)]
    weights = torch.softmax(exact[0] @ exact[1].transpose(2, 3) / 8, dim=3)
    weights = weights * (by_head(kept, n_queries)[..., :n_keys] > 0) / (1 - dropout)
    expected = weights @ exact[2]
    expected.backward(by_head(gradient, n_queries))
    pairs = [(attended, expected), *((of, tensor.grad) for of, tensor in zip((of_q, of_k, of_v), exact, strict=True))]
    for found, right in pairs:
        assert right is not None
        error = torch.linalg.vector_norm(by_head(found, right.shape[2]) - right) / torch.linalg.vector_norm(right)
        assert error.item() < 0.015


@pytest.mark.parametrize("n_rows", [1, 3, 7])
def test_results_do_not_depend_on_how_rows_are_shared_among_programs(
    monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    monkeypatch.setattr(gpu_kernels, "PROGRAMS", 3)
    given, part, its = rows(n_rows), feeding(), Places(n_rows, 1)
    assert agree(lambda: sublayers([given], [its], [part]), [given, *part.parameters()], its)


@pytest.mark.parametrize("dropouts", [(0.4, 0.0), (0.0, 0.4), (0.3, 0.3)])
def test_gradients_with_dropout_match_finite_differences(dropouts: tuple[float, float]) -> None:
    one, other = padded([3, 5], 6, 10), Places(2, 4)
    given, part = [rows(one.n_rows), rows(other.n_rows, seed=1)], attending(dropouts)
    chosen = [*given, part.projections[0].weight, part.projections[2].weight, part.dense.bias, part.norm.weight]

    def output(shift: float = 0.0) -> Tensor:
        torch.manual_seed(3)
        with torch.no_grad():
            torch._foreach_add_(chosen, directions, alpha=shift)
        return (torch.cat(list(sublayers(given, [one, other], [part]))) * weights).sum()

    torch.manual_seed(4)
    directions = [torch.randn(tensor.shape).to(DEVICE) for tensor in chosen]
    tokens = torch.cat([are_tokens(places).to(DEVICE) for places in (one, other)])
    weights = torch.randn(len(tokens), H).to(DEVICE) * tokens[:, None]
    gradients = gradients_of(output(), chosen, torch.ones((), device=DEVICE))
    along = sum(float((a * b).sum()) for a, b in zip(gradients, directions, strict=True))
    step = 2e-3
    before, after = output(-step).item(), output(2 * step).item()
    assert (after - before) / (2 * step) == pytest.approx(along, rel=0.01)


def test_random_numbers_are_those_of_triton() -> None:
    n, seed = 16, 2**40 + 5
    drawn = torch.zeros(4, n, device=DEVICE)
    four_each[(1,)](torch.tensor([seed], device=DEVICE), drawn, COUNT=n)
    assert np.array_equal(drawn.cpu(), philox(seed, np.arange(n, dtype=np.int32)))


def test_dropout_keeps_the_right_share_and_depends_only_on_the_seed() -> None:
    its, part, given = Places(24, 1), feeding(0.25), rows(24).detach()

    def kept(seed: int) -> Tensor:
        seeds = torch.tensor([seed], device=DEVICE)
        ones, zeros = torch.ones_like(given), torch.zeros_like(given)
        gain, shift = torch.ones(H, device=DEVICE), torch.zeros(H, device=DEVICE)
        output, *_ = gpu_kernels.end(ones, zeros, gain, shift, 1e-12, seeds, 0.25)
        return output > 0  # 1 / 0.75 lies above the row's mean, 0 below

    assert kept(1).float().mean().item() == pytest.approx(0.75, abs=0.05)
    assert torch.equal(kept(1), kept(1))
    assert (kept(1) == kept(2)).float().mean().item() == pytest.approx(0.75**2 + 0.25**2, abs=0.06)

    def output(seed: int) -> Tensor:
        torch.manual_seed(seed)
        [output] = sublayers([given], [its], [part, part])
        return output

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))


def test_whether_dropout_keeps_a_value_is_independent_of_its_neighbours() -> None:
    n, width, n_heads, n_sequences = 16, 16, 3, 24
    its, seeds = Places(n_sequences, n), torch.tensor([5], device=DEVICE)
    zeros, ones = torch.zeros(2, n_sequences * n, n_heads * width, device=DEVICE), torch.ones(2, 500, H, device=DEVICE)
    values = torch.eye(n, device=DEVICE).repeat(n_sequences, n_heads)  # so the output is the attention weights
    attended = torch.empty_like(values)
    gpu_kernels.attend(*zeros, values, attended, on_gpu._heads_of(its, its, n_heads, seeds, 0.25))
    output, *_ = gpu_kernels.end(ones[0], torch.zeros_like(ones[0]), ones[1, 0], 0 * ones[1, 0], 1e-12, seeds, 0.25)
    for kept in (attended > 0, output > 0):
        assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
        for apart in (1, 2, 3, 4, 8, 16):
            beside, below = (kept[:, apart:], kept[:, :-apart]), (kept[apart:], kept[:-apart])
            aslant = (kept[1:, apart:], kept[:-1, :-apart]), (kept[:-1, apart:], kept[1:, :-apart])
            for one, other in (beside, below, *aslant):
                alike = (one == other).float().mean().item()
                assert alike == pytest.approx(0.75**2 + 0.25**2, abs=0.02)


def test_streams_that_attend_to_each_other_have_separate_dropout() -> None:
    its, same = Places(2, 3), rows(6).detach()
    language, vision = sublayers([same, same], [its, its], [attending()])
    assert torch.allclose(language, vision)
    language, vision = sublayers([same, same], [its, its], [attending((0.0, 0.5))])
    assert not torch.allclose(language, vision)


@pytest.mark.parametrize("kernel", ["attend", "attend_backward", "end", "end_backward", "norm_of", "update"])
def test_if_a_kernel_cannot_be_built_the_plain_implementation_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kernel: str
) -> None:
    monkeypatch.setattr(on_gpu, "DEVICE", DEVICE)
    monkeypatch.setattr(on_gpu, "LOW", LOW)
    assert operators._on_gpu.__wrapped__() is on_gpu
    module = gpu_kernels if hasattr(gpu_kernels, kernel) else adam_kernels
    monkeypatch.setattr(module, kernel, lambda *_, **__: 1 / 0)
    assert operators._on_gpu.__wrapped__() is None
    assert "slower operators compute: division by zero" in caplog.text


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("Triton Error [CUDA]: out of memory")]
)
def test_a_full_gpu_raises_instead_of_falling_back_to_the_plain_implementation(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full() -> None:
        raise error

    monkeypatch.setattr(on_gpu, "try_out", full)
    with pytest.raises(type(error), match="out of memory"):
        operators._on_gpu.__wrapped__()
