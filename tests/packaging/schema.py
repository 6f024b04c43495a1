"""Validates profiles against the schema, and misspelt ones, which it must refuse."""

import copy
import json
import sys

import yaml
from jsonschema import Draft202012Validator

# Maps whose keys are anybody's: names of headers, variables and channels.
FREE = {"extra_headers", "discovery_extra_headers", "headers", "env", "channels"}


def misspelt(node, name=""):
    """Copies of a document, each with one key of another spelling; the root is replaced in place."""
    if isinstance(node, dict):
        for key, value in list(node.items()):
            if name not in FREE:
                del node[key]
                node[key + "x"] = value
                yield key
                del node[key + "x"]
                node[key] = value
            yield from misspelt(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from misspelt(item, name)


def main(schema_path, *profiles):
    schema = json.load(open(schema_path, encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    keys = 0
    for path in profiles:
        document = yaml.safe_load(open(path, encoding="utf-8")) or {}
        for error in validator.iter_errors(document):
            sys.exit(f"FAILED: {path}: {'.'.join(map(str, error.path))}: {error.message}")
        before = copy.deepcopy(document)
        for key in misspelt(document):
            keys += 1
            if validator.is_valid(document):
                sys.exit(f"FAILED: {path}: {key}x is taken for a setting")
        assert document == before
    for wrong in ({"mcp": {"max_concurrent_requests": 0}}, {"policy": {"mode": "on"}}, {"audit": {}}, {"log": []}):
        if validator.is_valid(wrong):
            sys.exit(f"FAILED: {wrong} is taken")
    print(f"schema: {len(profiles)} profiles are taken, {keys} misspelt keys are not")


main(*sys.argv[1:])
