"""Download a file once: resumed, verified by checksum, safe beside other processes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from urllib3.exceptions import HTTPError as BrokenStream

from capsnp.datasets.catalogue import RemoteFile
from capsnp.datasets.dataset import in_one_line
from capsnp.errors import DataError

_TIMEOUTS = (10, 30)  # seconds: to connect, and without a byte
_CHUNK = 1 << 16


def cache_folder(name: str) -> Path:
    """Where the files of a data set are kept: a folder of the user's cache."""
    return Path(pooch.os_cache("capsnp")) / name


def fetch(file: RemoteFile, folder: Path, *, otherwise: str, progress: bool = True) -> Path:
    """The path of a file, downloaded if it is not there whole.

    An interrupted download is kept beside it as ``NAME.part`` and gone on with the next time,
    from any mirror. The file gets its name only after its checksum is right. Of two processes
    that want the same file, one waits for the other.

    Parameters
    ----------
    file : RemoteFile
    folder : Path
        Made if missing; nothing but downloads may lie in it.
    otherwise : str
        What to do if the download fails: the end of the error message.
    progress : bool, default True
        Show a bar on the standard error, or a line where that is no terminal.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If no mirror gives the file, or `folder` cannot be written.
    """
    target = folder / file.name
    try:
        if _is_whole(target, file):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, progress=progress):
            if not _is_whole(target, file):
                for stale in folder.glob("tmp*"):  # of a process that was killed
                    stale.unlink(missing_ok=True)
                _download(file, target, otherwise, progress=progress)
    except OSError as error:
        raise DataError(
            f"{target}: expected to keep the download there, "
            f"but: {error.strerror or in_one_line(error)}; {otherwise}"
        ) from error
    return target


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == file.size
        and pooch.file_hash(str(path)) == file.sha256
    )


@contextmanager
def _alone(folder: Path, *, progress: bool) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            print(f"waiting for another download into {folder}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(file: RemoteFile, target: Path, otherwise: str, *, progress: bool) -> None:
    """Try the mirrors in turn."""
    part = target.with_name(f"{file.name}.part")
    reasons = []
    for mirror in file.mirrors:
        host = urlsplit(mirror).netloc
        # Twice where a part is gone on with: that it is damaged shows only at the end.
        attempts = 2 if part.exists() else 1
        try:
            for _ in range(attempts):
                if _retrieve(mirror + file.name, file, target, part, progress=progress):
                    return
        except (requests.RequestException, BrokenStream) as error:
            reasons.append(f"{host}: {_reason(error)}")
        else:
            reasons.append(f"{host}: wrong checksum")
    raise DataError(f"{file.name}: could not be downloaded ({'; '.join(reasons)}); {otherwise}")


def _retrieve(url: str, file: RemoteFile, target: Path, part: Path, *, progress: bool) -> bool:
    """Download from one address; False if the checksum is wrong, which deletes the part."""
    with _bar(file, urlsplit(url).netloc, show=progress) as report, _quiet_pooch():
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{file.sha256}",
                fname=file.name,
                path=target.parent,
                downloader=_Resuming(part, file.size, report),
            )
        except requests.RequestException:
            raise
        except ValueError:  # pooch's error for a wrong checksum
            return False
    return True


class _Resuming:
    """A downloader for pooch that goes on from a part."""

    def __init__(self, part: Path, size: int, report: Callable[[int], None]) -> None:
        self.part = part
        self.size = size
        self.report = report

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        done = self.part.stat().st_size if self.part.exists() else 0
        if done < self.size:  # what is longer fails its checksum
            self._stream(url, done)
        os.replace(self.part, output_file)

    def _stream(self, url: str, done: int) -> None:
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS) as response:
            response.raise_for_status()
            if response.status_code != 206:
                done = 0  # the server sends the whole file
            self._check(response, done)
            with self.part.open("ab" if done else "wb") as stream:
                # Not decoded: the checksum is that of the file as the server holds it.
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    stream.write(chunk)
                    done += len(chunk)
                    self.report(done)
                    if done > self.size:
                        break

    def _check(self, response: requests.Response, done: int) -> None:
        """Refuse, before the part is touched, an answer that is not the rest of the file."""
        start = response.headers.get("Content-Range", f"bytes {done}-")
        length = response.headers.get("Content-Length", str(self.size - done))
        if not start.startswith(f"bytes {done}-") or length != str(self.size - done):
            raise requests.RequestException(
                f"expected bytes {done} to {self.size}, was offered {length} bytes ({start})"
            )


def _reason(error: Exception) -> str:
    """Why a mirror failed, in a few words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no trusted connection"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refuses"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, BrokenStream):
        return "the connection broke off"
    return in_one_line(error)


@contextmanager
def _bar(file: RemoteFile, host: str, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar, which is told how many bytes are there."""
    console = Console(stderr=True)
    if not show:
        yield lambda _done: None
    elif not console.is_terminal:
        size = f"{file.size / 1e6:.1f} MB"
        print(f"downloading {file.name} ({size}) from {host}", file=sys.stderr)
        yield lambda _done: None
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(f"{file.name} from {host}", total=file.size)
            yield lambda done: bar.update(task, completed=done)


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)
