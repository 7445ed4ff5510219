"""Trained networks to predictions, official accuracy and EvalAI submissions, on every evaluated split."""

EVALUATED = EXPERIMENT.evaluated_splits
SCORED = DATA.scored_splits
TESTED = EXPERIMENT.splits.test
SUBMISSIONS = expand(PATHS.submission, split=TESTED, seed=EXPERIMENT.seeds, model=MODELS)


rule predict:
    input:
        weights=PATHS.weights,
        questions=expand(PATHS.encoded_questions, split=EVALUATED),
        features=DATA.features_of(EVALUATED),
        answers=PATHS.answers,
    output:
        predictions=expand(PATHS.predictions, split=EVALUATED, allow_missing=True),
        submissions=expand(PATHS.submission, split=TESTED, allow_missing=True),
    log:
        log_of("predict", "seed", "model"),
    benchmark:
        benchmark_of("predict", "seed", "model")
    priority: AT_ONCE
    conda:
        environment_of_training
    resources:
        gpu=gpus_per_training,
    params:
        splits=EVALUATED,
        tested=TESTED,
        precision=EXPERIMENT.training.precision,
        jobs_per_gpu=not_compared(RUNNING.gpus.trainings_per_gpu),
        code=code_of("predict"),
    script:
        "../workflow_scripts/predict.py"


rule score:
    input:
        predictions=expand(PATHS.predictions, split=SCORED, allow_missing=True),
        questions=[file for split in SCORED for file in DATA.questions(split)],
        annotations=[file for split in SCORED for file in DATA.annotations(split)],
    output:
        scores=expand(PATHS.score, split=SCORED, allow_missing=True),
    log:
        log_of("score", "seed", "model"),
    benchmark:
        benchmark_of("score", "seed", "model")
    priority: AT_ONCE
    conda:
        ENVIRONMENT
    params:
        code=code_of("score"),
    script:
        "../workflow_scripts/score.py"
