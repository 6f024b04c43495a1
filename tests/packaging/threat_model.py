"""Reads the rows of `src/threat-model.md`.

A row is an item of a list, and its fields are the items below it:

    * **A1**: What an adversary can try.
      * Protection: What stops it.
      * Module: `path::below_src`
      * Test: `module::function`, `tests/packaging/script.sh`

Items of other lists have no label; a line that is indented further continues the one above.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "src" / "threat-model.md"


class Row:
    """One item with its fields."""

    def __init__(self, label, text):
        self.label, self.text, self.fields = label, text, {}

    def names(self, field):
        """What stands in backticks in a field."""
        return tokens(self.fields.get(field, ""))


def tokens(text):
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def rows(page):
    """All items that have fields, in the order of the page."""
    found, field = [], None
    for line in page.splitlines():
        if shape := re.fullmatch(r"\* (?:\*\*([A-Z]\d+)\*\*: )?(.*)", line):
            found.append(Row(shape[1], shape[2]))
            field = None
        elif found and (shape := re.fullmatch(r"  \* ([A-Z][a-z ]+): (.*)", line)):
            field = shape[1]
            found[-1].fields[field] = shape[2]
        elif found and field and line.startswith("    "):
            found[-1].fields[field] += " " + line.strip()
        elif found and not field and line.startswith("  "):
            found[-1].text += " " + line.strip()
        elif not line.startswith(" "):
            field = None
    return [row for row in found if row.fields or row.label]
