"""How far answers come without the image: two baselines, and the distribution of answers, as Markdown.

    python -m benchmarks.blind_baselines      (after the workflow has run; half a minute; options as for `status`)

- prior: the most common training answer of each question type;
- blind: the dense network, trained and evaluated with all region features set to zero (boxes stay).
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import replace

import numpy as np
import torch

from lxmert_tickets.configuration.experiment import Experiment
from lxmert_tickets.data.answers import read_answers
from lxmert_tickets.data.features import open_features
from lxmert_tickets.data.questions import load_questions
from lxmert_tickets.data.vqa_json import Annotation, read_annotations
from lxmert_tickets.evaluation.accuracy import score_predictions
from lxmert_tickets.layout import Layout
from lxmert_tickets.model.building import build_network
from lxmert_tickets.model.checkpoints import load_weights
from lxmert_tickets.monitoring.asked_experiment import add_asked_experiment, asked_experiment
from lxmert_tickets.training.answering import answer_all
from lxmert_tickets.training.batches import VqaData
from lxmert_tickets.training.device import best_device
from lxmert_tickets.training.loop import train
from lxmert_tickets.training.regions import Regions

KINDS = ("yes/no", "number", "other")


def prior(known: Sequence[Annotation], asked: Sequence[Annotation]) -> list[tuple[int, str]]:
    """Return the most common answer of each question's type, by question id."""
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    for annotation in known:
        by_type[annotation.question_type][annotation.multiple_choice_answer] += 1
    return [(item.question_id, by_type[item.question_type].most_common(1)[0][0]) for item in asked]


def blind(experiment: Experiment, paths: Layout, seed: int) -> dict[str, list[tuple[int, str]]]:
    """Return the answers, for each test split, of a dense network that never saw a region feature."""
    device, recipe = best_device(), experiment.training

    def unseen(part: str) -> VqaData:
        features = open_features(paths.features.format(images=part))
        zeros = replace(features, features=np.zeros_like(features.features))
        return VqaData(load_questions(paths.encoded_questions.format(split=part)), Regions(zeros, device), device)

    network = build_network(
        *load_weights(paths.initial.format(seed=seed)),
        hidden_dropout=recipe.hidden_dropout,
        attention_dropout=recipe.attention_dropout,
    ).to(device)
    trained = train(network, unseen(experiment.splits.train), unseen(experiment.splits.validate), recipe, seed)
    network.load_state_dict(trained.weights)
    words = read_answers(paths.answers)
    answers = {}
    for split in experiment.splits.test:
        test = unseen(split)
        chosen, _ = answer_all(network, test, recipe.precision)
        given = [words[label] for label in chosen]
        answers[split] = list(zip(test.questions.question_id.tolist(), given, strict=True))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_asked_experiment(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiment = asked_experiment(args)
    with chdir(args.directory):  # every path of an experiment is relative to it
        print_baselines(experiment, Layout(f"results/{experiment.experiment}"))


def print_baselines(experiment: Experiment, paths: Layout) -> None:
    known = read_annotations(paths.annotations.format(split=experiment.splits.train))
    print("| split | baseline | overall | yes/no | number | other |\n|---|---|---:|---:|---:|---:|")
    never_saw = [blind(experiment, paths, seed) for seed in experiment.seeds]
    for split in experiment.splits.test:
        asked = read_annotations(paths.annotations.format(split=split))
        rows = {"prior": [prior(known, asked)], "blind": [answers[split] for answers in never_saw]}
        for name, runs in rows.items():
            scores = [score_predictions(asked, answers) for answers in runs]
            overall = [score.overall for score in scores]
            kinds = [np.mean([score.per_answer_type[kind] for score in scores]) for kind in KINDS]
            spread = f" ± {np.std(overall, ddof=1):.2f}" if len(overall) > 1 else ""
            print(f"| {split} | {name} | {np.mean(overall):.2f}{spread} |", " | ".join(f"{k:.2f}" for k in kinds), "|")
    print("\n| answer type | share | answers |\n|---|---:|---|")
    for kind in KINDS:
        counts = Counter(item.multiple_choice_answer for item in known if item.answer_type == kind)
        listed = ", ".join(f"{answer} {100 * n / len(known):.1f}" for answer, n in counts.most_common())
        print(f"| {kind} | {100 * counts.total() / len(known):.1f} % | {listed} |")


if __name__ == "__main__":
    main()
