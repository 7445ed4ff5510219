"""Pruning, in numpy alone: which weights can be pruned, which are kept, and how sparse each part becomes.

Order: prunable <- selection <- masks <- mask_files, sparsity <- subnetworks.
"""
