"""The OAuth client of the Python SDK at a protected MCP server behind `dev proxy`: oauth_client.py URL

Signs in once in each era. All it asks goes through the tunnel, since a product outside could not reach the server: MCP
and the metadata of the resource go to the listener, all else to the channel `harpoon`. The page for browsers alone is
opened directly. Prints its counts as one line of JSON and exits with 0, or says what it missed and exits with 1.
"""

import base64
import json
import sys
import traceback
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.oauth2 import AuthorizationCodeResult
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

# How the client is bound to an era, and the revision that the connection then has.
MODES = {"2025-11-25": "legacy", "2026-07-28": "2026-07-28"}
# How it shows its secret in an era: in the body of its requests, or in a header.
METHODS = {"2025-11-25": "client_secret_post", "2026-07-28": "client_secret_basic"}
ROLES = ["auth-server-metadata", "issuer", "prmd-auth-server", "prmd-resource", "prmd-source"]
ROLES += ["registration-endpoint", "revocation-endpoint", "token-endpoint"]
REDIRECT = "http://127.0.0.1:1/callback"
REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
ACCEPT = "application/json, text/event-stream"
# Stands for a label as a host that nobody has, since the SDK takes URLs of http alone.
LABELS = "http://harpoon.invalid/"
counts = {"client": "python", "targets": 0, "challenges": 0, "metadata": 0, "endpoints": {}}
counts |= {"eras": [], "called": 0, "refused": 0}


def check(held, what):
    if not held:
        raise AssertionError(f"expected: {what}")


def origin(url):
    return urlsplit(str(url))._replace(path="", query="", fragment="").geturl()


class Storage:
    """What a client remembers, for one sign-in."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Tunnel(httpx2.AsyncHTTPTransport):
    """The way of every request of the SDK. One that would leave the tunnel is a failure."""

    def __init__(self, url, issuer, harpoon):
        super().__init__()
        self.origin, self.issuer, self.harpoon = origin(url), issuer, harpoon

    async def handle_async_request(self, request):
        url = str(request.url)
        if origin(url) == self.origin:
            response = await super().handle_async_request(request)
            counts["challenges"] += response.status_code == 401
            counts["metadata"] += "/.well-known/" in url and response.status_code == 200
            return response
        if url == f"{self.issuer}/.well-known/oauth-authorization-server":
            return self.with_labels(await self.call("oauth-auth-server-metadata-0", request))
        check(url.startswith(LABELS), f"nothing but named endpoints is called, not {request.method} {url}")
        return await self.call(url.removeprefix(LABELS), request)

    async def call(self, label, request):
        body = (await request.aread()).decode()
        arguments = {"label": label, "method": request.method, "headers": dict(request.headers)}
        result = await self.harpoon.call_tool("call_target", arguments | ({"body": body} if body else {}))
        check(not result.is_error, f"{label} is called: {result}")
        reply = result.structured_content
        counts["endpoints"][label] = counts["endpoints"].get(label, 0) + 1
        content, kind = base64.b64decode(reply["body_base64"]), reply["headers"].get("Content-Type", [""])[0]
        check(len(content) == reply["body_size_bytes"], f"a body of its size, not {reply}")
        return httpx2.Response(reply["status_code"], headers={"Content-Type": kind}, content=content, request=request)

    def with_labels(self, response):
        """Metadata as the SDK takes it: its endpoints are labels, and its issuer is left as the server wrote it."""
        metadata = response.json()
        check(metadata["issuer"].rstrip("/") == self.issuer.rstrip("/"), f"the issuer itself, not {metadata}")
        for role in ("registration", "revocation", "token"):
            label = f"oauth-{role}-endpoint-0"
            named = metadata[f"{role}_endpoint"]
            check(named == f"harpoon://{label}", f"a {role} endpoint by its label, not {metadata}")
            metadata[f"{role}_endpoint"] = LABELS + label
        return httpx2.Response(response.status_code, json=metadata, request=response.request)


async def metadata_is_found(url):
    """The challenge leads to the metadata. Asked without the SDK, which would look in other places too."""
    async with httpx2.AsyncClient() as http:
        challenged = await http.post(url, json=REQUEST, headers={"Accept": ACCEPT})
        check(challenged.status_code == 401, f"a challenge, not {challenged} {challenged.text}")
        named = f"{origin(url)}/.well-known/oauth-protected-resource{urlsplit(url).path}"
        challenge = challenged.headers.get("WWW-Authenticate", "")
        check(f'resource_metadata="{named}"' in challenge, f"a challenge that names {named}, not {challenge!r}")
        found = await http.get(named)
        check(found.status_code == 200, f"metadata, not {found} {found.text}")
        metadata = found.json()
        check(metadata["resource"] == url, f"the resource by its URL here, not {metadata}")
        [issuer] = metadata["authorization_servers"]
        check(origin(issuer) != origin(url), f"the server's own issuer, not {metadata}")
        return issuer


async def endpoints_are_registered(harpoon, issuer):
    listed = (await harpoon.call_tool("list_targets", {})).structured_content["targets"]
    labels = sorted(target["label"] for target in listed)
    check(labels == [f"oauth-{role}-0" for role in ROLES], f"a label for each of {ROLES}, not {labels}")
    counts["targets"] = len(labels)
    result = await harpoon.call_tool("get_oauth_target_audience", {"label": "oauth-token-endpoint-0"})
    told = result.structured_content
    check(told == {"audience": f"{issuer}/token"}, f"the token endpoint by its URL, not {result}")


def provider(url, method):
    answers = []

    async def browse(page):
        async with httpx2.AsyncClient() as browser:
            reply = await browser.get(page)
        location = reply.headers.get("Location", "")
        check(location.startswith(f"{REDIRECT}?"), f"a redirect back, not {reply} {reply.text}")
        answers.append({name: values[0] for name, values in parse_qs(urlsplit(location).query).items()})

    async def answered():
        answer = answers.pop()
        check("code" in answer, f"a code, not {answer}")
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

    metadata = OAuthClientMetadata(redirect_uris=[REDIRECT], client_name="grüße", token_endpoint_auth_method=method)
    return OAuthClientProvider(url, metadata, Storage(), redirect_handler=browse, callback_handler=answered)


async def sign_in(url, era, tunnel):
    """Leaves discovery, registration, authorization and the exchange to the SDK, then calls with what it got."""
    auth = provider(url, METHODS[era])
    async with httpx2.AsyncClient(auth=auth, transport=tunnel, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=MODES[era]) as client:
            check(client.protocol_version == era, f"revision {era}, not {client.protocol_version}")
            names = [tool.name for tool in (await client.list_tools()).tools]
            check(names == ["whoami"], f"one tool, not {names}")
            result = await client.call_tool("whoami", {})
            check(not result.is_error, f"a call with a token succeeds: {result}")
            check(auth.context.client_info.client_name == "grüße", "a name is registered unchanged")
            check(result.content[0].text == auth.context.client_info.client_id, f"the client, not {result}")
    counts["eras"].append(era)
    counts["called"] += 1
    return auth.context


async def revoked_tokens_are_refused(url, signed_in, tunnel):
    """What the server says of a token counts at once: nothing between remembers one."""
    token = signed_in.current_tokens.access_token
    form = {"token": token, "client_id": signed_in.client_info.client_id}
    form, shown = signed_in.prepare_token_auth(form, {})
    # The server's form wants the member whatever the method; what it goes by is the method's.
    form.setdefault("client_secret", "")
    async with httpx2.AsyncClient(transport=tunnel, timeout=30) as http:
        revoked = await http.post(f"{LABELS}oauth-revocation-endpoint-0", data=form, headers=shown)
        check(revoked.status_code == 200, f"a revocation, not {revoked} {revoked.text}")
        for refused in (token, "none"):
            headers = {"Accept": ACCEPT, "Authorization": f"Bearer {refused}"}
            reply = await http.post(url, json=REQUEST, headers=headers)
            check(reply.status_code == 401, f"a refusal, not {reply} {reply.text}")
            challenge = reply.headers.get("WWW-Authenticate", "")
            check("invalid_token" in challenge, f"a challenge that says why, not {challenge!r}")
            counts["refused"] += 1


async def session(url):
    issuer = await metadata_is_found(url)
    async with Client(streamable_http_client(f"{url}/harpoon"), mode="legacy") as harpoon:
        await endpoints_are_registered(harpoon, issuer)
        for era in MODES:
            signed_in = await sign_in(url, era, Tunnel(url, issuer, harpoon))
            await revoked_tokens_are_refused(url, signed_in, Tunnel(url, issuer, harpoon))
    for role in ("auth-server-metadata", "registration-endpoint", "revocation-endpoint", "token-endpoint"):
        called = counts["endpoints"].get(f"oauth-{role}-0", 0)
        check(called == len(MODES), f"{role} is called once in each era, not {called} times")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: oauth_client.py URL")
    try:
        anyio.run(session, sys.argv[1])
    except BaseException:
        traceback.print_exc()
        sys.exit(f"so far: {json.dumps(counts)}")
    print(json.dumps(counts))
