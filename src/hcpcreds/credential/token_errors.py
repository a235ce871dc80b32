"""What the authority's error codes mean for a credential.

Sources: learn.microsoft.com, "Microsoft Entra authentication and authorization error codes"; for refusals of
a certificate also microsoft-identity-web, issues 2444, 2834 and 3429, and its issue 3652 for why not every
`invalid_client` is one.
"""

from typing import Final

CERTIFICATE_REFUSED: Final = frozenset(
    {50012, 700023, 700027, 700030, 1000502, 5000224, 7000214, 7000215, 7000222, 7000274, 7000277}
)
"""Refusals of a certificate or of what it signed: an earlier certificate may still be taken."""
IDENTITY_GONE: Final = frozenset({90002, 700011, 700016, 700082, 5000224, 5000225, 7000112, 7000229})
"""The identity or its tenant is not there: asking often helps nobody."""

HINTS: Final = {
    700027: "This certificate is not registered for the identity (yet), or is past its time.",
    1000502: "This certificate is past its time, or its time has not come: is the clock here right?",
    7000214: "This certificate has been revoked: have the credential issued anew.",
    7000277: "This certificate has been revoked: have the credential issued anew.",
    7000274: "The signature does not fit the certificate that is registered for the identity.",
    7000215: "The identity's credential is not the one that is registered for it.",
    7000222: "The identity's credential is past its time in Entra ID: renew it.",
    700023: "The assertion is for another token endpoint: is the authority's address right?",
    700030: "The certificate's subject or issuer is not the one that is registered, or is another cloud's.",
    50012: "The certificate's subject or its chain is not trusted for this identity.",
    700016: "The identity is unknown in this tenant: was it deleted, or is tenant_id another one's?",
    700011: "The identity is unknown in this tenant: was it deleted, or is tenant_id another one's?",
    700082: "The identity's grant has ended: was the identity or its tenant deleted?",
    7000112: "The identity is disabled in this tenant.",
    7000229: "The identity has no service principal in this tenant: was it deleted?",
    90002: "The tenant is unknown to this authority: was it deleted, or is it another cloud's?",
    5000224: "The tenant is not available: was it deleted?",
    5000225: "The tenant is blocked because nobody used it.",
    700024: "The assertion's times are off: is the clock here right?",
    500011: "The scope's resource is unknown in this tenant: is the scope another cloud's?",
    70011: "The scope is malformed; expected for instance https://management.azure.com/.default.",
}
"""The next step, by the number after AADSTS; of several the first."""
