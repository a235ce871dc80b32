"""The service owner: gets certificates issued and renewed, and stores them for the driver."""

import base64
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import jwt
import trustme
from azure.identity import ClientAssertionCredential
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hcpcreds.credential_file.encoding import Encoding
from hcpcreds.dataplane.client import ManagedIdentityDataPlaneClientFactory
from hcpcreds.dataplane.models import UserAssignedIdentitiesRequest, UserAssignedIdentityCredentials
from hcpcreds.errors import IssueError
from hcpcreds.hosted_cluster import ManagedIdentity
from hcpcreds.vault.secret import parse_time
from hcpcreds.vault.storing import load, store

_RETRIES: Final = 3
"""Few: everything is on this machine."""


@dataclass(frozen=True)
class Issued:
    """A credential that the data plane has issued."""

    credentials: UserAssignedIdentityCredentials
    thumbprint: str
    """SHA-256 of the certificate, lower-case hex."""
    expires: datetime
    valid_from: datetime | None = None
    renew_from: datetime | None = None


@dataclass(frozen=True)
class OwnIdentity:
    """The application with whose identity the service owner calls."""

    tenant_id: str
    client_id: str
    certificate_pem: bytes
    private_key: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def make(cls, tenant_id: str) -> Self:
        """Make an application with a certificate, in a tenant."""
        made = trustme.CA().issue_cert("service-owner", key_type=trustme.KeyType.RSA)
        key = serialization.load_pem_private_key(made.private_key_pem.bytes(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 (as requested)
        return cls(tenant_id, str(uuid.uuid4()), made.cert_chain_pems[0].bytes(), key)

    def sign_assertion(self, audience: str) -> str:
        """Sign a client assertion.

        azure-identity's CertificateCredential reuses an assertion for nine minutes. Tokens live for seconds
        here, so the local authority would refuse its second request as a replay.
        """
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).decode().rstrip("=")
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": str(uuid.uuid4()),
            "nbf": now,
            "exp": now + 300,
        }
        return jwt.encode(claims, self.private_key, algorithm="PS256", headers={"x5t#S256": thumbprint})

    def write_credential_file(self, file: Path, *, authority: str) -> None:
        """Write a credential file, for programs that use the same application."""
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        key = self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        content = {
            "authentication_endpoint": authority,
            "client_id": self.client_id,
            "client_secret": base64.b64encode(self.certificate_pem + key).decode(),
            "tenant_id": self.tenant_id,
            "not_before": certificate.not_valid_before_utc.isoformat(),
            "not_after": certificate.not_valid_after_utc.isoformat(),
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(content))


class ServiceOwner:
    """An application that may call the data plane and write to the vault.

    Args:
        identity: Its application.
        authority: Token authority, with a closing slash.
        data_plane_audience: The audience of tokens for the data plane.
        vault_url: The vault to store the credentials in.
        ca_file: PEM file of the certificate authorities to trust.
    """

    def __init__(
        self,
        identity: OwnIdentity,
        *,
        authority: str,
        data_plane_audience: str,
        vault_url: str,
        ca_file: Path,
    ) -> None:
        # A proxy cannot reach the loopback interface of this machine.
        options: Any = {"connection_verify": str(ca_file), "use_env_settings": False, "retry_total": _RETRIES}
        token_endpoint = f"{authority}{identity.tenant_id}/oauth2/v2.0/token"
        self._credential = ClientAssertionCredential(
            identity.tenant_id,
            identity.client_id,
            partial(identity.sign_assertion, token_endpoint),
            authority=authority,
            additionally_allowed_tenants=["*"],
            **options,
        )
        self._data_plane = ManagedIdentityDataPlaneClientFactory(
            self._credential, data_plane_audience, hosts=("127.0.0.1",), **options
        )
        # The SDK would compare the challenge with the vault's host name, which is not one of Key Vault's
        # here.
        self._vault = SecretClient(
            vault_url,
            self._credential,
            verify_challenge_resource=False,
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._vault.close()
        self._data_plane.close()
        self._credential.close()

    def issue(self, identity_url: str, resource_ids: Sequence[str]) -> list[Issued]:
        """Get the first credentials of identities, in the order of their ARM ids.

        Raises:
            IssueError: The data plane did not issue all of them.
        """
        request = UserAssignedIdentitiesRequest(identity_ids=tuple(resource_ids))
        answer = self._data_plane.create_client(identity_url).get_user_assigned_identities_credentials(
            request
        )
        by_id = {credentials.resource_id: credentials for credentials in answer.explicit_identities or ()}
        missing = [resource_id for resource_id in resource_ids if resource_id not in by_id]
        if missing:
            raise IssueError(f"{identity_url}: no credential for {', '.join(missing)}")
        return [_describe(by_id[resource_id]) for resource_id in resource_ids]

    def renew(self, issued: Issued) -> Issued:
        """Renew a credential.

        Raises:
            IssueError: The data plane did not renew it.
        """
        url = issued.credentials.client_secret_url
        if not url:
            raise IssueError(f"{issued.credentials.resource_id}: its credential has no client_secret_url")
        answer = self._data_plane.create_client(url).get_system_assigned_identity_credentials()
        (renewed,) = answer.explicit_identities or ()
        return _describe(renewed)

    def store(self, identity: ManagedIdentity, issued: Issued) -> str:
        """Store a credential as the identity's secret, in the encoding of the cluster.

        Returns:
            The version of the secret.

        Raises:
            InputError: The credential is incomplete.
            StoreError: The vault did not take it.
        """
        encoding = cast("Encoding", identity.object_encoding)  # hosted_cluster accepts no other
        properties = store(
            self._vault, issued.credentials, name=identity.credentials_secret_name, encoding=encoding
        )
        return str(properties.version)

    def load(self, name: str, version: str) -> Issued:
        """Load a stored credential.

        Raises:
            StoreError: The vault did not return it, or it is not a credential.
        """
        credentials = load(self._vault, name, version=version).credentials
        assert isinstance(credentials, UserAssignedIdentityCredentials)  # noqa: S101 (by the secret's name)
        return _describe(credentials)


def _describe(credentials: UserAssignedIdentityCredentials) -> Issued:
    # Parsed without code of hcpcreds: it is compared with what the components report.
    pem = base64.b64decode(credentials.client_secret or "")
    certificate = x509.load_pem_x509_certificate(pem)
    return Issued(
        credentials,
        certificate.fingerprint(hashes.SHA256()).hex(),
        certificate.not_valid_after_utc,
        certificate.not_valid_before_utc,
        parse_time(credentials.renew_after),
    )
