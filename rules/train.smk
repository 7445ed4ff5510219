"""Fine-tuning of the dense network and retraining of subnetworks: one script, with or without a mask."""


rule finetune:
    input:
        start=PATHS.initial,
        train_questions=expand(PATHS.encoded_questions, split=EXPERIMENT.splits.train),
        train_features=DATA.features_of([EXPERIMENT.splits.train]),
        val_questions=expand(PATHS.encoded_questions, split=EXPERIMENT.splits.validate),
        val_features=DATA.features_of([EXPERIMENT.splits.validate]),
    output:
        weights=PATHS.dense_weights,
        history=PATHS.dense_history,
    log:
        log_of("finetune", "seed"),
    benchmark:
        benchmark_of("finetune", "seed")
    priority: BEFORE_ROUNDS
    conda:
        environment_of_training
    threads: 1
    resources:
        gpu=gpus_per_training,
    params:
        recipe=EXPERIMENT.stage("training"),
        version=TRAINING_VERSION,
        checkpoint_minutes=not_compared(RUNNING.checkpoints.interval_minutes),
        jobs_per_gpu=not_compared(RUNNING.gpus.trainings_per_gpu),
        cuda_graphs=not_compared(RUNNING.gpus.cuda_graphs),
        metrics=beside_results(PATHS.metrics),
        event_files=beside_results(PATHS.event_files if RUNNING.logging.tensorboard else ""),
    script:
        "../workflow_scripts/train.py"


use rule finetune as retrain with:
    input:
        **{name: files for name, files in rules.finetune.input.items() if name != "start"},
        start=PATHS.start,
        mask=PATHS.mask,
    output:
        weights=PATHS.subnetwork_weights,
        history=PATHS.subnetwork_history,
    log:
        log_of("retrain", "seed", "subnetwork", "sparsity"),
    benchmark:
        benchmark_of("retrain", "seed", "subnetwork", "sparsity")
    priority: rounds_after
