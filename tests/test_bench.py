"""Benchmarks give both sides equal work, and count right what it needs."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up_vqa2 import made_up_texts
from torch.utils.data import DataLoader
from toys import CPU, TINY, changed, random_weights, save_toy_features, toy_features, toy_questions

from benchmarks import contenders, needed_flops, network_at_scale, peer_engine
from benchmarks.accuracy_scoring import write_inputs
from benchmarks.contenders import PROJECT
from benchmarks.demo_run import Job, import_seconds, jobs_of, script_of_rules, split_of
from benchmarks.made_up_data import recipe_of, sizes, write_features
from benchmarks.needed_flops import answering_flops, count, mean_flops, training_flops, vision_flops
from benchmarks.own_engine import TimedData, first_of, network_of
from benchmarks.plain_accuracy import plain_scores
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import save_questions
from lxmert_tickets.data.vqa_json import Annotation
from lxmert_tickets.evaluation.accuracy import score_predictions
from lxmert_tickets.model.architecture import Architecture
from lxmert_tickets.model.checkpoints import save_weights
from lxmert_tickets.model.lxmert import vqa_loss
from lxmert_tickets.training.batches import open_vqa_data

AWKWARD = ("Yes", "yes", "a dog", "1,000 t-shirts", "2", "two", "t-shirt", "dont", "no.\n", "a/c", "3.5", "none", "")


def counted_by_hand(arch: Architecture, tokens: int, regions: int) -> tuple[int, int]:
    """Return the multiply-adds of answering one question, and of the part that depends on the image alone."""
    hidden = arch.hidden_size

    def attention(queries: int, keys: int) -> int:
        return (2 * queries + 2 * keys) * hidden**2 + 2 * queries * keys * hidden

    def feed_forward(n: int) -> int:
        return 2 * n * hidden * arch.intermediate_size

    def layer(n: int) -> int:
        return attention(n, n) + feed_forward(n)

    of_vision = regions * (arch.feature_dim + 4) * hidden + arch.n_vision_layers * layer(regions)
    crossing = attention(tokens, regions)
    both_ways = crossing + attention(regions, tokens) + layer(tokens) + layer(regions)
    last = crossing + attention(1, tokens) + feed_forward(1)
    head = hidden**2 + hidden * 2 * hidden + 2 * hidden * arch.n_answers
    language = arch.n_language_layers * layer(tokens)
    # The first cross layer's queries, keys and values of an image are the same for all questions too.
    once = of_vision + 3 * regions * hidden**2
    return of_vision + language + (arch.n_cross_layers - 1) * both_ways + last + head, once


@pytest.mark.parametrize(("tokens", "regions"), [(5, 3), (9, 12)])
def test_needed_flops_are_those_of_the_matrix_products(tokens: int, regions: int) -> None:
    whole, vision = counted_by_hand(TINY, tokens, regions)
    assert answering_flops(TINY, tokens, regions) == 2 * whole
    assert vision_flops(TINY, regions) == 2 * vision


def test_training_needs_a_product_for_each_gradient_except_those_of_features_and_boxes() -> None:
    forward = answering_flops(TINY, 6, 4)
    inputs = 2 * 4 * (TINY.feature_dim + 4) * TINY.hidden_size
    assert training_flops(TINY, 6, 4) == 3 * forward - inputs
    assert training_flops(changed(TINY, n_answers=70), 6, 4) > 3 * forward


@pytest.mark.parametrize("flops_of", [training_flops, answering_flops])
def test_mean_flops_over_questions_of_any_length_equal_the_exact_mean(
    flops_of: Callable[[Architecture, int, int], int],
) -> None:
    lengths = np.array([2, 3, 7, 16, 19])
    exact = np.mean([flops_of(TINY, int(length), 4) for length in lengths])
    assert mean_flops(flops_of, TINY, lengths, 4) == pytest.approx(exact, rel=1e-9)


def test_an_image_is_seen_once_for_all_its_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "evaluate"):
        save_questions(tmp_path / f"{split}.h5", toy_questions(6, 2), {})
    save_weights(tmp_path / "start.safetensors", random_weights(), TINY, {})
    monkeypatch.setattr(needed_flops, "QUESTIONS_PER_IMAGE", 4)
    n_regions, lengths = sizes()["base"].n_regions, toy_questions(6, 2).length
    found = count(str(tmp_path), "base")
    apart = np.mean([answering_flops(TINY, int(length), n_regions) for length in lengths])
    assert found["evaluate"] == pytest.approx(apart - 3 / 4 * vision_flops(TINY, n_regions))
    assert found["train"] == pytest.approx(np.mean([training_flops(TINY, int(n), n_regions) for n in lengths]))


def test_ours_and_the_peer_compute_the_same_loss_of_the_same_questions(tmp_path: Path) -> None:
    save_questions(tmp_path / "train.h5", toy_questions(12, 4), {})
    write_features(tmp_path / "features.h5", 4, 3, TINY.feature_dim)
    longer = changed(TINY, max_positions=20)
    save_weights(tmp_path / "start.safetensors", random_weights(longer), longer, {})
    batch = next(iter(DataLoader(peer_engine.Questions(tmp_path, "train"), batch_size=12)))
    labels = batch.pop("labels")
    outputs = peer_engine._network(tmp_path).eval()(**batch)
    data = open_vqa_data(tmp_path / "train.h5", tmp_path / "features.h5", CPU, TINY.vocab_size)
    logits = network_of(tmp_path).to(CPU).eval()(*data.batch(np.arange(12)))
    assert torch.allclose(logits, outputs.question_answering_score, rtol=1e-4, atol=1e-5)
    expected = vqa_loss(logits, data.targets(np.arange(12)))
    assert torch.allclose(peer_engine.loss_of(outputs, labels), expected, rtol=1e-5)


def test_data_workers_of_the_peer_read_the_batches_that_it_reads_without_them(tmp_path: Path) -> None:
    questions = toy_questions(12, 4)
    save_questions(tmp_path / "train.h5", questions, {})
    write_features(tmp_path / "features.h5", 4, 3, 5)
    features = open_features(tmp_path / "features.h5").features
    alone, shared = (
        list(DataLoader(peer_engine.Questions(tmp_path, "train"), batch_size=4, num_workers=n)) for n in (0, 2)
    )
    assert [set(batch) for batch in shared] == [set(batch) for batch in alone]
    assert all(torch.equal(a[key], b[key]) for a, b in zip(alone, shared, strict=True) for key in a)
    assert np.array_equal(shared[0]["visual_feats"].numpy(), features[questions.image_row[:4]].astype(np.float32))


def scored_both_ways(annotations: list[dict[str, object]], predictions: list[tuple[int, str]]) -> tuple[object, object]:
    typed = msgspec.convert(annotations, tuple[Annotation, ...])
    return score_predictions(typed, predictions).as_json(), plain_scores(annotations, predictions)


def test_the_plain_accuracy_equals_ours_on_made_up_questions(tmp_path: Path) -> None:
    write_inputs(tmp_path / "made.json", made_up_texts(), 300)
    made = json.loads((tmp_path / "made.json").read_text())
    ours, plain = scored_both_ways(made["annotations"], [(number, answer) for number, answer in made["predictions"]])
    assert ours == plain


@given(st.lists(st.tuples(st.lists(st.sampled_from(AWKWARD), min_size=1, max_size=10), st.sampled_from(AWKWARD))))
def test_the_plain_accuracy_equals_ours_on_awkward_answers(asked: list[tuple[list[str], str]]) -> None:
    cases = [*asked, (["yes"] * 9 + ["Yes"], "yes"), (["Yes"] * 10, "yes")]  # unanimous: capitals count
    annotations = [
        {
            "question_id": number, "image_id": 1, "question_type": f"kind {number % 3}", "answer_type": "other",
            "multiple_choice_answer": answers[0],
            "answers": [
                {"answer": answer, "answer_id": place % 4, "answer_confidence": "yes"}
                for place, answer in enumerate(answers)
            ],
        }
        for number, (answers, _) in enumerate(cases)
    ]  # fmt: skip
    ours, plain = scored_both_ways(annotations, [(number, answer) for number, (_, answer) in enumerate(cases)])
    assert ours == plain


def test_parts_of_the_demo_add_up_to_the_whole() -> None:
    jobs = [Job("retrain", 20.0), Job("pretrain", 62.0, threads=2), Job("score", 3.0), Job("score", 1.0)]
    split = split_of(jobs, {"retrain": 4.0, "pretrain": 2.0, "score": 2.0}, whole_seconds=100.0, n_cores=2)
    assert split.training == 16 / 2 + 60
    assert split.imports == (4 + 2 * 2 + 2 + 1) / 2
    assert split.other_jobs == 1 / 2
    assert split.training + split.imports + split.other_jobs + split.snakemake_and_waiting == 100


def test_jobs_are_found_by_their_rule_even_where_a_model_adds_a_folder(tmp_path: Path) -> None:
    for name in ("finetune.0.tsv", "predict.0.random/s50.tsv", "pretrain.tsv", "draw_images.val.tsv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("s\th:m:s\n2.5\t0:00:02\n")
    found = jobs_of(tmp_path, 2)
    assert [(job.rule, job.threads) for job in found if job.seconds == 2.5] == [
        ("draw_images", 1),
        ("finetune", 1),
        ("predict", 1),
        ("pretrain", 2),
    ]


def test_every_rule_has_a_script_even_one_that_uses_another_rule() -> None:
    script_of = script_of_rules()
    assert all(script.exists() for script in script_of.values())
    assert script_of["finetune"] == script_of["retrain"]
    assert script_of["retrain"].name == "train.py"
    assert script_of["draw_sparsity"].name == "draw_figure.py"
    assert set(script_of.values()) == set((PROJECT / "workflow_scripts").glob("*.py"))


@pytest.mark.usefixtures("own_fork_server")
def test_imports_are_timed_even_for_rules_that_share_a_script(tmp_path: Path) -> None:
    found = import_seconds(["score", "draw_sparsity"], tmp_path)
    assert found.keys() == {"score", "draw_sparsity"}
    assert min(found.values()) > 0


def test_timed_data_gives_the_same_batches_and_a_time_before_each_and_after_the_last() -> None:
    questions, features = toy_questions(20, 4), toy_features(4)
    data = TimedData(questions, features, CPU)
    batches = [rows.tolist() for rows in data.shuffled(8, 0, 1)]
    assert batches == [rows.tolist() for rows in super(TimedData, data).shuffled(8, 0, 1)]
    assert len(data.asked) == 3
    assert all(earlier < later for earlier, later in pairwise(data.asked))


def test_the_first_questions_keep_their_labels() -> None:
    questions = toy_questions(20, 4)
    rows = list(range(3))
    assert (first_of(questions, 3).targets(rows) == questions.targets(rows)).all()
    assert len(first_of(questions, 3)) == 3


def test_made_up_features_are_read_by_memory_map(tmp_path: Path) -> None:
    write_features(tmp_path / "features.h5", n_images=70, n_regions=3, feature_dim=4)
    features = open_features(tmp_path / "features.h5")
    assert features.features.shape == (70, 3, 4)
    assert (features.features[64:] == features.features[:6]).all()  # the block repeats
    assert features.boxes.min() >= 0 and features.boxes.max() <= 1  # noqa: PT018


@pytest.mark.parametrize("name", ["scenes", "base"])
def test_sizes_match_their_configuration(name: str) -> None:
    size = sizes()[name]
    recipe = recipe_of(size)
    assert recipe.epochs == 1
    assert size.n_trained // recipe.batch_size == size.first_steps + size.timed_steps


def test_a_contender_runs_in_a_process_of_its_own_and_prints_numbers() -> None:
    found = contenders.run("mask_selection", "ours", 0.1)
    assert found.keys() == {"seconds", "extra_bytes", "floor_seconds"}
    assert found["seconds"] > found["floor_seconds"] > 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_costs_of_a_network_are_measured_and_only_a_gpu_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    waited: list[None] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(None))
    monkeypatch.setitem(network_at_scale.TIMED, "cpu", network_at_scale.TIMED[device])  # as it is timed on a GPU
    n = 32 * (network_at_scale.TIMED[device][1] + 2)
    save_toy_features(tmp_path / "features.h5", 4)
    save_questions(tmp_path / "data/train/questions.h5", toy_questions(n, 4), {})
    save_weights(tmp_path / "seed0/initial.safetensors", random_weights(), TINY, {})
    found = network_at_scale.costs(tmp_path, tmp_path / "features.h5", n_steps=2)
    assert found["seconds_a_step_of_32"] > 0
    assert found["questions_predicted_a_second"] > 0
    assert 2 * found["predict_gflop_a_question"] <= found["train_gflop_a_question"]
    assert found["tokens_a_question"] == pytest.approx(toy_questions(n, 4).length.mean(), abs=0.06)
    assert len(waited) == (2 if device == "cuda" else 0)
