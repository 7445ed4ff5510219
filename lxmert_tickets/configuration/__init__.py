"""From config.yaml to one `Experiment`, and the files that it is made of."""
