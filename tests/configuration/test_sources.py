"""Which files a split is made of, in both sources of data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shipped import VQA2, experiment

from lxmert_tickets.configuration.files import laid_over
from lxmert_tickets.configuration.sources import (
    CHOSEN_ON_IT,
    SEEN,
    SOFT_LABELS,
    VQA2_FILES,
    SceneFiles,
    Vqa2Files,
    files_of,
)
from lxmert_tickets.layout import RECEIPT, Layout

PATHS = Layout("results/x")


def receipt(name: str) -> str:
    return f"resources/vqa2/{name}.verified"


def vqa2(kept_here: Callable[[str], str] = str, **changed: Any) -> Vqa2Files:
    """Return the files of configs/vqa2.yaml, with some keys of four of its sections changed."""
    sections = ("vqa2", "splits", "weights", "training")
    overlay = {name: {key: changed[key] for key in changed.keys() & VQA2[name]} for name in sections}
    found = files_of(experiment(**laid_over(VQA2, overlay)), PATHS, kept_here)
    assert isinstance(found, Vqa2Files)
    return found


def test_scenes_have_files_of_their_own_for_every_split() -> None:
    found = files_of(experiment(), PATHS)
    assert isinstance(found, SceneFiles)
    assert found.questions("val") == ["results/x/data/val/questions.json"]
    assert found.features_of(["val", "train"]) == ["results/x/data/val/features.h5", "results/x/data/train/features.h5"]
    assert found.answers() == {"annotations": ["results/x/data/train/annotations.json"]}
    assert found.scored_elsewhere == ()


def test_vqa_v2_trains_on_train2014_and_what_minival_leaves_of_val2014() -> None:
    found = vqa2()
    assert found.questions("train") == [
        "resources/vqa2/v2_Questions_Train_mscoco.zip.verified", "results/x/data/nominival/questions.json",
    ]  # fmt: skip
    assert found.annotations("train") == [
        "resources/vqa2/v2_Annotations_Train_mscoco.zip.verified", "results/x/data/nominival/annotations.json",
    ]  # fmt: skip
    assert found.subtypes("train") == ["train2014", "val2014"]
    assert found.questions("minival") == ["results/x/data/minival/questions.json"]
    assert found.subtypes("minival") == ["val2014"]


def test_the_test_split_of_vqa_v2_has_questions_and_no_answers() -> None:
    assert vqa2().questions("test") == ["resources/vqa2/v2_Questions_Test_mscoco.zip.verified"]
    assert vqa2().annotations("test") == vqa2(questions="lxmert").annotations("test") == []
    assert vqa2().subtypes("test") == ["test2015"]
    assert vqa2().scored_splits == ("minival",)
    assert vqa2().scored_elsewhere == ("test-dev", "test-std")
    assert vqa2(test=[]).scored_elsewhere == ()


def test_lxmerts_prepared_questions_replace_all_official_files() -> None:
    found = vqa2(questions="lxmert")
    assert found.questions("train") == [receipt("train.json"), receipt("nominival.json")]
    assert (found.questions("minival"), found.questions("test")) == ([receipt("minival.json")], [receipt("test.json")])
    assert found.annotations("train") == found.annotations("minival") == []
    assert found.answers() == {"published": [receipt("trainval_label2ans.json")]}
    assert (found.about, found.notes) == ([], [SOFT_LABELS, CHOSEN_ON_IT])


def test_training_and_minival_share_the_features_of_their_images() -> None:
    one, same, other = vqa2().features_of(["train", "minival", "test"])
    assert one == same == "resources/vqa2/features/trainval2014.h5"
    assert other == "resources/vqa2/features/test2015.h5"
    assert vqa2().feature_tables("trainval2014") == [receipt("train2014_obj36.zip"), receipt("val2014_obj36.zip")]


def test_a_file_is_looked_for_in_every_mirror_in_turn() -> None:
    assert vqa2().urls("minival.json") == [
        f"https://{host}.cs.unc.edu/data/lxmert_data/vqa/minival.json" for host in ("nlp", "nlp1")
    ]
    assert vqa2().urls("all_ans.json") == [
        "https://raw.githubusercontent.com/airsplay/lxmert/master/data/lxmert/all_ans.json"
    ]


@pytest.mark.parametrize("name", VQA2_FILES)
def test_every_file_has_addresses_to_be_downloaded_from(name: str) -> None:
    assert all(url.startswith("https://") and url.endswith(f"/{name}") for url in vqa2().urls(name))


def test_lxmerts_minival_is_used_unless_another_is_drawn_and_notes_say_what_that_means() -> None:
    assert vqa2().minival_ids() == ["resources/vqa2/minival.json.verified"]
    assert vqa2().notes == [CHOSEN_ON_IT]
    drawn = vqa2(minival="drawn")
    assert (drawn.minival_ids(), drawn.notes) == ([], [SEEN, CHOSEN_ON_IT])
    prepared = vqa2(questions="lxmert", minival="drawn", keep="last")
    assert (prepared.minival_ids(), prepared.notes) == ([], [SOFT_LABELS])


def test_published_weights_need_only_the_files_that_are_read() -> None:
    assert vqa2().published_weights() == {}
    assert vqa2(source="original").published_weights() == {"checkpoint": receipt("model_LXRT.pth")}
    assert vqa2(answer_head="pretrained").published_weights() == {"pretraining_answers": receipt("all_ans.json")}


def test_only_files_that_are_useless_away_from_the_downloads_are_marked() -> None:
    found = vqa2(kept_here="here:{}".format)
    splits = [path for split in found.splits for path in (*found.questions(split), *found.annotations(split))]
    tables = [path for images in found.image_sets for path in found.feature_tables(images)]
    asked = [*splits, *tables, *found.answers()["annotations"], found.tokenizer, found.receipt("train.json")]
    assert {path for path in asked if path.startswith("here:")} == {path for path in asked if path.endswith(RECEIPT)}
    assert not any(path.startswith("here:") for path in found.features_of(found.splits))


def test_pictures_are_read_if_someone_has_put_them_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = vqa2(kept_here="here:{}".format)
    assert found.pictures("minival") == []
    Path("resources/vqa2/images").mkdir(parents=True)
    assert found.pictures("minival") == ["here:resources/vqa2/images"]
