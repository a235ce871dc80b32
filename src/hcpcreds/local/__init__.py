"""A small Azure and a small node on this machine, for development and tests only."""
