"""A storm: jobs, the process they are forked from, and Snakemake are killed at random; the results are unaffected."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from workflow_runs import ROOT, snakemake

from lxmert_tickets.jobs.forked import forks_pay

N_KILLS = 30
OVERLAY = {
    # Long enough that most kills find a network half trained.
    "seeds": [0],
    "training": {"epochs": 30, "hidden_dropout": 0.1},
    "checkpoints": {"interval_minutes": 0.002},
}
LONGEST_CALM = 1 / 20  # of the time of a calm run, so that all kills come before the grid is done
PATIENCE_SECONDS = 3600


def processes_in(folder: Path) -> dict[int, tuple[str, str]]:
    """Return the processes that work in `folder`, by number, with their names and command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(entry.name)] = (entry / "comm").read_text().strip(), command
        except OSError:  # it has just ended
            continue
    return found


def jobs_in(folder: Path) -> tuple[list[int], list[int]]:
    """Return the processes of jobs in `folder`, and those that jobs are forked from."""
    jobs, servers = [], []
    for number, (name, command) in processes_in(folder).items():
        is_fork_or_server = "multiprocessing.forkserver" in command
        if ".snakemake/scripts/" in command or (is_fork_or_server and not name.startswith("python")):
            jobs.append(number)
        elif is_fork_or_server:
            servers.append(number)
    return jobs, servers


def kill(number: int, how: signal.Signals) -> bool:
    try:
        os.kill(number, how)
    except ProcessLookupError:
        return False
    return True


def start(folder: Path, overlay: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the grid, as a user would after a crash: unlocked first, with retries as in a cluster's profile."""
    snakemake(folder, "--unlock", configs=(overlay,))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--workflow-profile", str(ROOT / "profiles/default"), "--cores", "2", "--retries", "3",
        "--configfile", str(ROOT / "config.yaml"), str(ROOT / "configs/smoke.yaml"), str(overlay),
    ]  # fmt: skip
    with log.open("ab") as said:
        return subprocess.Popen(
            command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip


def results(folder: Path) -> dict[str, bytes]:
    """Return weights, histories, masks, predictions, scores and tables of a finished grid, by path."""
    names = ("weights.safetensors", "mask.safetensors", "history.csv", "score.*.json", "*.md")
    root = folder / "results/smoke"
    return {str(path.relative_to(root)): path.read_bytes() for name in names for path in root.rglob(name)}


@pytest.mark.slow
def test_a_grid_killed_thirty_times_ends_with_the_bytes_of_a_calm_run(tmp_path: Path) -> None:
    overlay = tmp_path / "storm.yaml"
    overlay.write_text(yaml.safe_dump(OVERLAY))
    calm, stormy, log = tmp_path / "calm", tmp_path / "stormy", tmp_path / "said"
    calm.mkdir()
    stormy.mkdir()
    started = time.monotonic()
    run = snakemake(calm, configs=(overlay,))
    calm_seconds = time.monotonic() - started
    assert run.returncode == 0, run.stdout + run.stderr

    dice, n_kills, n_of_main, n_of_servers = random.Random(0), 0, 0, 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    main = start(stormy, overlay, log)
    while n_kills < N_KILLS or main.poll() != 0:
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        if main.poll() is not None:
            main = start(stormy, overlay, log)
        if n_kills >= N_KILLS:
            time.sleep(0.5)
            continue
        time.sleep(dice.uniform(0, LONGEST_CALM * calm_seconds))
        working, servers = jobs_in(stormy)
        if not working:
            assert main.poll() != 0, f"done after {n_kills} kills: let there be less calm"
        elif dice.random() < (0.2 if n_of_main else 0.5):  # its jobs live on for a while, to meet their successors
            n_kills += kill(main.pid, signal.SIGKILL)
            n_of_main += 1
            main.wait()
        elif servers and dice.random() < (
            0.2 if n_of_servers else 0.5
        ):  # Snakemake starts another one, and its jobs again
            n_kills += kill(servers[0], signal.SIGKILL)
            n_of_servers += 1
        elif dice.random() < 0.1 and main.poll() is None:  # as a scheduler ends a job: all processes at once
            os.killpg(main.pid, signal.SIGTERM)
            n_kills += 1
        else:
            how = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
            n_kills += kill(dice.choice(working), how)
    assert n_of_main
    assert n_of_servers or not forks_pay()
    assert "resuming from step" in log.read_text()
    found, expected = results(stormy), results(calm)
    assert len(expected) > 30
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert not list(stormy.rglob(".resume"))
