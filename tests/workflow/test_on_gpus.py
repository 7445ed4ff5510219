"""Eight trainings through the real Snakefile with two GPUs or none; GPUs and trainings are made up."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

N_SEEDS = 8
TRAINS = """
import os
import signal
import time
from pathlib import Path

from lxmert_tickets.jobs.gpus import gpu_of_this_job

PATIENCE_SECONDS = 120

with gpu_of_this_job(snakemake.params.jobs_per_gpu) as device:
    began, first = time.monotonic(), Path(f"killed{snakemake.wildcards.seed}")
    if snakemake.wildcards.seed in "24" and not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)  # nothing of it can clean up
    # Until once as many have met as may be at work at once, however long each takes to start.
    Path(f"here{snakemake.wildcards.seed}").touch()
    met, n_to_meet = Path("met"), int(Path("n_to_meet").read_text())
    while not met.exists() and time.monotonic() < began + PATIENCE_SECONDS:
        if len(list(Path().glob("here*"))) >= n_to_meet:
            met.touch()
        time.sleep(0.05)
    time.sleep(1)
    Path(f"here{snakemake.wildcards.seed}").unlink()
    told = device, began, time.monotonic(), snakemake.params.cuda_graphs
    Path(f"trained{snakemake.wildcards.seed}").write_text(" ".join(map(str, told)))
for output in snakemake.output:
    Path(output).touch()
"""


@dataclass(frozen=True)
class Use:
    """A training: its device, when it held it (seconds), and whether it was to use CUDA graphs."""

    device: str
    began: float
    ended: float
    graphs: str


class Machine:
    """A copy of the workflow on a machine with GPUs or without, with all that the trainings need already made."""

    def __init__(self, folder: Path, with_gpus: bool) -> None:
        self.folder = folder
        (folder / "workflow_scripts/train.py").write_text(TRAINS)
        device = folder / "nvidiactl"
        if with_gpus:
            device.touch()
        environment = folder / "lxmert_tickets/environment.py"
        environment.write_text(environment.read_text().replace("/dev/nvidiactl", str(device)))
        made = [f"seed{seed}/initial.safetensors" for seed in range(N_SEEDS)]
        made += [f"data/{split}/{name}.h5" for split in ("train", "val") for name in ("questions", "features")]
        for path in (folder / "results/smoke" / name for name in made):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def train(self, visible: str | None, n_to_meet: int, *options: str, **config: Any) -> tuple[list[Use], str]:
        """Train the dense network of each seed on up to 8 cores; return their use of GPUs and Snakemake's output.

        The first to be trained go on until there are `n_to_meet` of them at once.
        """
        (self.folder / "n_to_meet").write_text(str(n_to_meet))
        overlay = self.folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump({"seeds": list(range(N_SEEDS)), **config}))
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        environment |= {"TMPDIR": str(self.folder)} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
        weights = [f"results/smoke/seed{seed}/dense/weights.safetensors" for seed in range(N_SEEDS)]
        command = [
            sys.executable, "-m", "snakemake", *weights, "--cores", "8", "--retries", "1", *options,
            "--configfile", "config.yaml", "configs/smoke.yaml", "overlay.yaml",
        ]  # fmt: skip
        run = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr[-3000:]
        told = [(self.folder / f"trained{seed}").read_text().split() for seed in range(N_SEEDS)]
        return [Use(device, float(began), float(ended), graphs) for device, began, ended, graphs in told], run.stderr


def most_at_once(uses: list[Use]) -> int:
    return max((sum(other.began <= use.began < other.ended for other in uses) for use in uses), default=0)


def on(device: str, uses: list[Use]) -> list[Use]:
    return [use for use in uses if use.device == device]


# With 8, Snakemake starts all eight at once; those that find no free GPU wait.
@pytest.mark.parametrize("counted", [2, 8])
def test_eight_trainings_take_turns_on_two_gpus_though_two_are_killed(copy_of_project: Path, counted: int) -> None:
    uses, said = Machine(copy_of_project, with_gpus=True).train("3,5", 2, "--resources", f"gpu={counted}")
    assert {use.device for use in uses} == {"3", "5"}
    assert most_at_once(on("3", uses)) == most_at_once(on("5", uses)) == 1
    assert most_at_once(uses) == 2
    assert "No GPU" not in said
    assert {use.graphs for use in uses} == {"True"}


def test_two_trainings_share_a_gpu_where_so_configured(copy_of_project: Path) -> None:
    machine = Machine(copy_of_project, with_gpus=True)
    uses, _ = machine.train("3,5", 4, "--resources", "gpu=4", gpus={"trainings_per_gpu": 2, "cuda_graphs": False})
    assert most_at_once(uses) == 4
    assert most_at_once(on("3", uses)) == most_at_once(on("5", uses)) == 2
    assert {use.graphs for use in uses} == {"False"}


@pytest.mark.parametrize(("with_gpus", "visible"), [(False, None), (True, "")])
def test_without_a_gpu_the_same_command_says_so_once_and_trains_one_network_per_core(
    copy_of_project: Path, with_gpus: bool, visible: str | None
) -> None:
    uses, said = Machine(copy_of_project, with_gpus).train(visible, 3, "--resources", "gpu=2")
    assert {use.device for use in uses} == {"None"}
    assert most_at_once(uses) > 2
    assert said.count("No GPU to be used here") == 1
