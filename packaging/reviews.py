#!/usr/bin/env python3
"""Keeps packaging/REVIEWS.md: what was read of each crate, in which version, by whom and with which result.

    packaging/reviews.py CRATE AMOUNT FOUND     writes the row of a crate, in the version of DEPENDENCIES.md, of today; a
                                                crate that is there in two series is named with its first number: syn@2
    packaging/reviews.py --check                exits 1 where a crate or its version has no row, or a row has no crate
    packaging/reviews.py --check DEPENDENCIES REVIEWS     the same of other files

AMOUNT is one of whole, unsafe, searched, nothing; or difference, where the former version has a row: its amount stays,
and FOUND is added to what was found before. REVIEWS.md says what the words mean. `--by NAME` before them names somebody
else than the maintainers. The order after a change of Cargo.lock: read, packaging/dossier.py, then this.

Python's standard library is enough.
"""

import datetime
import re
import sys
from pathlib import Path

PACKAGING = Path(__file__).resolve().parent
DOSSIER, REVIEWS = PACKAGING / "DEPENDENCIES.md", PACKAGING / "REVIEWS.md"
AMOUNTS = ["whole", "unsafe", "searched", "nothing"]
HEAD = ["crate", "version", "read", "by", "date", "found"]
AMOUNT = re.compile(rf"({'|'.join(AMOUNTS)})(?: \((\d[^ )]*)\), then the differences)?")


def rows(text):
    """The rows of all tables that begin with a crate, by crate and first number of its version."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            found[f"{cells[0].strip('`')}@{cells[1].split('.')[0]}"] = cells
    return found


def faults(dossier, reviews):
    """What does not hold."""
    built, read = rows(dossier), rows(reviews)
    for crate, cells in built.items():
        if crate not in read:
            yield f"{crate} {cells[1]}: nobody has said what was read of it"
        elif read[crate][1] != cells[1]:
            yield f"{crate} {cells[1]}: what was read is {read[crate][1]}"
    for crate, cells in read.items():
        if crate not in built:
            yield f"{crate}: is read and not built"
        elif len(cells) != len(HEAD) or not all(cells):
            yield f"{crate}: its row has not the columns {', '.join(HEAD)}"
        elif not AMOUNT.fullmatch(cells[2]) or not re.fullmatch(r"\d{4}-\d\d-\d\d", cells[4]):
            yield f"{crate}: '{cells[2]}' is no amount, or '{cells[4]}' no date"


def check(dossier, reviews):
    """Prints what does not hold, or how much was read."""
    text = reviews.read_text()
    found = list(faults(dossier.read_text(), text))
    amounts = [AMOUNT.fullmatch(cells[2]) for cells in rows(text).values()]
    counts = [f"{sum(1 for each in amounts if each and each[1] == amount)} {amount}" for amount in AMOUNTS]
    print("\n".join(found) or f"reviews: {', '.join(counts)}")
    return 1 if found else 0


def write(crate, amount, found, by):
    """Writes a row."""
    text = REVIEWS.read_text()
    built, read = rows(DOSSIER.read_text()), rows(text)
    keys = [key for key in built if crate in (key, key.split("@")[0])]
    if len(keys) != 1 or not found or "|" in found:
        sys.exit(f"'{crate}' is not built, or in two series, or '{found}' is no finding")
    crate, version = keys[0], built[keys[0]][1]
    if amount == "difference":
        if crate not in read:
            sys.exit(f"no version of {crate} was read, so there is nothing to differ from")
        former = AMOUNT.fullmatch(read[crate][2])
        amount = f"{former[1]} ({former[2] or read[crate][1]}), then the differences"
        found = f"{read[crate][5]}. {version}: {found}"
    elif amount not in AMOUNTS:
        sys.exit(f"'{amount}' is no amount: {', '.join(AMOUNTS)}, difference")
    read[crate] = [f"`{crate.split('@')[0]}`", version, amount, by, datetime.date.today().isoformat(), found]
    kept = sorted((name.split("@"), cells) for name, cells in read.items() if name in built)
    table = [HEAD, ["---"] * len(HEAD), *(cells for _, cells in kept)]
    block = "".join(f"| {' | '.join(cells)} |\n" for cells in table)
    REVIEWS.write_text(re.sub(r"(?:^\| [^\n]*\n)+\Z", lambda _: block, text, flags=re.MULTILINE))


def main():
    """Checks or writes."""
    arguments, by = sys.argv[1:], "maintainers"
    if arguments[:1] == ["--by"] and len(arguments) > 1:
        by, arguments = arguments[1], arguments[2:]
    if arguments[:1] == ["--check"] and len(arguments) in (1, 3):
        sys.exit(check(*(Path(each) for each in arguments[1:] or [DOSSIER, REVIEWS])))
    if len(arguments) != 3:
        sys.exit(__doc__)
    write(*arguments, by)


if __name__ == "__main__":
    main()
