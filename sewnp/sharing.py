"""Clips that are transcribed in one process share the products of the network: what each asks of it is collected, and answered at once."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from sewnp.inputs import calmly
from sewnp.jobs import Answer, Job, Raised, answered
from sewnp.model import Model
from sewnp.speech.audio import Audio, audio_name
from sewnp.speech.given import check_one
from sewnp.speech.transcript import Transcript
from sewnp.transcribing import transcription
from sewnp.types import Array

SECONDS = 128.0
"""Of sound that is collected: as much as keeps a few threads busy with groups that share their products (``FastTrunk.together``)."""

K = TypeVar("K")


def can_share(job: Job, model: object) -> bool:
    """Whether the clips of a job can: the textbook knows no such thing, and a classifier gives one answer a clip."""
    return job.task == "transcribe" and isinstance(model, Model) and model.engine == "fast"


def share(job: Job, model: Model, clips: Iterator[tuple[K, Audio]], *, most: int) -> Iterator[tuple[K, Answer | Raised]]:
    """The answer to each clip, in the order of the clips, as :func:`sewnp.jobs.work` gives it.

    clips: with what they are called by.  They are read until at most ``most`` of them, with little more than :data:`SECONDS` of sound, ask for
    something.  So who shares with whom depends on the clips and their order alone, and memory on neither.  What the iterator raises is raised
    when those before it have their answers.
    """
    heard: deque[_Clip[K]] = deque()
    ended: Exception | None = None
    room = SECONDS * model.feature_extractor.sampling_rate
    while True:
        while ended is None and len(heard) < most and sum(clip.asks for clip in heard) < room:
            try:
                key, audio = next(clips)
            except Exception as error:  # StopIteration too
                ended = error
            else:
                heard.append(_Clip(key, audio, job, model))
        if not heard:
            if isinstance(ended, StopIteration):
                return
            assert ended is not None  # else there would be a clip
            raise ended
        if heard[0].answer is None:
            _answer([clip for clip in heard if clip.answer is None], model)
        while heard and (answer := heard[0].answer) is not None:
            yield heard.popleft().key, answer


class _Clip(Generic[K]):
    """A clip on its way, and what it asks for."""

    def __init__(self, key: K, audio: Audio, job: Job, model: Model) -> None:
        self.key, self.audio, self.seconds = key, audio, 0.0
        self.waiting: Array | None = None
        """(1, n): what the network is to be given next."""
        self.answer: Answer | Raised | None = None
        self._model, self._steps = model, transcription(model, audio, **job.options)
        self._go(self._begin)

    @property
    def asks(self) -> int:
        """Samples."""
        return 0 if self.waiting is None else self.waiting.shape[1]

    def go_on(self, logits: Array | None) -> None:
        """With what was asked for, (T, V), or with what comes of it here."""
        asked = self.waiting
        assert asked is not None
        self._go(lambda: self._steps.send(np.asarray(self._model(asked).logits)[0] if logits is None else logits))

    def _begin(self) -> Array:
        check_one(self.audio)
        return next(self._steps)

    @calmly
    def _go(self, step: Callable[[], Array]) -> None:
        start, self.waiting = time.perf_counter(), None
        found: list[Transcript] = []

        def act() -> None:
            try:
                self.waiting = self._model._prepared(self.audio, step())
            except StopIteration as end:
                found.append(end.value)

        failed = answered(audio_name(self.audio), act)
        self.seconds += time.perf_counter() - start
        if failed is not None:
            self.answer = failed
            self._steps.close()
        elif found:
            self.answer = {"transcript": found[0], "seconds": self.seconds}


def _answer(clips: "list[_Clip[K]]", model: Model) -> None:
    """Run what they ask for, together; or each alone, where together it fails, so that each has its own error."""
    start, asked = time.perf_counter(), [clip.waiting for clip in clips if clip.waiting is not None]
    if len(clips) == 1:  # with all threads
        clips[0].go_on(None)
        return
    try:
        together = calmly(model._logits_together)(asked)
    except Exception:
        for clip in clips:
            clip.go_on(None)
        return
    each = (time.perf_counter() - start) / sum(x.shape[1] for x in asked)
    for clip, x, logits in zip(clips, asked, together, strict=True):
        clip.seconds += each * x.shape[1]
        clip.go_on(logits)
