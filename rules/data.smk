"""Sources to arrays: the embedded data set, region features, tokens and soft labels."""


rule make_scenes:
    output:
        images=PATHS.images,
        scenes=PATHS.scenes,
        boxes=PATHS.boxes,
        captions=PATHS.captions,
        questions=PATHS.questions,
        annotations=PATHS.annotations,
    log:
        log_of("make_scenes", "split"),
    benchmark:
        benchmark_of("make_scenes", "split")
    conda:
        ENVIRONMENT
    params:
        spec=lambda wildcards: EXPERIMENT.image_set(wildcards.split),
        code=code_of("make_scenes"),
    script:
        "../workflow_scripts/make_scenes.py"


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
    conda:
        ENVIRONMENT
    params:
        description=EXPERIMENT.data.region_features,
        code=code_of("extract_features"),
    script:
        "../workflow_scripts/extract_features.py"


rule convert_features:
    input:
        table=PATHS.feature_table,
    output:
        features=PATHS.features,
    log:
        log_of("convert_features", "split"),
    benchmark:
        benchmark_of("convert_features", "split")
    conda:
        ENVIRONMENT
    params:
        code=code_of("convert_features"),
    script:
        "../workflow_scripts/convert_features.py"


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


rule build_answers:
    input:
        annotations=expand(PATHS.annotations, split=EXPERIMENT.splits.train),
    output:
        answers=PATHS.answers,
    log:
        log_of("build_answers"),
    benchmark:
        benchmark_of("build_answers")
    conda:
        ENVIRONMENT
    params:
        min_count=EXPERIMENT.text.min_answer_count,
        code=code_of("build_answers"),
    script:
        "../workflow_scripts/build_answers.py"


rule encode_questions:
    input:
        questions=PATHS.questions,
        annotations=PATHS.annotations,
        features=PATHS.features,
        tokenizer=PATHS.tokenizer,
        answers=PATHS.answers,
    output:
        questions=PATHS.encoded_questions,
    log:
        log_of("encode_questions", "split"),
    benchmark:
        benchmark_of("encode_questions", "split")
    conda:
        ENVIRONMENT
    params:
        max_length=EXPERIMENT.text.max_length,
        code=code_of("encode_questions"),
    script:
        "../workflow_scripts/encode_questions.py"
