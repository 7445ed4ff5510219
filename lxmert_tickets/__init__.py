"""Lottery tickets in vision-and-language models: the library behind the workflow, usable without Snakemake.

Imports go one way: each of these imports only from those before it.

    errors <- seeds, locks, layout, progress, environment, code_digest, file_kinds
        <- artifacts, conversion, failed_jobs, one_run, gpus, job <- finished, forked_jobs, downloads
        <- data <- model <- pruning <- training, evaluation <- experiment, inspection <- sources, verification
        <- consistency <- configuration, configuration_files <- report <- monitoring <- cli <- __main__
"""
