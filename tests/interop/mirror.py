"""The Python client of both eras, printing all that it sees of a server as one document of JSON:
mirror.py ERA SERVER URL, or over the pipes of a command mirror.py ERA SERVER COMMAND [ARGUMENT...]

ERA is 2025-11-25 or 2026-07-28, and SERVER a name in mirror.json, which lists what is asked for.
"""

import json
import os
import sys
from pathlib import Path

import anyio
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

# How the client is bound to an era.
MODES = {"2025-11-25": "legacy", "2026-07-28": "2026-07-28"}


def document(value):
    """A model of the SDK as it was on the wire."""
    return value.model_dump(mode="json", by_alias=True, exclude_none=True) if hasattr(value, "model_dump") else value


async def outcome(ask):
    """What came: a result, or an error as the client tells it."""
    try:
        return document(await ask())
    except MCPError as error:
        return {"error": document(error.error)}
    except Exception as error:  # whatever the client says of a result that it does not take
        return {"error": f"{type(error).__name__}: {error}"}


async def call(client, name, arguments):
    told = []

    async def heard(progress, _total, _message):
        told.append(progress)

    answer = await outcome(lambda: client.call_tool(name, arguments, progress_callback=heard))
    # A client that reads the result together with progress may drop what it has not told yet.
    return {"name": name, "answer": answer, "in_order": told == sorted(set(told))}


async def session(era, wanted, target, *arguments):
    if target.startswith("http"):
        transport = streamable_http_client(target, max_sse_event_size=None)
    else:
        transport = StdioServerParameters(command=target, args=list(arguments), env=dict(os.environ))
    async with Client(transport, mode=MODES[era]) as client:
        seen = {
            "server": document(client.server_info),
            "revision": client.protocol_version,
            "capabilities": document(client.server_capabilities),
            "instructions": client.instructions,
            "tools": await outcome(client.list_tools),
            "prompts": await outcome(client.list_prompts),
            "resources": await outcome(client.list_resources),
            "templates": await outcome(client.list_resource_templates),
            "called": [await call(client, *pair) for pair in wanted.get("tools", [])],
            "prompted": [await outcome(lambda p=pair: client.get_prompt(*p)) for pair in wanted.get("prompts", [])],
            "read": [await outcome(lambda u=uri: client.read_resource(u)) for uri in wanted.get("resources", [])],
        }
    print(json.dumps(seen, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in MODES:
        sys.exit("usage: mirror.py 2025-11-25|2026-07-28 SERVER URL_OR_COMMAND...")
    servers = json.loads((Path(__file__).parent / "mirror.json").read_text())
    anyio.run(session, sys.argv[1], servers[sys.argv[2]], *sys.argv[3:])
