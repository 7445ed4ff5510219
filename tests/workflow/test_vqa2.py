"""VQA v2 by the same rules: a made-up VQA v2 in its real formats, from a web server to Table 1."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_checkpoints import write_original_checkpoint
from made_up_vqa2 import Sizes, configuration, made_up_texts, minival_images, write_sources
from PIL import Image
from web_site import WebSite, served
from workflow_runs import ROOT, jobs_of, snakemake

from lxmert_tickets.artifacts import file_digest
from lxmert_tickets.cli import main
from lxmert_tickets.data.hdf5 import read_metadata
from lxmert_tickets.data.questions import load_questions
from lxmert_tickets.model.architecture import Architecture

SIZES = Sizes()
NETWORK = {
    "hidden_size": 16, "n_heads": 2, "intermediate_size": 24, "n_language_layers": 1, "n_vision_layers": 1,
    "n_cross_layers": 2, "max_positions": 24,
}  # fmt: skip
DRAWN = {"minival": "drawn", "minival_images": 3}
RESULTS = Path("results/tiny_vqa2")
SPLITS = ("minival", "test", "train")
MODELS = ["dense", "low_magnitude/s50", "high_magnitude/s50", "random/s50"]
SHOWN = {"collect_results", "make_table", "draw_accuracy", "draw_answer_types", "draw_question_types", "draw_sparsity",
         "draw_learning_curves", "show_configuration", "show_run_times"}  # fmt: skip


def overlay(site: WebSite, **changes: Any) -> dict[str, Any]:
    """Return an overlay that makes the workflow small and takes its files from `site`."""
    return {
        "experiment": "tiny_vqa2",
        "seeds": [0],
        "vqa2": {"sources": configuration(site.url), "feature_dim": SIZES.feature_dim} | DRAWN,
        "text": {"vocab_size": SIZES.vocab_size},
        "model": NETWORK,
        "weights": {"source": "original"},
        "training": {"epochs": 1, "batch_size": 8},
        "subnetworks": {"low_magnitude": {"sparsities": [50]}},
        "report": {"figure_dpi": 40},
    } | changes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    """A web server with everything that VQA v2 is made of."""
    folder = tmp_path_factory.mktemp("site")
    write_sources(folder, SIZES, made_up_texts())
    architecture = Architecture(n_answers=1, vocab_size=SIZES.vocab_size, feature_dim=SIZES.feature_dim, **NETWORK)
    write_original_checkpoint(folder / "weights/model_LXRT.pth", architecture, n_pretraining_answers=20)
    with served(folder) as site:
        yield site


@pytest.fixture(scope="module")
def config(site: WebSite, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes the configuration of a tiny VQA v2, with changes."""

    def write(**changes: Any) -> Path:
        path = tmp_path_factory.mktemp("config") / "tiny.yaml"
        path.write_text(yaml.safe_dump(overlay(site, **changes)))
        return path

    return write


def run(folder: Path, *arguments: str, config: Path, cores: int | None = 2) -> Any:
    return snakemake(folder, *arguments, configs=(config,), experiment="vqa2", cores=cores)


@pytest.fixture(scope="module")
def done(config: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the whole experiment has run."""
    folder = tmp_path_factory.mktemp("vqa2")
    ran = run(folder, config=config())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished experiment, to be changed."""
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"


def test_every_file_is_downloaded_once_and_has_a_receipt(done: Path, site: WebSite) -> None:
    files = [
        path
        for path in (done / "resources/vqa2").iterdir()
        if path.is_file() and path.suffix != ".verified" and not path.name.startswith(".")
    ]
    assert len(files) == 5 + 3 + 1 + 1  # official, features, vocabulary, weights
    for file in files:
        assert file.with_name(f"{file.name}.verified").is_file()
        assert len([path for path in site.asked if path.endswith(f"/{file.name}")]) == 1
    pinned = json.loads((done / "resources/downloads.lock.json").read_text())
    assert len(json.dumps(pinned).split('"sha256"')) - 1 == len(files)


def test_the_table_shows_minival_and_says_how_it_was_chosen(done: Path) -> None:
    text = (done / RESULTS / "tables/table1.md").read_text()
    assert text.startswith("|  | minival Yes/No | minival Number | minival Other | minival Overall |")
    assert "No score of test-dev or test-std is known yet: this is minival." in text
    assert "minival is 3 images of val2014 with 15 questions, by seeded choice. LXMERT was pretrained on" in text
    assert "Epochs were chosen on it, too." in text
    for name in ("Full", "Low-magnitude pruned", "High-magnitude pruned", "Random pruned"):
        assert re.search(rf"\| {name} \| \d", text)


def test_verify_finds_the_files_consistent(
    done: Path, config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    configs = [str(ROOT / "configs/vqa2.yaml"), str(config())]
    assert main(["verify", "--directory", str(done), "--configfile", *configs]) == 0
    said = re.search(
        r"results/tiny_vqa2: (\d+) files compared with what they were made from, 0 problems", capsys.readouterr().out
    )
    assert said is not None
    assert int(said[1]) > 20


@pytest.mark.parametrize(
    ("name", "change", "made_of_it"),
    [
        ("vocab.txt", lambda content: content[::-1], [f"{RESULTS}/data/{split}/questions.h5" for split in SPLITS]),
        ("test2015_obj36.zip", lambda content: content + b"0", ["resources/vqa2/features/test2015.h5"]),
    ],
)
def test_verify_reports_a_download_that_is_no_longer_the_one_of_its_receipt(
    copy: Path, config: Callable[..., Path], capsys: pytest.CaptureFixture[str],
    name: str, change: Callable[[bytes], bytes], made_of_it: list[str],
) -> None:  # fmt: skip
    file = copy / "resources/vqa2" / name
    file.write_bytes(change(file.read_bytes()))
    configs = [str(ROOT / "configs/vqa2.yaml"), str(config())]
    assert main(["verify", "--directory", str(copy), "--configfile", *configs]) == 1
    told = f"was made from another resources/vqa2/{name}; expected the one of resources/vqa2/{name}.verified"
    assert capsys.readouterr().out.splitlines()[:-2] == [f"{made}: {told}" for made in made_of_it]


def test_no_image_is_both_trained_on_and_in_minival(done: Path) -> None:
    parts = [
        json.loads((done / RESULTS / f"data/{part}/questions.json").read_text())["questions"]
        for part in ("minival", "nominival")
    ]
    minival, nominival = ({question["image_id"] for question in part} for part in parts)
    assert (len(minival), len(nominival), minival & nominival) == (3, SIZES.val2014 - 3, set())
    trained = load_questions(done / RESULTS / "data/train/questions.h5")
    assert len(trained) == 5 * (SIZES.train2014 + SIZES.val2014 - 3)
    assert not {question["question_id"] for question in parts[0]} & set(trained.question_id.tolist())


def test_a_submission_answers_every_question_of_test2015(done: Path) -> None:
    for model in MODELS:
        answers = json.loads((done / RESULTS / f"submissions/test/seed0/{model}.json").read_text())
        assert len({answer["question_id"] for answer in answers}) == len(answers) == 5 * SIZES.test2015
        assert all(set(answer) == {"question_id", "answer"} and isinstance(answer["answer"], str) for answer in answers)


def test_a_finished_run_leaves_nothing_to_do_even_with_other_mirrors_and_without_the_zips(
    copy: Path, site: WebSite, config: Callable[..., Path]
) -> None:
    for archive in copy.glob("resources/vqa2/*.zip"):
        archive.unlink()
    moved = overlay(site)["vqa2"] | {"sources": configuration("http://127.0.0.1:1")}
    assert jobs_of(run(copy, "--dry-run", config=config(vqa2=moved))) == set()


def test_a_setting_that_nothing_reads_reruns_nothing(done: Path, config: Callable[..., Path]) -> None:
    weights = {"source": "original", "repository": "someone/else", "revision": "v2"}
    assert jobs_of(run(done, "--dry-run", config=config(weights=weights))) == {"show_configuration", "show_run_times"}


def test_a_lock_left_by_a_crash_is_released_without_saying_how_many_cores(
    done: Path, config: Callable[..., Path]
) -> None:
    ran = run(done, "--unlock", config=config(), cores=None)
    assert ran.returncode == 0, ran.stderr


def test_scores_from_evalai_fill_their_columns(copy: Path, config: Callable[..., Path]) -> None:
    said = {"yes/no": 71.5, "number": 41.25, "other": 52.0, "overall": 58.75}
    for number, model in enumerate(MODELS):
        file = copy / f"resources/evalai/tiny_vqa2/seed0/{model}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        scores = {kind: value + number for kind, value in said.items()}
        file.write_text(json.dumps([{"test-dev": scores}, {"test-standard": {k: v + 10 for k, v in scores.items()}}]))
    old = copy / "resources/evalai/tiny_vqa2/seed0/low_magnitude/s50.json"
    os.utime(old, (1e9, 1e9))  # saved before the network was trained again
    assert jobs_of(run(copy, "--dry-run", config=config())) == SHOWN
    target = f"{RESULTS}/tables/table1.md"
    ran = run(copy, target, config=config())
    assert ran.returncode == 0, ran.stderr
    warned = re.findall(r"(\S+) is older than (\S+): if", (copy / RESULTS / "logs/collect_results.log").read_text())
    assert warned == [(str(old.relative_to(copy)), f"{RESULTS}/submissions/test/seed0/low_magnitude/s50.json")]
    text = (copy / target).read_text()
    assert "| Full | 71.50 | 41.25 | 52.00 | 58.75 | 81.50 | 51.25 | 62.00 | 68.75 |" in text
    assert "| Low-magnitude pruned | 72.50 | 42.25 |" in text
    assert "known yet" not in text
    table = pd.read_csv(copy / RESULTS / "results.csv")
    assert set(table["split"]) == {"minival", "test-dev", "test-std"}


def test_a_score_of_an_unknown_network_is_refused(copy: Path, config: Callable[..., Path]) -> None:
    file = copy / "resources/evalai/tiny_vqa2/seed0/low_magnitud/s50.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    ran = run(copy, "--dry-run", config=config())
    assert ran.returncode != 0
    assert "did you mean 'low_magnitude/s50'?" in ran.stdout + ran.stderr


def test_examples_name_their_images_and_show_those_put_in_place_by_hand(
    copy: Path, config: Callable[..., Path]
) -> None:
    page = copy / RESULTS / "figures/examples.html"
    absent = r'<div class="absent">(COCO_val2014_\d{12})</div>'
    names = re.findall(absent, page.read_text())
    assert len(names) == 3 * 5
    photo = copy / f"resources/vqa2/images/{names[0]}.jpg"
    photo.parent.mkdir()
    Image.new("RGB", (640, 480), "red").save(photo)
    assert jobs_of(run(copy, "--dry-run", config=config())) == {"show_examples", "show_run_times"}
    ran = run(copy, str(page.relative_to(copy)), config=config())
    assert ran.returncode == 0, ran.stderr
    assert re.findall(absent, page.read_text()) == [name for name in names if name != names[0]]
    assert page.read_text().count("data:image/jpeg") == 5


def test_a_file_replaced_by_hand_is_used_once_its_receipt_is_forced(copy: Path, config: Callable[..., Path]) -> None:
    tables, receipt = copy / "resources/vqa2/val2014_obj36.zip", "resources/vqa2/val2014_obj36.zip.verified"
    with zipfile.ZipFile(tables) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tables, "w") as archive:  # the same tables, but not compressed
        for name, table in content.items():
            archive.writestr(name, table)
    assert jobs_of(run(copy, "--dry-run", config=config())) == set()
    lock = copy / "resources/downloads.lock.json"
    pins = json.loads(lock.read_text())
    del pins["vqa2/val2014_obj36.zip"]
    lock.write_text(json.dumps(pins))
    planned = jobs_of(run(copy, "--dry-run", "--forcerun", receipt, config=config()))
    assert {"download val2014_obj36.zip", "convert_features trainval2014", "finetune 0"} <= planned
    assert not planned & {"download train2014_obj36.zip", "convert_features test2015", "build_answers"}

    ran = run(copy, "resources/vqa2/features/trainval2014.h5", "--forcerun", receipt, config=config())
    assert ran.returncode == 0, ran.stderr
    assert json.loads((copy / receipt).read_text())["size_bytes"] == tables.stat().st_size
    parents = read_metadata(copy / "resources/vqa2/features/trainval2014.h5")["provenance"]["parents"]
    assert parents[receipt] == file_digest(copy / receipt)


def test_lxmerts_minival_is_used_unless_another_is_to_be_drawn(
    copy: Path, config: Callable[..., Path], site: WebSite
) -> None:
    listed = overlay(site)["vqa2"] | {"minival": "lxmert"}
    planned = jobs_of(run(copy, "--dry-run", config=config(vqa2=listed)))
    assert {"download minival.json", "split_val_questions", "finetune 0"} <= planned
    ran = run(copy, str(RESULTS / "data/minival/questions.h5"), config=config(vqa2=listed))
    assert ran.returncode == 0, ran.stderr
    about = json.loads((copy / RESULTS / "data/minival/about.json").read_text())
    assert about["minival"] == "LXMERT's ids"
    asked = json.loads((copy / RESULTS / "data/minival/questions.json").read_text())["questions"]
    assert {question["image_id"] for question in asked} == set(minival_images(SIZES))
    of_no_use = listed | {"minival_images": 2, "minival_seed": 9}
    again = run(copy, "--dry-run", str(RESULTS / "data/minival/questions.h5"), config=config(vqa2=of_no_use))
    assert jobs_of(again) == set()


def test_features_of_another_width_end_the_run_before_any_training(
    copy: Path, site: WebSite, config: Callable[..., Path]
) -> None:
    vqa2 = overlay(site)["vqa2"]
    wider = config(vqa2=vqa2 | {"feature_dim": vqa2["feature_dim"] + 1})
    ran = run(copy, str(RESULTS / "data/test/questions.h5"), config=wider)
    assert ran.returncode != 0
    dims = f"{vqa2['feature_dim']} values a region; expected {vqa2['feature_dim'] + 1}, as in vqa2.feature_dim"
    assert f"resources/vqa2/features/test2015.h5: {dims}" in ran.stdout + ran.stderr


def test_prepared_questions_give_the_same_arrays_as_the_official_ones(
    copy: Path, site: WebSite, config: Callable[..., Path]
) -> None:
    arrays, scores, words = {}, {}, {}
    for way in ("official", "lxmert"):
        tiny = config(experiment=way, vqa2=overlay(site)["vqa2"] | {"questions": way, "minival": "lxmert"})
        targets = [f"results/{way}/data/{split}/questions.h5" for split in ("train", "minival", "test")]
        ran = run(copy, *targets, f"results/{way}/seed0/dense/score.minival.json", config=tiny)
        assert ran.returncode == 0, ran.stderr
        arrays[way] = [load_questions(copy / target) for target in targets]
        scores[way] = json.loads((copy / f"results/{way}/seed0/dense/score.minival.json").read_text())
        words[way] = json.loads((copy / f"results/{way}/data/answers.json").read_text())["answers"]
    rarer = config(experiment="lxmert", vqa2=overlay(site)["vqa2"] | {"questions": "lxmert"},
                   text={"vocab_size": SIZES.vocab_size, "min_answer_count": 2})  # fmt: skip
    assert jobs_of(run(copy, "--dry-run", "results/lxmert/data/answers.json", config=rarer)) == set()
    order = [words["lxmert"].index(word) for word in words["official"]]
    assert sorted(order) == list(range(len(words["lxmert"])))
    for official, prepared in zip(arrays["official"], arrays["lxmert"], strict=True):
        for name in ("question_id", "input_ids", "length", "image_row"):
            assert np.array_equal(getattr(official, name), getattr(prepared, name)), name
        if official.labelled:
            rows = np.arange(len(official))
            assert np.array_equal(official.targets(rows), prepared.targets(rows)[:, order])
    assert {way: score["measure"] for way, score in scores.items()} == {"official": "official", "lxmert": "soft labels"}
