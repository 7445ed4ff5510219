"""Curves as TensorBoard reads them."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from lxmert_tickets.errors import ConfigError
from lxmert_tickets.training.metrics import Curves

PACKAGE = "tensorboard"
PATTERN = "events.out.tfevents.*"


class EventFiles:
    """The event file of one run, in a folder of its own.

    The file is written anew from the first step by every process that takes the run up, and what an earlier one wrote
    is removed: so the curve has neither gaps nor steps that stand there twice, wherever the run was broken off.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when TensorBoard is not installed."""
        if find_spec(PACKAGE) is None:
            raise ConfigError(
                "logging.tensorboard", "true, and the package tensorboard is not installed here", "that package",
                "Install it (pip install -r requirements-tensorboard.txt), or set logging.tensorboard: false.",
            )  # fmt: skip
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (installed where it is asked for)

        for old in folder.glob(PATTERN):
            old.unlink()
        # `purge_step`: a TensorBoard that has read the removed file forgets it.
        self._writer = SummaryWriter(str(folder), purge_step=0)
        self._n_written: dict[str, int] = {}

    def go_on(self, curves: Curves) -> None:
        """Write the lines of `curves` that are new: a scalar `<curve>/<field>` for each number but the step."""
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
