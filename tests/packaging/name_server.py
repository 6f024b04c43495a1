#!/usr/bin/env python3
"""Runs a program beside a name server whose UDP answers are cut, and the web server that its TCP answers lead to.

    name_server.py [--refuse-tcp] [--stop-at-poll] COMMAND [ARGUMENT...]

For tests in a network namespace of their own: it listens at 127.0.0.1:53, where the resolver looks for it, and at a
free port of 127.0.0.2, the address that every name has; {port} in an argument becomes that port. Events go to stdout:

    udp NAME             a question over UDP, answered with "ask again over TCP" and nothing else
    tcp NAME             a question over TCP, answered in full
    http LINE            the first line of a request, answered with 404

With --refuse-tcp nothing listens for questions over TCP, so that no name has an address. With --stop-at-poll the program
gets SIGTERM at the first poll of the control plane; it may ask for other things before. The exit status is the program's; it has a minute.
"""

import http.server
import socketserver
import struct
import subprocess
import sys
import threading

TRUTH = "127.0.0.2"
polled = threading.Event()


def tell(*words):
    sys.stdout.write(" ".join(words) + "\n")  # in one piece: threads tell
    sys.stdout.flush()


def name_of(question):
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode("ascii", "replace"))
        at += 1 + question[at]
    return ".".join(labels), question[12:at + 5]


def answer(question, cut):
    """The head, the question again, and for an IPv4 question that is not cut one record."""
    _, asked = name_of(question)
    has_record = not cut and asked[-4:-2] == b"\0\1"
    flags = 0x8580 | (0x0200 if cut else 0)
    head = question[:2] + struct.pack("!HHHHH", flags, 1, int(has_record), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(map(int, TRUTH.split(".")))
    return head + asked + (record if has_record else b"")


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        question, socket = self.request
        tell("udp", name_of(question)[0])
        socket.sendto(answer(question, cut=True), self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while length := self.rfile.read(2):
            question = self.rfile.read(struct.unpack("!H", length)[0])
            tell("tcp", name_of(question)[0])
            full = answer(question, cut=False)
            self.wfile.write(struct.pack("!H", len(full)) + full)


class Web(http.server.BaseHTTPRequestHandler):
    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        self.close_connection = True
        if self.raw_requestline and self.parse_request():
            tell("http", self.requestline)
            if "/poll" in self.path:
                polled.set()
            self.send_error(404)

    def log_message(self, *_):
        pass


def quiet_about_hangups(server, *_):
    """A program that is stopped hangs up in the middle of an answer."""
    if not isinstance(sys.exc_info()[1], ConnectionError):
        sys.excepthook(*sys.exc_info())


def serve(server):
    server.handle_error = quiet_about_hangups
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main():
    options, command = set(), sys.argv[1:]
    while command and command[0].startswith("--"):
        options.add(command.pop(0))
    serve(socketserver.UDPServer(("127.0.0.1", 53), Udp))
    if "--refuse-tcp" not in options:
        serve(socketserver.ThreadingTCPServer(("127.0.0.1", 53), Tcp))
    web = serve(http.server.ThreadingHTTPServer((TRUTH, 0), Web))
    program = subprocess.Popen([word.replace("{port}", str(web.server_address[1])) for word in command])
    if "--stop-at-poll" in options:
        polled.wait(timeout=60)
        program.terminate()
    try:
        sys.exit(program.wait(timeout=60))
    finally:
        program.kill()


main()
