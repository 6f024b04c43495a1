"""A small server that speaks both eras, over stdio, for the tests of real servers."""

from fastmcp import Context, FastMCP

server = FastMCP("small")


@server.tool
def echo(text: str) -> str:
    """Returns what it is given."""
    return text


@server.tool
async def count(to: int, context: Context) -> int:
    """Counts, and tells every number as progress."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    return to


if __name__ == "__main__":
    # The banner would ask the network for newer releases.
    server.run(transport="stdio", show_banner=False)
