"""Where the data of an experiment comes from: which files each split is made from.

Both sources have the same interface. External files are in `resources/`, shared by all experiments; each has
a receipt beside it, `<file>.verified`, and rules depend on the receipt (see `downloads.receipts`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from lxmert_tickets.configuration.experiment import Experiment
from lxmert_tickets.layout import RECEIPT, Layout

# Region features are converted again when this number rises, and only then: for VQA v2 that takes 41 GB of downloads,
# which may be gone by now. Raise it with any edit that changes a features file, and say so in CHANGELOG.md.
FEATURES_VERSION = 1

VQA2_FOLDER = "resources/vqa2"
PICTURES_FOLDER = "resources/vqa2/images"  # COCO's JPEGs, if the user has put them there; the report shows a few
LOCK_FILE = "resources/downloads.lock.json"
EVALAI_FOLDER = "resources/evalai"
MINIVAL_IDS = "minival.json"

VQA2_FILES = {
    "v2_Questions_Train_mscoco.zip": ("official", ""),
    "v2_Questions_Val_mscoco.zip": ("official", ""),
    "v2_Questions_Test_mscoco.zip": ("official", ""),
    "v2_Annotations_Train_mscoco.zip": ("official", ""),
    "v2_Annotations_Val_mscoco.zip": ("official", ""),
    "train.json": ("prepared", ""),
    "nominival.json": ("prepared", ""),
    "minival.json": ("prepared", ""),
    "test.json": ("prepared", ""),
    "train2014_obj36.zip": ("features", ""),
    "val2014_obj36.zip": ("features", ""),
    "test2015_obj36.zip": ("features", ""),
    "model_LXRT.pth": ("weights", ""),
    "trainval_label2ans.json": ("answers", "vqa/"),
    "all_ans.json": ("answers", "lxmert/"),
    "vocab.txt": ("vocabulary", ""),
}
"""Every file that can be downloaded: the entry of `vqa2.sources` that has it, and the folder within."""

SOFT_LABELS = (
    "minival is LXMERT's. Its prepared questions do not include the ten human answers: an answer scores its soft "
    "label, which is the official accuracy but for the spelling of answers."
)

SEEN = (
    "LXMERT was pretrained on questions and answers of seven in eight of these images: only its own minival "
    "(vqa2.minival: lxmert) was kept from it."
)
CHOSEN_ON_IT = "Epochs were chosen on it, too."

VQA2_SPLITS = {
    "train": ("train2014", "nominival"),
    "minival": ("minival",),
    "test": ("test2015",),
}
"""The parts of each split: LXMERT trains on train2014 and on val2014 without minival."""

IMAGES_OF_SPLIT = {"train": "trainval2014", "minival": "trainval2014", "test": "test2015"}
TABLES_OF_IMAGES = {
    "trainval2014": ("train2014_obj36.zip", "val2014_obj36.zip"),
    "test2015": ("test2015_obj36.zip",),
}


class DataFiles(ABC):
    """What the rules need to know about a source of data; `features` is a path with the wildcard {images}."""

    splits: tuple[str, ...]
    image_sets: tuple[str, ...]
    scored_splits: tuple[str, ...]
    """The evaluated splits whose answers are known here."""
    scored_elsewhere: tuple[str, ...]
    """The splits that EvalAI scores instead."""
    features: str
    tokenizer: str
    n_tokens: int | None
    """Tokens that the tokenizer must have; None where it is trained here."""
    feature_dim: int | None
    """Values of a region that its features must have; None where they are made here."""
    subtypes_of_answers: list[str]
    """The `data_subtype` of each file of annotations that the vocabulary is made from, as for `subtypes`."""
    about: list[str]
    """A file that says how minival was chosen, if it was chosen here."""
    notes: list[str]
    """What readers of the scores must know."""

    @abstractmethod
    def image_set(self, split: str) -> str:
        """Return the set of images that the questions of `split` ask about."""

    @abstractmethod
    def feature_tables(self, images: str) -> list[str]:
        """Return the files with the region features of a set of images."""

    @abstractmethod
    def questions(self, split: str) -> list[str]:
        """Return the files of questions that make up a split."""

    @abstractmethod
    def annotations(self, split: str) -> list[str]:
        """Return the annotations of these questions, file by file; [] where there are none."""

    @abstractmethod
    def pictures(self, split: str) -> list[str]:
        """Return where the pictures of a split are, if they are here."""

    @abstractmethod
    def subtypes(self, split: str) -> list[str]:
        """Return the `data_subtype` of each file of questions: it selects the right file in a zip."""

    @abstractmethod
    def answers(self) -> dict[str, list[str]]:
        """Return what the vocabulary of answers is made from: "annotations", or a "published" list."""

    def features_of(self, splits: Sequence[str]) -> list[str]:
        """Return the region features of each split."""
        return [self.features.format(images=self.image_set(split)) for split in splits]


class SceneFiles(DataFiles):
    """The embedded data set: the workflow makes everything."""

    def __init__(self, experiment: Experiment, paths: Layout) -> None:
        self._train, self._paths = experiment.splits.train, paths
        self.splits = self.image_sets = tuple(experiment.scenes.sets)
        self.scored_splits, self.scored_elsewhere = experiment.evaluated_splits, ()
        self.features, self.tokenizer = paths.features, paths.tokenizer
        self.n_tokens, self.feature_dim, self.about, self.notes = None, None, [], []
        self.subtypes_of_answers = self.subtypes(self._train)

    def image_set(self, split: str) -> str:
        return split

    def feature_tables(self, images: str) -> list[str]:
        return [self._paths.feature_table.format(split=images)]

    def questions(self, split: str) -> list[str]:
        return [self._paths.questions.format(split=split)]

    def annotations(self, split: str) -> list[str]:
        return [self._paths.annotations.format(split=split)]

    def pictures(self, split: str) -> list[str]:
        return [self._paths.images.format(split=split)]

    def subtypes(self, split: str) -> list[str]:
        return [split]

    def answers(self) -> dict[str, list[str]]:
        return {"annotations": self.annotations(self._train)}


class Vqa2Files(DataFiles):
    """VQA v2 on COCO images, from VQA's own files or from LXMERT's prepared ones."""

    def __init__(self, experiment: Experiment, paths: Layout, kept_here: Callable[[str], str]) -> None:
        assert experiment.vqa2 is not None
        self._paths, self._kept_here = paths, kept_here
        self._official = experiment.vqa2.questions == "official"
        self._sources, self._weights = experiment.vqa2.sources, experiment.weights
        self.splits, self.image_sets = tuple(VQA2_SPLITS), tuple(TABLES_OF_IMAGES)
        self.scored_splits = (experiment.splits.validate,)
        # EvalAI scores one submission of all test questions on both.
        self.scored_elsewhere = ("test-dev", "test-std") if experiment.splits.test else ()
        self.features = f"{VQA2_FOLDER}/features/{{images}}.h5"
        self.tokenizer, self.n_tokens = self.receipt("vocab.txt"), experiment.text.vocab_size
        self.feature_dim = experiment.vqa2.feature_dim
        self.subtypes_of_answers = ["train2014", "val2014"] if self._official else []
        self.about = [paths.about_minival] if self._official else []
        self._listed = self._official and experiment.vqa2.minival == "lxmert"
        self.notes = [] if self._official else [SOFT_LABELS]
        self.notes += [SEEN] if self._official and not self._listed else []
        self.notes += [CHOSEN_ON_IT] if experiment.training.keep == "best" else []

    def image_set(self, split: str) -> str:
        return IMAGES_OF_SPLIT[split]

    def feature_tables(self, images: str) -> list[str]:
        return [self.receipt(name) for name in TABLES_OF_IMAGES[images]]

    def questions(self, split: str) -> list[str]:
        return [self._part(part, "Questions", self._paths.questions) for part in VQA2_SPLITS[split]]

    def annotations(self, split: str) -> list[str]:
        if not self._official or split == "test":
            return []
        return [self._part(part, "Annotations", self._paths.annotations) for part in VQA2_SPLITS[split]]

    def pictures(self, split: str) -> list[str]:
        return [self._kept_here(PICTURES_FOLDER)] if Path(PICTURES_FOLDER).is_dir() else []

    def subtypes(self, split: str) -> list[str]:
        return ["val2014" if part.endswith("minival") else part for part in VQA2_SPLITS[split]]

    def answers(self) -> dict[str, list[str]]:
        if not self._official:
            return {"published": [self.receipt("trainval_label2ans.json")]}
        # From train and val, as in all published figures, whatever minival is.
        return {"annotations": [self.receipt(f"v2_Annotations_{part}_mscoco.zip") for part in ("Train", "Val")]}

    def receipt(self, name: str) -> str:
        """Return the receipt of a downloaded file, which is useful only where that file is."""
        return self._kept_here(f"{VQA2_FOLDER}/{name}{RECEIPT}")

    def published_weights(self) -> dict[str, str]:
        """Return the files that the starting weights are read from; those of the hub are in its own cache."""
        files = {}
        if self._weights.source == "original":
            files["checkpoint"] = self.receipt("model_LXRT.pth")
        if self._weights.answer_head == "pretrained":
            files["pretraining_answers"] = self.receipt("all_ans.json")
        return files

    def urls(self, name: str) -> list[str]:
        """Return where the file `name` can be downloaded, in the order to try."""
        entry, folder = VQA2_FILES[name]
        return [f"{base}{folder}{name}" for base in getattr(self._sources, entry)]

    def minival_ids(self) -> list[str]:
        """Return the receipt of LXMERT's list of minival; [] unless that list decides."""
        return [self.receipt(MINIVAL_IDS)] if self._listed else []

    def _part(self, part: str, kind: str, made_here: str) -> str:
        if not self._official:
            return self.receipt({"train2014": "train.json", "test2015": "test.json"}.get(part, f"{part}.json"))
        if part.endswith("minival"):
            return made_here.format(split=part)
        return self.receipt(f"v2_{kind}_{'Train' if part == 'train2014' else 'Test'}_mscoco.zip")


def files_of(experiment: Experiment, paths: Layout, kept_here: Callable[[str], str] = str) -> DataFiles:
    """Return the files of the experiment's source; `kept_here` marks paths that must stay on their disk."""
    if experiment.data == "scenes":
        return SceneFiles(experiment, paths)
    return Vqa2Files(experiment, paths, kept_here)
