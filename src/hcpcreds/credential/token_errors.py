"""The meaning of the authority's error codes for a credential.

Sources: learn.microsoft.com, "Microsoft Entra authentication and authorization error codes"; for refused
certificates also microsoft-identity-web, issues 2444, 2834 and 3429; its issue 3652 says why not every
`invalid_client` means a refused certificate.
"""

from typing import Final

CERTIFICATE_REFUSED: Final = frozenset(
    {50012, 700023, 700027, 700030, 1000502, 5000224, 7000214, 7000215, 7000222, 7000274, 7000277}
)
"""The certificate or its signature is refused; an earlier certificate may still be accepted."""
IDENTITY_GONE: Final = frozenset({90002, 700011, 700016, 700082, 5000224, 5000225, 7000112, 7000229})
"""The identity or its tenant does not exist; frequent requests would be useless."""

HINTS: Final = {
    700027: "This certificate is not registered for the identity (yet), or has expired.",
    1000502: "This certificate has expired or is not valid yet. Is the clock of this machine right?",
    7000214: "This certificate has been revoked. Have a new credential issued.",
    7000277: "This certificate has been revoked. Have a new credential issued.",
    7000274: "The signature does not match the certificate that is registered for the identity.",
    7000215: "This credential is not the one that is registered for the identity.",
    7000222: "The identity's credential has expired in Entra ID. Renew it.",
    700023: "The assertion is for another token endpoint. Is the URL of the authority right?",
    700030: "The certificate's subject or issuer is not the registered one, or belongs to another cloud.",
    50012: "The certificate's subject or chain is not trusted for this identity.",
    700016: "This tenant does not know the identity. Was it deleted, or is tenant_id wrong?",
    700011: "This tenant does not know the identity. Was it deleted, or is tenant_id wrong?",
    700082: "The identity's grant has expired. Was the identity or its tenant deleted?",
    7000112: "The identity is disabled in this tenant.",
    7000229: "The identity has no service principal in this tenant. Was it deleted?",
    90002: "The authority does not know the tenant. Was it deleted, or is it in another cloud?",
    5000224: "The tenant is not available. Was it deleted?",
    5000225: "The tenant is blocked because it was not used.",
    700024: "The assertion's times are wrong. Is the clock of this machine right?",
    500011: "This tenant does not know the resource of the scope. Is the scope for another cloud?",
    70011: "The scope is malformed. Expected, for instance, https://management.azure.com/.default.",
}
"""The next step for each number after AADSTS; if an error has several, the first in this order counts."""
