"""Recall quality, measured through the path a user's call takes."""
