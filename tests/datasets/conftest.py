"""IDX files written byte by byte, and a server on this machine that can misbehave."""

import gzip
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from capsnp.datasets.catalogue import RemoteFile


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes, put together one byte at a time."""
    out = [0, 0, 8, array.ndim]
    for length in array.shape:
        out += [length >> 24 & 255, length >> 16 & 255, length >> 8 & 255, length & 255]
    out += [int(value) for value in array.ravel()]
    return bytes(out)


@pytest.fixture
def mnist_folder(tmp_path: Path) -> Path:
    """A data folder with a short MNIST: 20 images to train on, 10 to test, gz and not."""
    rng = np.random.default_rng(0)
    (tmp_path / "mnist").mkdir()
    for prefix, n in (("train", 20), ("t10k", 10)):
        images = idx_bytes(rng.integers(0, 256, (n, 28, 28)))
        labels = idx_bytes(np.arange(n) % 10)
        folder = tmp_path / "mnist"
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    return tmp_path


class Server:
    """Serves bytes by path; `requests` lists (path, Range) of what was asked.

    It sends pieces of 1,000 bytes and stops after `cut_after` bytes.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.encodings: list[str | None] = []
        self.bytes_sent = 0
        self.ranges = True
        self.chunked = False
        self.cut_after: int | None = None
        self.before_answer: Callable[[], None] = lambda: None

    def offer(self, name: str, content: bytes, *, mirrors: tuple[str, ...] = ("/",)) -> RemoteFile:
        """Put a file on every mirror of this server and describe it as the catalogue does."""
        for mirror in mirrors:
            self.files[mirror + name] = content
        return RemoteFile(
            name,
            len(content),
            hashlib.sha256(content).hexdigest(),
            tuple(self.url + mirror for mirror in mirrors),
        )


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.requests.append((self.path, asked))
            server.encodings.append(self.headers.get("Accept-Encoding"))
            server.before_answer()
            content = server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            found = re.fullmatch(r"bytes=(\d+)-", asked or "")
            start = int(found[1]) if found and server.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if found and server.ranges else 200)
            if found and server.ranges:
                total = len(content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if not server.chunked:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.close_connection = True
            for at in range(start, len(content), 1000):
                if server.cut_after is not None and at - start >= server.cut_after:
                    return
                try:
                    self.wfile.write(content[at : at + 1000])
                except OSError:  # the client has hung up
                    return
                server.bytes_sent += 1000

        def log_message(self, *_args: object) -> None:
            """Nothing on the standard error."""

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Server("")
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(served)) as http:
        served.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        http.shutdown()
        thread.join()
