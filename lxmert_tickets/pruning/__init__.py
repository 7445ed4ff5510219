"""Pruning, in numpy alone: which weights can be pruned, which are kept, and what that looks like.

Order: prunable <- selection <- masks <- sparsity.
"""
