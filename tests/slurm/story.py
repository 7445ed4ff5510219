"""A grid that runs through profiles/slurm while things go wrong, one after the other."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster import Cluster

PATIENCE_SECONDS = 500
NETWORKS = [f"seed{seed}/{model}" for seed in (0, 1) for model in ("dense", "low_magnitude/s50")]


@dataclass
class Training:
    """A process that trains one network, as the lock of its run tells."""

    process: int
    job: str
    gpu: str

    def send(self, what: signal.Signals) -> None:
        os.kill(self.process, what)

    def has_ended(self) -> bool:
        return not Path(f"/proc/{self.process}").exists()


@dataclass
class Story:
    """What is done to the grid in `folder`, and what was seen meanwhile."""

    cluster: Cluster
    folder: Path
    main: subprocess.Popen[bytes]
    # Signals for trainings: each is sent as soon as its network is trained for the first time.
    met_with: dict[str, signal.Signals]
    met: dict[str, Training] = field(default_factory=dict)
    jobs: dict[str, list[str]] = field(default_factory=dict)  # of SLURM, by the network that they trained
    gpus_at_once: list[list[str]] = field(default_factory=list)
    deadline: float = field(default_factory=lambda: time.monotonic() + PATIENCE_SECONDS)

    @property
    def said(self) -> str:
        """What Snakemake has said."""
        return (self.folder / "said").read_text(errors="replace")

    def look(self) -> None:
        """Note the jobs and GPUs of all trainings of this moment, and send each what it is to be met with."""
        running = {network: found for network in NETWORKS if (found := self._training(network))}
        for network, training in running.items():
            if training.job not in (known := self.jobs.setdefault(network, [])):
                known.append(training.job)
            if network in self.met_with and network not in self.met:
                training.send(self.met_with[network])
                self.met[network] = training
        gpus = sorted(one.gpu for one in running.values())
        if gpus not in self.gpus_at_once:
            self.gpus_at_once.append(gpus)

    def wait_until(self, what: str, happened: Callable[[], bool]) -> None:
        while not happened():
            in_vain = time.monotonic() > self.deadline or (self.main.poll() is not None and not happened())
            assert not in_vain, f"waited in vain until {what}\n{self.said[-3000:]}"
            self.look()
            time.sleep(0.05)

    def _training(self, network: str) -> Training | None:
        """Return who trains `network` at present."""
        try:
            holder = (self.folder / "results/smoke" / network / ".resume/lock").read_text()
            process = int(holder.split()[1])  # "process 17 on host"
            fields = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):  # none yet, not any more, or just beginning
            return None
        environment = dict(entry.decode().split("=", 1) for entry in fields if b"=" in entry)
        if "SLURM_JOB_ID" not in environment:  # it is ending
            return None
        return Training(process, environment["SLURM_JOB_ID"], environment.get("CUDA_VISIBLE_DEVICES", "none"))


SLOW, CANCELLED, KILLED, PREEMPTED = "seed0/dense", "seed1/dense", "seed1/low_magnitude/s50", "seed0/low_magnitude/s50"
# A process that is stopped does no more until SLURM wakes it to end it: nothing here depends on speed.
MET_WITH = {SLOW: signal.SIGSTOP, CANCELLED: signal.SIGSTOP, KILLED: signal.SIGKILL, PREEMPTED: signal.SIGSTOP}


def tell(story: Story) -> None:
    """Let every kind of trouble befall one training, and see the grid to its end."""
    cluster, met = story.cluster, story.met
    story.wait_until("two dense networks are trained at once", lambda: SLOW in met and CANCELLED in met)
    cluster.run("scancel", met[CANCELLED].job)
    cluster.stop_controller()
    time.sleep(3)
    cluster.start_controller()
    story.wait_until("the limit of a training is near", met[SLOW].has_ended)

    story.wait_until("a subnetwork is trained", lambda: PREEMPTED in met)
    job = met[PREEMPTED].job
    cluster.run("sbatch", "-p", "urgent", "--gpus=2", "--mem=100", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 1")
    story.wait_until("it has been preempted", lambda: "=PENDING" in cluster.run("scontrol", "show", "job", job))
    # SLURM itself would let what it requeues wait for two minutes.
    for requeued in cluster.run("squeue", "-h", "--states=PENDING", "-o", "%i").split():
        cluster.run("scontrol", "update", f"JobId={requeued}", "StartTime=now")
    story.wait_until("the grid has ended", lambda: story.main.poll() is not None)
