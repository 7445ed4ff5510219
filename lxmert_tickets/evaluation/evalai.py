"""EvalAI's results for submissions to the VQA challenge, saved by the user as JSON, one or more files per network.

EvalAI's "Result File" of a submission is a list with an object for each split:

    [{"test-dev": {"yes/no": 87.28, "number": 54.13, "other": 62.65, "overall": 71.83}}, {"test-standard": {…}}]
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from lxmert_tickets.data.json_files import read_json, shown_name
from lxmert_tickets.errors import DataError, did_you_mean
from lxmert_tickets.evaluation.accuracy import Score
from lxmert_tickets.layout import files_below

TEST_DEV, TEST_STD = "test-dev", "test-std"
SPLIT_OF = {"test-dev": TEST_DEV, "test-standard": TEST_STD, "test-std": TEST_STD}
"""The columns of the table, by EvalAI's names; years and underscores do not matter ("test-dev2015", "test_dev")."""
OTHER_SPLITS = ("test-challenge", "test-reserve")
"""Further splits of the challenge that EvalAI may report; the paper has no column for them."""

ANSWER_TYPES = ("yes/no", "number", "other")
FIGURES = (*ANSWER_TYPES, "overall")
ROUNDING = 0.02
"""Percentages are rounded to two places: an overall one may lie this far outside the range of those it averages."""

SHAPE = '[{"test-dev": {"yes/no": 87.28, "number": 54.13, "other": 62.65, "overall": 71.83}}, {"test-standard": {…}}]'
RESULT_FILE = f"EvalAI's result file, {SHAPE}"
REMEDY = 'Save the "Result File" of the submission (not stdout) as it is.'
PLACE = "seed<seed>/dense.json or seed<seed>/<subnetwork>/s<sparsity>.json; more may follow the name: s50.test-std.json"

SEED = re.compile(r"seed(0|[1-9]\d*)")

MORE = re.compile(r"[._ -][A-Za-z]|[._ -]?\(")
"""What may follow a network's name begins so: a word or a number in parentheses, never digits (s12.5 is not s12)."""


def read_evalai(path: str | Path) -> dict[str, Score]:
    """Return the accuracies in a result file of EvalAI, by split: "test-dev", "test-std" or both.

    They are overall and per answer type. Numbers may be strings, and the list may be the "result" of an object, or
    omitted if there is only one split.

    Raises DataError, showing the layout, for anything else; also for accuracies outside 0..100 and for an overall
    one that cannot be a mean of the others.
    """
    content = read_json(path, Any, RESULT_FILE, REMEDY, if_damaged=REMEDY)
    if isinstance(content, dict) and "result" in content:
        content = content["result"]
    scores: dict[str, Score] = {}
    for place, name, figures in _splits_in(path, content):
        split = re.sub(r"-?20\d\d$", "", name.strip().lower().replace("_", "-"))
        if split in OTHER_SPLITS:
            continue
        if split not in SPLIT_OF:
            raise DataError(place, f"the split {shown_name(name)!r}", RESULT_FILE, did_you_mean(split, SPLIT_OF))
        score = _score(place, figures)
        if scores.setdefault(SPLIT_OF[split], score) != score:
            raise DataError(place, f"{SPLIT_OF[split]} twice, with different figures", RESULT_FILE, REMEDY)
    if not scores:
        raise DataError(path, "neither test-dev nor test-standard", RESULT_FILE, REMEDY)
    return scores


def find_evalai_scores(folder: str | Path, seeds: Sequence[int], models: Sequence[str]) -> list[Path]:
    """Return the result files below `folder`, sorted: `seed0/dense.json`, `seed0/low_magnitude/s50.test-std.json`, ….

    A missing folder has none. Hidden files, a README, and results of seeds not among `seeds` are skipped: a run of
    fewer seeds shows fewer.

    Raises DataError for any other file that belongs to no network of `seeds` and `models`, such as one with a misspelt
    name.
    """
    root, found = Path(folder), []
    for file in sorted(files_below(root)):
        below = file.relative_to(root)
        seed = SEED.fullmatch(below.parts[0])
        waits = seed is not None and int(seed[1]) not in seeds
        if not (waits or _is_hidden(below) or file.stem.upper() == "README"):
            _network_of(file, below, seeds, models)
            found.append(file)
    return found


def read_evalai_scores(
    files: Iterable[str | Path], seeds: Sequence[int], models: Sequence[str]
) -> list[tuple[int, str, str, Score]]:
    """Return (seed, model, split, score) of all result files that `find_evalai_scores` found, sorted.

    Several files may be about one network, such as one of test-dev and one of test-std.

    Raises DataError when a file is broken, belongs to no network, or contradicts another.
    """
    found: dict[tuple[int, str, str], tuple[Score, Path]] = {}
    for file in map(Path, files):
        seed, model = _network_of(file, _below_seed(file), seeds, models)
        for split, score in read_evalai(file).items():
            before, earlier = found.setdefault((seed, model, split), (score, file))
            if before != score:
                found_here = f"overall {score.overall} on {split}, and {before.overall} in {earlier}"
                raise DataError(file, found_here, "one result for each network and split", "Delete the outdated file.")
    return [(*key, score) for key, (score, _) in sorted(found.items())]


def older_than_submission(
    files: Iterable[str | Path],
    seeds: Sequence[int],
    models: Sequence[str],
    submission_of: Mapping[tuple[int, str], str | Path],
) -> list[tuple[Path, Path]]:
    """Return those result files that are older than the submission of their network, by (seed, model), each with it.

    Their scores may be those of a network that has been trained again since. A submission that is not here is skipped.
    """
    pairs = [
        (file, Path(submission_of[_network_of(file, _below_seed(file), seeds, models)])) for file in map(Path, files)
    ]
    return [(file, new) for file, new in pairs if new.exists() and file.stat().st_mtime < new.stat().st_mtime]


def _splits_in(path: str | Path, content: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield (place in the file, EvalAI's name, figures) of each split."""
    entries = content if isinstance(content, list) else [content]
    for position, entry in enumerate(entries):
        place = f"{path} at $[{position}]" if isinstance(content, list) else str(path)
        if not isinstance(entry, dict):
            raise DataError(place, _described(entry), RESULT_FILE, REMEDY)
        for name, figures in entry.items():
            yield place, name, figures


def _score(place: str, figures: Any) -> Score:
    if not isinstance(figures, dict):
        raise DataError(place, _described(figures), RESULT_FILE, REMEDY)
    percent = {name.strip().lower().replace("_", "/"): _percent(place, name, value) for name, value in figures.items()}
    if wrong := sorted(percent.keys() ^ set(FIGURES)):
        kinds = [f"{'no' if name in FIGURES else 'also'} {shown_name(name)!r}" for name in wrong]
        raise DataError(place, ", ".join(kinds), RESULT_FILE, REMEDY)
    types = {name: percent[name] for name in ANSWER_TYPES}
    if not min(types.values()) - ROUNDING <= percent["overall"] <= max(types.values()) + ROUNDING:
        found = f"overall {percent['overall']}, which is not a mean of {types}"
        raise DataError(place, found, RESULT_FILE, REMEDY)
    return Score(percent["overall"], per_answer_type=types, per_question_type={}, per_question={})


def _percent(place: str, name: str, value: Any) -> float:
    number = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if not 0 <= number <= 100:  # also false for NaN
        found = f"{shown_name(name)!r} is {shown_name(repr(value))}"
        raise DataError(place, found, f"a percentage from 0 to 100: {RESULT_FILE}", REMEDY)
    return number


def _network_of(file: Path, below: PurePath, seeds: Sequence[int], models: Sequence[str]) -> tuple[int, str]:
    """Return the seed and the model that a result file is about; `below` is its path from the folder of results."""
    first, rest = below.parts[0], PurePath(*below.parts[1:])
    seed = {f"seed{number}": number for number in seeds}.get(first)
    if file.suffix.lower() != ".json":
        raise DataError(file, "no .json file", RESULT_FILE, "Take it out of this folder.")
    if seed is None:
        remedy = did_you_mean(first, (f"seed{number}" for number in seeds))
        raise DataError(file, f"{shown_name(first)!r} is not a seed of this experiment", PLACE, remedy)
    stem = rest.as_posix()[: -len(rest.suffix)]
    fitting = [model for model in models if stem == model or _goes_on(stem, model)]
    if not fitting:
        raise DataError(
            file, f"{shown_name(stem)!r} is not a network of this experiment", PLACE, did_you_mean(stem, models)
        )
    return seed, fitting[0]


def _goes_on(stem: str, model: str) -> bool:
    return stem.startswith(model) and MORE.match(stem, len(model)) is not None and "/" not in stem[len(model) :]


def _below_seed(file: Path) -> PurePath:
    """Return a path from its seed's folder on: `dense.json` is in that folder, `s50.json` in a subnetwork's."""
    n_parts = 3 if re.match(r"s\d", file.name) else 2
    return PurePath(*file.parts[-n_parts:])


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _described(value: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
