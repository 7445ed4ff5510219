"""Lottery tickets in vision-and-language models: the library behind the workflow, usable without Snakemake.

Imports go one way:

    errors, seeds, locks, layout <- artifacts <- downloads <- data <- model <- pruning <- training <- evaluation
        <- experiment <- sources <- report, monitoring <- cli
"""
