"""Files damaged at random, and a reader that is watched while it reads them.

``tests/test_damaged_files.py`` tries some cases of each format, ``fuzz_files.py`` as many as asked.
Reading happens in a process of its own: native libraries may crash on damaged files, and no signal
ends a call that hangs in one. The process is made once a format, from a server that has imported
the libraries before.
"""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import os
import re
import resource
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from random import Random
from typing import Any

from formats import FORMATS

SECONDS, MEGABYTES = 2.0, 200.0  # that one file may take, of a processor and beyond the valid one
_PATIENCE = 30.0  # seconds on the clock, after which a reader hangs
_EXTREMES = [0, 1, -1, 2, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63]
_TEXTS = [b"", b"0", b"-1", b"1e308", b"1e-308", b"nan", b"inf", b"999999999999", b"x", b"\xff"]
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_JSON_VALUES = [0, -1, 1.5, 1e308, 10**12, True, None, "", "x", "nan", [], [0], {}, float("nan")]


@dataclass(frozen=True)
class Outcome:
    """How reading a damaged file ended."""

    kind: str  # read, refused, foreign, pathless, slow, large, hung or crashed
    detail: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def is_fine(self) -> bool:
        return self.kind in ("read", "refused")


class Reader:
    """A process that reads files of one format, and a valid file of it to damage."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.target = FORMATS[name].make(folder)
        files = [self.target] if self.target.is_file() else sorted(self.target.rglob("*"))
        beside = (self.target.name, self.target.stem)  # parts of records and of pairs
        files += [path for path in folder.iterdir() if path.stem in beside and path not in files]
        self.files = {path: path.read_bytes() for path in files if path.is_file()}
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("forkserver")
        with _importable():  # the server is started with the first process
            context.set_forkserver_preload(["damage"])
            forkserver.ensure_running()
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self.name, self.target)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        if (first := self._pipe.recv()).kind != "read":
            raise RuntimeError(f"the valid file is not read: {first}")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def attempt(self, random: Random) -> Outcome:
        """Damage one file, read it, and put it back."""
        path = random.choice(list(self.files))
        content = damaged(self.files[path], random)
        if not self._process.is_alive():
            self._begin()
        try:
            path.write_bytes(content)
            return self._read()
        finally:
            path.write_bytes(self.files[path])

    def _read(self) -> Outcome:
        outcome = Outcome("crashed", "the process is gone")
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):
            self._pipe.send("read")
            outcome = Outcome("hung", f"no answer in {_PATIENCE:g} s")
            if self._pipe.poll(_PATIENCE):
                outcome = Outcome("crashed", "the process is gone")
                outcome = self._pipe.recv()
        if outcome.kind in ("large", "hung", "crashed"):  # memory that it had counts ever after
            self.__exit__()
        return outcome


@contextmanager
def _importable() -> Iterator[None]:
    """Let a process that is started inside import this module, which lies in no package."""
    before = os.environ.get("PYTHONPATH")
    there = [str(Path(__file__).parent), *([before] if before else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(there)
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _serve(pipe: Any, name: str, target: Path) -> None:
    """Read when told to, and tell how it went."""
    os.environ["OMP_NUM_THREADS"] = "1"
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.dup2(silence, sys.stderr.fileno())
    warnings.simplefilter("ignore")
    pipe.send(_watched(name, target, None))
    usual = _peak()
    while True:
        pipe.recv()
        pipe.send(_watched(name, target, usual))


def _watched(name: str, target: Path, usual: float | None) -> Outcome:
    from neurfield.errors import FileError

    started = time.process_time()
    try:
        FORMATS[name].read(target)
        kind, detail = "read", ""
    except FileError as error:
        kind, detail = "refused", str(error)
        if not error.path.is_relative_to(target) and error.path.stem != target.stem:
            kind = "pathless"
    except Exception as error:
        kind, detail = "foreign", f"{type(error).__name__}: {error}"
    seconds = time.process_time() - started
    megabytes = 0.0 if usual is None else _peak() - usual
    if seconds > SECONDS and usual is not None:
        kind = "slow"
    elif megabytes > MEGABYTES:
        kind = "large"
    printable = detail[:500].encode("ascii", "backslashreplace").decode()
    return Outcome(kind, printable, seconds, megabytes)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- damage ---------------------------------------------------------------------------------------


def damaged(content: bytes, random: Random) -> bytes:
    """Damage a file, as it lies on disk or below its packing, checksums set right again."""
    if random.random() < 0.6:
        for is_packed, inside in _PACKED:
            if is_packed(content):
                with suppress(Exception):  # it is damaged enough already
                    return inside(content, random)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        content = random.choice(_DAMAGES)(content, random)
    return content


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8, 64]) if content else 0):
        changed[_place(content, random)] = random.randrange(256)
    return bytes(changed)


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _remove(content: bytes, random: Random) -> bytes:
    start = _place(content, random)
    return content[:start] + content[start + random.choice([1, 2, 8, 64, 1024]) :]


def _repeat(content: bytes, random: Random) -> bytes:
    start = _place(content, random)
    end = start + random.choice([1, 2, 8, 64, 1024])
    return content[:end] + content[start:end] * random.choice([1, 2, 100]) + content[end:]


def _blank(content: bytes, random: Random) -> bytes:
    start, size = _place(content, random), random.choice([1, 4, 16, 256])
    filled = random.choice([b"\0", b"\xff", b" "]) * min(size, len(content) - start)
    return content[:start] + filled + content[start + len(filled) :]


def _length(content: bytes, random: Random) -> bytes:
    """Overwrite what may be a number of some size."""
    layout = random.choice(["<h", ">h", "<i", ">i", "<q", ">q", "<f", "<d", ">d"])
    value: float = random.choice(_EXTREMES)
    size = struct.calcsize(layout)
    if layout[1] in "fd":
        value = random.choice([float(value), float("nan"), float("inf"), -1e30, 1e-30])
        packed = struct.pack(layout, value)
    else:
        packed = struct.pack(
            "<q" if layout[0] == "<" else ">q", (int(value) + 2**63) % 2**64 - 2**63
        )
        packed = packed[:size] if layout[0] == "<" else packed[-size:]
    start = _place(content, random)
    return content[:start] + packed + content[start + size :]


def _text(content: bytes, random: Random) -> bytes:
    """Replace a number that is written as text."""
    found = list(_NUMBER.finditer(content[: 1 << 16]))
    if not found:
        return _flip(content, random)
    match = random.choice(found)
    return content[: match.start()] + random.choice(_TEXTS) + content[match.end() :]


_DAMAGES = [_flip, _flip, _cut, _remove, _repeat, _blank, _length, _length, _text, _text]


def _place(content: bytes, random: Random) -> int:
    """Choose a byte, of headers more often than of what follows them."""
    return int(len(content) * random.random() ** random.choice([1, 4])) if content else 0


def _in_gzip(content: bytes, random: Random) -> bytes:
    return gzip.compress(damaged(gzip.decompress(content), random), mtime=0)


def _in_zip(content: bytes, random: Random) -> bytes:
    """Damage, leave out or repeat a member of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen, change = random.randrange(len(members)), random.random()
    if change < 0.1:
        members.insert(chosen, members[chosen])
    elif change < 0.2:
        del members[chosen]
    else:
        members[chosen] = members[chosen][0], damaged(members[chosen][1], random)
    written = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(written, "w") as archive:
        warnings.simplefilter("ignore")
        for info, part in members:
            archive.writestr(info, part, info.compress_type)
    return written.getvalue()


def _in_safetensors(content: bytes, random: Random) -> bytes:
    """Change a value of the JSON document in the header, or of the header itself."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    if "document" in header.get("__metadata__", {}) and random.random() < 0.8:
        document = json.loads(header["__metadata__"]["document"])
        _change(document, random)
        header["__metadata__"]["document"] = json.dumps(document)
    else:
        _change(header, random)
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + content[8 + size :]


def _in_json(content: bytes, random: Random) -> bytes:
    document = json.loads(content)
    _change(document, random)
    return json.dumps(document).encode()


def _change(document: Any, random: Random) -> None:
    """Replace or leave out a value, at any depth."""
    while document:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = random.choice(keys)
        deeper = document[key]
        if isinstance(deeper, dict | list) and deeper and random.random() < 0.8:
            document = deeper
        elif random.random() < 0.15:
            del document[key]
            return
        else:
            document[key] = random.choice(_JSON_VALUES)
            return


_PACKED = [
    (lambda content: content.startswith(b"\x1f\x8b"), _in_gzip),
    (lambda content: content.startswith(b"PK"), _in_zip),
    (lambda content: content[8:9] == b"{", _in_safetensors),
    (lambda content: content.startswith(b"{"), _in_json),
]
