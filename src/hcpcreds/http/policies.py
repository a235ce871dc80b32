"""The HTTP policies of every pipeline, as azure-identity composes them (its _internal/pipeline.py).

NetworkTraceLoggingPolicy is missing on purpose: it logs bodies, which contain assertions, tokens and keys.
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
    """Return the policies in order.

    Args:
        retry_policy: The policy that retries.
        *own_policies: Policies that apply to every sending, retries too.
        **kwargs: azure-core's keyword arguments.
    """
    return [
        RequestIdPolicy(**kwargs),
        HeadersPolicy(**kwargs),
        UserAgentPolicy(sdk_moniker=f"hcpcreds/{__version__}", **kwargs),
        ProxyPolicy(**kwargs),  # for the caller's own transport
        retry_policy,
        *own_policies,
        CustomHookPolicy(**kwargs),
        DistributedTracingPolicy(**kwargs),
        HttpLoggingPolicy(**kwargs),
    ]
