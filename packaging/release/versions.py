"""Compares versions of crates as cargo does: `matches(">= 1.2, < 2", "1.4.0")`. What it does not understand is a
ValueError, never a guess: advisories.py decides by it whether an advisory concerns a release."""

import re

VERSION = re.compile(r"(\d+)(?:\.(\d+|\*))?(?:\.(\d+|\*))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
COMPARATOR = re.compile(r"(>=|<=|>|<|=|\^|~)?\s*(\S+)")


def matches(requirement, version):
    """Whether a version meets all comparators of a requirement."""
    numbers, label = parse(version)
    if len(numbers) != 3:
        raise ValueError(f"no whole version: '{version}'")
    if requirement.strip() == "*":
        return True
    return all(meets(part.strip(), key(numbers, label)) for part in requirement.split(","))


def parse(text):
    found = VERSION.fullmatch(text)
    if not found:
        raise ValueError(f"no version: '{text}'")
    numbers = [int(part) for part in found.groups()[:3] if part not in (None, "*")]
    return numbers, found[4]


def key(numbers, label=None):
    """In order: what has a label (1.0.0-rc.1) comes before what has none."""
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in label.split(".")] if label else []
    return tuple(numbers + [0] * (3 - len(numbers))), (0 if label else 1), parts


def meets(comparator, version):
    found = COMPARATOR.fullmatch(comparator)
    if not found:
        raise ValueError(f"no comparison of versions: '{comparator}'")
    sign, (numbers, label) = found[1] or "^", parse(found[2])
    low, above = key(numbers, label), key(raised(sign, numbers))
    whole = len(numbers) == 3
    return {
        ">=": version >= low,
        "<": version < low,
        # With numbers left out, everything that begins so counts as equal.
        ">": version > low if whole else version >= above,
        "<=": version <= low if whole else version < above,
        "=": version == low if whole else low <= version < above,
        "^": low <= version < above,
        "~": low <= version < above,
    }[sign]


def raised(sign, numbers):
    """The first version that a caret, a tilde or a shortened version excludes."""
    place = len(numbers) - 1
    if sign == "^":
        place = next((index for index, number in enumerate(numbers) if number), place)
    elif sign == "~":
        place = min(1, place)
    return numbers[:place] + [numbers[place] + 1]
