#!/usr/bin/env python3
"""Writes control-plane.json, which is the structure of a published contract without any of its prose.

    tests/contract/extract.py openapi.json > tests/contract/control-plane.json

Names of operations, parameters and members are taken, and what JSON Schema demands of them; nothing is that people read.
"""

import json
import sys

ABOUT = "Structure of the control plane's published contract, made by extract.py: what requests and replies must be."
# What is kept of a schema. The tests fail at a keyword that they do not know.
VALUES = {"$ref", "type", "const", "enum", "pattern", "required", "minimum", "maximum", "minLength", "maxLength"}
SCHEMAS = {"items", "if", "then"}
LISTS = {"anyOf", "oneOf", "allOf"}
MAPS = {"properties"}
# What holds nothing that a value could break.
SILENT = {"description", "title", "example", "examples", "default", "format", "$schema", "deprecated"}


def schema(node):
    kept = {}
    for key, value in node.items():
        if key in SILENT or key.startswith("x-"):
            continue
        if key in VALUES:
            kept[key] = value.rsplit("/", 1)[-1] if key == "$ref" else value
        elif key in SCHEMAS:
            kept[key] = schema(value)
        elif key in LISTS:
            kept[key] = [schema(one) for one in value]
        elif key in MAPS:
            kept[key] = {name: schema(one) for name, one in value.items()}
        elif key == "additionalProperties":
            kept[key] = schema(value) if isinstance(value, dict) else value
        elif key == "discriminator":
            mapping = {name: to.rsplit("/", 1)[-1] for name, to in value["mapping"].items()}
            kept[key] = {"propertyName": value["propertyName"], "mapping": mapping}
        else:
            sys.exit(f"unknown keyword: {key}")
    return kept


def body(holder):
    content = holder.get("content")
    return schema(content["application/json"]["schema"]) if content else None


def operations(contract):
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            yield {
                "method": method.upper(),
                "path": path,
                "parameters": [
                    {"name": one["name"], "in": one["in"], "required": one["required"], "schema": schema(one["schema"])}
                    for one in operation.get("parameters", [])
                ],
                "body": body(operation.get("requestBody", {})),
                "replies": {status: body(reply) for status, reply in operation["responses"].items()},
            }


contract = json.load(open(sys.argv[1], encoding="utf-8"))
schemas = {name: schema(one) for name, one in contract["components"]["schemas"].items()}
payload = contract["components"]["schemas"]["TunnelResponsePayload"]["properties"]["resp_json"]
schemas["TunnelFailure"] = schema(payload["x-tunnel-failure-schema"])
json.dump({"about": ABOUT, "operations": list(operations(contract)), "schemas": schemas}, sys.stdout, indent=1)
print()
