"""Pruning, in numpy alone: which weights can be pruned, which are kept from where, and what that looks like.

Order: prunable <- selection <- masks <- mask_files, sparsity <- subnetworks.
"""
