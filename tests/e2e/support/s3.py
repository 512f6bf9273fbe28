"""An S3 server (moto), and a proxy in front of it that loses requests and answers."""

import contextlib
import http.client
import random
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

from support.servers import free_ports
from support.waiting import wait_until


@contextlib.contextmanager
def moto(folder):
    """Runs moto in a process of its own. Yields its port."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until("moto answers", lambda: _answers(f"http://127.0.0.1:{port}/moto-api/"), 60)
            yield port
        finally:
            process.kill()


def _answers(url):
    with contextlib.suppress(OSError), urlopen(url, timeout=5) as response:
        return response.status == 200
    return False


@contextlib.contextmanager
def unreliable(port, seed=1):
    """A proxy in front of an S3 server. Of ten puts, one is lost, one is done and its answer is lost, one gets 503.
    Yields the proxy's port and the numbers of the faults by name."""
    randomness, lock, faults = random.Random(seed), threading.Lock(), {"lost": 0, "unanswered": 0, "slow down": 0}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                kinds = [*faults, *["none"] * 7] if self.command == "PUT" else ["none"]
                fault = randomness.choice(kinds)
                if fault in faults:
                    faults[fault] += 1
            if fault == "lost":
                self.close_connection = True
                return
            if fault == "slow down":
                self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
                return
            server = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            server.request(self.command, self.path, body, dict(self.headers))
            response = server.getresponse()
            data, headers = response.read(), dict(response.getheaders())
            server.close()
            if fault == "unanswered":
                self.close_connection = True
                return
            self._answer(response.status, headers, data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

        def _answer(self, status, headers, data):
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", len(data)) if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], faults
    finally:
        server.shutdown()
        server.server_close()
