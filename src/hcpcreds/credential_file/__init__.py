"""The credential file: bytes to value, and what is wrong with one."""
