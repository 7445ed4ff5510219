"""The embedded data set: images, their regions, the tokenizer, and the weights that runs start from."""


rule make_scenes:
    output:
        scenes=PATHS.scenes,
        boxes=PATHS.boxes,
        captions=PATHS.captions,
        questions=PATHS.questions,
        annotations=PATHS.annotations,
    log:
        log_of("make_scenes", "split"),
    benchmark:
        benchmark_of("make_scenes", "split")
    priority: pretraining_first
    conda:
        ENVIRONMENT
    params:
        spec=lambda wildcards: EXPERIMENT.image_set(wildcards.split),
        code=code_of("make_scenes"),
    script:
        "../workflow_scripts/make_scenes.py"


rule draw_images:
    input:
        scenes=PATHS.scenes,
    output:
        images=PATHS.images,
    log:
        log_of("draw_images", "split"),
    benchmark:
        benchmark_of("draw_images", "split")
    priority: pretraining_first
    conda:
        ENVIRONMENT
    params:
        code=code_of("draw_images"),
    script:
        "../workflow_scripts/draw_images.py"


rule extract_features:
    input:
        images=PATHS.images,
        boxes=PATHS.boxes,
    output:
        table=PATHS.feature_table,
    log:
        log_of("extract_features", "split"),
    benchmark:
        benchmark_of("extract_features", "split")
    priority: pretraining_first
    conda:
        ENVIRONMENT
    params:
        description=EXPERIMENT.scenes.region_features,
        code=code_of("extract_features"),
    script:
        "../workflow_scripts/extract_features.py"


rule train_tokenizer:
    input:
        captions=expand(PATHS.captions, split=PRETRAIN),
        questions=expand(PATHS.questions, split=[PRETRAIN, EXPERIMENT.splits.train]),
    output:
        tokenizer=PATHS.tokenizer,
    log:
        log_of("train_tokenizer"),
    benchmark:
        benchmark_of("train_tokenizer")
    conda:
        ENVIRONMENT
    params:
        vocab_size=EXPERIMENT.text.vocab_size,
        code=code_of("train_tokenizer"),
    script:
        "../workflow_scripts/train_tokenizer.py"


rule pretrain:
    input:
        captions=expand(PATHS.captions, split=PRETRAIN),
        questions=expand(PATHS.encoded_questions, split=PRETRAIN),
        features=DATA.features_of([PRETRAIN]),
        tokenizer=PATHS.tokenizer,
    output:
        weights=PATHS.pretrained,
        history=PATHS.pretraining_history,
    log:
        log_of("pretrain"),
    benchmark:
        benchmark_of("pretrain")
    conda:
        environment_of_training
    threads: EXPERIMENT.pretraining.threads
    resources:
        gpu=gpus_per_training,
    params:
        model=EXPERIMENT.stage("model"),
        recipe=EXPERIMENT.stage("pretraining"),
        max_length=EXPERIMENT.text.max_length,
        version=TRAINING_VERSION,
        deterministic=not_compared(EXPERIMENT.training.deterministic),
        checkpoint_minutes=not_compared(RUNNING.checkpoints.interval_minutes),
        jobs_per_gpu=not_compared(RUNNING.gpus.trainings_per_gpu),
        event_files=beside_results(
            PATHS.pretraining_event_files if RUNNING.logging.tensorboard else "", PATHS.pretrained
        ),
    script:
        "../workflow_scripts/pretrain.py"
