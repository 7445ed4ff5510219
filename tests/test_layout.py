"""Every file has its own place under the experiment's folder, the same however it is asked for."""

import string

import pytest

from lxmert_tickets.layout import Layout, model_of, name_in_workflow, of_model

PATHS = vars(Layout("results/scenes"))
WILDCARDS = {"split", "images", "seed", "model", "subnetwork", "sparsity", "figure", "format"}


def wildcards(path: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(path) if name}


def filled(path: str, model: str) -> str:
    """Return `path` of seed 0 and split val, with its model, or subnetwork and sparsity, filled in."""
    subnetwork, _, sparsity = model.partition("/s")
    return path.format(split="val", images="val", seed=0, model=model, subnetwork=subnetwork, sparsity=sparsity)


def test_every_file_lies_under_the_folder_of_its_experiment() -> None:
    assert all(path.startswith("results/scenes/") for name, path in PATHS.items() if name != "root")


def test_paths_have_exactly_the_wildcards_that_the_workflow_knows() -> None:
    assert set().union(*map(wildcards, PATHS.values())) == WILDCARDS


def test_no_two_files_share_a_place() -> None:
    for model in ("dense", "random/s50"):
        of_any_model = {name: path for name, path in PATHS.items() if not wildcards(path) & {"figure", "format"}}
        names = {name for name in of_any_model if not name.startswith(("dense_", "subnetwork_", "model_"))}
        assert len({filled(of_any_model[name], model) for name in names}) == len(names)


def test_a_subnetwork_has_the_same_paths_as_a_model_and_by_its_parts() -> None:
    paths = Layout("r")
    assert filled(paths.weights, "random/s97.5") == filled(paths.subnetwork_weights, "random/s97.5")
    assert filled(paths.history, "random/s50") == filled(paths.subnetwork_history, "random/s50")
    assert filled(paths.model_sparsity, "random/s50") == filled(paths.sparsity, "random/s50")


def test_a_model_is_named_after_its_folder() -> None:
    assert (model_of("random", "50"), model_of()) == ("random/s50", "dense")


def test_the_dense_network_is_a_model_like_any_other() -> None:
    paths = Layout("r")
    assert paths.dense_weights == "r/seed{seed}/dense/weights.safetensors" == of_model(paths.weights, "dense")
    assert paths.dense_history == of_model(paths.history, "dense")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("results/x/seed0/initial.safetensors", "results/x/seed0/initial.safetensors"),
        ("lottery/results/x/data/answers.json", "results/x/data/answers.json"),
        (".snakemake/storage/s3/bucket/results/mine/results/x/data/answers.json", "results/x/data/answers.json"),
        ("/scratch/fs/disk/resources/vqa2/features/test2015.h5", "resources/vqa2/features/test2015.h5"),
        ("/elsewhere/train.tsv", "/elsewhere/train.tsv"),
    ],
)
def test_a_file_has_one_name_wherever_its_copy_lies(path: str, name: str) -> None:
    assert name_in_workflow(path) == name
