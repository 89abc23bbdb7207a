"""Evaluation of LAM and its peers: ``python -m lam_backend.evaluation --help``."""
