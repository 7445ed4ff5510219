"""Region features, tokens and soft labels as arrays, the same for both sources of data."""


rule convert_features:
    input:
        tables=lambda wildcards: DATA.feature_tables(wildcards.images),
    output:
        features=DATA.features,
    log:
        log_of("convert_features", "images"),
    benchmark:
        benchmark_of("convert_features", "images")
    conda:
        ENVIRONMENT
    threads: CONVERSION_THREADS
    params:
        version=FEATURES_VERSION,
    script:
        "../workflow_scripts/convert_features.py"


rule build_answers:
    input:
        **DATA.answers(),
    output:
        answers=PATHS.answers,
    log:
        log_of("build_answers"),
    benchmark:
        benchmark_of("build_answers")
    conda:
        ENVIRONMENT
    params:
        min_count=EXPERIMENT.text.min_answer_count if "annotations" in DATA.answers() else None,
        subtypes=DATA.subtypes_of_answers,
        code=code_of("build_answers"),
    script:
        "../workflow_scripts/build_answers.py"


rule encode_questions:
    input:
        questions=lambda wildcards: DATA.questions(wildcards.split),
        annotations=lambda wildcards: DATA.annotations(wildcards.split),
        features=lambda wildcards: DATA.features_of([wildcards.split]),
        tokenizer=DATA.tokenizer,
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
        n_tokens=DATA.n_tokens,
        feature_dim=DATA.feature_dim,
        subtypes=lambda wildcards: DATA.subtypes(wildcards.split),
        code=code_of("encode_questions"),
    script:
        "../workflow_scripts/encode_questions.py"
