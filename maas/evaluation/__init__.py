"""Recall quality, measured through the same store and recall calls a user makes."""
