"""The weights that every run of a seed starts from and every round rewinds to."""


rule pretrain:
    input:
        captions=expand(PATHS.captions, split=PRETRAIN),
        questions=expand(PATHS.encoded_questions, split=PRETRAIN),
        features=expand(PATHS.features, split=PRETRAIN),
        tokenizer=PATHS.tokenizer,
    output:
        weights=PATHS.pretrained,
        history=PATHS.pretraining_history,
    log:
        log_of("pretrain"),
    benchmark:
        benchmark_of("pretrain")
    conda:
        ENVIRONMENT
    threads: EXPERIMENT.pretraining.threads
    resources:
        gpu=GPUS_PER_TRAINING,
    params:
        model=stage("model"),
        recipe=stage("pretraining"),
        max_length=EXPERIMENT.text.max_length,
        version=TRAINING_VERSION,
    script:
        "../workflow_scripts/pretrain.py"


rule snapshot_initial_weights:
    input:
        weights=PATHS.pretrained,
    output:
        weights=PATHS.initial,
    log:
        log_of("snapshot_initial_weights", "seed"),
    benchmark:
        benchmark_of("snapshot_initial_weights", "seed")
    conda:
        ENVIRONMENT
    params:
        code=code_of("snapshot_initial_weights"),
    script:
        "../workflow_scripts/snapshot_initial_weights.py"
