"""What all rules share: the experiment, its files, and helper functions."""

import gc
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.current_basedir).parent
sys.path.insert(0, str(ROOT))  # the package is not installed

from lxmert_tickets.jobs.code_digest import code_digest
from lxmert_tickets.configuration.reading import as_overlay, read_experiment, read_running
from lxmert_tickets.configuration.files import check_left_out, over_defaults, read_file
from lxmert_tickets.environment import has_gpu, set_environment_of_jobs
from lxmert_tickets.errors import TicketsError
from lxmert_tickets.evaluation.evalai import find_evalai_scores
from lxmert_tickets.configuration.experiment import (
    PRETRAIN,
    ComplementSubnetwork,
    MagnitudeSubnetwork,
    RandomSubnetwork,
    one_of,
)
from lxmert_tickets.jobs.failed import forget_failed_jobs
from lxmert_tickets.jobs.forked import forks_pay, let_jobs_be_forks
from lxmert_tickets.layout import Layout, model_of, of_model
from lxmert_tickets.jobs.one_run import VARIABLE, Run, code_at_start, fail_jobs_of_changed_code, run_of_this_job
from lxmert_tickets.jobs.signals import hand_on_sigterm
from lxmert_tickets.pruning.prunable import PAPER
from lxmert_tickets.report.names import shown_files, shown_models
from lxmert_tickets.configuration.sources import EVALAI_FOLDER, FEATURES_VERSION, files_of
from lxmert_tickets.training.recipe import TRAINING_VERSION

gc.freeze()  # what is imported stays: to look through it again and again takes a fifth of Snakemake's start
set_environment_of_jobs()
forget_failed_jobs()
code_at_start()  # noted before the digests of code are computed
if workflow.remote_exec:
    hand_on_sigterm()


# A workflow that imports this one has a configuration of its own.
IS_MAIN = workflow.modifier.is_main_snakefile()
STARTS_A_RUN = IS_MAIN and workflow.is_main_process
RUN = run_of_this_job() if IS_MAIN and not STARTS_A_RUN else None
CODE = {}

try:
    if RUN is None:
        # Snakemake merges them without noticing duplicate keys. An importing workflow's files are mostly not ours.
        contents = [read_file(Path(file), is_ours=IS_MAIN) for file in workflow.configfiles]
        if IS_MAIN:
            check_left_out(contents)
except TicketsError as error:
    raise WorkflowError(str(error)) from None

try:
    whole_config = over_defaults(config) if RUN is None else RUN.config
    EXPERIMENT = read_experiment(whole_config)
    RUNNING = read_running(whole_config)
except TicketsError as error:
    raise WorkflowError(f"{error} (in config.yaml, or what overlays it)") from None

PATHS = Layout(f"results/{EXPERIMENT.experiment}")
# Receipts are `local`: a job that reads one runs where the downloads are, even if other jobs run on other disks.
DATA = files_of(EXPERIMENT, PATHS, kept_here=local)
MODELS = EXPERIMENT.models()
# Priorities: the dense network before every round (`rounds_after`); a trained network is evaluated at once.
BEFORE_ROUNDS = max((len(subnetwork.sparsities) for subnetwork in EXPERIMENT.subnetworks.values()), default=0)
AT_ONCE = BEFORE_ROUNDS + 1
# The subnetwork whose layers are shown: the first one found by magnitude.
SHOWN_SUBNETWORK = next(iter(EXPERIMENT.names_of(MagnitudeSubnetwork)), None)
# The embedded tables are small, and several are converted at once; for COCO's, more threads gain nothing.
CONVERSION_THREADS = 1 if EXPERIMENT.data == "scenes" else 8
# This many jobs of the embedded data set take longer than the fork server's imports.
ENOUGH_JOBS = 10
ENVIRONMENT = "../envs/lxmert-tickets.yaml"
ENVIRONMENT_WITH_CUDA = "../envs/lxmert-tickets-cuda.yaml"


def log_of(rule, *wildcards):
    """Return the log of `rule`, one file for each value of `wildcards`."""
    return PATHS.log_of(rule, *(f"{{{name}}}" for name in wildcards))


def benchmark_of(rule, *wildcards):
    """Return where Snakemake writes the time and memory of `rule`."""
    return f"{PATHS.benchmark}/{'.'.join([rule, *(f'{{{name}}}' for name in wildcards)])}.tsv"


def code_of(rule):
    """Return the digest of the code that decides the results of `rule`: see docs/workflow.md, What reruns."""
    if RUN is not None:
        return lambda wildcards: RUN.check_code(rule)
    CODE[rule] = code_digest(ROOT / "workflow_scripts" / f"{rule}.py")
    return CODE[rule]


def gpus_per_training(wildcards):
    """Return how many GPUs a training requests: one, or none if it runs on this machine and there is no GPU.

    Called for each job: while this file is read, Snakemake does not know yet whether jobs go to a cluster, whose submit
    node may have no GPU.
    """
    return 1 if has_gpu() or not workflow.local_exec else 0


def environment_of_training(wildcards):
    """Return the environment of jobs that use a GPU if there is one; a cluster job must choose like its submitter."""
    on_cluster = workflow.remote_exec or not workflow.local_exec
    return ENVIRONMENT_WITH_CUDA if on_cluster or has_gpu() else ENVIRONMENT


def jobs_may_be_forks():
    """Return whether Snakemake's jobs are forks of one process: see docs/workflow.md, Processes.

    Not with few jobs, which end before the imports do; not with --sdm, whose jobs use other Pythons; and not with
    --debug, since a fork has no terminal.
    """
    return (
        forks_pay()
        and workflow.local_exec
        and workflow.is_main_process
        and not workflow.deployment_settings.deployment_method
        and not (workflow.touch or workflow.execution_settings.debug)
        and len(workflow.dag) >= ENOUGH_JOBS
    )


def not_compared(value):
    """Return `value` as a param that reruns nothing: Snakemake does not compare params that depend on `output`."""
    return lambda wildcards, output: value


def beside_results(path, of_weights=PATHS.weights):
    """Return `path` as a param that reruns nothing, for a training that writes `of_weights`; "" stays "".

    A workflow that imports this one may have moved its results.
    """

    def where_results_are(wildcards, output):
        filled = dict(seed=wildcards.get("seed"), model=model_of(*wildcards[1:]))
        asked, weights = (name.format(**filled).removeprefix(PATHS.root) for name in (path, of_weights))
        return asked and output.weights.removesuffix(weights) + asked

    return where_results_are


def pretraining_first(wildcards):
    """Return the priority of an image set: the largest by far comes first, since pretraining waits for it."""
    return int(wildcards.split == PRETRAIN)


def weights_of_previous_round(wildcards):
    """Return the trained network that a round prunes: the round before, or the dense network for the first."""
    previous = EXPERIMENT.previous_sparsity(wildcards.subnetwork, wildcards.sparsity)
    return of_model(PATHS.weights, model_of() if previous is None else model_of(wildcards.subnetwork, previous))


def mask_of_previous_round(wildcards):
    """Return the mask that a round prunes further; none for the first."""
    previous = EXPERIMENT.previous_sparsity(wildcards.subnetwork, wildcards.sparsity)
    return [] if previous is None else PATHS.mask.replace("{sparsity}", previous)


def rounds_after(wildcards):
    """Return how many rounds wait for this one, as a priority: seeds advance together, other jobs fill the gaps."""
    return EXPERIMENT.n_rounds_after(wildcards.subnetwork, wildcards.sparsity)


def mirrored_mask(wildcards):
    """Return the mask whose complement is requested."""
    subnetwork, sparsity = EXPERIMENT.mirrored(wildcards.subnetwork, wildcards.sparsity)
    return PATHS.mask.replace("{subnetwork}", subnetwork).replace("{sparsity}", sparsity)


def evalai_files():
    """Return EvalAI's result files for this experiment, as far as the user has saved them."""
    if not DATA.scored_elsewhere:
        return []
    try:
        found = find_evalai_scores(f"{EVALAI_FOLDER}/{EXPERIMENT.experiment}", EXPERIMENT.seeds, MODELS)
    except TicketsError as error:
        raise WorkflowError(str(error)) from None
    return [local(str(path)) for path in found]


def reported(path, caption, category, label):
    """Return `path` as a file of the report: in `category`, labelled `label`, explained in report/<caption>.rst."""
    return report(path, caption=f"../report/{caption}.rst", category=category, labels={"result": label})


def shown(name, category, label):
    """Return the files of figure `name`; its SVG goes into the report."""
    files = {format: PATHS.figure.format(figure=name, format=format) for format in ("png", "pdf")}
    return files | {"svg": reported(PATHS.figure.format(figure=name, format="svg"), name, category, label)}


wildcard_constraints:
    split=one_of(DATA.splits),
    images=one_of(DATA.image_sets),
    seed=r"0|[1-9]\d*",
    model=one_of(MODELS),
    subnetwork=one_of(EXPERIMENT.subnetworks),
    sparsity=r"\d+(\.\d+)?",
