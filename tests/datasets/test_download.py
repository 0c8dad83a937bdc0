import gzip
import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests

from capsnp.datasets import catalogue, load, loading
from capsnp.datasets.catalogue import IdxCollection, IdxFile, RemoteFile
from capsnp.datasets.download import fetch
from capsnp.errors import DataError

from .conftest import idx_bytes

CONTENT = np.random.default_rng(0).bytes(300_000)
MIRRORS = ("/first/", "/second/")


def get(file: RemoteFile, folder: Path, *, progress: bool = False) -> Path:
    return fetch(file, folder, otherwise="name --data-dir", progress=progress)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {".lock"}


def test_downloads_once_and_keeps_it(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    for _ in range(2):
        path = get(file, tmp_path / "new" / "folder")
        assert path.read_bytes() == CONTENT
    assert server.requests == [("/a.gz", None)]
    assert names(path.parent) == {"a.gz"}


def test_a_file_that_is_there_needs_no_lock(server, tmp_path, monkeypatch):
    file = server.offer("a.gz", CONTENT)
    (tmp_path / "a.gz").write_bytes(CONTENT)
    monkeypatch.setattr("capsnp.datasets.download.FileLock", None)
    assert get(file, tmp_path) == tmp_path / "a.gz"


def test_a_server_that_does_not_tell_the_length(server, tmp_path):
    server.chunked = True
    assert get(server.offer("a.gz", CONTENT), tmp_path).read_bytes() == CONTENT


def test_a_broken_connection_is_gone_on_with_from_the_next_mirror(server, tmp_path):
    file = server.offer("a.gz", CONTENT, mirrors=MIRRORS)
    server.cut_after = 200_000
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/first/a.gz", None), ("/second/a.gz", "bytes=200000-")]
    assert names(tmp_path) == {"a.gz"}


def test_an_interrupted_download_is_gone_on_with_next_time(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    server.cut_after = 120_000
    with pytest.raises(DataError, match="the connection broke off") as caught:
        get(file, tmp_path)
    assert str(caught.value).endswith("; name --data-dir")
    assert names(tmp_path) == {"a.gz.part"}
    assert (tmp_path / "a.gz.part").read_bytes() == CONTENT[:120_000]
    server.cut_after = None
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert server.requests[1:] == [("/a.gz", "bytes=120000-")]
    assert names(tmp_path) == {"a.gz"}


def test_a_server_that_ignores_the_range_sends_it_all_again(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    server.ranges = False
    (tmp_path / "a.gz.part").write_bytes(CONTENT[:1000])
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a.gz", "bytes=1000-")]


def test_a_damaged_part_is_started_over(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    (tmp_path / "a.gz.part").write_bytes(b"x" * 1000)
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a.gz", "bytes=1000-"), ("/a.gz", None)]
    assert names(tmp_path) == {"a.gz"}


@pytest.mark.parametrize("whole", [CONTENT, b"x" * len(CONTENT)])
def test_a_part_of_the_full_length_is_verified_not_asked_for(server, tmp_path, whole):
    file = server.offer("a.gz", CONTENT)
    (tmp_path / "a.gz.part").write_bytes(whole)
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == ([] if whole == CONTENT else [("/a.gz", None)])


def test_a_part_that_is_too_long_is_dropped(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    (tmp_path / "a.gz.part").write_bytes(CONTENT + b"more")
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a.gz", None)]


def test_a_login_page_does_not_cost_the_part(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    server.files["/a.gz"] = b"<html>please log in</html>"
    server.ranges = False
    (tmp_path / "a.gz.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=r"expected bytes 0 to 300000, was offered 26 bytes"):
        get(file, tmp_path)
    assert (tmp_path / "a.gz.part").read_bytes() == CONTENT[:1000]
    assert names(tmp_path) == {"a.gz.part"}


def test_another_file_of_the_same_length_is_refused(server, tmp_path):
    file = server.offer("a.gz", CONTENT, mirrors=MIRRORS)
    server.files["/first/a.gz"] = server.files["/second/a.gz"] = b"y" * len(CONTENT)
    with pytest.raises(DataError, match=r"wrong checksum; .*wrong checksum"):
        get(file, tmp_path)
    assert names(tmp_path) == set()
    server.files["/second/a.gz"] = CONTENT
    assert get(file, tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_without_end_is_cut_off(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    server.chunked = True
    server.files["/a.gz"] = CONTENT * 200
    with pytest.raises(DataError, match="wrong checksum"):
        get(file, tmp_path)
    assert server.bytes_sent < 30_000_000
    assert names(tmp_path) == set()


def test_a_compressed_file_arrives_as_it_is(server, tmp_path):
    content = gzip.compress(CONTENT)
    assert get(server.offer("a.gz", content), tmp_path).read_bytes() == content
    assert server.encodings == ["identity"]


def test_a_damaged_file_in_the_cache_is_replaced_only_by_a_whole_one(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    path = tmp_path / "a.gz"
    path.write_bytes(b"z" * len(CONTENT))
    del server.files["/a.gz"]
    with pytest.raises(DataError, match="HTTP status 404"):
        get(file, tmp_path)
    assert path.read_bytes() == b"z" * len(CONTENT)
    server.files["/a.gz"] = CONTENT
    assert get(file, tmp_path).read_bytes() == CONTENT


def test_what_a_killed_process_left_is_swept(server, tmp_path):
    (tmp_path / "tmpabcdef").touch()
    get(server.offer("a.gz", CONTENT), tmp_path)
    assert names(tmp_path) == {"a.gz"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ConnectTimeout(), "no answer in time"),
        (requests.exceptions.SSLError(), "no trusted connection"),
        (requests.exceptions.ProxyError(), "the proxy refuses"),
        (requests.ConnectionError("pool(host=\nx)"), "no connection"),
        (requests.exceptions.InvalidURL("bad\nURL"), "bad URL"),
    ],
)
def test_a_failed_download_is_one_line_that_says_what_to_do(monkeypatch, tmp_path, error, words):
    def fail(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(requests, "get", fail)
    file = RemoteFile("a.gz", 3, "0" * 64, ("https://one.example/x/", "https://two.example/"))
    with pytest.raises(DataError) as caught:
        get(file, tmp_path)
    assert str(caught.value) == (
        f"a.gz: could not be downloaded (one.example: {words}; two.example: {words}); "
        "name --data-dir"
    )
    assert names(tmp_path) == set()


def test_no_server_at_all(server, tmp_path):
    file = replace(server.offer("a.gz", CONTENT), mirrors=("http://127.0.0.1:9/",))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9: no connection"):
        get(file, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="expected to keep the download there, but: ") as caught:
        get(server.offer("a.gz", CONTENT), tmp_path / "taken" / "folder")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_cache_still_serves_what_it_holds(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    get(file, tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert get(file, tmp_path).read_bytes() == CONTENT
        with pytest.raises(DataError, match="Permission denied"):
            get(server.offer("b.gz", CONTENT), tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_line(server, tmp_path):
    (tmp_path / "a.gz.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match="No space left on device; name --data-dir"):
        get(server.offer("a.gz", CONTENT), tmp_path)
    assert names(tmp_path) == {"a.gz.part"}


def test_progress_is_a_line_where_there_is_no_terminal(server, tmp_path, capsys):
    get(server.offer("a.gz", CONTENT), tmp_path, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("downloading a.gz (0.3 MB) from 127.0.0.1:")
    assert shown.err.count("\n") == 1
    get(server.offer("b.gz", CONTENT), tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_bar_on_a_terminal(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    get(server.offer("a.gz", CONTENT), tmp_path, progress=True)
    assert "300.0/300.0 kB" in capsys.readouterr().err


CHILD = """
import sys
from pathlib import Path
from capsnp.datasets.catalogue import RemoteFile
from capsnp.datasets.download import fetch
name, size, digest, mirror, folder = sys.argv[1:]
print(fetch(RemoteFile(name, int(size), digest, (mirror,)), Path(folder), otherwise=""))
"""


def test_two_processes_at_once_download_once(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    both_started = threading.Event()
    # The answer waits until both processes run, so the second meets the first's lock.
    server.before_answer = lambda: both_started.wait(30)
    command = [sys.executable, "-c", CHILD, file.name, str(file.size), file.sha256]
    command += [*file.mirrors, str(tmp_path)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    waiting = ""
    streams = [child.stderr for child in children if child.stderr]

    def listen(stream) -> None:
        nonlocal waiting
        for line in stream:
            waiting += line
            if line.startswith("waiting"):
                both_started.set()

    threads = [threading.Thread(target=listen, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for child in children:
        assert child.wait(60) == 0, waiting
    for thread in threads:
        thread.join()
    for child in children:
        assert child.stdout is not None
        assert child.stdout.read().strip() == str(tmp_path / "a.gz")
        child.stdout.close()
    for stream in streams:
        stream.close()
    assert (tmp_path / "a.gz").read_bytes() == CONTENT
    assert server.requests == [("/a.gz", None)]
    assert sorted(line.split()[0] for line in waiting.splitlines()) == ["downloading", "waiting"]
    assert f"waiting for another download into {tmp_path}" in waiting
    assert names(tmp_path) == {"a.gz"}


def test_a_killed_process_leaves_a_part_that_the_next_goes_on_with(server, tmp_path):
    file = server.offer("a.gz", CONTENT)
    server.cut_after = 100_000
    release = threading.Event()
    command = [sys.executable, "-c", CHILD, file.name, str(file.size), file.sha256]
    command += [*file.mirrors, str(tmp_path)]
    asked = threading.Event()

    def hold() -> None:
        asked.set()
        release.wait(30)

    server.before_answer = hold
    (tmp_path / "a.gz.part").write_bytes(CONTENT[:5000])
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        assert asked.wait(60)
        child.kill()
    release.set()
    server.before_answer, server.cut_after = (lambda: None), None
    assert (tmp_path / "a.gz.part").read_bytes() == CONTENT[:5000]
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a.gz", "bytes=5000-")] * 2
    assert names(tmp_path) == {"a.gz"}


@pytest.fixture
def small_mnist(server, monkeypatch, tmp_path) -> IdxCollection:
    """A collection of ten images a split on the local server, in place of MNIST."""
    rng = np.random.default_rng(0)
    files = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pair = []
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (10, 28, 28))),
            ("labels-idx1", np.arange(10)),
        ):
            content = idx_bytes(array)
            remote = server.offer(f"{prefix}-{kind}-ubyte.gz", gzip.compress(content))
            pair.append(IdxFile(remote, array.shape, hashlib.sha256(content).hexdigest()))
        files[part] = (pair[0], pair[1])
    collection = replace(catalogue.MNIST, files=files)
    monkeypatch.setattr(loading, "MNIST", collection)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("CAPSNP_DATA", raising=False)
    return collection


@pytest.mark.usefixtures("small_mnist")
def test_load_downloads_the_files_of_the_split_only(server, tmp_path):
    test = load("mnist", split="test", progress=False)
    assert test.images.shape == (10, 28, 28, 1)
    assert test.labels is not None
    assert test.labels.tolist() == list(range(10))
    folder = tmp_path / "cache" / "capsnp" / "mnist"
    assert names(folder) == {"t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"}
    asked = len(server.requests)
    np.testing.assert_array_equal(load("mnist", split="test").images, test.images)
    assert len(server.requests) == asked
    assert load("mnist", split="all", progress=False).images.shape == (20, 28, 28, 1)


@pytest.mark.usefixtures("small_mnist")
def test_load_without_the_network_says_what_to_do(server):
    server.files.clear()
    with pytest.raises(DataError) as caught:
        load("mnist", progress=False)
    message = str(caught.value)
    assert message.startswith("train-images-idx3-ubyte.gz: could not be downloaded (127.0.0.1:")
    assert message.endswith(
        "name a folder that holds mnist/train-images-idx3-ubyte.gz by --data-dir or CAPSNP_DATA"
    )
    assert "\n" not in message


def test_the_catalogue_is_whole():
    collections = (catalogue.MNIST, catalogue.FASHION_MNIST)
    files = [file for c in collections for pair in c.files.values() for file in pair]
    remotes = [file.remote for file in files] + [catalogue.CIFAR10]
    sums = [file.content for file in files] + [remote.sha256 for remote in remotes]
    assert len(set(sums)) == len(sums) == 17
    assert all(len(bytes.fromhex(digest)) == 32 for digest in sums)
    for remote in remotes:
        assert len(remote.mirrors) >= 2
        assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in remote.mirrors)
