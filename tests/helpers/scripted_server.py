"""A real HTTP server on 127.0.0.1 that answers chat completions as a script says: well, or wrong in any way."""

import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-s3cr3t-Zq9-do-not-tell"
GOOD = {"accuracy": 100, "consistency": 90, "format": 100, "fluency": 80, "total": 92, "reason": "right"}


def points(**changed):
    """Return a proper verdict as JSON text."""
    return json.dumps(GOOD | changed)


def completion(text, finish="stop", usage=(100, 20)):
    """Return the body of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return json.dumps(body).encode()


def say(text=None, status=200, delay_s=0.0, headers=(), body=None, stop_after=None, endless=None, trickle_s=None):
    """Return what to do with one request: answer `text` as a completion, or `body` as it stands.

    `stop_after`: close the connection after so many bytes. `endless`: bytes sent again and again. `trickle_s`: pause
    between single bytes.
    """
    body = completion(text) if body is None and text is not None else body or b""
    return {
        "status": status, "delay_s": delay_s, "headers": dict(headers), "body": body, "stop_after": stop_after,
        "endless": endless, "trickle_s": trickle_s,
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes, and the second would wait for 40 ms

    def do_POST(self):
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append({"at": time.monotonic(), "key": self.headers["Authorization"], **asked})
            number = len(server.requests)
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            self._act(server.script(asked, number))
        except (BrokenPipeError, ConnectionResetError):
            server.hung_up += 1
        finally:
            with server.lock:
                server.now -= 1

    def _act(self, todo):
        self.server.stopping.wait(todo["delay_s"])
        body = todo["body"]
        length = 10**8 if todo["endless"] else len(body)
        self.send_response(todo["status"])
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(length)} | todo["headers"]
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if todo["endless"]:
            for _ in range(length // len(todo["endless"])):
                self.wfile.write(todo["endless"])
                self.server.sent += len(todo["endless"])
        elif todo["trickle_s"]:
            for position in range(len(body)):
                self.wfile.write(body[position : position + 1])
                if self.server.stopping.wait(todo["trickle_s"]):
                    break
        else:
            self.wfile.write(body[: todo["stop_after"]])
        if todo["stop_after"] is not None:
            self.close_connection = True

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that hung up


@contextmanager
def serving(script):
    """Run a server whose `script(asked, number)` returns what `say` returns; yield it with `url` and `requests`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.script, server.requests, server.lock = script, [], threading.Lock()
    server.now = server.most = server.hung_up = server.sent = 0
    server.stopping = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def text_of(asked):
    """Return all the text of a request."""
    parts = []
    for message in asked["messages"]:
        content = message["content"]
        parts += [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
    return "\n".join(parts)


def answer_in(asked):
    """Return the answer that a judge is asked about, as it stands between its marks."""
    return re.search(r"^ANSWER (\w+)\n(.*)\nEND OF ANSWER \1$", text_of(asked), flags=re.S | re.M)[2]
