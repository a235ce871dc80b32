"""A program with what it needs to get tokens beside it, told of or restarted at each rotation.

What happens is logged by the logger `hcpcreds.exec`.
"""
