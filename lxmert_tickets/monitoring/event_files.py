"""Curves as event files for TensorBoard."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from lxmert_tickets.errors import ConfigError
from lxmert_tickets.training.metrics import Curves

PACKAGE = "tensorboard"
PATTERN = "events.out.tfevents.*"


class EventFiles:
    """The event file of one run, in a folder of its own.

    Every process that resumes the run empties the earlier file and writes the curve again from the first step, so that
    it has no gaps or repeated steps, wherever the run was interrupted.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when TensorBoard is not installed."""
        if find_spec(PACKAGE) is None:
            raise ConfigError(
                "logging.tensorboard", "true, and the package tensorboard is not installed here", "that package",
                "Install it (pip install -r requirements-tensorboard.txt), or set logging.tensorboard: false.",
            )  # fmt: skip
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (installed where it is asked for)

        # A TensorBoard that has read the earlier file looks for a later one only while it exists; `purge_step` makes it
        # forget what it has read.
        for old in folder.glob(PATTERN):
            if old.stat().st_size:
                old.write_bytes(b"")
            else:
                old.unlink()
        self._writer = SummaryWriter(folder, purge_step=0)
        self._n_written: dict[str, int] = {}

    def go_on(self, curves: Curves) -> None:
        """Write the new lines of `curves`: a scalar `<curve>/<field>` for each number except the step."""
        for name, lines in curves.items():
            for line in lines[self._n_written.get(name, 0) :]:
                values = asdict(line)
                step = values.pop("step")
                for field, value in values.items():
                    self._writer.add_scalar(f"{name}/{field}", value, step)
            self._n_written[name] = len(lines)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.close()
