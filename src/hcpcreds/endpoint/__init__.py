"""Tokens for programs that cannot import this library: assertion files and a token endpoint, by one process.

Every Azure SDK knows two ways of being given tokens by somebody else: a client assertion in a file, which
its `WorkloadIdentityCredential` sends as it is, and an endpoint on this machine, which its
`ManagedIdentityCredential` asks. What happens is logged by the logger `hcpcreds.endpoint`.
"""
