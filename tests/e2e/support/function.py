"""A function that mappings invoke: a real HTTP server on a free port of this machine."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Function:
    """A function on a free port. It keeps every event and its time, and answers what `answer` returns for the event.
    If `answer` returns None, the invocation fails with status 500.
    """

    def __init__(self, answer=lambda event: {}):
        self.events = []
        self.times = []
        self.answer = answer
        function = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                function.times.append(time.monotonic())
                function.events.append(event)
                answered = function.answer(event)
                status, body = (500, b"") if answered is None else (200, json.dumps(answered).encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def data(self):
        """The data of all records, in the order of the events."""
        records = [record for event in list(self.events) for record in event["Records"]]
        return [base64.b64decode(record["kinesis"]["data"]).decode() for record in records]
