"""Scores to the paper's table and figure, to figures that explain them, and to the report."""

# Figures show every network; EvalAI may have scored only a few.
SHOWN_SPLIT = TESTED[0] if TESTED and not DATA.scored_elsewhere else EXPERIMENT.splits.validate
SHOWN = shown_files(EXPERIMENT, PATHS)
SHOWN_MODELS = shown_models(EXPERIMENT)
# What figures are drawn from is requested too: otherwise Snakemake would not remake such files after they are deleted.
SCORES = expand(PATHS.score, seed=EXPERIMENT.seeds, model=MODELS, split=SCORED)
NETWORKS = expand([PATHS.weights, PATHS.history], seed=EXPERIMENT.seeds, model=MODELS)
MASKS = expand([PATHS.model_mask, PATHS.model_sparsity], seed=EXPERIMENT.seeds, model=MODELS[1:])


rule collect_results:
    input:
        scores=SCORES,
        evalai=evalai_files(),
        histories=expand(PATHS.history, seed=EXPERIMENT.seeds, model=MODELS),
        sparsities=expand(PATHS.model_sparsity, seed=EXPERIMENT.seeds, model=MODELS[1:]),
    output:
        results=PATHS.results,
        question_types=PATHS.question_types,
        histories=PATHS.histories,
        sparsities=PATHS.sparsities,
    log:
        log_of("collect_results"),
    benchmark:
        benchmark_of("collect_results")
    conda:
        ENVIRONMENT
    params:
        seeds=EXPERIMENT.seeds,
        models=MODELS,
        splits=SCORED,
        submissions=SUBMISSIONS,
        code=code_of("collect_results"),
    script:
        "../workflow_scripts/collect_results.py"


rule make_table:
    input:
        results=PATHS.results,
        about=DATA.about,
    output:
        csv=f"{PATHS.table}.csv",
        md=f"{PATHS.table}.md",
        tex=f"{PATHS.table}.tex",
        html=reported(f"{PATHS.table}.html", "table1", "1 Table 1", "Table 1"),
    log:
        log_of("make_table"),
    benchmark:
        benchmark_of("make_table")
    conda:
        ENVIRONMENT
    params:
        sparsity=EXPERIMENT.report.table_sparsity,
        splits=DATA.scored_elsewhere or TESTED,
        otherwise=EXPERIMENT.splits.validate,
        prunable=[] if EXPERIMENT.pruning.prunable == PAPER else list(EXPERIMENT.pruning.prunable),
        notes=DATA.notes,
        code=code_of("make_table"),
    script:
        "../workflow_scripts/make_table.py"


# The figures of report/figures.py: one script, and just the `options` that each depends on.
rule draw_accuracy:
    input:
        table=PATHS.results,
    output:
        **shown("figure1", "2 Figure 1", "Accuracy against sparsity"),
    log:
        log_of("draw_accuracy"),
    benchmark:
        benchmark_of("draw_accuracy")
    conda:
        ENVIRONMENT
    params:
        options=dict(split=SHOWN_SPLIT, spread=EXPERIMENT.report.spread),
        width_inches=EXPERIMENT.report.figure_width_inches,
        dpi=EXPERIMENT.report.figure_dpi,
        code=code_of("draw_figure"),
    script:
        "../workflow_scripts/draw_figure.py"


use rule draw_accuracy as draw_answer_types with:
    output:
        **shown("answer_types", "3 By kind of question", "By type of answer"),
    log:
        log_of("draw_answer_types"),
    benchmark:
        benchmark_of("draw_answer_types")


use rule draw_accuracy as draw_question_types with:
    input:
        table=PATHS.question_types,
    output:
        **shown("question_types", "3 By kind of question", "By first words"),
    log:
        log_of("draw_question_types"),
    benchmark:
        benchmark_of("draw_question_types")
    params:
        options=dict(split=SHOWN_SPLIT, sparsity=EXPERIMENT.report.table_sparsity, spread=EXPERIMENT.report.spread),


use rule draw_accuracy as draw_sparsity with:
    input:
        table=PATHS.sparsities,
    output:
        **shown("sparsity", "5 Where the pruned weights sat", "Sparsity of each layer"),
    log:
        log_of("draw_sparsity"),
    benchmark:
        benchmark_of("draw_sparsity")
    params:
        options=dict(subnetwork=SHOWN_SUBNETWORK),
        ranked=EXPERIMENT.subnetworks[SHOWN_SUBNETWORK].ranked if SHOWN_SUBNETWORK else None,


use rule draw_accuracy as draw_learning_curves with:
    input:
        table=PATHS.histories,
    output:
        **shown("learning_curves", "6 Training", "Learning curves"),
    log:
        log_of("draw_learning_curves"),
    benchmark:
        benchmark_of("draw_learning_curves")
    params:
        options=dict(sparsity=EXPERIMENT.report.table_sparsity, spread=EXPERIMENT.report.spread),


rule draw_contact_sheet:
    input:
        images=expand(PATHS.images, split=SHOWN_SPLIT),
        questions=expand(PATHS.questions, split=SHOWN_SPLIT),
        annotations=expand(PATHS.annotations, split=SHOWN_SPLIT),
    output:
        **shown("contact_sheet", "4 Questions and answers", "Balanced pairs"),
    log:
        log_of("draw_contact_sheet"),
    benchmark:
        benchmark_of("draw_contact_sheet")
    conda:
        ENVIRONMENT
    params:
        split=SHOWN_SPLIT,
        width_inches=EXPERIMENT.report.figure_width_inches,
        dpi=EXPERIMENT.report.figure_dpi,
        code=code_of("draw_contact_sheet"),
    script:
        "../workflow_scripts/draw_contact_sheet.py"


rule show_examples:
    input:
        questions=DATA.questions(SHOWN_SPLIT),
        annotations=DATA.annotations(SHOWN_SPLIT),
        pictures=DATA.pictures(SHOWN_SPLIT),
        predictions=expand(PATHS.predictions, seed=EXPERIMENT.seeds[0], model=SHOWN_MODELS, split=SHOWN_SPLIT),
        scores=expand(PATHS.score, seed=EXPERIMENT.seeds[0], model=SHOWN_MODELS, split=SHOWN_SPLIT),
    output:
        page=reported(PATHS.examples, "examples", "4 Questions and answers", "Answers of each network"),
    log:
        log_of("show_examples"),
    benchmark:
        benchmark_of("show_examples")
    conda:
        ENVIRONMENT
    params:
        models=SHOWN_MODELS,
        split=SHOWN_SPLIT,
        subtypes=DATA.subtypes(SHOWN_SPLIT),
        code=code_of("show_examples"),
    script:
        "../workflow_scripts/show_examples.py"


# Waits for results: if a network of a changed configuration fails, the page must still describe the results beside it.
rule show_configuration:
    input:
        PATHS.results,
    output:
        yaml=f"{PATHS.configuration}.yaml",
        html=reported(f"{PATHS.configuration}.html", "configuration", "7 How it was made", "Configuration"),
    log:
        log_of("show_configuration"),
    benchmark:
        benchmark_of("show_configuration")
    conda:
        ENVIRONMENT
    params:
        overlay=as_overlay(whole_config),
        data=EXPERIMENT.data,
        experiment=EXPERIMENT.experiment,
        version=TRAINING_VERSION,
        code=code_of("show_configuration"),
    script:
        "../workflow_scripts/show_configuration.py"


# Reads the benchmarks, which no rule can request as inputs, so it runs after everything else that is shown.
rule show_run_times:
    input:
        [file for file in SHOWN if file != PATHS.run_times],
    output:
        page=reported(PATHS.run_times, "run_times", "7 How it was made", "Time and memory"),
    log:
        log_of("show_run_times"),
    benchmark:
        benchmark_of("show_run_times")
    conda:
        ENVIRONMENT
    params:
        seeds=EXPERIMENT.seeds,
        models=MODELS,
        code=code_of("show_run_times"),
    script:
        "../workflow_scripts/show_run_times.py"
