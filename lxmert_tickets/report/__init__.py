"""Scores to tidy tables, and tables to what the paper shows."""
