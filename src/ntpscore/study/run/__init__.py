"""Runs a study: plan, cells, workers."""
