"""The whole chain of a credential's life on one machine: issue, store, mount, use, rotate.

`hcpcreds up` runs it. A local Azure, a node and every component of a hosted control plane are processes of
their own; this room starts them, rotates the certificates, listens, and judges. For development only.
"""
