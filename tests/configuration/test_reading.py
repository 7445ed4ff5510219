"""A configuration is read as a whole; a mistake is reported with its place, its value and what to do."""

import copy
import json
from datetime import date
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from shipped import REMOVED, SECTIONS, SHIPPED, SMOKE, VQA2, with_value

from lxmert_tickets.configuration.files import laid_over
from lxmert_tickets.configuration.reading import OF_RUNNING, as_overlay, read_experiment, read_running
from lxmert_tickets.errors import ConfigError


def test_the_shipped_configuration_is_valid() -> None:
    assert read_experiment(SHIPPED).experiment == "scenes"


def test_the_smoke_configuration_is_valid_over_the_shipped_one() -> None:
    smoke = read_experiment(laid_over(SHIPPED, SMOKE))
    assert (smoke.experiment, smoke.seeds, smoke.training.epochs) == ("smoke", (0, 1), 2)
    assert smoke.training.batch_size == SHIPPED["training"]["batch_size"]
    assert smoke.models() == (
        "dense", "low_magnitude/s25", "low_magnitude/s50", "low_magnitude/s75", "high_magnitude/s50", "random/s50",
    )  # fmt: skip


def test_vqa_v2_over_the_shipped_configuration_is_the_papers_recipe() -> None:
    vqa2 = read_experiment(laid_over(SHIPPED, VQA2))
    assert (vqa2.experiment, vqa2.data, vqa2.evaluated_splits) == ("vqa2", "vqa2", ("minival", "test"))
    recipe = vqa2.training
    assert (recipe.batch_size, recipe.epochs, recipe.learning_rate, recipe.bias_correction) == (32, 4, 5e-5, False)
    assert (recipe.hidden_dropout, recipe.attention_dropout, recipe.clip_norm, recipe.eps) == (0.1, 0.1, 5.0, 1e-6)
    assert len(vqa2.models()) == 1 + 9 + 1 + 1


OF_VQA2 = [
    ("weights", {"source": "pretrain"}, "weights.source: 'pretrain'", "hub or original for data: vqa2"),
    ("splits", {"test": ["test-dev"]}, "splits.test[0]: 'test-dev'", "a set of VQA v2"),
    ("splits", {"validate": "test", "test": []}, "splits: train to train, test to validate"),
    ("vqa2", {"questions": "prepared"}, "vqa2.questions: 'prepared'", "one of official, lxmert"),
    ("vqa2", {"sources": {"official": []}}, "vqa2.sources.official: []", "a list of length >= 1"),
    ("vqa2", {"sources": {"official": ["file:///etc/"]}}, "sources.official[0]: 'file:///etc/'", "an address that"),
    ("vqa2", {"sources": {"official": ["https://host/x"]}}, "sources.official[0]: 'https://host/x'", "ends with /"),
    ("vqa2", {"minival_images": 0}, "vqa2.minival_images: 0"),
    ("vqa2", {"minval_seed": 0}, "vqa2.minval_seed: is not a known key", "did you mean 'minival_seed'?"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "values", "words"), [(part, values, words) for part, values, *words in OF_VQA2])
def test_a_mistake_in_the_configuration_of_vqa_v2_is_reported(section: str, values: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_experiment(laid_over(laid_over(SHIPPED, VQA2), {section: values}))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("key", ["minival_seed", "sources", "sources.official"])
def test_the_error_for_a_missing_key_of_vqa_v2_names_the_file_to_copy_it_from(key: str) -> None:
    config = laid_over(SHIPPED, VQA2)
    section, _, name = f"vqa2.{key}".rpartition(".")
    del (config["vqa2"] if section == "vqa2" else config["vqa2"]["sources"])[name]
    with pytest.raises(ConfigError, match=rf"vqa2\.{key}: is missing.*Copy it from configs/vqa2\.yaml\."):
        read_experiment(config)


def test_the_batch_size_is_not_checked_against_the_number_of_questions_of_vqa_v2() -> None:
    found = read_experiment(laid_over(laid_over(SHIPPED, VQA2), {"training": {"batch_size": 100_000}}))
    assert found.training.batch_size == 100_000


def test_no_sparsity_is_refused_where_the_data_decides_how_many_weights_are_prunable() -> None:
    everything = with_value("pruning.prunable", ["*"])
    found = read_experiment(laid_over(everything, {"subnetworks": {"random": {"sparsities": [1e-9, 50]}}}))
    assert found.subnetworks["random"].sparsities == (1e-9, 50)


IN_A_FILE = "without quotes; lists and sections: in a file, with --configfile."
MISTAKES = [
    # the place, its value, then words of the message
    ("seed", [0], "seed: is not a known key", "did you mean 'seeds'?"),
    ("subnetwork", {}, "subnetwork: is not a known key", "did you mean 'subnetworks'?"),
    ("checkpoint", {}, "checkpoint: is not a known key", "did you mean 'checkpoints'?"),
    (3, 4, "3: 3", "expected text", "Keys are text: write it in quotes"),
    (None, 4, "None: None", "expected text", "Keys are text: write it in quotes"),
    (True, 4, "True: True", "expected text", "Keys are text: write it in quotes"),
    ("scenes.sets", {1: {}}, "scenes.sets.1: 1", "expected text", "Keys are text: write it in quotes"),
    ("subnetworks", {None: {}}, "subnetworks.None: None", "expected text", "Keys are text: write it in quotes"),
    ("training.epoch", 3, "training.epoch: is not a known key", "did you mean 'epochs'?"),
    ("training.gpus", 3, "training.gpus: is not a known key", "known: attention_dropout, batch_size,"),
    ("pretraining.step", 9, "pretraining.step: is not a known key", "did you mean 'steps'?"),
    ("scenes.sets.val.image", 9, "scenes.sets.val.image: is not a known key", "did you mean 'images'?"),
    ("subnetworks.random.round", 1, "subnetworks.random.round: is not a known key", "known: keep, ranked, sparsities"),
    ("subnetworks.low_magnitude.rank", 1, "subnetworks.low_magnitude.rank: is no", "did you mean 'ranked'?"),
    ("subnetworks.high_magnitude.keep", "largest", "high_magnitude: has both", "write high_magnitude: null"),
    ("subnetworks.low_magnitude.keep", "random", "low_magnitude.rounds: has no meaning", "write low_magnitude: null"),
    ("seeds", REMOVED, "seeds: is missing", "Copy it from config.yaml."),
    ("model", REMOVED, "model: is missing"),
    ("training.epochs", REMOVED, "training.epochs: is missing"),
    ("scenes.sets.val.images", REMOVED, "scenes.sets.val.images: is missing"),
    ("subnetworks", REMOVED, "subnetworks: is missing", "Copy it from config.yaml."),
    ("subnetworks", None, "subnetworks: empty (null)", "expected a mapping"),
    ("subnetworks.random.sparsities", REMOVED, "subnetworks.random.sparsities: is missing"),
    ("subnetworks.random.keep", REMOVED, "subnetworks.random: has neither keep nor complement_of", "what it keeps."),
    ("subnetworks.random.keep", None, "subnetworks.random.keep: None", "largest, random, or complement_of"),
    ("subnetworks.low_magnitud", {"sparsities": [50]}, "low_magnitud: has neither", "or did you mean 'low_magnitude'?"),
    ("seeds", ["0", "1"], "seeds[0]: '0'", "expected a whole number", IN_A_FILE),  # as from --config 'seeds=[0,1]'
    ("training.epochs", "3", "training.epochs: '3'", "expected a whole number", IN_A_FILE),
    ("training.epochs", True, "training.epochs: True", "expected a whole number"),
    ("training.epochs", None, "training.epochs: empty (null)", "expected a whole number"),
    ("training.epochs", 2.5, "training.epochs: 2.5", "expected a whole number"),
    ("training.epochs", 0, "training.epochs: 0", "expected a whole number >= 1"),
    ("training.learning_rate", "5e-5", "training.learning_rate: '5e-5'", "expected a number", "as in 5.0e-5"),
    ("training.learning_rate", "5.0e-5", "training.learning_rate: '5.0e-5'", "expected a number", IN_A_FILE),
    ("training.learning_rate", "5E-5", "training.learning_rate: '5E-5'", "expected a number", "as in 5.0e-5"),
    ("training.learning_rate", "fast", "training.learning_rate: 'fast'", "expected a number"),
    ("training.learning_rate", 0, "training.learning_rate: 0", "expected a number > 1.2e-38"),
    ("training.learning_rate", 1e300, "training.learning_rate: 1e+300", "expected a number < 3.4e+38"),
    ("training.weight_decay", 1e39, "training.weight_decay: 1e+39", "expected a number < 3.4e+38"),
    ("training.clip_norm", 10**60, f"training.clip_norm: {10**60}", "expected a number < 3.4e+38"),
    ("training.eps", 1e-300, "training.eps: 1e-300", "expected a number > 1.2e-38"),
    ("pretraining.initial_std", 1e300, "pretraining.initial_std: 1e+300", "expected a number < 3.4e+38"),
    ("training.clip_norm", float("inf"), "training.clip_norm: inf", "expected a finite number", "1.0e+9"),
    ("training.eps", float("nan"), "training.eps: nan", "expected a finite number"),
    ("pruning.prunable", {"*.weight"}, "pruning.prunable: {'*.weight'}", "expected a list", "without !!set"),
    ("pruning.prunable", {1}, "pruning.prunable: {1}", "expected a list", "without !!set"),
    ("training.hidden_dropout", 1.0, "training.hidden_dropout: 1.0", "expected a number < 1"),
    ("training.bias_correction", "no", "training.bias_correction: 'no'", "expected true or false"),
    ("training.bias_correction", "true", "training.bias_correction: 'true'", "expected true or false", IN_A_FILE),
    ("training.keep", "bests", "training.keep: 'bests'", "expected one of best, last", "did you mean 'best'?"),
    ("report.spread", "sd", "report.spread: 'sd'", "expected one of std, range", "did you mean 'std'?"),
    ("data", "coco", "data: 'coco'", "expected one of scenes, vqa2"),
    ("data", "vqa2", "vqa2: is missing", "Lay configs/vqa2.yaml over this."),
    ("weights.source", "hub", "weights.source: 'hub'", "expected pretrain for data: scenes"),
    ("weights.answer_head", "rand", "weights.answer_head: 'rand'", "expected one of random, pretrained"),
    ("splits.test", [], "splits.test: no split", "expected at least one"),
    ("checkpoints", REMOVED, "checkpoints: is missing", "Copy it from config.yaml."),
    ("checkpoints", 10, "checkpoints: 10", "expected a mapping"),
    ("checkpoints.interval_minutes", 0, "checkpoints.interval_minutes: 0", "expected a number > 0"),
    ("checkpoints.interval_minutes", float("inf"), "checkpoints.interval_minutes: inf", "expected a finite number"),
    ("checkpoints.interval_minute", 5, "checkpoints.interval_minute: is not a", "did you mean 'interval_minutes'?"),
    ("gpus", REMOVED, "gpus: is missing", "Copy it from config.yaml."),
    ("gpus.trainings_per_gpu", 0, "gpus.trainings_per_gpu: 0", "expected a whole number >= 1"),
    ("gpus.cuda_graphs", "no", "gpus.cuda_graphs: 'no'", "expected true or false"),
    ("training", [1], "training: [1]", "expected a mapping"),
    ("training", None, "training: empty (null)", "expected a mapping"),
    ("subnetworks", [], "subnetworks: []", "expected a mapping"),
    ("subnetworks.random", "half", "subnetworks.random: 'half'", "expected a mapping"),
    ("seeds", 3, "seeds: 3", "expected a list", "Write [3]. For 3 seeds: [0, 1, 2]."),
    ("seeds", 9595, "seeds: 9595", "expected a list", "Write [9595]."),
    ("seeds", "0, 1", "seeds: '0, 1'", "expected a list", "Write [0, 1]."),
    ("seeds", "3", "seeds: '3'", "expected a list", "Write [3]."),
    ("splits.test", "a, b", "splits.test: 'a, b'", "expected a list", 'Write ["a", "b"].'),
    ("seeds", "[0, 1]", "seeds: '[0, 1]'", "expected a list", "Write [0, 1]."),
    ("subnetworks.low_magnitude.rounds", 5, "low_magnitude.rounds: 5; expected one of iterative, one_shot"),
    ("training.keep", True, "training.keep: True; expected one of best, last"),
    ("training.keep", None, "training.keep: empty (null); expected one of best, last"),
    ("splits.test", "test-dev", "splits.test: 'test-dev'", "expected a list", 'Write ["test-dev"].'),
    ("pruning.prunable", "*.weight", "pruning.prunable: '*.weight'", "expected a list"),
    ("seeds", [], "seeds: []", "expected a list of length >= 1"),
    ("seeds", [0, -1], "seeds[1]: -1", "expected a whole number >= 0"),
    ("seeds", [10**300], f"seeds[0]: {10**300}", "expected a whole number <= 9223372036854775807"),
    ("seeds", [*range(11), -1], "seeds[11]: -1", "expected a whole number >= 0"),
    ("seeds", [0, 1, 0], "seeds[2]: 0 appears twice", "expected different values"),
    ("scenes.sets.val.images", "many", "scenes.sets.val.images: 'many'", "expected a whole number"),
    ("scenes.sets.val.images", 1, "scenes.sets.val.images: 1", "expected a whole number >= 2"),
    ("scenes.sets.val", None, "scenes.sets.val: empty (null)", "expected a mapping"),
    ("scenes.sets.a/b", {"images": 2, "questions": 2}, "scenes.sets.a/b: 'a/b'", "expected a name of"),
    ("scenes.regions_per_image", 5, "scenes.regions_per_image: 5", "expected a whole number >= 6"),
    ("scenes.region_features", "pixel", "scenes.region_features: 'pixel'", "did you mean 'pixels'?"),
    ("experiment", "a/b", "experiment: 'a/b'", "expected a name of"),
    ("experiment", "README.md", "experiment: 'README.md'", "expected a name that is not taken in results/"),
    ("experiment", "slurm_logs", "experiment: 'slurm_logs'", "expected a name that is not taken in results/"),
    ("experiment", "results", "experiment: 'results'", "expected a name other than results and resources"),
    ("scenes.sets.resources", {"images": 2, "questions": 2}, "scenes.sets.resources: 'resources'", "a name other than"),
    ("subnetworks.results", {"keep": "random", "sparsities": [50]}, "subnetworks.results: 'results'", "other than"),
    ("experiment", "..", "experiment: '..'", "expected a name of"),
    ("experiment", "a\n", "experiment: 'a\\n'", "expected a name of"),
    ("experiment", "", "experiment: ''", "expected a name of"),
    ("experiment", 101 * "a", "experiment: 'aaa", "expected text of length <= 100"),
    (f"scenes.sets.{101 * 'a'}", {"images": 2, "questions": 2}, "scenes.sets.aaa", "expected text of length <= 100"),
    (f"subnetworks.{101 * 'a'}", None, "subnetworks.aaa", "expected text of length <= 100"),
    ("experiment", 2026, "experiment: 2026", "expected text", 'Write it in quotes: "2026".'),
    ("experiment", date(2026, 1, 2), "experiment: datetime.date(2026, 1, 2)", 'Write it in quotes: "2026-01-02".'),
    ("experiment", True, "experiment: True", "expected text", "YAML reads on, off, yes and no", "write it in quotes."),
    ("report.figure_width_inches", 1e-300, "report.figure_width_inches: 1e-300", "expected a number >= 3"),
    ("report.figure_width_inches", 100_000, "report.figure_width_inches: 100000", "expected a number <= 20"),
    ("report.figure_dpi", 29, "report.figure_dpi: 29", "expected a whole number >= 30"),
    ("report.figure_dpi", 100_000, "report.figure_dpi: 100000", "expected a whole number <= 1200"),
    ("subnetworks.random.sparsities", [], "subnetworks.random.sparsities: []", "expected a list of length >= 1"),
    ("subnetworks.random.sparsities", [0], "subnetworks.random.sparsities[0]: 0", "expected a number > 0"),
    ("subnetworks.random.sparsities", [50, 100], "subnetworks.random.sparsities[1]: 100", "expected a number < 100"),
    ("subnetworks.random.sparsities", [-5], "subnetworks.random.sparsities[0]: -5", "expected a number > 0"),
    ("subnetworks.random.sparsities", ["50"], "subnetworks.random.sparsities[0]: '50'", "expected a number", IN_A_FILE),
    ("subnetworks.random.sparsities", [50, 40], "sparsities[1]: 40 comes after 50", "expected rising values"),
    ("subnetworks.random.sparsities", [50, 50.0], "sparsities[1]: 50.0 appears twice", "different values"),
    ("subnetworks.low_magnitude.keep", "larges", "low_magnitude.keep: 'larges'", "did you mean 'largest'?"),
    ("subnetworks.low_magnitude.keep", ["largest"], "low_magnitude.keep: ['largest']", "did you mean 'largest'?"),
    ("subnetworks.low_magnitude.ranked", "globl", "low_magnitude.ranked: 'globl'", "did you mean 'global'?"),
    ("subnetworks.low_magnitude.rounds", "oneshot", "low_magnitude.rounds: 'oneshot'", "did you mean 'one_shot'?"),
    ("subnetworks.dense", {"keep": "random", "sparsities": [50]}, "subnetworks.dense: is the name of the full"),
    ("subnetworks.Low", {"keep": "random", "sparsities": [50]}, "subnetworks.Low: 'Low'", "expected a name of"),
    ("subnetworks.a/b", {"keep": "random", "sparsities": [50]}, "subnetworks.a/b: 'a/b'", "expected a name of"),
    ("subnetworks.high_magnitude.complement_of", "none", "complement_of: 'none'", "with masks of its own"),
    ("subnetworks.high_magnitude.complement_of", "low", "complement_of: 'low'", "known: low_magnitude, random"),
    ("subnetworks.high_magnitude.complement_of", "high_magnitude", "complement_of: 'high_magnitude'"),
    ("subnetworks.rest", {"complement_of": "high_magnitude", "sparsities": [50]}, "subnetworks.rest.complement_of"),
    ("subnetworks.low_magnitude", None, "high_magnitude.complement_of: 'low_magnitude'", "known: random"),
    ("subnetworks.high_magnitude.sparsities", [5], "sparsities[0]: 5 % needs low_magnitude at 95 %", "Add 95"),
    ("subnetworks.low_magnitude.sparsities", [0.25, 0.5, 0.9], "sparsities: [0.25, 0.5, 0.9]", "not fractions"),
    ("subnetworks", {"x": {"keep": "random", "sparsities": [0.5]}}, "x.sparsities: [0.5]", "not fractions: 50"),
    ("subnetworks.random.sparsities", [25, 99.99999], "sparsities[1]: 99.99999 % of 380928 prunable weights is all"),
    ("subnetworks.random.sparsities", [1e-5, 50], "sparsities[0]: 1e-05 % of 380928 prunable weights is none of them"),
    ("pruning.prunable", ["*", "lxmert.encoder.layr.*.weight"], "pruning.prunable[1]: 'lxmert.encoder.layr.*.weight'",
     "matches no weight matrix of this network", "did you mean 'lxmert.encoder.layer.*.weight'?"),
    ("pruning.prunable", ["x"], "pruning.prunable[0]: 'x'", "known: answer_head.logit_fc.*.weight, lxmert.em"),
    ("model.n_language_layers", 10**12, "model.n_language_layers: 1000000000000", "a whole number <= 1000"),
    ("training.batch_size", 5001, "training.batch_size: 5001", "at most scenes.sets.train.questions=5000"),
    ("scenes.sets.val.questions", 61, "scenes.sets.val.questions: 61", "an even number", "in pairs: ask for 62."),
    ("splits.train", "trian", "splits.train: 'trian'", "expected a set of scenes.sets", "did you mean 'train'?"),
    ("splits.test", ["test-dev", "val"], "splits.test[1]: 'val' has another role already"),
    ("splits.test", ["test-dev", "test-dev"], "splits.test[1]: 'test-dev' has another role already"),
    ("splits.validate", "train", "splits.validate: 'train' has another role already", "Labels must not leak"),
    ("splits.test", ["pretrain"], "splits.test[0]: 'pretrain' has another role already"),
    ("splits.train", "pretrain", "splits.train: 'pretrain' has another role already"),
    ("scenes.sets.test_dev", {"images": 2, "questions": 2}, "sets.test_dev: is spelt almost as test-dev", "write its"),
    ("scenes.sets.Val", {"images": 2, "questions": 2}, "scenes.sets.Val: is spelt almost as val", "choose another."),
    ("scenes.sets.pretrain.captions_per_image", 0, "scenes.sets.pretrain: has no captions"),
    ("scenes.sets.pretrain", REMOVED, "scenes.sets.pretrain: has no captions"),
    ("model.hidden_size", 66, "model.hidden_size: 66", "expected a multiple of n_heads=4"),
    ("model.max_positions", 19, "model.max_positions: 19", "expected at least text.max_length=20"),
    ("report.table_sparsity", 55, "report.table_sparsity: 55", "a sparsity of some subnetwork, in percent (10, 20,"),
    ("subnetworks", {}, "report.table_sparsity: 50", "(there is none)"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "words"), [(place, value, words) for place, value, *words in MISTAKES])
def test_a_mistake_is_reported_with_its_place_its_value_and_what_is_expected(
    place: Any, value: object, words: list[str]
) -> None:
    config = with_value(place, value) if isinstance(place, str) else SHIPPED | {place: value}
    with pytest.raises(ConfigError) as caught:
        read_experiment(config)
    message = str(caught.value)
    assert message.startswith(words[0]) or f".{words[0]}" in message
    assert all(word in message for word in words)
    assert "expected expected" not in message
    assert "`" not in message
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("place", "value"), [("training.clip_norm", "None"), ("training.epochs", "1e3"), ("training", "3"), ("seeds", None)]
)
def test_of_a_value_that_writing_it_otherwise_does_not_make_right_only_the_mistake_is_told(
    place: str, value: object
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_experiment(with_value(place, value))
    assert (caught.value.place, caught.value.remedy) == (place, "")


def test_sparsities_of_a_complement_below_one_percent_are_not_taken_for_fractions() -> None:
    sparsities = {"low_magnitude": [50, 99.5, 99.75], "high_magnitude": [0.25, 0.5]}
    changes = {name: {"sparsities": values} for name, values in sparsities.items()}
    found = read_experiment(laid_over(SHIPPED, {"subnetworks": changes}))
    assert found.subnetworks["high_magnitude"].sparsities == (0.25, 0.5)


@pytest.mark.parametrize(("place", "value"), [("training.batch_size", 5000), ("model.max_positions", 20)])
def test_a_limit_itself_is_within_it(place: str, value: int) -> None:
    section, name = place.split(".")
    assert getattr(getattr(read_experiment(with_value(place, value)), section), name) == value


def test_a_name_may_have_a_hundred_characters() -> None:
    assert read_experiment(with_value("experiment", 100 * "a")).experiment == 100 * "a"


@pytest.mark.parametrize("recursive", ["seeds: &s [*s]", "training: &s {epochs: *s}"])
def test_a_value_that_contains_itself_is_refused_with_its_place(recursive: str) -> None:
    place, of_itself = next(iter(yaml.safe_load(recursive).items()))
    with pytest.raises(ConfigError, match=rf"{place}.*: is nested too deep; expected at most 20 levels\. Look for \*"):
        read_experiment(SHIPPED | {place: of_itself})


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
KEYS = [(section, key) for section in SECTIONS for key in SHIPPED[section]]


def as_json(value: object) -> object:
    """Return `value` with lists for tuples and all numbers as floats, since some are stored as floats."""
    return json.loads(json.dumps(value), parse_int=float)


@given(st.sampled_from(KEYS), JSON_LIKE)
def test_any_value_at_a_key_is_accepted_or_refused_as_a_mistake(key: tuple[str, str], value: object) -> None:
    config = copy.deepcopy(SHIPPED)
    config[key[0]][key[1]] = value
    try:
        found, refused = read_experiment(config), None
    except ConfigError as error:
        refused = error
    if refused is not None:
        assert refused.place.partition(".")[0] in SHIPPED  # perhaps of another section that no longer fits this one
        assert key[1] in str(refused)
    elif key[0] not in OF_RUNNING:  # which are no part of the experiment
        read = msgspec.to_builtins(getattr(found, key[0])).get(key[1])  # None where the value removes a subnetwork
        assert as_json(read) == as_json(value)


def test_event_files_are_written_only_on_request() -> None:
    assert not read_running(SHIPPED).logging.tensorboard
    older = with_value("logging", REMOVED)
    assert not read_running(older).logging.tensorboard
    assert read_running(with_value("logging.tensorboard", True)).logging.tensorboard
    with pytest.raises(ConfigError, match=r"logging\.tensorbord.*did you mean 'tensorboard'"):
        read_experiment(with_value("logging.tensorbord", True))


@pytest.mark.parametrize(
    ("below", "above"),
    [
        (SHIPPED, {}),
        (SHIPPED, SMOKE),
        (SHIPPED, {"subnetworks": {"random": None, "mine": {"keep": "random", "sparsities": [12.5]}}, "seeds": [7]}),
        (laid_over(SHIPPED, VQA2), {"vqa2": {"questions": "lxmert"}, "splits": {"test": []}}),
    ],
    ids=["default", "smoke", "subnetworks", "vqa2"],
)
def test_an_experiment_can_be_restored_from_its_overlay(below: dict[str, Any], above: dict[str, Any]) -> None:
    whole = laid_over(below, above)
    again = laid_over(below, yaml.safe_load(as_overlay(whole)))
    assert read_experiment(again) == read_experiment(whole)


def test_an_overlay_leaves_out_settings_that_affect_no_result() -> None:
    whole = laid_over(SHIPPED, VQA2)
    changes = {
        "checkpoints": {"interval_minutes": 99},
        "gpus": {"trainings_per_gpu": 9, "cuda_graphs": False},
        "logging": {"tensorboard": True},
        "vqa2": {"sources": {"official": ["https://mirror/"]}},
    }
    assert as_overlay(laid_over(whole, changes)) == as_overlay(whole)
    assert not {"scenes", "pretraining", "logging"} & set(yaml.safe_load(as_overlay(whole)))
