"""A small server over stdio that speaks both eras, for the tests of real servers."""

from fastmcp import FastMCP

server = FastMCP("small")


@server.tool
def echo(text: str) -> str:
    """Returns what it is given."""
    return text


# The banner would ask the network for newer releases.
server.run(transport="stdio", show_banner=False)
