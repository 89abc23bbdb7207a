"""The same turns, through the same encoder weights, into other memory libraries: each in its own process."""
