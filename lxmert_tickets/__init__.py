"""Lottery tickets in vision-and-language models: the library behind the workflow, usable without Snakemake.

Imports go one way: each of these imports only from those before it.

    errors <- seeds, layout, progress, environment, file_kinds <- artifacts <- jobs <- downloads
        <- data <- model <- pruning <- training, evaluation <- configuration, inspection <- verification
        <- report <- monitoring <- cli <- __main__
"""
