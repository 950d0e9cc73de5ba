"""Scores: counters, protocols, baselines, ensembles, the report."""
