"""Lottery tickets in vision-and-language models: the library behind the workflow, usable without Snakemake.

Imports go one way:

    errors, seeds <- artifacts <- data <- model <- pruning <- training <- evaluation <- experiment <- report <- cli
"""
