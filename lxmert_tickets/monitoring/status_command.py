"""The command `status`: the state of an experiment's grid."""

import json
import os
import socket
import sys
import time
from argparse import ArgumentParser, Namespace, _SubParsersAction
from contextlib import chdir
from dataclasses import asdict

from rich.console import Console

from lxmert_tickets.monitoring.asked_experiment import add_asked_experiment, asked_experiment

WIDTH_OF_A_PIPE = 160


def add_status_command(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add `status` to a command line; parsed arguments carry `run`, the function to call with them."""
    parser = subparsers.add_parser(
        "status",
        help="what is done, running, failed, waiting",
        description="Show where an experiment stands, from its files alone: on any machine that sees them. "
        "A network is done when all that Snakemake is asked for exists; `snakemake -n` says whether it is up to date "
        "with the configuration.",
    )
    add_asked_experiment(parser)
    parser.add_argument("--all", action="store_true", help="a line for each network")
    parser.add_argument("--json", action="store_true", help="for machines: a list of networks and of what they share")
    parser.set_defaults(run=run_status)


def run_status(args: Namespace) -> int:
    """Print the state of the experiment of `args`, and return the exit status 0.

    Raises ConfigError when the configuration is missing or wrong, OSError when a folder cannot be read.
    """
    from lxmert_tickets.configuration.sources import files_of  # noqa: PLC0415 (not for every command)
    from lxmert_tickets.layout import Layout  # noqa: PLC0415
    from lxmert_tickets.monitoring.grid import Clock, statuses  # noqa: PLC0415
    from lxmert_tickets.monitoring.status_table import print_statuses  # noqa: PLC0415

    experiment = asked_experiment(args)
    paths = Layout(f"results/{experiment.experiment}")
    clock = Clock(time.time(), socket.gethostname())
    with chdir(args.directory):  # every path of an experiment is relative to it
        found = statuses(experiment, paths, files_of(experiment, paths), clock)
    if args.json:
        print(json.dumps([asdict(status) for status in found], indent=1))  # noqa: T201 (a command prints)
        return 0
    is_wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=WIDTH_OF_A_PIPE if is_wide else None)
    print_statuses(experiment.experiment, found, clock.now, console, args.all)
    return 0
