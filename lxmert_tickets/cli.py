"""`python -m lxmert_tickets`: what can be done with files and experiments, without the workflow.

score              official VQA accuracy of predictions
check-submission   whether EvalAI can take a file of answers
convert-features   region features from TSV or zipped TSV to HDF5
inspect            what a file of an experiment is
show               Table 1 and the files of an experiment
status             what of an experiment is done, running, failed, waiting
verify             whether the files of an experiment belong together
"""

import argparse
import errno
import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from lxmert_tickets.data.convert_command import add_convert_command
from lxmert_tickets.errors import DataError, TicketsError
from lxmert_tickets.evaluation.score_command import add_score_command
from lxmert_tickets.evaluation.submission_command import add_check_submission_command
from lxmert_tickets.monitoring.asked_experiment import add_asked_experiment, asked_experiment
from lxmert_tickets.monitoring.status_command import add_status_command
from lxmert_tickets.monitoring.verify_command import add_verify_command

STANDARD_STREAMS = [Path("/dev") / name for name in ("stdin", "stdout", "stderr")]
MAY_BE_PIPES = ("configfile", "out")  # the first is read only once, the second not at all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; 1 after an error message on standard error.

    Also 1, silently, when the reader of standard output stops early, as `head` does.
    """
    _prepare_output()
    parser = argparse.ArgumentParser(prog="python -m lxmert_tickets", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_score_command(commands)
    add_check_submission_command(commands)
    add_convert_command(commands)
    _add_inspect(commands)
    _add_show(commands)
    add_status_command(commands)
    add_verify_command(commands)
    try:
        with ExitStack() as ending:
            ending.callback(sys.stdout.flush)  # at exit it is too late to silence a broken pipe
            args = parser.parse_args(arguments)
            _check_can_be_read(args)
            if "out" in args:
                args.out = _where_to_write(args.out)
            return int(args.run(args))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again at exit
    except TicketsError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        parts = (error.filename2 or error.filename, error.strerror or error)  # of a rename, the new name
        print("error:", ": ".join(str(part) for part in parts if part), file=sys.stderr)
    return 1


def _prepare_output() -> None:
    """Make printing safe on standard streams that are closed, lack characters or have no width."""
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]


def _check_can_be_read(args: argparse.Namespace) -> None:
    """Raise DataError for a pipe, such as `<(cat FILE)`, as data: files are read from the beginning more than once."""
    for name, given in vars(args).items():
        for path in given if isinstance(given, list) else [given]:
            if isinstance(path, Path) and path.is_fifo() and name not in MAY_BE_PIPES:
                raise DataError(path, "is a pipe", "a file", "Write to a file what comes through it.")


def _where_to_write(path: Path) -> Path:
    """Return `path`, or its target if it is a link.

    Raises OSError, before the work rather than after, when that is not a regular file or its folder is not writable.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    existing = next(folder for folder in target.absolute().parents if folder.exists())
    is_stream = path.exists() and any(stream.exists() and path.samefile(stream) for stream in STANDARD_STREAMS)
    number = 0
    if path.is_dir():
        number = errno.EISDIR
    elif is_stream or (path.exists() and not path.is_file()):
        raise OSError(errno.EINVAL, "Is a device, a pipe or a standard stream", str(path))
    elif target.is_symlink():
        number = errno.ELOOP
    elif not existing.is_dir():
        number = errno.ENOTDIR
    elif not os.access(existing, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        raise OSError(number, os.strerror(number), str(path))
    return target


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
    parser.add_argument(
        "experiment", type=Path, nargs="?", help="its folder, such as results/scenes (that of the configuration)"
    )
    add_asked_experiment(parser)
    parser.add_argument("--folder", action="store_true", help="print the folder alone, whatever is in it")
    parser.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    from lxmert_tickets.report.terminal import show_experiment  # pandas: not for every command

    folder = args.experiment or args.directory / "results" / asked_experiment(args).experiment
    if args.folder:
        print(folder)
    else:
        show_experiment(folder, Console())
    return 0
