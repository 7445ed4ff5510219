"""Lottery tickets in LXMERT: from data to the paper's table and figure. Start with config.yaml and docs/workflow.md."""

import os

from snakemake.utils import min_version

min_version("9.17")


if os.path.lexists("config.yaml"):  # without it, the workflow's own: rules/common.smk

    configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: f"rules/{EXPERIMENT.data}.smk"
include: "rules/data.smk"
include: "rules/model.smk"
include: "rules/train.smk"
include: "rules/prune.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


if STARTS_A_RUN:
    Run(whole_config, CODE).tell_jobs()

    envvars:
        VARIABLE,


onstart:
    fail_jobs_of_changed_code()
    if workflow.local_exec and not has_gpu():
        logger.info("No GPU to be used here: networks are trained on the CPU.")
    if jobs_may_be_forks():
        logger.info("Jobs will be forks of one process, once it has imported torch for all (docs/workflow.md).")
        let_jobs_be_forks(tuple(sorted((ROOT / "workflow_scripts").glob("*.py"))))


rule all:
    default_target: True
    input:
        SHOWN,
        NETWORKS,
        MASKS,
        SCORES,
        SUBMISSIONS,
