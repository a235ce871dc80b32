"""HTTP for token requests, the data plane and Key Vault.

The sync and the asyncio transport share all decisions: the trusted CA certificates, the proxy, the longest
response, what is retried and after which delay. Importing the package is cheap; only its modules `sync` and
`aio` import an HTTP library.
"""
