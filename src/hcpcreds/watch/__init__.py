"""The process's one watch over files."""
