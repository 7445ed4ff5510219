"""The command `convert-features`: region features from TSV, zipped or not, to HDF5, without Snakemake."""

import logging
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DESCRIPTION = """
Write the region features of many images to one HDF5 file of float16 numbers, to be read by memory map.

Each IN is a TSV of LXMERT's ten columns, or a zip archive with exactly one .tsv in it (stored or deflated), which is
read as a stream and never unpacked. All images have the number of regions and of features of the first, and each
occurs once. The older layout of six columns is refused. F.h5 is complete or absent: until it is complete, the
work is kept in .F.h5.partial beside it, and the same command resumes a conversion that was killed from its
last complete block.
"""


def add_convert_command(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add `convert-features` to a command line; parsed arguments carry `run`, the function to call with them."""
    parser = subparsers.add_parser(
        "convert-features", help="region features from TSV or zipped TSV to HDF5", description=DESCRIPTION
    )
    parser.add_argument("tables", nargs="+", type=Path, metavar="IN", help="a .tsv, or a .zip with one .tsv in it")
    parser.add_argument("--out", required=True, type=Path, metavar="F.h5", help="where to write the features")
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="processes that decode (default: one for each core, at most 8)"
    )
    parser.set_defaults(run=run_convert)


def run_convert(args: Namespace) -> int:
    """Convert `args.tables` to `args.out`, print the report, and return exit status 0.

    Raises what `convert_features` raises.
    """
    from lxmert_tickets.data.feature_conversion import convert_features  # noqa: PLC0415 (h5py)

    with _messages_shown():
        report = convert_features(args.tables, args.out, metadata={}, workers=args.workers)
    sys.stdout.write(f"{args.out}: {report}\n")
    return 0


@contextmanager
def _messages_shown() -> Iterator[None]:
    """Show a conversion's log messages, such as where it resumes, on standard error."""
    log, handler = logging.getLogger("lxmert_tickets.data"), logging.StreamHandler(sys.stderr)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _positive(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"{text}: expected a positive whole number")
