"""A temporary folder of the process's own, so that libraries leave nothing in the machine's.

TensorFlow, Beam, Feast, MLflow and matplotlib leave files in the temporary folder, more of them when they are killed. A
verb gives them a folder of its own and removes it at its end. The process locks its folder; the kernel releases the
lock when the process is killed, and the next verb removes every folder that is not locked.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

PREFIX = "sqidflow."
"""What the names of the folders begin with; the id of the process and a random part follow."""
LOCK = ".lock"
_VARIABLE = "TMPDIR"


class TerminatedError(SystemExit):
    """A signal asks the process to end. Not an Exception, so that nothing handles it as a failure of its own."""


@dataclass(frozen=True)
class OwnFolder:
    """A temporary folder of one process; ``lock`` is the descriptor that keeps it locked."""

    folder: Path
    lock: int

    @classmethod
    def make(cls) -> OwnFolder | None:
        """Make the folder, direct this process and its children to it, and remove it at exit.

        Folders of processes that were killed are removed first. None where nothing can be written.
        """
        try:
            parent = Path(tempfile.gettempdir())
            remove_unlocked(parent)
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}.", dir=parent))
        except OSError:
            return None  # a verb that needs the temporary folder reports it itself
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        own = cls(folder, lock)
        own._use()
        return own

    @classmethod
    def take_over(cls, folder: Path, lock: int) -> OwnFolder:
        """The folder of the program that this one replaced, see ``keep_for_next_program``."""
        own = cls(folder, lock)
        os.set_inheritable(lock, False)
        own._use()
        return own

    def _use(self) -> None:
        os.environ[_VARIABLE] = tempfile.tempdir = str(self.folder)
        owner = os.getpid()
        # Registered before the libraries are imported, so it runs after what they do at exit.
        atexit.register(lambda: self.remove() if os.getpid() == owner else None)

    def keep_for_next_program(self) -> None:
        """Keep the folder locked when ``os.exec*`` replaces this program."""
        os.set_inheritable(self.lock, True)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_unlocked(parent: Path) -> None:
    """Remove this user's folders in ``parent`` whose process is gone."""
    for folder in parent.glob(f"{PREFIX}*.*"):
        number = folder.name.removeprefix(PREFIX).split(".")[0]
        if not number.isdigit() or folder.is_symlink():
            continue
        try:
            if folder.stat().st_uid == os.getuid() and _is_left(folder, int(number)):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # another process removes it just now


def _is_left(folder: Path, process: int) -> bool:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:  # its process was killed, or is about to make the lock
        return not _runs(process)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def ended_by_signal(own: OwnFolder | None) -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP unwind the stack; then the folder is removed and the signal ends the process.

    A second signal ends it without unwinding.
    """
    received: list[int] = []

    def end(number: int) -> None:
        if own is not None:
            own.remove()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # not sys.exit, which waits for threads

    def unwind(number: int, frame: FrameType | None) -> None:
        if received:
            end(number)
        received.append(number)
        raise TerminatedError(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, unwind)
    try:
        yield
    finally:
        if received:
            end(received[0])
