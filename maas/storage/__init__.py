"""The store of memories behind one protocol."""
