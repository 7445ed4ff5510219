"""Training: one loop for dense and masked networks, its recipe, optimiser, schedule and batches; and pretraining."""
