"""The variables of a pod's containers, as expressions about a container `c`."""

from typing import Final

from hcpcreds.constants import ARO_HCP_CLIENT_CREDENTIALS_PATH, MANAGED_AZURE_CREDENTIALS_FILE_PATH
from hcpcreds.manifests.inject.keyless import OTHER_WAYS
from hcpcreds.manifests.inject.no_proxy import HOSTS, NO_PROXY, WITH_PROXY
from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.policies.ways import IS_KEYLESS, IS_TOKENS, IS_WITHOUT_ENDPOINT, Ways
from hcpcreds.manifests.sidecar import ASSERTION_DIRECTORY, build_client_env, build_endpoint_env

CLIENT_ENV: Final = build_client_env(
    client_id=Expression("variables.key.client_id"),
    tenant_id=Expression("variables.key.tenant_id"),
    token_file=fill("$directory + variables.key.file", directory=f"{ASSERTION_DIRECTORY}/"),
    authority=Expression("variables.key.authority"),
)
"""The variables of a program that sends assertions."""
HAS_PROXY: Final = fill("c.?env.orValue([]).exists(p, p.name in $names)", names=sorted(WITH_PROXY))
"""Whether it has a proxy that some SDKs would ask for the token endpoint."""

_PATHS: Final = (MANAGED_AZURE_CREDENTIALS_FILE_PATH, ARO_HCP_CLIENT_CREDENTIALS_PATH)
"""Variables that a keyless pod keeps, but empty: everybody sees there that it has no key."""


def build_env(ways: Ways) -> Expression:
    """The variables that a container `c` will have: its own, kept as they are, and the missing ones."""
    if not ways.keyless:
        return Expression(
            "c.?env.orValue([]) + variables.env\n"
            "  .filter(w, w.container == c.name && !c.?env.orValue([]).exists(e, e.name == w.name))\n"
            "  .map(w, {'name': w.name, 'value': w.value})"
        )
    client = {entry["name"] for entry in CLIENT_ENV}
    others = fill("$names", names=sorted(OTHER_WAYS - set(_PATHS) - client))
    given = fill("dyn($client)", client=CLIENT_ENV)
    if ways.endpoint:
        tokens = {entry["name"] for entry in build_endpoint_env(None)}
        others = fill(
            "($is_without ? $others : $others_than_tokens)",
            is_without=IS_WITHOUT_ENDPOINT,
            others=others,
            others_than_tokens=sorted(OTHER_WAYS - set(_PATHS) - tokens),
        )
        given = fill(
            "$is_without ? $client : dyn($tokens) + dyn(variables.key.client_id == '' ? [] : [$client_id])",
            is_without=IS_WITHOUT_ENDPOINT,
            client=given,
            tokens=build_endpoint_env(None),
            client_id={"name": "AZURE_CLIENT_ID", "value": Expression("variables.key.client_id")},
        )
    return fill(
        """
        dyn(($own)
          .filter(e, !($is_keyless && e.name in $others))
          .map(e, $is_keyless && e.name in $paths ? dyn({'name': e.name}) : dyn(e))) +
        dyn((
          dyn(variables.env
            .filter(e, e.container == c.name && !($is_keyless && e.name in $other_ways))
            .map(e, {'name': e.name, 'value': e.value})) +
          dyn(!($is_keyless) ? dyn([]) : $given)
        ).filter(w, !c.?env.orValue([]).exists(e, e.name == w.name)))
        """,
        own=build_own_env(ways),
        is_keyless=IS_KEYLESS,
        others=others,
        paths=_PATHS,
        other_ways=sorted(OTHER_WAYS),
        given=given,
    )


def build_own_env(ways: Ways) -> Expression:
    """The variables of a container `c`; behind a proxy, they name the token endpoint among its exceptions."""
    if not ways.endpoint:
        return Expression("c.?env.orValue([])")
    return fill(
        """
        dyn(c.?env.orValue([]).map(e,
          $is_tokens && e.name in $no_proxy && $has_proxy && !('*' in $found) && !$hosts.all(h, h in $found) ?
            dyn({'name': e.name, 'value': dyn(($found + $hosts.filter(h, !(h in $found))).join(','))}) :
            dyn(e))) +
        dyn($is_tokens && $has_proxy && !c.?env.orValue([]).exists(e, e.name in $no_proxy) ?
          [$exceptions] : [])
        """,
        is_tokens=IS_TOKENS,
        no_proxy=NO_PROXY,
        has_proxy=HAS_PROXY,
        hosts=HOSTS,
        found=Expression("e.?value.orValue('').split(',').map(h, h.trim()).filter(h, h != '')"),
        exceptions={"name": NO_PROXY[0], "value": ",".join(HOSTS)},
    )
