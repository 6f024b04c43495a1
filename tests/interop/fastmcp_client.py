"""The fastmcp client at the small fastmcp server behind a URL, in one era: fastmcp_client.py URL ERA

ERA is 2025-11-25 or 2026-07-28. Prints its counts as one line of JSON and exits with 0, or says what it missed and
exits with 1.
"""

import json
import sys
import traceback

import anyio
from fastmcp import Client
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError

# How the client is bound to an era, and the revision that the connection then has.
MODES = {"2025-11-25": "legacy", "2026-07-28": "2026-07-28"}
TEXTS = ["", "grüße", "a\tb\nc", "\u2028 \U0001f600", "x" * (1 << 16)]
counts = {"client": "fastmcp", "era": "", "tools": 0, "called": 0, "progress": 0, "errors": 0}


def check(held, what):
    if not held:
        raise AssertionError(f"expected: {what}")


async def calls(client):
    names = sorted(tool.name for tool in await client.list_tools())
    check(names == ["count", "echo"], f"two tools, not {names}")
    counts["tools"] = len(names)
    for text in TEXTS:
        result = await client.call_tool("echo", {"text": text})
        check(result.data == text, f"an echo of {text[:20]!r}, not {result}")
        counts["called"] += 1


async def progress(client):
    told = []

    async def heard(number, total, _message):
        told.append((number, total))

    result = await client.call_tool("count", {"to": 20}, progress_handler=heard)
    check(result.data == 20, f"a count to 20, not {result}")
    check(told == [(number, 20) for number in range(1, 21)], f"twenty numbers in order, not {told}")
    counts["called"] += 1
    counts["progress"] = len(told)


async def errors(client):
    for name, arguments in (("no-such-tool", {}), ("count", {"to": "many"})):
        try:
            result = await client.call_tool(name, arguments)
        except (ToolError, MCPError):
            counts["errors"] += 1
        else:
            check(False, f"{name} fails, not {result}")
    check((await client.call_tool("echo", {"text": "on"})).data == "on", "calls work after errors")
    counts["called"] += 1


async def session(url, era):
    async with Client(url, mode=MODES[era]) as client:
        check(client.protocol_version == era, f"revision {era}, not {client.protocol_version}")
        counts["era"] = client.protocol_version
        await calls(client)
        await progress(client)
        await errors(client)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in MODES:
        sys.exit("usage: fastmcp_client.py URL 2025-11-25|2026-07-28")
    try:
        anyio.run(session, *sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        sys.exit(f"so far: {json.dumps(counts)}")
    print(json.dumps(counts))
