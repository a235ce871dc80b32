"""The whole chain of a credential's life on one machine: issue, store, mount, use, rotate.

`hcpcreds up` runs it: a local Azure, a node and every component of a hosted control plane, each as a process.
This package starts them, rotates the certificates, and checks that every component uses them. For development
only.
"""
