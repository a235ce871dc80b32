"""Admission policies made from the table of components: the API server injects and guards by itself.

A MutatingAdmissionPolicy (Kubernetes 1.36) adds to a pod what `inject` adds to its workload; the guard, of
ValidatingAdmissionPolicies (1.30), tells which pods are incomplete.
"""

from hcpcreds.manifests.policies.build import build_policies
from hcpcreds.manifests.policies.guard import build_guard

__all__ = ["build_guard", "build_policies"]
