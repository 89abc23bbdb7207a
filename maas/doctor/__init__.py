"""Proves that a data folder is sound, and rebuilds what can be rebuilt."""
