"""A stand-in for OpenELM, copied into a model's folder and run from there as its own code.

Written for these tests: of OpenELM it has what a reader meets, names of modules and settings, sizes
that differ by block, no vocabulary head, and habits of transformers 4 that version 5 broke with.
"""
