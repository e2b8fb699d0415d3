"""What a deployment is filled with, and the model that it is compared with: the one of the kill rounds."""

import hashlib
from xml.sax.saxutils import escape

import journal
import values
from load import BUCKET

MIB = 1 << 20
# Names with characters that need care on the way.
ODD = "+\u00fc &%"


class Contents:
    def __init__(self, client, rng):
        self.client, self.rng, self.model, self.count = client, rng, journal.Model(), 0
        self.must("PUT", "", 200)

    def must(self, method, key, status, query=(), body=b"", headers=None):
        path = f"/{BUCKET}/{key}" if key else f"/{BUCKET}"
        answer = self.client.request(method, path, query, body, headers)
        if answer.status != status:
            raise AssertionError(f"{method} {key}: {answer}")
        return answer

    def value(self, key, size):
        self.count += 1
        return values.single(key, str(self.count), size)

    def put(self, key, size):
        value = self.value(key, size)
        self.must("PUT", key, 200, body=values.body(value), headers={"x-amz-meta-id": value["id"]})
        self.model.keys[key] = journal.Key(value)

    def delete(self, key):
        self.must("DELETE", key, 204)
        self.model.keys[key] = journal.Key(None)

    def begin(self, key, sizes):
        """An upload with parts of these sizes: its id, and the ETags and pieces of the parts."""
        self.count += 1
        number = str(self.count)
        begun = self.must("POST", key, 200, query=[("uploads", "")], headers={"x-amz-meta-id": number})
        upload = begun.body.split(b"<UploadId>")[1].split(b"<")[0].decode()
        parts = []
        for part, size in enumerate(sizes, 1):
            piece = [f"{key}|{number}.{part}", size]
            body = values.piece(*piece)
            query = [("partNumber", str(part)), ("uploadId", upload)]
            self.must("PUT", key, 200, query=query, body=body)
            parts.append([f'"{hashlib.md5(body).hexdigest()}"', piece])
        return number, upload, parts

    def multipart(self, key, sizes):
        number, upload, parts = self.begin(key, sizes)
        row = "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>"
        rows = "".join(row.format(n, escape(etag)) for n, (etag, _) in enumerate(parts, 1))
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        self.must("POST", key, 200, query=[("uploadId", upload)], body=body)
        self.model.keys[key] = journal.Key({"id": number, "pieces": [piece for _, piece in parts], "parts": True})

    def leave_open(self, key, sizes):
        _, upload, parts = self.begin(key, sizes)
        self.model.uploads[upload] = journal.Upload(key, key)
        self.model.uploads[upload].parts = {n: [part] for n, part in enumerate(parts, 1)}

    def fill(self, tag, objects):
        """New objects of all sizes, some overwritten and some deleted, two large ones and an open upload."""
        rng = self.rng
        for n in range(objects):
            self.put(f"{tag}/{n:03}{ODD if n % 8 == 0 else ''}", values.some_size(rng))
        there = sorted(key for key, state in self.model.keys.items() if state.base is not None)
        for key in rng.sample(there, min(len(there), objects // 6)):
            self.put(key, values.some_size(rng)) if rng.random() < 0.5 else self.delete(key)
        self.put(f"{tag}/large", 5 * MIB)
        self.multipart(f"{tag}/parts", [5 * MIB, rng.randint(1, MIB)])
        self.leave_open(f"{tag}/open", [rng.randint(1, 200_000)])
