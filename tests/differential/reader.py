"""How Python reads messages: one a line on standard input, one line of fields each on standard output.

Two arguments change how members are taken: `last` or `first` of those with one name; `exact` names, or
`generous` ones, without case and cut at NUL, as readers in other languages have them.
"""

import json
import sys

ORDER, NAMES = sys.argv[1:]


def name(text):
    if NAMES == "exact":
        return text
    return text.split("\0")[0].replace("\u017f", "s").lower()


def members(pairs):
    found = {}
    for key, value in pairs:
        if ORDER == "last" or name(key) not in found:
            found[name(key)] = value
    return found


def at(value, *path):
    for key in path:
        value = value.get(name(key)) if isinstance(value, dict) else None
    return value


def shown(value):
    if value is None:
        return None
    if isinstance(value, str):
        return "s:" + value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "n:" + repr(value)
    return "other"


for line in sys.stdin:
    try:
        message = json.loads(line, object_pairs_hook=members)
        fields = [
            at(message, "id"),
            at(message, "method"),
            at(message, "params", "name"),
            at(message, "params", "requestId"),
            at(message, "params", "progressToken"),
            at(message, "params", "_meta", "progressToken"),
        ]
        print(json.dumps([shown(field) for field in fields]))
    except (ValueError, RecursionError):
        print("null")
