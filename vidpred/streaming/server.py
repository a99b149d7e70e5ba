"""Motion JPEG over HTTP for browsers on this machine."""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from vidpred.errors import ConfigError
from vidpred.streaming.outputs import Output

ADDRESS = "127.0.0.1"  # only this machine: whoever reaches the port sees the camera
NAMES = (ADDRESS, "localhost")
BOUNDARY = "frame"
QUALITY = 85
PAGE = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>vidpred stream</title>'
    b'<body style="margin:0;background:#18181b"><img src="/stream.mjpg" alt="newest frame and prediction" '
    b'style="display:block;width:100%;height:100vh;object-fit:contain">'
)
CLIENT_SECONDS = 5.0  # a browser that takes nothing for that long is disconnected


class BrowserServer(Output):
    """A server of the newest image; browsers that are slow miss images."""

    def __init__(self, port: int) -> None:
        """Listen on a port of this machine, 0 for any free one. Raises ConfigError if it is in use."""
        super().__init__()
        self._condition = threading.Condition()
        self._jpeg, self._count, self._ended = b"", 0, False
        try:
            self._server = _Server(port, self)
        except OSError as error:
            raise ConfigError(f"cannot listen ({error.strerror}) [--serve {port}]; choose another port, or 0") from None
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{ADDRESS}:{self._server.server_port}/"

    @property
    def port(self) -> int:
        """The port."""
        return int(self._server.server_port)

    def newest(self, count: int) -> tuple[int, bytes] | None:
        """Wait for an image after the first `count` ones; return its number and JPEG, None at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._ended or self._count > count)
            return None if self._ended else (self._count, self._jpeg)

    def _write(self, image: np.ndarray, number: int, frames: int) -> None:
        import cv2

        options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), options)
        with self._condition:
            self._jpeg, self._count = jpeg.tobytes(), self._count + 1
            self._condition.notify_all()

    def close(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, images: BrowserServer) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.images = images


class _Handler(BaseHTTPRequestHandler):
    """The page, and its image."""

    server: _Server
    timeout = CLIENT_SECONDS

    def do_GET(self) -> None:
        """Answer a request."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in NAMES:  # a page of another site whose name leads here
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._start("text/html; charset=utf-8", len(PAGE))
            self.wfile.write(PAGE)
        elif self.path == "/stream.mjpg":
            self._stream()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _start(self, kind: str, length: int | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _stream(self) -> None:
        self._start(f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        count = 0
        try:
            while (newest := self.server.images.newest(count)) is not None:
                count, jpeg = newest
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
            self.wfile.write(f"--{BOUNDARY}--\r\n".encode())
        except OSError:  # the browser left, or takes nothing
            self.close_connection = True

    def log_message(self, format: str, *values: Any) -> None:
        """Print nothing."""
