"""A small Azure on this machine, for development and tests only."""
