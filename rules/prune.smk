"""Masks, and the subnetworks that they leave: what a subnetwork keeps is declared in config.yaml."""


def weights_of_previous_round(wildcards):
    """Return the trained network that a round prunes: the round before, or the dense network for the first."""
    previous = EXPERIMENT.previous_sparsity(wildcards.subnetwork, wildcards.sparsity)
    return PATHS.dense_weights if previous is None else of_model(PATHS.weights, f"{wildcards.subnetwork}/s{previous}")


def mask_of_previous_round(wildcards):
    """Return the mask that a round prunes further; none for the first."""
    previous = EXPERIMENT.previous_sparsity(wildcards.subnetwork, wildcards.sparsity)
    return [] if previous is None else PATHS.mask.replace("{sparsity}", previous)


def mirrored_mask(wildcards):
    """Return the mask whose complement is asked for."""
    subnetwork, sparsity = EXPERIMENT.mirrored(wildcards.subnetwork, wildcards.sparsity)
    return PATHS.mask.replace("{subnetwork}", subnetwork).replace("{sparsity}", sparsity)


rule prune_round:
    input:
        weights=weights_of_previous_round,
        mask=mask_of_previous_round,
    output:
        mask=PATHS.mask,
        report=PATHS.sparsity,
    params:
        prunable=stage("pruning"),
        ranked=lambda wildcards: EXPERIMENT.subnetworks[wildcards.subnetwork].ranked,
        code=code_of("prune_round"),
    log:
        log_of("prune_round", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("prune_round", "seed", "subnetwork", "sparsity")
    wildcard_constraints:
        subnetwork=one_of(EXPERIMENT.names_of(MagnitudeSubnetwork)),
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/prune_round.py"


rule prune_random:
    input:
        weights=PATHS.initial,
    output:
        mask=PATHS.mask,
        report=PATHS.sparsity,
    params:
        prunable=stage("pruning"),
        ranked=lambda wildcards: EXPERIMENT.subnetworks[wildcards.subnetwork].ranked,
        code=code_of("prune_random"),
    log:
        log_of("prune_random", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("prune_random", "seed", "subnetwork", "sparsity")
    wildcard_constraints:
        subnetwork=one_of(EXPERIMENT.names_of(RandomSubnetwork)),
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/prune_random.py"


rule prune_complement:
    input:
        mask=mirrored_mask,
    output:
        mask=PATHS.mask,
        report=PATHS.sparsity,
    params:
        code=code_of("prune_complement"),
    log:
        log_of("prune_complement", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("prune_complement", "seed", "subnetwork", "sparsity")
    wildcard_constraints:
        subnetwork=one_of(EXPERIMENT.names_of(ComplementSubnetwork)),
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/prune_complement.py"


rule rewind:
    input:
        initial=PATHS.initial,
        mask=PATHS.mask,
    output:
        start=PATHS.start,
    params:
        code=code_of("rewind"),
    log:
        log_of("rewind", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("rewind", "seed", "subnetwork", "sparsity")
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/rewind.py"
