"""A small API server on this machine, for development and tests only."""
