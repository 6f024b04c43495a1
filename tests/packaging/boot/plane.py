#!/usr/bin/env python3
"""A control plane with one tunnel, and an HTTP MCP server, for the scenario inside the container.

    plane.py serve KEY_FILE FOLDER     writes plane.url and mcp.url into FOLDER, then serves until it is killed
    plane.py call URL METHOD [PARAMS]  hands one JSON-RPC request to the tunnel and prints the result posted for it

Polls and answers are accepted with the key alone, so an answer shows that the program could read its credential.
"""

import http.server
import json
import pathlib
import queue
import select
import socket
import sys
import threading
import time
import urllib.request

HOLD_SECONDS = 5
ANSWER_SECONDS = 20
commands = queue.Queue()
answers = {}
key_path = None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        # 204 has no body and no length.
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")


class Plane(Handler):
    def known(self):
        # Read each time: the scenario replaces the key.
        if self.headers.get("Authorization") == f"Bearer {key_path.read_text().strip()}":
            return True
        self.reply(401, {"error": {"message": "unauthorized"}})
        return False

    def do_GET(self):
        if not self.known():
            return
        if "/poll?" not in self.path:
            self.reply(200, {"id": self.path.rsplit("/", 1)[1], "name": "boot"})
            return
        until = time.monotonic() + HOLD_SECONDS
        # A client that has gone must not take a command with it.
        while time.monotonic() < until:
            if self.gone():
                self.close_connection = True
                return
            try:
                self.reply(200, {"commands": [commands.get(timeout=0.05)]})
                return
            except queue.Empty:
                pass
        self.reply(204)

    def gone(self):
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def do_POST(self):
        value = self.body()
        if self.path == "/call":
            waiting = answers[value["request_id"]] = queue.Queue()
            commands.put(value)
            try:
                self.reply(200, waiting.get(timeout=ANSWER_SECONDS))
            except queue.Empty:
                self.reply(504, {"error": "nobody answered"})
        elif self.known():
            if value.get("request_id") in answers:
                answers[value["request_id"]].put(value)
            self.reply(200, {})


class Mcp(Handler):
    def do_POST(self):
        request = self.body() or {}
        if "id" not in request:
            self.reply(202)
        elif request["method"] == "initialize":
            server = {"name": "boot", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": server}
            self.reply(200, {"jsonrpc": "2.0", "id": request["id"], "result": result})
        else:
            text = "over http: " + request.get("params", {}).get("text", "")
            self.reply(200, {"jsonrpc": "2.0", "id": request["id"], "result": {"text": text}})

    def do_GET(self):
        self.reply(405)

    do_DELETE = do_GET


def serve(key_file, folder):
    global key_path
    key_path = pathlib.Path(key_file)
    for handler, name in ((Plane, "plane.url"), (Mcp, "mcp.url")):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        pathlib.Path(folder, name).write_text(f"http://127.0.0.1:{server.server_port}")


def call(url, method, params="{}"):
    number = str(time.time_ns())
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": json.loads(params)}
    command = {"request_id": f"req_{number}", "shard_token": f"shard-{number}", "command_type": "jsonrpc"}
    body = json.dumps(command | {"jsonrpc": message}).encode()
    request = urllib.request.Request(f"{url}/call", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS + 5) as answer:
        posted = json.load(answer)["resp_json"]
        print(json.dumps(posted.get("result", posted)))


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
