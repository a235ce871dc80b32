"""A token endpoint as one writes it by hand, aiohttp over azure-identity: the peer of `benchmarks.endpoint`.

It reads its certificate once. `python -m benchmarks.plain_endpoint PORT TENANT CLIENT AUTHORITY CA CERTIFICATE`.
"""

import hmac
import json
import sys
import time

from aiohttp import web
from azure.identity.aio import CertificateCredential

SECRET = "0123456789abcdef"  # noqa: S105 (of this benchmark)


def main() -> None:
    """Serve until killed."""
    port, tenant, client, authority, ca_file, certificate = sys.argv[1:]
    credential = CertificateCredential(
        tenant,
        client,
        certificate,
        authority=authority,
        connection_verify=ca_file,
        disable_instance_discovery=True,
    )

    async def answer(request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.headers.get("X-IDENTITY-HEADER", ""), SECRET):
            return web.json_response({"statusCode": 401, "message": "wrong secret"}, status=401)
        resource = request.query["resource"]
        token = await credential.get_token(f"{resource}/.default")
        body = {
            "access_token": token.token,
            "client_id": client,
            "expires_in": str(int(token.expires_on - time.time())),
            "expires_on": str(token.expires_on),
            "resource": resource,
            "token_type": "Bearer",
        }
        return web.Response(text=json.dumps(body), content_type="application/json")

    application = web.Application()
    application.router.add_get("/msi/token", answer)
    web.run_app(application, host="127.0.0.1", port=int(port), access_log=None, print=None)


if __name__ == "__main__":
    main()
