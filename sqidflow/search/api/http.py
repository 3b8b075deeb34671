"""HTTP/1.1 as uvicorn parses it, with a bound on what a request has beside its body."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sqidflow.search.api import problems

MAX_HEADER_BYTES = 64 * 1024
"""Of the request line and the headers; of chunks' sizes and trailers no more than this and as much as the body."""


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 and closes the connection where the headers are larger than ``MAX_HEADER_BYTES``.

    uvicorn's own parser collects headers without end: one connection could take all memory.
    """

    _beside_body = 0
    _body = 0

    def data_received(self, data: bytes) -> None:
        self._beside_body += len(data)
        super().data_received(data)
        if self._beside_body > MAX_HEADER_BYTES + self._body and not self.transport.is_closing():
            self._refuse()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        self._beside_body -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._beside_body = self._body = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        body = bytes(problems.answer(431, f"The headers may have {MAX_HEADER_BYTES:,} bytes.").body)
        head = (
            "HTTP/1.1 431 Request Header Fields Too Large\r\n"
            f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(head.encode() + body)
        self.transport.close()
