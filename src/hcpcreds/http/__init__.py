"""The one way by which this package asks for tokens, issues credentials and reaches vaults over HTTP.

What holds for the sync and the asyncio transport alike: which authorities (CA) are trusted, which proxy is
taken, how long an answer may be, what is sent again and after which wait. Importing this is cheap; its
modules `sync` and `aio` import an HTTP library each.
"""
