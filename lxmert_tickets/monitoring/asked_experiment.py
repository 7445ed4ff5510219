"""Which experiment a command is about: that of a configuration, given as for Snakemake."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxmert_tickets.configuration.experiment import Experiment


def add_asked_experiment(parser: ArgumentParser) -> None:
    """Add the options for the configuration and the folder where Snakemake is run."""
    parser.add_argument("--configfile", "--configfiles", type=Path, nargs="+", default=[], metavar="FILE",
                        help="laid over config.yaml, one after the other; of two such options the last counts, "
                        "as for Snakemake")  # fmt: skip
    parser.add_argument("--directory", type=Path, default=Path(), metavar="DIR", help="where Snakemake is run (here)")


def asked_experiment(args: Namespace) -> "Experiment":
    """Return the experiment that these options specify.

    Raises ConfigError when the configuration is missing or wrong.
    """
    from lxmert_tickets.configuration.files import read_configuration  # noqa: PLC0415 (not for every command)
    from lxmert_tickets.configuration.reading import read_experiment  # noqa: PLC0415

    return read_experiment(read_configuration(args.directory, args.configfile))
