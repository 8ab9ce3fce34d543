"""Files of lines that only grow and that the disk has before anybody is told so: what the local logs keep rows in.

`<folder>/<YYYY-MM-DD>/<HH>-<process>.jsonl`, by the hour (UTC) that a row is of. A file has one writer. So a process
that is killed in a write leaves an unfinished last line of its own, which readers drop, and damages nobody else's. It
knows bytes and hours, no rows; `event_log.py` and `served_log.py` write through it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from contracts.errors import LogUnavailable, StorageFull
from stores.release_files import sync_folder

LINES_SUFFIX: Final = ".jsonl"

_SECONDS_PER_HOUR: Final = 3_600
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class LineFiles:
    """The files of one writer. Threads take turns; several processes each make their own instance."""

    def __init__(self, folder: Path, rows: str) -> None:
        """Nothing is created before the first line. `rows`: what a message calls the lines, e.g. "events"."""
        self._folder, self._rows = folder, rows
        self._turn = threading.Lock()
        self._writer = _unique()
        self._file: _HourFile | None = None

    def append(self, lines: Sequence[bytes], seconds: Sequence[int]) -> list[str]:
        """Write lines, each whole with its end, to the hours of their moments (Unix seconds).

        [lines] "" where the disk has one, else the reason why not. Raises LogUnavailable where no file can be opened.
        """
        reasons = [""] * len(lines)
        hours = [moment // _SECONDS_PER_HOUR for moment in seconds]
        with self._turn:
            for hour in sorted(set(hours)):
                places = [place for place, one in enumerate(hours) if one == hour]
                reason = self._append(hour, b"".join([lines[place] for place in places]))
                for place in places if reason else ():
                    reasons[place] = reason
        return reasons

    def close(self) -> None:
        """Close the file; whoever still writes finishes first."""
        with self._turn:
            self._leave_file()

    def _append(self, hour: int, lines: bytes) -> str:
        """Write lines to the file of an hour; the reason where they are not on disk."""
        try:
            file = self._file_of(hour)
        except OSError as error:
            if error.errno in _FULL:
                return StorageFull.code
            raise LogUnavailable(
                f"{self._folder}: no file of {self._rows} can be opened there: {error.strerror}.",
                fix="Make the folder writable for the process, or name another home.",
            ) from error
        try:
            file.append(lines)
        except OSError as error:
            if not file.take_back():
                self._leave_file()
                self._writer = _unique()  # nothing is ever appended to a line that is not whole
            return StorageFull.code if error.errno in _FULL else errno.errorcode.get(error.errno or 0, "OSError")
        return ""

    def _file_of(self, hour: int) -> _HourFile:
        if self._file is None or self._file.hour != hour:
            self._leave_file()
            self._file = _HourFile(self._folder, hour, self._writer)
        return self._file

    def _leave_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _HourFile:
    """The open file of a writer and an hour, and how much of it is acknowledged."""

    def __init__(self, folder: Path, hour: int, writer: str) -> None:
        moment = datetime.fromtimestamp(hour * _SECONDS_PER_HOUR, UTC)
        path = folder / f"{moment:%Y-%m-%d}" / f"{moment:%H}-{writer}{LINES_SUFFIX}"
        self.hour = hour
        _make_folder(path.parent)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            self._acknowledged = os.fstat(self._descriptor).st_size
            sync_folder(path.parent)
        except BaseException:
            self.close()
            raise

    def append(self, lines: bytes) -> None:
        """Write and wait for the disk. Raises OSError; the end of the file is then unknown, see `take_back`."""
        left = memoryview(lines)
        while left:
            left = left[os.write(self._descriptor, left) :]  # a disk that fills takes a part, then says so
        os.fsync(self._descriptor)
        self._acknowledged += len(lines)

    def take_back(self) -> bool:
        """Cut what is not acknowledged; whether that worked."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._acknowledged)
            return True
        return False

    def close(self) -> None:
        os.close(self._descriptor)


def _unique() -> str:
    """A name that no other writer has, also after a restart under the same process id."""
    return f"{os.getpid()}-{uuid4().hex[:12]}"


def _make_folder(folder: Path) -> None:
    """Create a folder, and those above it, so that they survive a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
