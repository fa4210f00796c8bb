"""Sound files, read to their end or refused: a transcript of half a recording looks exactly like a transcript.

libsndfile (http://libsndfile.github.io/libsndfile/) decodes WAV, FLAC, OGG, MP3, AIFF, CAF and more.  It is lenient: a file cut short is often
read up to the cut as if nothing had happened.  So :mod:`~sewnp.speech.containers` looks first what there is to be decoded, and what comes out is
counted.  Formats that it does not know, M4A for one, are decoded by ffmpeg (:mod:`~sewnp.speech.ffmpeg`).
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any

from sewnp.errors import AudioError, AudioWarning
from sewnp.files import naming
from sewnp.speech.audio import HIGHEST_RATE, finite, mono
from sewnp.speech.chatter import overheard
from sewnp.speech.containers import Broken, Piece, Source, View, recordings
from sewnp.speech.containers.source import short_of
from sewnp.speech.ffmpeg import decoding
from sewnp.speech.resampling import resampled, too_long
from sewnp.types import Array

# A file may unfold to so many bytes of samples, however small it is, and beyond that to so many times its own size.  FLAC packs digital
# silence by the thousand, and a damaged header may say 1 Hz.  Speech in Opus at 6 kbit/s, the most that is honest, unfolds to 256 times.
_SMALL = 2**28  # bytes
_LARGEST_EXPANSION = 256

# What libsndfile's log says of formats that are not looked into: VOC, MAT 4, WVE; and of AVR, MPC 2000 and MAT 5, how many samples
_TRUNCATED = re.compile(r"Seems to be a truncated file|File seems to be truncated|Data length \d+ should be \d+")
_COUNTED = re.compile(r"^\s*(?:Frames|Rows : 1\s+Cols)\s*: (\d+)$", re.MULTILINE)
_NOBODY_KNOWS = 2**62  # samples, or more, that libsndfile speaks of where a header says none
_MP3_FRAME = 1152  # samples
_UNDECODED = "damaged: it holds frames that cannot be decoded"
_MOST_FLAWS = 3  # that are told of one file
_BLOCK = 2**18
"""Values, samples times channels, that are decoded at once."""


class SoundFile:
    """A file of sound, open for reading and seeking, that can be decoded as often as needed."""

    def __init__(self, name: str, file: IO[bytes], target: int, *, allow_truncated: bool = False) -> None:
        self.name, self._file, self._target, self._allows = name, file, target, allow_truncated
        self._size, self._pieces = 0, list[Piece]()
        self._has_warned = False

    def blocks(self) -> Iterator[Array]:
        """The sound from its beginning: blocks (n,), float32, mono, finite, at the target rate; what only the end can tell is checked there."""
        if not self._pieces:
            self._look()
        flaws: list[str] = []
        for piece in self._pieces:  # before anything is decoded
            self._judge(piece.flaw, flaws)
        done = 0
        for block in finite(self.name, (block for piece in self._pieces for block in self._decoded(piece, flaws))):
            done += len(block)
            if _unfolds(done, self._size):
                raise AudioError(
                    f"{self.name}: too large: {self._size:,} bytes unfold to more than {done:,} samples at {self._target} Hz"
                )
            yield block
        if flaws and not self._has_warned:
            self._has_warned = True
            more = f" and {len(flaws) - _MOST_FLAWS} times more" if len(flaws) > _MOST_FLAWS else ""
            found = f"the {done / self._target:.2f} seconds that are there were read"
            warnings.warn(f"{self.name}: {'; '.join(flaws[:_MOST_FLAWS])}{more}; {found}", AudioWarning, stacklevel=2)

    def _look(self) -> None:
        """Find the recordings in it."""
        with reading(self.name):
            source = Source(self._file)
            if not source.size:
                raise AudioError(f"{self.name}: the file is empty (0 bytes)")
            try:
                self._size, self._pieces = source.size, recordings(source)
            except Broken as problem:
                raise AudioError(f"{self.name}: {problem}") from problem

    def _decoded(self, piece: Piece, flaws: list[str]) -> Iterator[Array]:
        """One recording.  Blocks (n,), float32, mono, at the target rate; what is missing is an error, or a flaw more."""
        import soundfile  # a tenth of a second to import, and arrays need none of it

        if piece.demuxer:
            yield from self._through_ffmpeg(piece, flaws)
            return
        if not any(map(len, piece.parts)):
            return
        view = View(self._file, piece.parts, endless=piece.endless)
        with self._decoding(piece, flaws):
            sound = soundfile.SoundFile(view)
        with sound:
            self._check(view)
            rate, target, size = sound.samplerate, self._target, self._size
            promised = sound.frames if piece.samples is None else piece.samples
            known = promised < _NOBODY_KNOWS
            if known and _unfolds(promised * sound.channels, size):
                promise = f"{promised:,} samples in {sound.channels} channels, out of {size:,} bytes"
                raise AudioError(f"{self.name}: too large to decode in memory, or its header is damaged: {promise}")
            self._check_rate(rate)
            if known:
                _check_unfolding(self.name, promised, rate, target, size)
            found = 0

            def heard() -> Iterator[Array]:
                nonlocal found
                try:
                    for block in finite(self.name, self._samples(sound, view, piece, flaws), least=0):
                        found += len(block)
                        _check_unfolding(self.name, found, rate, target, size)
                        yield block
                except AudioError as problem:
                    if not (self._allows and found and isinstance(problem.__cause__, soundfile.LibsndfileError)):
                        raise
                    flaws.append(f"{str(problem).removeprefix(f'{self.name}: ')}, behind sample {found}")
                    return
                missing = _missing(sound.format, sound.extra_info, promised, found) if known else ""
                self._judge("" if piece.flaw else missing, flaws)

            yield from resampled(heard(), rate, target)

    def _through_ffmpeg(self, piece: Piece, flaws: list[str]) -> Iterator[Array]:
        """The same, of a format that libsndfile does not know."""
        with reading(self.name), decoding(self.name, self._file, piece.demuxer) as sound:
            self._check_rate(sound.rate)

            def heard() -> Iterator[Array]:
                yield from finite(self.name, map(mono, sound.blocks()), least=0)
                problem = sound.problem()
                self._judge(f"damaged or cut short (ffmpeg: {problem})" if problem and not piece.flaw else "", flaws)

            yield from resampled(heard(), sound.rate, self._target)

    def _check_rate(self, rate: int) -> None:
        if rate > HIGHEST_RATE:
            raise AudioError(f"{self.name}: expected a sampling rate up to {HIGHEST_RATE} Hz, found {rate} in the header")
        if problem := too_long(rate, self._target):
            raise AudioError(f"{self.name}: {problem}")

    def _judge(self, flaw: str, flaws: list[str]) -> None:
        """Refuse what has a flaw, or remember it."""
        if flaw and not self._allows:
            raise AudioError(f"{self.name}: {flaw}")
        flaws += [flaw] if flaw else []

    def _samples(self, sound: Any, view: View, piece: Piece, flaws: list[str]) -> Iterator[Array]:
        """What libsndfile reads, channels averaged.  Blocks (n,), float32"""
        # soundfile seeks after each partial read of what it believes seekable, and MP3 frames decode differently after a seek
        sound.seekable = lambda: False
        size = max(1, min(max(sound.samplerate, 1024), _BLOCK // sound.channels))
        left = sound.frames
        while left > 0:
            with self._decoding(piece, flaws):
                channels = sound.read(min(size, left), dtype="float32", always_2d=True)
            self._check(view)
            if not len(channels):
                break
            left -= len(channels)
            yield mono(channels)

    @contextmanager
    def _decoding(self, piece: Piece, flaws: list[str]) -> Iterator[None]:
        """Say what libsndfile found wrong, and decoders that only talk."""
        import soundfile

        try:
            with overheard() if piece.talks else nullcontext(list[str]()) as errors:
                yield
        except soundfile.LibsndfileError as error:
            cause = f"not audio that can be decoded, or damaged (libsndfile: {error.error_string})"
            raise AudioError(f"{self.name}: {cause}") from error
        if errors and not any(flaw.startswith(_UNDECODED) for flaw in flaws):
            self._judge(f"{_UNDECODED} ({errors[0]})", flaws)

    def _check(self, view: View) -> None:
        """Raise what the disk did."""
        if view.error is not None:
            with reading(self.name):
                raise view.error


def reading(name: str) -> AbstractContextManager[None]:
    """Say what is wrong with audio that cannot be read.  ValueError: a closed file, a null character in a path"""
    return naming(name, AudioError, problems=(OSError, ValueError))


def _unfolds(sample_count: int, size: int) -> bool:
    """Whether so many float32 samples are more than a file of ``size`` bytes may honestly hold."""
    return 4 * sample_count > max(_SMALL, _LARGEST_EXPANSION * size)


def _check_unfolding(name: str, sample_count: int, rate: int, target: int, size: int) -> None:
    out = -(-sample_count * target // rate)
    if _unfolds(out, size):
        raise AudioError(f"{name}: {sample_count:,} samples at {rate} Hz, as the header says, would be {out:,} at {target} Hz")


def _missing(kind: str, log: str, promised: int, found: int) -> str:
    """What a recording lacks, by what was promised and by what libsndfile noted; nothing if it is whole, or cannot know its own length."""
    counts = [int(count) for count in _COUNTED.findall(log)]
    if kind in ("AVR", "MPC2K", "MAT5") and counts and counts[-1] != found:
        return (
            short_of(counts[-1], found, "samples")
            if found < counts[-1]
            else f"damaged: the header speaks of {counts[-1]} samples, found {found}"
        )
    if _TRUNCATED.search(log):
        return "cut short: its header promises more sound than there is"
    tolerance = 2 * _MP3_FRAME if kind == "MP3" else 0  # encoder delay and the last frame's bit reservoir
    return short_of(promised, found, "samples") if found + tolerance < promised else ""
