"""A protected MCP server of the Python SDK over Streamable HTTP, with the SDK's authorization server beside it.

Listens on a free port and prints its URL. Whoever asks for authorization gets it: there is no user. Clients, codes and
tokens live as long as the process.
"""

import secrets
import socket
import time

import anyio
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthToken

SCOPE = "calls"
HOUR = 3600


class Provider(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """What the SDK leaves to a server. Redirect URIs, PKCE and client secrets are checked by the SDK."""

    def __init__(self, issuer):
        self.issuer = issuer
        self.clients, self.codes, self.refreshing, self.tokens = {}, {}, {}, {}

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client, params):
        code = secrets.token_urlsafe(32)
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [SCOPE],
            expires_at=time.time() + HOUR,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state, iss=self.issuer)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        del self.codes[authorization_code.code]
        return self.issue(authorization_code)

    async def load_refresh_token(self, client, refresh_token):
        return self.refreshing.get(refresh_token)

    async def exchange_refresh_token(self, client, refresh_token, scopes):
        del self.refreshing[refresh_token.token]
        return self.issue(refresh_token)

    async def load_access_token(self, token):
        return self.tokens.get(token)

    async def revoke_token(self, token):
        self.tokens.pop(token.token, None)
        self.refreshing.pop(token.token, None)

    def issue(self, grant):
        """Tokens for what a code or a refresh token grants."""
        granted = {"client_id": grant.client_id, "scopes": grant.scopes, "resource": grant.resource}
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.tokens[access] = AccessToken(token=access, expires_at=int(time.time()) + HOUR, **granted)
        self.refreshing[refresh] = RefreshToken(token=refresh, **granted)
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=HOUR, scope=" ".join(grant.scopes))


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
host, port = listener.getsockname()
origin = f"http://{host}:{port}"
server = MCPServer(
    "protected",
    auth_server_provider=Provider(origin),
    auth=AuthSettings(
        issuer_url=origin,
        resource_server_url=f"{origin}/mcp",
        required_scopes=[SCOPE],
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=[SCOPE], default_scopes=[SCOPE]
        ),
        revocation_options=RevocationOptions(enabled=True),
        # Callers of `dev proxy` know this resource by the URL of its listener.
        validate_token_resource=False,
    ),
    log_level="WARNING",
)


@server.tool()
def whoami() -> str:
    """Returns the id of the client that the token was issued to."""
    return get_access_token().client_id


print(f"{origin}/mcp", flush=True)
config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
anyio.run(lambda: uvicorn.Server(config).serve(sockets=[listener]))
