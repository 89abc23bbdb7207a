"""The Model Context Protocol server: memories for assistants, over stdio and over HTTP."""
