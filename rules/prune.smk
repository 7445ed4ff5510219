"""Subnetworks: a mask, and the initial weights rewound to it. What a mask keeps is declared in config.yaml."""


rule prune_round:
    input:
        weights=weights_of_previous_round,
        mask=mask_of_previous_round,
        initial=PATHS.initial,
    output:
        mask=PATHS.mask,
        start=PATHS.start,
        report=PATHS.sparsity,
    log:
        log_of("prune_round", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("prune_round", "seed", "subnetwork", "sparsity")
    wildcard_constraints:
        subnetwork=one_of(EXPERIMENT.names_of(MagnitudeSubnetwork)),
    priority: rounds_after
    conda:
        ENVIRONMENT
    params:
        prunable=EXPERIMENT.stage("pruning"),
        ranked=lambda wildcards: EXPERIMENT.subnetworks[wildcards.subnetwork].ranked,
        code=code_of("prune_round"),
    script:
        "../workflow_scripts/prune_round.py"


rule prune_random:
    input:
        initial=PATHS.initial,
    output:
        mask=PATHS.mask,
        start=PATHS.start,
        report=PATHS.sparsity,
    log:
        log_of("prune_random", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("prune_random", "seed", "subnetwork", "sparsity")
    wildcard_constraints:
        subnetwork=one_of(EXPERIMENT.names_of(RandomSubnetwork)),
    priority: rounds_after
    conda:
        ENVIRONMENT
    params:
        prunable=EXPERIMENT.stage("pruning"),
        ranked=lambda wildcards: EXPERIMENT.subnetworks[wildcards.subnetwork].ranked,
        code=code_of("prune_random"),
    script:
        "../workflow_scripts/prune_random.py"


rule prune_complement:
    input:
        mask=mirrored_mask,
        initial=PATHS.initial,
    output:
        mask=PATHS.mask,
        start=PATHS.start,
        report=PATHS.sparsity,
    log:
        log_of("prune_complement", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("prune_complement", "seed", "subnetwork", "sparsity")
    wildcard_constraints:
        subnetwork=one_of(EXPERIMENT.names_of(ComplementSubnetwork)),
    priority: rounds_after
    conda:
        ENVIRONMENT
    params:
        code=code_of("prune_complement"),
    script:
        "../workflow_scripts/prune_complement.py"
