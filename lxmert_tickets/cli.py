"""`python -m lxmert_tickets`: what can be done with files and experiments, without the workflow.

score              official VQA accuracy of predictions
check-submission   whether EvalAI can take a file of answers
convert-features   region features from TSV or zipped TSV to HDF5
inspect            what a file of an experiment is
show               Table 1 and the files of an experiment
status             what of an experiment is done, running, failed, waiting
"""

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lxmert_tickets.data.convert_command import add_convert_command
from lxmert_tickets.errors import TicketsError
from lxmert_tickets.evaluation.score_command import add_score_command
from lxmert_tickets.evaluation.submission_command import add_check_submission_command
from lxmert_tickets.monitoring.status_command import add_status_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after saying what was wrong on standard error."""
    parser = argparse.ArgumentParser(prog="python -m lxmert_tickets", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_score_command(commands)
    add_check_submission_command(commands)
    add_convert_command(commands)
    _add_inspect(commands)
    _add_show(commands)
    add_status_command(commands)
    args = parser.parse_args(arguments)
    try:
        if "out" in args:
            _check_can_be_written(args.out)
        return int(args.run(args))
    except TicketsError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        parts = (error.filename2 or error.filename, error.strerror or error)  # of a rename, the new name
        print("error:", ": ".join(str(part) for part in parts if part), file=sys.stderr)
    return 1


def _check_can_be_written(path: Path) -> None:
    """Raise OSError when `path` is a folder, or nothing can be written to its own: before the work, not after it."""
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    number = 0
    if path.is_dir():
        number = errno.EISDIR
    elif not existing.is_dir():
        number = errno.ENOTDIR
    elif not os.access(existing, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        raise OSError(number, os.strerror(number), str(path))


def _add_inspect(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("inspect", help="what a file of an experiment is")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="for machines, with every tensor")
    parser.set_defaults(run=_inspect)


def _inspect(args: argparse.Namespace) -> int:
    from lxmert_tickets.inspection import inspect_file

    about = inspect_file(args.file)
    if args.json:
        print(json.dumps(about, indent=1, sort_keys=True))
    else:
        Console().print({key: value for key, value in about.items() if key != "tensors"})
    return 0


def _add_show(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("show", help="Table 1 and the files of an experiment")
    parser.add_argument("experiment", type=Path, help="its folder, such as results/scenes")
    parser.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    from lxmert_tickets.report.terminal import show_experiment  # pandas: not for every command

    show_experiment(args.experiment, Console())
    return 0
