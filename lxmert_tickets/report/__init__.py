"""Turns scores into tidy tables, and those into the paper's table and figure."""
