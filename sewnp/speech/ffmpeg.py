"""What libsndfile does not know, decoded by ffmpeg (https://ffmpeg.org) where there is one: M4A, MP4, WebM, AAC, Windows Media and more.

It is a program of its own that gets a file which is open already, under a number: it sees no name that could be an option or an address,
opens nothing else, asks nothing, and writes the sound into a pipe as it is wanted.  What it calls an error is one.
"""

import os
import re
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from sewnp.errors import AudioError, harmless
from sewnp.types import Array

PATIENCE = 60.0
"""Seconds without sound after which ffmpeg is taken to hang."""

FORMATS = {
    "mov": "MP4",
    "matroska": "Matroska or WebM",
    "asf": "Windows Media",
    "amr": "AMR",
    "avi": "AVI",
    "mpegts": "an MPEG transport stream",
    "mpeg": "an MPEG program stream",
    "ogg": "Speex",
    "wv": "WavPack",
    "aac": "AAC",
}
"""What people call a format, by what ffmpeg calls it."""

_BLOCK = 2**16  # bytes, as many as a pipe holds
_MOST_SAID = 2**14  # bytes of what ffmpeg says that are kept
_HEADER = 24  # bytes, of AU
_LONGEST_HEADER = 2**16
_FLOAT = 6  # AU's number for 32-bit floats

# before what ffmpeg says, by whom it is said: "[in#0/mov,mp4 @ 0x55] "
_BY = re.compile(r"^(?:\[[^\]]*\] *)+")
# it looks at pictures too, to find out what a file holds; and a muxer's times are of no interest
_IDLE = re.compile(r"^\[(?:h26\d|hevc|vvc|av1|libdav1d|vp\d|mpeg\dvideo|mpeg4|mjpeg|png|au) @|^\s*(?:Last message repeated .*)?$")


class Decoding:
    """The sound of one file, while ffmpeg decodes it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Raises AudioError where there is no sound."""
        self.name, self._process, self._said = name, process, b""
        self._bytes = self._output()
        self._held = b""
        header = self._read(_HEADER)
        magic, numbers = header[:4], np.frombuffer(header[4:].ljust(20, b"\0"), ">u4")
        offset, _, encoding, self.rate, self.channels = map(int, numbers)
        if len(header) < _HEADER:
            raise AudioError(f"{name}: {self._nothing()}")
        if magic != b".snd" or encoding != _FLOAT or not self.rate or not self.channels or not _HEADER <= offset <= _LONGEST_HEADER:
            raise AudioError(f"{name}: expected sound from ffmpeg, found {header[:8]!r}")
        self._read(offset - _HEADER)

    def blocks(self) -> Iterator[Array]:
        """Blocks (n, channels), float32, of about a second; once."""
        frame = 4 * self.channels
        size = max(1, min(self.rate, 2**18 // self.channels)) * frame
        while data := self._read(size):
            whole = len(data) // frame * frame
            if whole:
                yield np.frombuffer(data[:whole], ">f4").reshape(-1, self.channels).astype(np.float32)

    def problem(self) -> str:
        """What went wrong, by ffmpeg's own words, or nothing; to be asked behind the last block."""
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._hangs()
        lines = self._said.decode("utf-8", "replace").splitlines()
        said = next((_BY.sub("", line) for line in lines if not _IDLE.match(line)), "")
        ended = f"it was ended by signal {-status}" if status < 0 else f"it ended with status {status}" if status else ""
        return harmless(said.strip()) or ended

    def _nothing(self) -> str:
        problem = self.problem()
        if "matches no streams" in problem:
            return "no sound in it"
        return f"not audio that can be decoded, or damaged (ffmpeg: {problem or 'no sound'})"

    def _read(self, size: int) -> bytes:
        """So many bytes of sound, fewer at the end."""
        parts, held = [self._held], len(self._held)
        while held < size and (data := next(self._bytes, b"")):
            parts.append(data)
            held += len(data)
        whole = b"".join(parts)
        self._held = whole[size:]
        return whole[:size]

    def _output(self) -> Iterator[bytes]:
        """What it writes, as it does; what it says meanwhile is kept, as far as anybody would read it."""
        process, limit = self._process, time.monotonic() + PATIENCE
        assert process.stdout is not None
        assert process.stderr is not None
        with selectors.DefaultSelector() as open_pipes:
            for pipe in (process.stdout, process.stderr):
                open_pipes.register(pipe, selectors.EVENT_READ)
            while open_pipes.get_map():
                ready = open_pipes.select(max(0.0, limit - time.monotonic()))
                if not ready or time.monotonic() > limit:
                    self._hangs()
                for key, _ in ready:
                    data = os.read(key.fd, _BLOCK)
                    if not data:
                        open_pipes.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        self._said = (self._said + data)[:_MOST_SAID]
                    else:
                        yield data
                        limit = time.monotonic() + PATIENCE  # the time that the reader takes is not ffmpeg's

    def _hangs(self) -> NoReturn:
        raise AudioError(f"{self.name}: ffmpeg gave no sound for {PATIENCE:g} seconds, and was ended")


@contextmanager
def decoding(name: str, file: IO[bytes], demuxer: str) -> Iterator[Decoding]:
    """Have ffmpeg decode an open file from its beginning, for the time of a ``with``.

    demuxer: the format, which alone it shall take the file for: there are formats that lead to other files.
    Raises AudioError, which says how to convert the file elsewhere, where there is no ffmpeg, and where there is no sound in it.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{name}: {FORMATS[demuxer]} is read through ffmpeg, which is not on the PATH; where it is, this converts the file: {_command(file)}"
        )
    file.flush()
    file.seek(0)
    number = file.fileno()
    arguments = ["-nostdin", "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,pipe", "-f", demuxer]
    arguments += ["-i", f"file:/dev/fd/{number}", "-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1"]
    arguments += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    try:
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=(number,),
            start_new_session=True,  # Ctrl-C is for whoever waits for the sound, who ends ffmpeg too
        )
    except OSError as error:
        raise AudioError(f"{name}: ffmpeg cannot be started ({error.strerror}: {program})") from error
    with process:
        try:
            yield Decoding(name, process)
        finally:
            process.kill()


def _command(file: IO[bytes]) -> str:
    """The line that converts a file."""
    path = getattr(file, "name", None)
    given = Path(os.fsdecode(path)) if isinstance(path, str | bytes) else Path("talk.m4a")
    made = given.with_suffix(".flac" if given.suffix == ".wav" else ".wav")
    words = (re.sub(r"^(?=-|[^/]*:)", "./", str(each)) for each in (given, made))  # neither an option nor an address
    return f"ffmpeg -i {' '.join(map(shlex.quote, words))}"
