"""The command `score`: official accuracies of a predictions file, without Snakemake."""

import gzip
import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterable
from pathlib import Path

from lxmert_tickets.artifacts import indented_json, replacing
from lxmert_tickets.data.vqa_json import check_belong_together, read_annotations, read_questions
from lxmert_tickets.errors import DataError, counted
from lxmert_tickets.evaluation.accuracy import Score, score_predictions
from lxmert_tickets.evaluation.predictions import load_predictions, read_submission


def add_score_command(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add `score` to a command line; parsed arguments carry `run`, the function to call with them."""
    parser = subparsers.add_parser(
        "score",
        help="official VQA accuracies of a predictions file",
        description="Score answers as the official VQA evaluator does, to the last digit. JSON may be gzipped.",
    )
    parser.add_argument("--questions", type=Path, required=True, metavar="Q.json", help="official questions file")
    parser.add_argument("--annotations", type=Path, required=True, metavar="A.json", help="official annotations file")
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="P.json",
        help='a list of {"question_id", "answer"} as EvalAI takes it, or a .parquet file of the workflow',
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="S.json",
        help="where to write the accuracies; gzipped if it ends in .gz",
    )
    parser.set_defaults(run=run_score)


def run_score(args: Namespace) -> int:
    """Write the accuracies of `args.predictions` to `args.out`, print the main ones, and return the exit status 0.

    Raises DataError or ArtifactError, with nothing written, when a file is broken, the files do not belong together, or
    one of them would be overwritten.
    """
    inputs = args.questions, args.annotations, args.predictions
    if os.path.realpath(args.out) in map(os.path.realpath, inputs):
        raise DataError(args.out, "is one of the files to read", "a file of its own", "Name another output.")
    questions = read_questions(args.questions)
    annotations = read_annotations(args.annotations)
    check_belong_together(questions, annotations, args.questions, args.annotations)
    score = score_predictions(annotations, _read_predictions(args.predictions), args.predictions, args.annotations)
    _write(args.out, score)
    sys.stdout.write(f"{summary(score)}\nwritten to {args.out}\n")
    return 0


def summary(score: Score) -> str:
    """Return the overall accuracy and that of each answer type, in percent, one per line."""
    rows = {"overall": score.overall, **dict(sorted(score.per_answer_type.items()))}
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {accuracy:6.2f}" for name, accuracy in rows.items()]
    return "\n".join([f"VQA accuracy of {counted(len(score.per_question), 'answer')}, percent", *lines])


def _write(path: Path, score: Score) -> None:
    content = indented_json(score.as_json()).encode()
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _read_predictions(path: Path) -> Iterable[tuple[int, str]]:
    if path.suffix == ".parquet":
        predictions, _ = load_predictions(path)
        return predictions.pairs()
    return read_submission(path).items()
