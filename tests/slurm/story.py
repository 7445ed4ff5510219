"""A grid that runs through profiles/slurm while things go wrong, one after the other."""

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster import Cluster

PATIENCE_SECONDS = 3600
RESULTS = Path("results/smoke")
OVERLAY = "tiny_grid.yaml"
# Those that are trained during the story.
NETWORKS = [f"seed{seed}/{model}" for seed in (0, 1) for model in ("dense", "low_magnitude/s50")]


@dataclass
class Training:
    """A process that trains one network, as named in the lock of its run."""

    process: int
    job: str
    gpu: str
    limit: str = ""  # of its job's time, as SLURM writes it

    def send(self, what: signal.Signals) -> None:
        os.kill(self.process, what)

    def has_ended(self) -> bool:
        return not Path(f"/proc/{self.process}").exists()


@dataclass
class Story:
    """What happens to the grid in `folder`, and what was observed meanwhile."""

    cluster: Cluster
    folder: Path
    main: subprocess.Popen[bytes]
    # For each network, signals: the nth is sent to the nth process that trains it, as soon as it does.
    met_with: dict[str, list[signal.Signals]]
    trainings: dict[str, list[Training]] = field(default_factory=lambda: defaultdict(list))  # by network
    gpus_at_once: list[list[str]] = field(default_factory=list)
    deadline: float = field(default_factory=lambda: time.monotonic() + PATIENCE_SECONDS)

    @property
    def said(self) -> str:
        """What Snakemake has printed."""
        return (self.folder / "said").read_text(errors="replace")

    def look(self) -> None:
        """Note the jobs and GPUs of all current trainings, and send each new one its signal."""
        running = {network: found for network in NETWORKS if (found := self._training(network))}
        for network, training in running.items():
            before = self.trainings[network]
            if training.process not in [other.process for other in before]:
                for signal_ in self.met_with.get(network, [])[len(before) :][:1]:
                    training.send(signal_)
                training.limit = self.cluster.run("squeue", "-h", "-j", training.job, "-o", "%l").strip()
                before.append(training)
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
        """Return the current training of `network`, if there is one."""
        try:
            holder = (self.folder / RESULTS / network / ".resume/lock").read_text()
            process = int(holder.split()[1])  # "process 17 on host"
            if not notes_signals(process):  # as a training does, once it has begun
                return None
            fields = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):  # none yet, no longer, or just beginning
            return None
        environment = dict(entry.decode().split("=", 1) for entry in fields if b"=" in entry)
        if "SLURM_JOB_ID" not in environment:  # it is ending
            return None
        return Training(process, environment["SLURM_JOB_ID"], environment.get("CUDA_VISIBLE_DEVICES", "none"))


def notes_signals(process: int) -> bool:
    """Return whether `process` handles the signal that schedulers send; raises OSError when it is gone."""
    status = Path(f"/proc/{process}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (signal.SIGUSR1 - 1) & 1)


# A stopped process does nothing until SLURM wakes it to end it: nothing here depends on speed.
SLOW, HUNG, PREEMPTED, CANCELLED = "seed0/dense", "seed1/dense", "seed0/low_magnitude/s50", "seed1/low_magnitude/s50"
MET_WITH = {
    SLOW: [signal.SIGSTOP],
    PREEMPTED: [signal.SIGSTOP, signal.SIGKILL],  # and killed, once SLURM has started its job again
    CANCELLED: [signal.SIGSTOP],
}
# A network that was trained before, and whose weights are damaged: it can never be evaluated.
BROKEN = "seed1/random/s50"


def prepare(folder: Path) -> None:
    """Make one training read for ever, as from a disk that does not answer, and truncate the weights of BROKEN."""
    pipe = _pipe(folder)
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    weights = folder / RESULTS / BROKEN / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def tell(story: Story) -> None:
    """Let every kind of trouble befall a training, until Snakemake has done what it can."""
    overlay = story.folder / OVERLAY
    as_started = overlay.read_text()
    _limits(story)
    overlay.write_text(as_started.replace("epochs: 30", "epochs: 7"))  # by its user, for the next grid
    _cancelled_and_preempted(story)
    story.wait_until("the grid has ended", lambda: story.main.poll() is not None)
    overlay.write_text(as_started)


def _limits(story: Story) -> None:
    """Bring one training near its time limit, and let another outlive its limit."""
    cluster, trainings = story.cluster, story.trainings
    story.wait_until("two dense networks are trained at once", lambda: bool(trainings[SLOW] and trainings[HUNG]))
    slow, hung = trainings[SLOW][0], trainings[HUNG][0]
    cluster.run("scontrol", "update", f"JobId={slow.job}", "EndTime=now+170")  # it asks for a signal 180 s before
    cluster.run("scontrol", "update", f"JobId={hung.job}", "EndTime=now")
    story.wait_until("the limit of a training is near", slow.has_ended)
    story.wait_until("SLURM kills what outlives its limit", hung.has_ended)
    _pipe(story.folder).unlink()


def _cancelled_and_preempted(story: Story) -> None:
    """Cancel one training, have another pre-empted, and restart slurmctld."""
    cluster, trainings = story.cluster, story.trainings
    story.wait_until("two subnetworks are trained", lambda: bool(trainings[CANCELLED] and trainings[PREEMPTED]))
    cluster.run("scancel", trainings[CANCELLED][0].job)
    story.wait_until("it has been cancelled", trainings[CANCELLED][0].has_ended)
    job = trainings[PREEMPTED][0].job
    cluster.run("sbatch", "-p", "urgent", "--gpus=2", "--mem=100", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 1")
    story.wait_until("it has been preempted", lambda: "=PENDING" in cluster.run("scontrol", "show", "job", job))
    # SLURM itself would let requeued jobs wait for two minutes.
    for requeued in cluster.run("squeue", "-h", "--states=PENDING", "-o", "%i").split():
        cluster.run("scontrol", "update", f"JobId={requeued}", "StartTime=now")
    cluster.stop_controller()
    time.sleep(3)
    cluster.start_controller()


def _pipe(folder: Path) -> Path:
    """Return the pipe that takes the place of a checkpoint and is never written to."""
    return folder / RESULTS / HUNG / ".resume/step0000000001.safetensors"
