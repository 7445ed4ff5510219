"""The weights that every run of a seed starts from and every round rewinds to."""


rule snapshot_initial_weights:
    input:
        weights=PATHS.pretrained,
    output:
        weights=PATHS.initial,
    log:
        log_of("snapshot_initial_weights", "seed"),
    benchmark:
        benchmark_of("snapshot_initial_weights", "seed")
    priority: BEFORE_ROUNDS  # its seed's first training, which all others wait for, needs it
    conda:
        ENVIRONMENT
    params:
        answer_head=EXPERIMENT.weights.answer_head,
        code=code_of("snapshot_initial_weights"),
    script:
        "../workflow_scripts/snapshot_initial_weights.py"
