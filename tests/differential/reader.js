// How JavaScript reads messages: one a line on standard input, one line of fields each on standard output.
"use strict";

const at = (value, ...path) =>
  path.reduce((value, key) => (isObject(value) && Object.hasOwn(value, key) ? value[key] : null), value);

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function shown(value) {
  if (value === null) return null;
  if (typeof value === "string") return `s:${value}`;
  return typeof value === "number" ? `n:${value}` : "other";
}

function read(line) {
  let message;
  try {
    message = JSON.parse(line);
  } catch {
    return null;
  }
  const fields = [
    at(message, "id"),
    at(message, "method"),
    at(message, "params", "name"),
    at(message, "params", "requestId"),
    at(message, "params", "progressToken"),
    at(message, "params", "_meta", "progressToken"),
  ];
  return fields.map(shown);
}

const lines = require("node:fs").readFileSync(0, "utf8").split("\n");
for (const line of lines.slice(0, -1)) console.log(JSON.stringify(read(line)));
