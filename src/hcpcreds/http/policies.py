"""The HTTP policies of every pipeline, as azure-identity composes them (its _internal/pipeline.py).

Left out is NetworkTraceLoggingPolicy: it logs bodies, and these bodies are assertions, tokens and keys.
"""

from typing import Any

from azure.core.pipeline.policies import (
    CustomHookPolicy,
    DistributedTracingPolicy,
    HeadersPolicy,
    HttpLoggingPolicy,
    ProxyPolicy,
    RequestIdPolicy,
    UserAgentPolicy,
)

from hcpcreds._version import __version__


def build_policies(retry_policy: Any, *own_policies: Any, **kwargs: Any) -> list[Any]:  # noqa: ANN401 (sync or not)
    """Put the policies in order.

    Args:
        retry_policy: What repeats.
        *own_policies: What is done to each sending, a repeated one too.
        **kwargs: azure-core's usual ones.
    """
    return [
        RequestIdPolicy(**kwargs),
        HeadersPolicy(**kwargs),
        UserAgentPolicy(sdk_moniker=f"hcpcreds/{__version__}", **kwargs),
        ProxyPolicy(**kwargs),  # for a transport of the caller's own
        retry_policy,
        *own_policies,
        CustomHookPolicy(**kwargs),
        DistributedTracingPolicy(**kwargs),
        HttpLoggingPolicy(**kwargs),
    ]
