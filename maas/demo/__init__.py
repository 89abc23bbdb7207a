"""A conversation of two friends, shipped with the project, to show storing and recalling on real text."""
