"""Training of LAM as resumable commands: ``python -m lam_backend.training --help``."""
