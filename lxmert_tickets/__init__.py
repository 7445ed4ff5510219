"""Lottery tickets in vision-and-language models: the library behind the workflow, usable without Snakemake.

Imports go one way: each of these imports only from those before it.

    errors <- seeds, locks, layout, progress, environment, code_digest, file_kinds
        <- artifacts, conversion, failed_jobs, forked_jobs, gpus, job <- finished, downloads <- data <- model <- pruning
        <- training, evaluation <- experiment, inspection <- sources, verification <- consistency
        <- configuration, configuration_files <- report <- monitoring <- cli <- __main__
"""
