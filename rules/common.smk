"""What all rules share: the experiment, its files, and how rules speak of them."""

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.current_basedir).parent
# Scripts run in processes of their own and import the package from here.
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

from lxmert_tickets.code_digest import code_digest
from lxmert_tickets.errors import TicketsError
from lxmert_tickets.experiment import (
    PRETRAIN,
    ComplementSubnetwork,
    MagnitudeSubnetwork,
    RandomSubnetwork,
    one_of,
    read_experiment,
)
from lxmert_tickets.layout import Layout, of_model
from lxmert_tickets.training.recipe import TRAINING_VERSION

try:
    EXPERIMENT = read_experiment(config)
except TicketsError as error:
    raise WorkflowError(f"{error} (in config.yaml, or what overlays it)") from None

PATHS = Layout(f"results/{EXPERIMENT.experiment}")
MODELS = EXPERIMENT.models()
# The subnetwork whose layers are looked at: the first that magnitude found.
SHOWN_SUBNETWORK = next(iter(EXPERIMENT.names_of(MagnitudeSubnetwork)), None)
# Snakemake only counts GPUs; where there is none, training must not wait for one.
GPUS_PER_TRAINING = 1 if Path("/dev/nvidiactl").exists() or not workflow.local_exec else 0
ENVIRONMENT = "../envs/lxmert-tickets.yaml"


def log_of(rule, *wildcards):
    """Return the log of `rule`, one file for each value of `wildcards`."""
    return f"{PATHS.log}/{'.'.join([rule, *(f'{{{name}}}' for name in wildcards)])}.log"


def benchmark_of(rule, *wildcards):
    """Return where Snakemake writes time and memory of `rule`."""
    return f"{PATHS.benchmark}/{'.'.join([rule, *(f'{{{name}}}' for name in wildcards)])}.tsv"


def code_of(rule):
    """Return the digest of the code that decides what `rule` gives: see docs/workflow.md, What reruns."""
    return code_digest(ROOT / "workflow_scripts" / f"{rule}.py")


def stage(*sections):
    """Return canonical JSON of just these sections of the experiment: a change elsewhere reruns nothing here."""
    return EXPERIMENT.stage(*sections)


wildcard_constraints:
    split=one_of(EXPERIMENT.data.sets),
    seed=r"\d+",
    model=one_of(MODELS),
    subnetwork=one_of(EXPERIMENT.subnetworks),
    sparsity=r"\d+(\.\d+)?",
