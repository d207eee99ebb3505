"""A stand-in for Google Cloud Storage on this machine: its JSON API over HTTP, objects in memory.

TensorFlow's file system, TensorStore's driver and google-cloud-storage talk to it as to the real one. TensorFlow's
takes no other address than Google's, so the server is also a proxy that plays Google: it answers CONNECT itself, with
a certificate of an authority that the clients are told to trust.
"""

import json
import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

HOSTS = ("www.googleapis.com", "storage.googleapis.com")
UPDATED = "2026-01-01T00:00:{:02d}.000Z"


@dataclass
class Blob:
    content: bytes
    generation: int


@dataclass
class Bucket:
    """Objects by name, and what was asked of them."""

    blobs: dict[str, Blob] = field(default_factory=dict)
    page_size: int = 1000
    refuses: re.Pattern[str] | None = None
    """Requests, as METHOD PATH, that are answered with 403."""
    requests: list[str] = field(default_factory=list)
    """As METHOD PATH?QUERY."""
    generation: int = 0

    def put(self, name: str, content: bytes) -> Blob:
        self.generation += 1
        self.blobs[name] = Blob(content, self.generation)
        return self.blobs[name]

    def names(self, prefix: str = "") -> list[str]:
        """Of objects that are no markers of folders, below a prefix, without it."""
        found = sorted(name for name in self.blobs if name.startswith(prefix) and not name.endswith("/"))
        return [name[len(prefix) :] for name in found]

    def upload(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())


class FakeGcs:
    """The server, while active; `environment` is what sends a process there."""

    def __init__(self, folder: Path) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.lock = threading.RLock()
        self.sessions: dict[str, tuple[str, str, bytes]] = {}
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*HOSTS).configure_cert(self.tls)
        owner = self

        class Handler(_Handler):
            gcs = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def bucket(self, name: str) -> Bucket:
        return self.buckets.setdefault(name, Bucket())

    @property
    def environment(self) -> dict[str, str]:
        return {
            "https_proxy": self.address,
            "CURL_CA_BUNDLE": str(self.authority),  # TensorFlow's
            "TENSORSTORE_GCS_HTTP_URL": self.address,
            "STORAGE_EMULATOR_HOST": self.address,  # google-cloud-storage's
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
        }

    def __enter__(self) -> "FakeGcs":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize, disable_nagle_algorithm = -1, True  # the kernel holds back the second part of an answer for 40 ms
    gcs: FakeGcs

    def log_message(self, *arguments: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self.connection = self.gcs.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.close()

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        body = self._body()
        with self.gcs.lock:
            for pattern, respond in ROUTES:
                if found := re.fullmatch(pattern, f"{self.command} {url.path}"):
                    name, *rest = (unquote(part) for part in found.groups())
                    bucket = self.gcs.buckets.get(name)
                    if bucket is None:
                        return self._refuse(404, "The specified bucket does not exist.")
                    bucket.requests.append(f"{self.command} {self.path}")
                    if bucket.refuses is not None and bucket.refuses.search(f"{self.command} {unquote(url.path)}"):
                        return self._refuse(403, "no access for this account")
                    return respond(self, name, bucket, rest, query, body)
        return self._refuse(400, f"the stand-in does not know {self.command} {self.path}")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, content: object = b"", **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def _refuse(self, status: int, message: str) -> None:
        self._send(status, {"error": {"code": status, "message": message}})

    def _missing(self, name: str) -> None:
        self._refuse(404, f"No such object: {name}")

    def _metadata(self, bucket_name: str, name: str, blob: Blob) -> dict[str, str]:
        return {
            "kind": "storage#object",
            "bucket": bucket_name,
            "name": name,
            "size": str(len(blob.content)),
            "generation": str(blob.generation),
            "metageneration": "1",
            "updated": UPDATED.format(blob.generation % 60),
        }

    def _holds(self, bucket: Bucket, name: str, query: dict[str, str]) -> bool:
        """Whether the conditions of a write hold; otherwise it is refused."""
        wanted = query.get("ifGenerationMatch")
        current = bucket.blobs[name].generation if name in bucket.blobs else 0
        if wanted is not None and int(wanted) != current:
            self._refuse(412, "conditionNotMet")
            return False
        return True

    def bucket_metadata(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        self._send(200, {"kind": "storage#bucket", "name": name, "id": name, "location": "US"})

    def layout(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        self._send(200, {"bucket": name, "location": "US", "hierarchicalNamespace": {"enabled": False}})

    def listing(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        entries: dict[str, bool] = {}  # whether it is an object
        for key in sorted(bucket.blobs):
            if key < query.get("startOffset", "") or ("endOffset" in query and key >= query["endOffset"] != ""):
                continue
            if key.startswith(prefix):
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                entries[key if cut < 0 else key[: cut + 1]] = cut < 0
        begin = int(query.get("pageToken") or 0)
        end = begin + min(int(query.get("maxResults") or 1000), bucket.page_size)
        page = list(entries.items())[begin:end]
        answer: dict[str, object] = {"kind": "storage#objects"}
        items = [self._metadata(name, key, bucket.blobs[key]) for key, is_object in page if is_object]
        prefixes = [key for key, is_object in page if not is_object]
        answer |= {"items": items} if items else {}
        answer |= {"prefixes": prefixes} if prefixes else {}
        answer |= {"nextPageToken": str(end)} if end < len(entries) else {}
        self._send(200, answer)

    def read(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        blob = bucket.blobs.get(rest[0])
        if blob is None:
            return self._missing(rest[0])
        if self.path.startswith("/storage/v1/") and query.get("alt") != "media":
            return self._send(200, self._metadata(name, rest[0], blob))
        if query.get("ifGenerationNotMatch") == str(blob.generation):
            return self._send(304)
        headers = {"x_goog_generation": str(blob.generation)}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not found:
            return self._send(200, blob.content, **headers)
        begin, end = int(found[1]), min(int(found[2] or len(blob.content)) + 1, len(blob.content))
        if begin >= len(blob.content):
            return self._send(416)
        part = f"bytes {begin}-{end - 1}/{len(blob.content)}"
        return self._send(206, blob.content[begin:end], Content_Range=part, **headers)

    def delete(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        if rest[0] not in bucket.blobs:
            return self._missing(rest[0])
        if self._holds(bucket, rest[0], query):
            del bucket.blobs[rest[0]]
            self._send(204)
        return None

    def upload(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        if query["uploadType"] == "resumable":
            session = str(len(self.gcs.sessions))
            self.gcs.sessions[session] = (name, query["name"], b"")
            address = f"https://www.googleapis.com/upload/session/{name}/{session}"
            self._send(200, Location=address)
        elif self._holds(bucket, query["name"], query):
            self._send(200, self._metadata(name, query["name"], bucket.put(query["name"], body)))

    def upload_part(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        _, key, before = self.gcs.sessions[rest[0]]
        total = (self.headers.get("Content-Range") or f"/{len(body)}").rpartition("/")[2]
        content = before + body
        self.gcs.sessions[rest[0]] = (name, key, content)
        if total != "*" and len(content) >= int(total):
            self._send(200, self._metadata(name, key, bucket.put(key, content)))
        else:
            self._send(308, Range=f"bytes=0-{len(content) - 1}")

    def rewrite(self, name: str, bucket: Bucket, rest: list[str], query: dict[str, str], body: bytes) -> None:
        source, other, target = rest
        if source not in bucket.blobs:
            return self._missing(source)
        blob = self.gcs.buckets[other].put(target, bucket.blobs[source].content)
        size = str(len(blob.content))
        resource = self._metadata(other, target, blob)
        return self._send(200, {"done": True, "objectSize": size, "totalBytesRewritten": size, "resource": resource})


ROUTES = [
    (r"GET /storage/v1/b/([^/]+)", _Handler.bucket_metadata),
    (r"GET /storage/v1/b/([^/]+)/storageLayout", _Handler.layout),
    (r"GET /storage/v1/b/([^/]+)/o", _Handler.listing),
    (r"POST /storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)", _Handler.rewrite),
    (r"GET /storage/v1/b/([^/]+)/o/([^/]+)", _Handler.read),
    (r"DELETE /storage/v1/b/([^/]+)/o/([^/]+)", _Handler.delete),
    (r"POST /upload/storage/v1/b/([^/]+)/o", _Handler.upload),
    (r"PUT /upload/session/([^/]+)/(\d+)", _Handler.upload_part),
    (r"GET /([^/]+)/(.+)", _Handler.read),
]
