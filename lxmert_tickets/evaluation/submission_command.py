"""The command `check-submission`: whether EvalAI can take a file, before one of the few submissions a day is spent."""

import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from codecs import BOM_UTF8
from pathlib import Path

from lxmert_tickets.data.parts import read_split
from lxmert_tickets.errors import DataError, counted
from lxmert_tickets.evaluation.predictions import SUBMISSION, check_all_answered, read_submission


def add_check_submission_command(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add `check-submission` to a command line; parsed arguments carry `run`, the function to call with them."""
    parser = subparsers.add_parser(
        "check-submission",
        help="whether EvalAI can take a file of answers",
        description='A submission is a JSON list of {"question_id", "answer"}, with every question once.',
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--questions",
        type=Path,
        required=True,
        metavar="Q",
        help="the questions to answer: official .json, .json.gz or .zip, or test.json of LXMERT",
    )
    parser.add_argument(
        "--subtype",
        default="test2015",
        help="which questions of a .zip that holds several (default: %(default)s, as EvalAI requires in all phases)",
    )
    parser.set_defaults(run=run_check_submission)


def run_check_submission(args: Namespace) -> int:
    """Print how many answers `args.file` has, and return the exit status 0.

    Raises DataError, saying what is wrong, when EvalAI would refuse or misjudge it.
    """
    answer_of = read_submission(args.file)
    _check_plain(args.file)
    asked = read_split([args.questions], subtypes=[args.subtype])
    check_all_answered(args.file, answer_of.keys(), {question.question_id for question in asked})
    n_empty = sum(not answer.strip() for answer in answer_of.values())
    empty = f"; {n_empty:,} empty" if n_empty else ""
    sys.stdout.write(
        f"{args.file}: {counted(len(answer_of), 'answer')}, one to each question of {args.questions}{empty}\n"
    )
    return 0


def _check_plain(path: Path) -> None:
    """Raise DataError unless `json.load(open(path))` reads it, as EvalAI does; `read_submission` accepts more."""
    content = path.read_bytes()
    expected = f"{SUBMISSION}, in UTF-8 from the first byte on"
    if content.startswith(BOM_UTF8):
        raise DataError(path, "begins with a byte-order mark", expected, "Save it as UTF-8 without one.")
    if not content.lstrip().startswith(b"["):
        raise DataError(path, "is compressed (gzip or zip)", expected, "Unpack it.")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise DataError(path, f"is not UTF-8 (byte {error.start})", expected, "Save it as UTF-8.") from None
