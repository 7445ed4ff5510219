"""The command `verify`: whether the files of an experiment belong together."""

import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from contextlib import chdir
from pathlib import Path

from lxmert_tickets.errors import ArtifactError, counted
from lxmert_tickets.monitoring.asked_experiment import add_asked_experiment, asked_experiment


def add_verify_command(subparsers: "_SubParsersAction[ArgumentParser]") -> None:
    """Add `verify` to a command line; parsed arguments carry `run`, the function to call with them."""
    parser = subparsers.add_parser(
        "verify",
        help="whether the files of an experiment belong together",
        description="Read every file of an experiment that records what it was made from (data, weights, masks, "
        "predictions, scores), and compare that with the files that are there, byte for byte (above 1 GiB, size and "
        "both ends; of a download, size). Tables, figures and submissions record nothing, and nothing records a score. "
        "Of settings, those of trainings are compared with the configuration; `snakemake -n` compares all.",
    )
    add_asked_experiment(parser)
    parser.set_defaults(run=run_verify)


def run_verify(args: Namespace) -> int:
    """Print what does not belong together; return the exit status: 1 if there is anything, else 0.

    Raises ConfigError when the configuration is missing or wrong, ArtifactError when there are no files yet.
    """
    from lxmert_tickets.configuration.sources import files_of  # noqa: PLC0415 (not for every command)
    from lxmert_tickets.layout import Layout  # noqa: PLC0415
    from lxmert_tickets.progress import Progress  # noqa: PLC0415
    from lxmert_tickets.verification import files_to_verify, networks_of, settings_of, verify  # noqa: PLC0415 (h5py, pyarrow)

    experiment = asked_experiment(args)
    networks = networks_of(experiment)
    root = Path("results", experiment.experiment)
    with chdir(args.directory):  # every path of an experiment is relative to it
        files = files_to_verify(root, networks)
        if not files:
            raise ArtifactError(root, "has no files", "files of an experiment", "Run snakemake first.")
        data = files_of(experiment, Layout(root))
        features = {Path(data.features.format(images=images)) for images in data.image_sets}
        files += sorted(file for file in features.difference(files) if file.exists())  # in resources/
        with Progress("verify", len(files), "file") as progress:
            found = verify(root, files, networks, settings_of(experiment), progress.advance)
    for problem in found.problems:
        sys.stdout.write(f"{problem}\n")
    if found.problems:
        sys.stdout.write(
            "Restore the original files, or access to them; or delete these files and everything made from them, and "
            "run snakemake.\n"
        )
    gone = f"; {counted(len(found.gone), 'input')} gone since" if found.gone else ""
    sys.stdout.write(
        f"{root}: {counted(found.n_files, 'file')} compared with what they were made from, "
        f"{counted(len(found.problems), 'problem')}{gone}\n"
    )
    return int(bool(found.problems))
