"""Scores of one model on one data set: run, result, best, advice."""
