"""Where every file of an experiment is.

Braces are Snakemake wildcards: {split} a set of questions, {images} a set of images, {seed} a run, {model} "dense" or
"<subnetwork>/s<sparsity>".
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

FOLDERS = ("results", "resources")  # all files of the workflow lie in one of them
CHECKPOINTS = "LXT_CHECKPOINTS"  # names a folder that outlives jobs, if the disk of the weights does not
RECEIPT = ".verified"  # suffix of the receipt for the file beside it (see downloads.receipts)
RESUME_FOLDER = ".resume"  # beside the weights; not an output of a rule, since Snakemake deletes those of failed jobs


class Layout:
    """The files of the experiment under `root`, such as results/scenes."""

    def __init__(self, root: str | PurePath) -> None:
        self.root = str(root)
        split = f"{root}/data/{{split}}"
        self.images = f"{split}/images.zip"
        self.scenes = f"{split}/scenes.json"
        self.boxes = f"{split}/boxes.json"
        self.captions = f"{split}/captions.json"
        self.questions = f"{split}/questions.json"
        self.annotations = f"{split}/annotations.json"
        self.feature_table = f"{split}/features.tsv"
        self.features = f"{root}/data/{{images}}/features.h5"
        self.encoded_questions = f"{split}/questions.h5"
        self.about_minival = f"{root}/data/minival/about.json"
        self.answers = f"{root}/data/answers.json"
        self.tokenizer = f"{root}/data/tokenizer.json"

        self.pretrained = f"{root}/pretrained/weights.safetensors"
        self.pretraining_history = f"{root}/pretrained/history.csv"
        self.initial = f"{root}/seed{{seed}}/initial.safetensors"

        model = f"{root}/seed{{seed}}/{{model}}"
        self.weights = f"{model}/weights.safetensors"
        self.history = f"{model}/history.csv"
        self.metrics = f"{model}/metrics.csv"
        self.event_files = f"{root}/tensorboard/seed{{seed}}/{{model}}"
        self.pretraining_event_files = f"{root}/tensorboard/pretrained"
        self.predictions = f"{model}/predictions.{{split}}.parquet"
        self.score = f"{model}/score.{{split}}.json"
        self.submission = f"{root}/submissions/{{split}}/seed{{seed}}/{{model}}.json"

        self.dense_weights = of_model(self.weights, "dense")
        self.dense_history = of_model(self.history, "dense")
        subnetwork = f"{root}/seed{{seed}}/{{subnetwork}}/s{{sparsity}}"
        self.mask = f"{subnetwork}/mask.safetensors"
        self.sparsity = f"{subnetwork}/sparsity.csv"
        self.model_sparsity = f"{model}/sparsity.csv"
        self.model_mask = f"{model}/mask.safetensors"
        self.start = f"{subnetwork}/start.safetensors"
        self.subnetwork_weights = f"{subnetwork}/weights.safetensors"
        self.subnetwork_history = f"{subnetwork}/history.csv"

        self.results = f"{root}/results.csv"
        self.question_types = f"{root}/question_types.csv"
        self.histories = f"{root}/histories.csv"
        self.sparsities = f"{root}/sparsities.csv"
        self.table = f"{root}/tables/table1"
        self.figure = f"{root}/figures/{{figure}}.{{format}}"
        self.examples = f"{root}/figures/examples.html"
        self.run_times = f"{root}/tables/run_times.html"
        self.configuration = f"{root}/configuration"
        self.report = f"{root}/report.html"
        self.log = f"{root}/logs"
        self.benchmark = f"{root}/benchmarks"

    def log_of(self, rule: str, *values: str) -> str:
        """Return the log of the job of `rule` with these values of its wildcards."""
        return f"{self.log}/{'.'.join([rule, *values])}.log"


def model_of(subnetwork: str = "", sparsity: str = "") -> str:
    """Return the {model} of a subnetwork at a sparsity; without either, of the dense network."""
    return f"{subnetwork}/s{sparsity}" if subnetwork else "dense"


def of_model(path: str, model: str) -> str:
    """Return `path` for one model, its other wildcards left open."""
    return path.replace("{model}", model)


def name_in_workflow(path: str | Path) -> str:
    """Return `path` from `results/` or `resources/` on, or unchanged if it contains neither.

    What comes before depends on the machine: the prefix of a module, the local copy of a storage object.
    """
    parts = PurePath(path).parts
    start = max((place for place, part in enumerate(parts) if part in FOLDERS), default=0)
    return PurePath(*parts[start:]).as_posix()


def resume_folder(weights: str | Path) -> Path:
    """Return where the checkpoints of the training of `weights` are: beside them, or below $LXT_CHECKPOINTS."""
    elsewhere, beside = os.environ.get(CHECKPOINTS), Path(weights).parent
    return Path(elsewhere, name_in_workflow(beside), RESUME_FOLDER) if elsewhere else beside / RESUME_FOLDER


def lock_of_training(weights: str | Path) -> Path:
    """Return the lock file of the process that trains `weights`."""
    return resume_folder(weights) / "lock"


def files_below(folder: Path, within: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield all files below `folder`, also through links to folders, except links to a folder above them."""
    real = folder.resolve()
    if folder.is_dir() and real not in within:
        for entry in folder.iterdir():
            if entry.is_dir():
                yield from files_below(entry, within | {real})
            else:
                yield entry
