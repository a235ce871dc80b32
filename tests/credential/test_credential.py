from datetime import timedelta

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ChainedTokenCredential, CredentialUnavailableError

from hcpcreds.credential import UserAssignedIdentityCredential
from hcpcreds.errors import MountNotReadyError, SourceClosedError
from tests.credential.authority import Authority
from tests.credential.files import Mount, issue, later, render_file, wait_until

SCOPE = "https://management.azure.com/.default"


def make(mount: Mount, authority: Authority, **kwargs: object) -> UserAssignedIdentityCredential:
    return UserAssignedIdentityCredential(mount.path, connection_verify=str(authority.ca_file), **kwargs)


def test_credential_signs_with_the_new_certificate_when_the_file_has_rotated(mount, authority):
    first = issue()
    second = later(first)
    mount.swap(render_file(first, authority=authority.url))
    with make(mount, authority) as credential:
        token = credential.get_token(SCOPE)
        assert token.token.startswith(first.thumbprint)
        mount.swap(render_file(second, authority=authority.url))
        wait_until(lambda: credential.status().generation == 2)
        assert credential.status().thumbprint == second.thumbprint
        assert credential.get_token(SCOPE) == token, "a rotation keeps the tokens it has"
        assert credential.get_token("other").token.startswith(second.thumbprint)


def test_credential_is_unavailable_when_the_file_is_not_mounted_yet(mount, authority):
    issued = issue()
    with make(mount, authority) as credential:
        with pytest.raises(CredentialUnavailableError) as raised:
            credential.get_token(SCOPE)
        assert isinstance(raised.value, MountNotReadyError)
        with pytest.raises(ClientAuthenticationError, match="does not exist"):
            ChainedTokenCredential(credential).get_token(SCOPE)
        mount.swap(render_file(issued, authority=authority.url))
        wait_until(lambda: credential.status().generation == 1)
        assert credential.get_token(SCOPE).token.startswith(issued.thumbprint)


def test_credential_serves_valid_tokens_when_they_live_for_a_second(mount, authority):
    mount.swap(render_file(issue(), authority=authority.url))
    authority.life = 1
    with make(mount, authority) as credential:
        first = credential.get_token(SCOPE).token
        wait_until(lambda: credential.get_token(SCOPE).token != first)


def test_credential_reports_each_reload_when_it_is_asked_to(mount, authority):
    reports = []
    first = issue()
    mount.swap(render_file(first))
    with make(mount, authority, on_reload=reports.append) as credential:
        mount.swap(render_file(later(first)))
        wait_until(lambda: reports)
        assert reports == [credential.status()]


def test_credential_says_so_when_it_is_used_after_close(mount, authority):
    mount.swap(render_file(issue(), authority=authority.url))
    credential = make(mount, authority, backstop=timedelta(hours=1))
    credential.get_token(SCOPE)
    credential.close()
    credential.close()
    with pytest.raises(SourceClosedError, match="after its close"):
        credential.get_token(SCOPE)
