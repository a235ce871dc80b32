"""A small node on this machine, for development and tests only."""
