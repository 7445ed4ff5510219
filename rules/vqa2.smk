"""VQA v2 and LXMERT's published weights: from downloads to the inputs of the other rules."""

from lxmert_tickets.configuration.sources import LOCK_FILE, VQA2_FILES, VQA2_FOLDER

if workflow.modifier.path_modifier.replace_prefix(VQA2_FOLDER) != VQA2_FOLDER:
    raise WorkflowError(
        "module: its prefix moves resources/, where files put by hand and the list of digests are looked for; expected "
        'resources/ in place. Write replace_prefix: {"results/": "elsewhere/results/"} instead of prefix.'
    )


# On a cluster these two run on the submit node: compute nodes often have no internet.
localrules:
    download,
    import_weights,


# The file itself is not an output: Snakemake deletes outputs before a job, but a file that the user put there is used.
# `urls` takes `output` so that another mirror downloads nothing again: Snakemake does not compare such params.
rule download:
    output:
        receipt=DATA.receipt("{file}"),
    log:
        log_of("download", "file"),
    benchmark:
        benchmark_of("download", "file")
    wildcard_constraints:
        file=one_of(VQA2_FILES),
    conda:
        ENVIRONMENT
    params:
        urls=lambda wildcards, output: DATA.urls(wildcards.file),
        lock=LOCK_FILE,
    script:
        "../workflow_scripts/download.py"


rule split_val_questions:
    input:
        questions=DATA.receipt("v2_Questions_Val_mscoco.zip"),
        annotations=DATA.receipt("v2_Annotations_Val_mscoco.zip"),
        minival_ids=DATA.minival_ids(),
    output:
        minival_questions=PATHS.questions.format(split="minival"),
        minival_annotations=PATHS.annotations.format(split="minival"),
        nominival_questions=PATHS.questions.format(split="nominival"),
        nominival_annotations=PATHS.annotations.format(split="nominival"),
        about=PATHS.about_minival,
    log:
        log_of("split_val_questions"),
    benchmark:
        benchmark_of("split_val_questions")
    conda:
        ENVIRONMENT
    params:
        n_images=None if DATA.minival_ids() else EXPERIMENT.vqa2.minival_images,
        seed=None if DATA.minival_ids() else EXPERIMENT.vqa2.minival_seed,
        code=code_of("split_val_questions"),
    script:
        "../workflow_scripts/split_val_questions.py"


rule import_weights:
    input:
        **DATA.published_weights(),
        answers=PATHS.answers,
    output:
        weights=PATHS.pretrained,
    log:
        log_of("import_weights"),
    benchmark:
        benchmark_of("import_weights")
    conda:
        ENVIRONMENT
    params:
        repository=EXPERIMENT.weights.repository if EXPERIMENT.weights.source == "hub" else None,
        revision=EXPERIMENT.weights.revision if EXPERIMENT.weights.source == "hub" else None,
        model=EXPERIMENT.stage("model"),
        vocab_size=EXPERIMENT.text.vocab_size,
        feature_dim=EXPERIMENT.vqa2.feature_dim,
        code=code_of("import_weights"),
    script:
        "../workflow_scripts/import_weights.py"
