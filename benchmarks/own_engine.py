"""Our side of training and evaluation: the real loop and the real answering pass, timed from outside."""

import gc
import os
import resource
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import torch
from torch import Tensor

from benchmarks.contenders import typical_step
from benchmarks.made_up_data import recipe_of, sizes
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import EncodedQuestions, load_questions
from lxmert_tickets.model import aside, layers, lxmert, operators
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights
from lxmert_tickets.model.lxmert import LxmertForVqa
from lxmert_tickets.training import batches as batches_module
from lxmert_tickets.training import regions as regions_module
from lxmert_tickets.training import steps
from lxmert_tickets.training.answering import answer_all
from lxmert_tickets.training.batches import VqaData, n_rows_on, open_vqa_data
from lxmert_tickets.training.device import best_device, set_up_process
from lxmert_tickets.training.loop import train
from lxmert_tickets.training.regions import Regions


class TimedData(VqaData):
    """Data that records when the loop requests each batch: the time between two is a step."""

    asked: list[float]

    def shuffled(self, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
        self.asked = []
        for rows in self.in_order(super().shuffled(batch_size, seed, epoch)):
            self.note_time()
            yield rows
        self.note_time()

    def in_order(self, every: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
        return every

    def note_time(self) -> None:
        self.asked.append(time.perf_counter())


class TimedDataOnGpu(TimedData):
    """Synchronises at the first and last timed step, since GPUs run asynchronously; at the first, waits for `others`.

    Batches are ordered so that no graph needs to be captured in between.
    """

    waits_at: tuple[int, int]
    others: "Others | None" = None

    def in_order(self, every: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
        every = list(every)
        return [every[place] for place in shapes_first(self.shapes_of(every))]

    def shapes_of(self, every: Iterable[np.ndarray]) -> list[int | None]:
        """Return what determines each batch's graph; raises RuntimeError if timing begins before all are captured."""
        shapes = [n_rows_on(self.device, self.questions.length[rows]) for rows in every]
        if self.waits_at[0] < steps.FIRST_STEPS + 2 * len(set(shapes)):
            raise RuntimeError(
                f"{self.waits_at[0]} steps before the timed ones are too few for {len(set(shapes))} graphs"
            )
        return shapes

    def note_time(self) -> None:
        if len(self.asked) in self.waits_at:
            torch.cuda.synchronize()
        if len(self.asked) == self.waits_at[0] and self.others is not None:
            self.others.wait()
        super().note_time()


def shapes_first(shapes: Sequence[Hashable]) -> list[int]:
    """Return an order of `shapes`, as indices: first some of the most frequent shape, which are plain steps anyway.

    Then two of each shape, a plain step and one that captures its graph; then the rest in their original order.
    """
    places = defaultdict(list)
    for place, shape in enumerate(shapes):
        places[shape].append(place)
    by_frequency = sorted(places.values(), key=len, reverse=True)
    first = by_frequency[0][: steps.FIRST_STEPS]
    by_frequency[0] = by_frequency[0][steps.FIRST_STEPS :]
    first += [place for alike in by_frequency for place in alike[:2]]
    return first + sorted(set(range(len(shapes))) - set(first))


@dataclass(frozen=True)
class Others:
    """Processes that start timing together: each signals in `folder` that it is ready."""

    folder: Path
    n: int  # including this one

    def wait(self, patience_seconds: float = 60) -> None:
        """Return when all are ready; raises TimeoutError after `patience_seconds`."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / str(os.getpid())).touch()
        end = time.monotonic() + patience_seconds
        while len(list(self.folder.iterdir())) < self.n:
            if time.monotonic() > end:
                raise TimeoutError(f"of {self.n} trainings not all came to their first timed step")
            time.sleep(0.001)


TOGETHER = "together-"
"""Prefix of the variation that waits for others; the number of processes follows."""
ONE_SHAPE = 128
"""In the variation "compiled", rows per batch are a multiple of this: torch.compile recompiles for each number."""
LARGE_BATCH, FIRST_LARGE = 256, 12
"""Questions per step in the variation "large", and its untimed first steps."""


def train_some_steps(folder: str, name: str, *variations: str) -> dict[str, float]:
    """Return the training loop's samples per second, from requesting a batch to the end of its step, and its memory.

    `variations` are for a GPU: "plain" uses no CUDA graphs, "unfused" none of our kernels, "in line" runs nothing
    concurrently, "deterministic" gives the same bytes every time, "streamed" keeps the features in host memory, "large"
    takes 256 questions per step, "compiled" lets torch.compile fuse the plain operators, "together-3" waits for two
    other processes before timing.
    """
    gc.freeze()  # as every job does
    set_up_process(torch.get_num_threads(), "deterministic" in variations)
    size, files, device = sizes()[name], Path(folder), best_device()
    recipe, first_steps, timed_steps = recipe_of(size), size.first_steps, size.timed_steps
    if "large" in variations:
        recipe = msgspec.structs.replace(recipe, batch_size=LARGE_BATCH)
        first_steps, timed_steps = FIRST_LARGE, size.n_trained // LARGE_BATCH - FIRST_LARGE
    with _varied(variations):
        questions, regions = load_questions(files / "train.h5"), Regions(open_features(files / "features.h5"), device)
        data = (TimedDataOnGpu if device.type == "cuda" else TimedData)(questions, regions, device)
        if isinstance(data, TimedDataOnGpu):
            data.waits_at = first_steps, first_steps + timed_steps
            data.others = _others(files, variations)
        network = network_of(files, recipe.hidden_dropout, recipe.attention_dropout)
        vocab_size = network.architecture.vocab_size
        val = open_vqa_data(files / "val.h5", files / "features.h5", device, vocab_size, like=data)
        train(network, data, val, recipe, seed=0)
    timed = data.asked[first_steps : first_steps + timed_steps + 1]
    # A GPU is synchronised only at the first and the last of them.
    step = (timed[-1] - timed[0]) / timed_steps if device.type == "cuda" else typical_step(timed)
    return {
        "rate": recipe.batch_size / step,
        "step_seconds": step,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "gpu_bytes": _gpu_bytes() if device.type == "cuda" else 0,
        "began": timed[0],
        "ended": timed[-1],
    }


def _gpu_bytes() -> int:
    """Return the GPU memory in use by all, including CUDA and the kernels it loads, which torch does not count."""
    free_bytes, all_bytes = torch.cuda.mem_get_info()
    return all_bytes - free_bytes


def _others(files: Path, variations: Sequence[str]) -> Others | None:
    numbers = [int(variation.removeprefix(TOGETHER)) for variation in variations if variation.startswith(TOGETHER)]
    return Others(files / f"{TOGETHER}{numbers[0]}", numbers[0]) if numbers else None


@contextmanager
def _varied(variations: Sequence[str]) -> Iterator[None]:
    """Run the engine with parts of it switched off or changed, to see what they contribute."""
    graphed, share, engine_of = steps.GraphedStep, regions_module.SHARE_OF_GPU, operators.engine_of
    rows_step = batches_module.GPU_ROWS_STEP
    adam_kernels, using = operators.adam_kernels, aside.using
    if "in line" in variations:
        aside.using = lambda _: nullcontext()
    if "unfused" in variations:
        operators.engine_of = lambda *_: None
    if "plain" in variations:
        steps.GraphedStep = steps.Step  # type: ignore[misc]
    if "compiled" in variations:
        _compile()
        batches_module.GPU_ROWS_STEP = ONE_SHAPE
    if {"unfused", "compiled"} & set(variations):
        operators.adam_kernels = lambda: None
    if "streamed" in variations:
        regions_module.SHARE_OF_GPU = 0.0
    yield
    aside.using = using
    operators.engine_of, operators.adam_kernels = engine_of, adam_kernels
    steps.GraphedStep, regions_module.SHARE_OF_GPU = graphed, share  # type: ignore[misc]
    batches_module.GPU_ROWS_STEP = rows_step


def _compile(backend: str = "inductor") -> None:
    """Use torch.compile for the training network, for the rest of this process: plain operators, as one graph."""
    operators._engine = SimpleNamespace(get=lambda: None)  # type: ignore[assignment]
    lxmert.together = lambda run, every, n_heads, *inputs: run(*inputs)
    layers.select = lambda rows, index: rows.index_select(0, index)
    plain, compiled = LxmertForVqa.forward, torch.compile(LxmertForVqa.forward, backend=backend, fullgraph=True)

    def forward(network: LxmertForVqa, *inputs: object) -> Tensor:
        return (compiled if network.training else plain)(network, *inputs)  # validation is not timed

    LxmertForVqa.forward = forward  # type: ignore[method-assign]


def answer_questions(folder: str, name: str) -> dict[str, float]:
    """Return questions per second of the answering pass."""
    set_up_process(torch.get_num_threads())
    files, device = Path(folder), best_device()
    questions, regions = load_questions(files / "evaluate.h5"), Regions(open_features(files / "features.h5"), device)
    network = network_of(files)
    # A GPU loads kernels and allocates memory for each shape.
    first = questions if device.type == "cuda" else first_of(questions, 32)
    answer_all(network, VqaData(first, regions, device), "auto")
    del regions
    started = time.perf_counter()
    regions = Regions(open_features(files / "features.h5"), device)  # read from the file, or copied to the GPU
    answer_all(network, VqaData(questions, regions, device), "auto")  # the answers are on the CPU when it returns
    return {"rate": len(questions) / (time.perf_counter() - started)}


def first_of(questions: EncodedQuestions, n: int) -> EncodedQuestions:
    """Return the first `n` questions."""
    last_label = questions.label_start[n]
    return replace(
        questions,
        **{name: getattr(questions, name)[:n] for name in ("question_id", "image_row", "input_ids", "length")},
        label_start=questions.label_start[: n + 1],
        label_answer=questions.label_answer[:last_label],
        label_score=questions.label_score[:last_label],
    )


def network_of(files: Path, hidden_dropout: float = 0.0, attention_dropout: float = 0.0) -> LxmertForVqa:
    """Return the network with the start weights, on the device."""
    network = build_network(
        *load_weights(files / "start.safetensors"), hidden_dropout=hidden_dropout, attention_dropout=attention_dropout
    )
    return network.to(best_device())


CONTENDERS = {"train": train_some_steps, "evaluate": answer_questions}
