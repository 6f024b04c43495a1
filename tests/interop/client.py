"""The official Python client at a server-everything behind a URL: client.py URL

Prints its counts as one line of JSON and exits with 0, or says what it missed and exits with 1.
"""

import json
import sys
import time
import traceback

import anyio
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

LARGE = 1 << 20
# Calls that need no model, no user and no network. Other tools are listed, but not called.
CALLS = {
    "echo": {"message": "grüße"},
    "get-annotated-message": {"messageType": "success", "includeImage": True},
    "get-env": {},
    "get-resource-links": {"count": 3},
    "get-resource-reference": {"resourceType": "Text", "resourceId": 1},
    "get-structured-content": {"location": "Chicago"},
    "get-sum": {"a": 2, "b": 40},
    "get-tiny-image": {},
    "gzip-file-as-resource": {
        "name": "a.gz",
        "data": "data:text/plain;base64,aGVsbG8=",
        "outputType": "resource",
    },
    "trigger-long-running-operation": {"duration": 0.2, "steps": 2},
    "toggle-simulated-logging": {},
    "toggle-subscriber-updates": {},
}
counts = {"client": "python", "tools": 0, "called": 0, "progress": 0, "errors": 0, "large_bytes": 0, "cancelled": 0}


def check(held, what):
    if not held:
        raise AssertionError(f"expected: {what}")


async def call_every_tool(client):
    names = [tool.name for tool in (await client.list_tools()).tools]
    counts["tools"] = len(names)
    for name, arguments in CALLS.items():
        check(name in names, f"the list has {name}")
        result = await client.call_tool(name, arguments)
        check(not result.is_error, f"{name} succeeds: {result}")
        check(result.content, f"{name} has content")
        if name == "echo":
            check(result.content[0].text == "Echo: grüße", f"an echo, not {result}")
        if name == "get-sum":
            check("42" in result.content[0].text, f"a sum, not {result}")
        if name == "get-structured-content":
            check("temperature" in result.structured_content, f"a structure, not {result}")
        counts["called"] += 1


async def progress_is_in_order(client):
    told = []

    async def heard(progress, total, _message):
        told.append((progress, total))

    arguments = {"duration": 1, "steps": 10}
    await client.call_tool("trigger-long-running-operation", arguments, progress_callback=heard)
    check(told == [(step, 10) for step in range(1, 11)], f"ten steps in order, not {told}")
    counts["progress"] = len(told)


async def failure_of(client, name, arguments):
    """A failure comes as a result or as an error; which of them is the server's choice."""
    try:
        result = await client.call_tool(name, arguments)
    except MCPError as error:
        return str(error)
    check(result.is_error, f"{name} fails: {result}")
    return result.content[0].text


async def errors_are_the_servers(client):
    unknown = await failure_of(client, "no-such-tool", {})
    check("no-such-tool" in unknown, f"an error that names the tool, not {unknown}")
    wrong = await failure_of(client, "get-sum", {"a": "two"})
    check("-32602" in wrong or "nvalid" in wrong, f"an error about arguments, not {wrong}")
    try:
        await client.read_resource("demo://no/such")
    except MCPError:
        counts["errors"] = 3
    check(counts["errors"] == 3, "an unknown resource is an error")


async def large_result(client):
    message = "ä0123456789abcde" * (LARGE // 16)
    text = (await client.call_tool("echo", {"message": message})).content[0].text
    check(text == f"Echo: {message}", "a large text comes back unchanged")
    counts["large_bytes"] = len(text.encode())


async def cancellation(client):
    started = time.monotonic()
    with anyio.CancelScope() as scope:
        # Cancelled when its first progress shows that it runs.
        async def heard(_progress, _total, _message):
            scope.cancel()

        arguments = {"duration": 30, "steps": 60}
        await client.call_tool("trigger-long-running-operation", arguments, progress_callback=heard)
    took = time.monotonic() - started
    check(scope.cancelled_caught, "a cancelled call ends as cancelled")
    check(took < 10, f"a cancelled call ends soon, not after {took} s")
    on = await client.call_tool("echo", {"message": "on"})
    check(on.content[0].text == "Echo: on", "the session goes on")
    counts["cancelled"] = 1


async def session(url):
    # By itself it takes events of 1 MiB only.
    transport = streamable_http_client(url, max_sse_event_size=None)
    # The SDK ends the session when it leaves the block.
    async with Client(transport, mode="legacy") as client:
        await call_every_tool(client)
        await progress_is_in_order(client)
        await errors_are_the_servers(client)
        await large_result(client)
        await cancellation(client)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: client.py URL")
    try:
        anyio.run(session, sys.argv[1])
    except BaseException:
        traceback.print_exc()
        sys.exit(f"so far: {json.dumps(counts)}")
    print(json.dumps(counts))
