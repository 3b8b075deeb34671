"""Pictures of products, fetched from the addresses that the data have for them.

The addresses come from a file that somebody else wrote: a picture is only fetched from a public address. That is looked
up once and connected to as it was checked, so a name that means another address a moment later (DNS rebinding) gains
nothing; a redirect is checked like the first address. Size, time, and the number of redirects are bounded.
"""

from __future__ import annotations

import csv
import ipaddress
import json
import shutil
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from sqidflow.core.errors import DataError, FetchError
from sqidflow.core.files import write_atomically
from sqidflow.data import formats, readers
from sqidflow.data.import_pictures import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED_FILE = "failed.csv"
FETCHED_FILE = "fetched.json"
FILES_FOLDER = "files"
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_LONGEST_NAME_BYTES = 240
_WAITING_PER_WORKER = 4
_PICTURE_PREFIX = "image/"
_UNNAMED_TYPES = ("", "application/octet-stream", "binary/octet-stream")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Limits:
    """``most_bytes`` of a picture, ``timeout_s`` for all of it with its redirects, ``workers`` at once.

    ``allowed_networks`` may be asked though they are not public: one's own network, this machine.
    """

    most_bytes: int = 10_000_000
    timeout_s: float = 20.0
    workers: int = 4
    allowed_networks: tuple[str, ...] = ()

    def allows(self, address: str) -> bool:
        """Whether an IP address may be asked."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        return is_public(address) or any(ip in ipaddress.ip_network(each) for each in self.allowed_networks)


@dataclass
class PicturesReport:
    """Counts of products: with an address, with a picture already, ``fetched`` now, ``failed``; ``reasons`` by how many
    failed for each."""

    addresses: int = 0
    there: int = 0
    of_no_product: int = 0
    fetched: int = 0
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


class NoPicture(Exception):
    """Why there is no picture at an address; ``str`` says it, ``kind`` without what differs from one to the next."""

    def __init__(self, what: str, kind: str | None = None) -> None:
        super().__init__(what)
        self.kind = kind or what


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's; one that stands for an IPv4 address is what that is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside is not None and not is_public(str(inside)):
            return False
    return ip.is_global and not ip.is_multicast


def checked_address(url: httpx.URL, limits: Limits) -> str:
    """The IP address to connect to for a URL.

    Raises:
        NoPicture: it is no web address, has a password in it, or its host is unknown or not public.
    """
    if url.scheme not in ("http", "https") or not url.host:
        raise NoPicture("is no address of http or https")
    if url.userinfo:
        raise NoPicture("the address has a user or password in it")
    try:
        answers = socket.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoPicture(f"the host {url.host[:80]} is not known", "the host is not known") from error
    addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    # One private address among several is enough: which of them answers is not up to us.
    inner = [address for address in addresses if not limits.allows(address)]
    if inner:
        raise NoPicture(f"{url.host[:80]} is {inner[0]}, no public address", "no public address")
    return addresses[0]


def fetch_picture(url: str, limits: Limits, context: ssl.SSLContext) -> bytes:
    """The picture at an address, PNG or JPEG.

    Raises:
        NoPicture: with the reason.
    """
    try:
        place = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise NoPicture("is no address") from error
    until = time.monotonic() + limits.timeout_s
    with httpx.Client(verify=context, trust_env=False, timeout=limits.timeout_s) as client:
        # A server that sends a byte a second never waits too long between two of them.
        timer = threading.Timer(limits.timeout_s, _give_up, (client,))
        timer.daemon = True
        timer.start()
        try:
            return _followed(client, place, limits, until)
        except NoPicture:
            raise
        except Exception as error:
            if time.monotonic() >= until or isinstance(error, httpx.TimeoutException):
                raise _too_slow(limits) from error
            if not isinstance(error, (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError, ValueError)):
                raise
            raise NoPicture(f"{type(error).__name__}: {str(error)[:100]}", type(error).__name__) from error
        finally:
            timer.cancel()


def _give_up(client: httpx.Client) -> None:
    with suppress(Exception):
        client.close()


def _too_slow(limits: Limits) -> NoPicture:
    return NoPicture(f"took more than {limits.timeout_s:g} s")


def _followed(client: httpx.Client, place: httpx.URL, limits: Limits, until: float) -> bytes:
    for _ in range(_MOST_REDIRECTS + 1):
        address = checked_address(place, limits)
        host = f"[{address}]" if ":" in address else address
        named = place.raw_host.decode("ascii")
        port = f":{place.port}" if place.port else ""
        request = client.build_request(
            "GET",
            place.copy_with(host=host, fragment=None),
            headers={
                "Host": (f"[{named}]" if ":" in named else named) + port,
                "Accept": "image/*",
                "Accept-Encoding": "identity",
                "User-Agent": "sqidflow",
            },
            extensions={"sni_hostname": named},
        )
        answer = client.send(request, stream=True)
        try:
            if answer.status_code in _REDIRECTS and "Location" in answer.headers:
                place = place.join(answer.headers["Location"])
                continue
            return _picture(answer, limits, until)
        finally:
            answer.close()
    raise NoPicture(f"more than {_MOST_REDIRECTS} redirects")


def _picture(answer: httpx.Response, limits: Limits, until: float) -> bytes:
    if answer.status_code != 200:
        raise NoPicture(f"HTTP {answer.status_code}")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not kind.startswith(_PICTURE_PREFIX) and kind not in _UNNAMED_TYPES:
        raise NoPicture(f"is {kind[:60]}, no picture")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NoPicture("is compressed, which was not asked for")
    too_large = NoPicture(f"has more than {limits.most_bytes:,} bytes")
    length = answer.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > limits.most_bytes:
        raise too_large
    content = bytearray()
    for chunk in answer.iter_raw():
        content += chunk
        if len(content) > limits.most_bytes:
            raise too_large
        if time.monotonic() > until:
            raise _too_slow(limits)
    try:
        return storable(bytes(content))
    except ValueError as error:
        raise NoPicture(f"the picture cannot be used: {error}", "the picture cannot be used") from error


# --- all of them ------------------------------------------------------------------------------------------------------


def addresses_of(data_dir: Path) -> dict[str, str]:
    """Product -> the address of its picture, the first that the data have.

    Raises:
        DataError: there are no addresses.
    """
    addresses: dict[str, str] = {}
    for name in (formats.IMAGE_URLS_FILE, formats.SUPP_IMAGE_URLS_FILE):
        if not (data_dir / name).exists():
            continue
        for batch in readers.read_image_urls(data_dir / name):
            for product, url in zip(batch["product_id"].to_pylist(), batch["image_url"].to_pylist(), strict=True):
                if url:
                    addresses.setdefault(product, url)
    if not addresses:
        raise DataError(
            "there are no addresses of pictures",
            file=data_dir / formats.IMAGE_URLS_FILE,
            hint="import a feed that has them, or `sqidflow data import --image-urls FILE`",
        )
    return addresses


def fetch_pictures(
    data_dir: Path, place: Path, limits: Limits, *, again: bool = False, watch: Callable[[int, int], None] = print
) -> PicturesReport:
    """Fetch the pictures of all products that have an address and no picture, into files below ``place``.

    What was fetched stays there until :func:`forget` after an import, so that the next call continues one that was
    killed. The products that failed are in ``failed.csv``, with address and reason; the next call tries them again.

    Args:
        again: fetch the pictures of products that have one, too. A product whose address is another than the one its
            picture was fetched from is fetched again in any case.
        watch: called with how many are done, of how many.

    Raises:
        DataError: there are no addresses, or no products.
        FetchError: there are pictures to fetch and not a single one could be.
    """
    addresses = addresses_of(data_dir)
    known = _products(data_dir)
    pictured = _pictured(data_dir)
    files, fetched = place / FILES_FOLDER, _read_fetched(place)
    files.mkdir(parents=True, exist_ok=True)
    waiting = {path.stem for path in files.iterdir() if not path.name.startswith(".")}
    report = PicturesReport(addresses=len(addresses))
    todo: list[tuple[str, str]] = []
    for product, url in addresses.items():
        moved = product in fetched and fetched[product] != url
        if product not in known:
            report.of_no_product += 1
        elif _name(product) in waiting and not moved:
            report.fetched += 1
        elif product in pictured and not (again or moved):
            report.there += 1
        else:
            todo.append((product, url))
    reasons: Counter[str] = Counter()
    failures: list[tuple[str, str, str]] = []
    for done, (product, url, result) in enumerate(_fetched(todo, limits), 1):
        if isinstance(result, NoPicture):
            reasons[result.kind] += 1
            failures.append((product, url, str(result)))
        else:
            _keep(files, product, result)
            fetched[product] = url
            report.fetched += 1
        if done % 100 == 0 or done == len(todo):
            _write_fetched(place, fetched)
            watch(done, len(todo))
    report.failed, report.reasons = len(failures), dict(reasons.most_common())
    _write_failures(place / FAILED_FILE, failures)
    if todo and not report.fetched and not report.there:
        raise FetchError(
            f"none of {len(todo):,} pictures could be fetched, the first: {failures[0][2]}",
            where=failures[0][1][:200],
            hint=f"{place / FAILED_FILE} has the reason of each",
        )
    return report


def forget(place: Path) -> None:
    """Delete the files that were imported; which address each came from is kept."""
    shutil.rmtree(place / FILES_FOLDER, ignore_errors=True)


def has_files(place: Path) -> bool:
    return any((place / FILES_FOLDER).iterdir())


def _fetched(todo: Sequence[tuple[str, str]], limits: Limits) -> Iterator[tuple[str, str, bytes | NoPicture]]:
    """Product, address and picture of each, in the order in which they come; a few are under way at a time."""
    context = ssl.create_default_context()

    def one(product: str, url: str) -> bytes | NoPicture:
        if len(_name(product)) > _LONGEST_NAME_BYTES:
            return NoPicture("the product's id is too long for the name of a file")
        try:
            return fetch_picture(url, limits, context)
        except NoPicture as error:
            return error

    remaining = iter(todo)
    with ThreadPoolExecutor(limits.workers) as pool:
        running: dict[Future[bytes | NoPicture], tuple[str, str]] = {}
        try:
            while True:
                for product, url in remaining:
                    running[pool.submit(one, product, url)] = product, url
                    if len(running) >= _WAITING_PER_WORKER * limits.workers:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield *running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()


def _name(product: str) -> str:
    """A product's id as a file is called, without its suffix; `data import --images` reads it back."""
    return quote(product, safe="").replace(".", "%2E")


def _keep(files: Path, product: str, picture: bytes) -> None:
    suffix = ".png" if picture.startswith(b"\x89PNG") else ".jpg"
    for other in (".png", ".jpg"):
        (files / f"{_name(product)}{other}").unlink(missing_ok=True)
    part = files / f".{_name(product)}.part"
    part.write_bytes(picture)
    part.replace(files / f"{_name(product)}{suffix}")


def _products(data_dir: Path) -> set[str]:
    file = data_dir / formats.PRODUCTS_FILE
    if not file.exists():
        raise DataError("there are no products yet", file=file, hint="run `sqidflow data import --products FILE`")
    return {product for batch in readers.read_products(file) for product in batch["product_id"].to_pylist()}


def _pictured(data_dir: Path) -> set[str]:
    import pyarrow.parquet as pq

    file = data_dir / formats.IMAGES_FILE
    return set(pq.read_table(file, columns=["product_id"])["product_id"].to_pylist()) if file.exists() else set()


def _read_fetched(place: Path) -> dict[str, str]:
    try:
        fetched = json.loads((place / FETCHED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # then what is there counts as fetched from the address of now
    return fetched if isinstance(fetched, dict) else {}


def _write_fetched(place: Path, fetched: Mapping[str, str]) -> None:
    write_atomically(place / FETCHED_FILE, json.dumps(fetched, ensure_ascii=False))


def _write_failures(file: Path, failures: Sequence[tuple[str, str, str]]) -> None:
    part = file.with_name(f".{file.name}.part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("product_id", "image_url", "reason"))
        writer.writerows(failures)
    part.replace(file)
