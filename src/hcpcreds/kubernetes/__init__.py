"""Kubernetes' objects and streams of them, as its own tools read and write them."""
