"""A SLURM cluster of one node with two made-up GPUs, on loopback, with all its state in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import debian
import psutil
from loopback import free_ports

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
START_SECONDS = 120.0

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
KillWait=10
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=2-0 PriorityTier=1 PreemptMode=OFF State=UP
PartitionName=gpu Nodes={host} MaxTime=2-0 PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=urgent Nodes={host} MaxTime=2-0 PriorityTier=9 PreemptMode=OFF State=UP
"""
# Devices that every machine has; with ordinary files SLURM would set no CUDA_VISIBLE_DEVICES.
GRES_CONF = "NodeName={host} Name=gpu File=/dev/null,/dev/zero\n"


class NoSlurmError(Exception):
    """SLURM cannot run on this machine; the message says why."""


class Cluster:
    """The daemons, and the commands of a user. `environment` is that of a user of this cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().split(".")[0]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir()
        ports = free_ports(2)
        values = {"host": self.host, "folder": folder, "controller_port": ports[0], "node_port": ports[1]}
        (folder / "slurm.conf").write_text(SLURM_CONF.format(**values))
        (folder / "gres.conf").write_text(GRES_CONF.format(**values))
        # The plugin starts srun without SLURM_CONF, and /etc/slurm may be another cluster's.
        srun = folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        self.environment = inherited | {
            "SLURM_CONF": f"{folder}/slurm.conf",
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }

    def start(self) -> None:
        """Start munged, slurmctld and slurmd, and wait until jobs could run.

        Raises NoSlurmError when they do not.
        """
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log"}
        files |= {"seed-file": "munged.seed"}
        options = [f"--{name}={self.folder / file}" for name, file in files.items()]
        self._run_daemon("munged", "--foreground", "--force", *options)
        self._wait_for("munged", (self.folder / "munge.socket").exists)
        self.start_controller("-i")
        self._run_daemon("slurmd", "-D")
        self._wait_for("slurmd", lambda: self.run("sinfo", "-h", "-p", "gpu", "-o", "%t").strip() == "idle")

    def start_controller(self, *options: str) -> None:
        self._run_daemon("slurmctld", "-D", *options)

    def stop_controller(self) -> None:
        self._end("slurmctld")

    def stop(self) -> None:
        """End running jobs, and the daemons."""
        if "slurmd" in self._daemons:
            self.run("scancel", "--user", "root")
            deadline = time.monotonic() + START_SECONDS
            while self.run("squeue", "-h").strip() and time.monotonic() < deadline:
                time.sleep(0.5)
        for name in reversed(list(self._daemons)):
            self._end(name)
        self._kill_strays()

    def _kill_strays(self) -> None:
        """Kill leftover processes: without control groups, SLURM loses track of some of a job that it has to kill."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]:
                    process.kill()

    def run(self, *command: str) -> str:
        """Return what `command` prints; nothing when it fails."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout

    def _run_daemon(self, name: str, *options: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as said:
            self._daemons[name] = subprocess.Popen(
                [str(shutil.which(name)), *options],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def _wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._daemons[name].poll() is not None or time.monotonic() > deadline:
                said = (self.folder / f"{name}.out").read_text(errors="replace").strip().splitlines()
                raise NoSlurmError(f"{name} did not start: {said[-1] if said else 'it says nothing'}")
            time.sleep(0.2)

    def _end(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster whose state lies in `folder`; end it afterwards.

    Raises NoSlurmError where it cannot run.
    """
    debian.install(PROGRAMS, PACKAGES)
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
