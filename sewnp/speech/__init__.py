"""Everything between a recording and the network, and between the network and a text.

A recording becomes a waveform (:mod:`~sewnp.speech.audio`), cut at its pauses where that is wanted (:mod:`~sewnp.speech.segmentation`);
the waveform becomes features (:mod:`~sewnp.speech.features`), and the network makes logits of them, one row every few hundred samples.
Greedy decoding spells these (:mod:`~sewnp.speech.tokenizer`) and tells when each word was said (:mod:`~sewnp.speech.transcript`); where
the text is known, alignment tells it better (:mod:`~sewnp.speech.alignment`).  Transcripts become files in
:mod:`~sewnp.speech.formats`.  Nothing here knows the network.

>>> import numpy as np
>>> from sewnp.speech import CTCTokenizer, FeatureExtractor, transcript_from_logits
>>> FeatureExtractor()(np.array([0.0, 0.5, 1.0]), sampling_rate=16000).input_values.round(3)
array([[-1.225,  0.   ,  1.225]], dtype=float32)
>>> tokenizer = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "H": 2, "I": 3})
>>> tokenizer.encode("HI HI")
[2, 3, 1, 2, 3]
>>> logits = np.log([[0.125, 0.125, 0.625, 0.125], [0.625, 0.125, 0.125, 0.125], [0.125, 0.125, 0.125, 0.625]])
>>> word = transcript_from_logits(logits, tokenizer, seconds_per_frame=0.02, duration=0.07).words[0]
>>> word.text, word.start, word.end, round(word.probability, 6)
('HI', 0.0, 0.06, 0.625)
"""

from sewnp.speech.alignment import Alignment, align_logits, text_tokens
from sewnp.speech.audio import RawAudio, as_waveform, mono
from sewnp.speech.cues import Layout
from sewnp.speech.features import FeatureExtractor, Features
from sewnp.speech.formats import Cue, format_transcript, subtitles
from sewnp.speech.labels import Labels
from sewnp.speech.own_keys import OwnKeys
from sewnp.speech.resampling import resample, resampled
from sewnp.speech.segmentation import Segment, speech_segments
from sewnp.speech.spelling import Spelled, delimiter_id, spell, spelling_tokens, vocabulary_spelling
from sewnp.speech.stream import Recording, audio_seconds, open_recording, read_audio
from sewnp.speech.textgrid import textgrid
from sewnp.speech.tokenizer import CTCTokenizer, Offsets, Span
from sewnp.speech.transcript import Transcript, transcript_from_logits
from sewnp.speech.words import Character, Word

__all__ = [
    "Alignment",
    "CTCTokenizer",
    "Character",
    "Cue",
    "FeatureExtractor",
    "Features",
    "Labels",
    "Layout",
    "Offsets",
    "OwnKeys",
    "RawAudio",
    "Recording",
    "Segment",
    "Span",
    "Spelled",
    "Transcript",
    "Word",
    "align_logits",
    "as_waveform",
    "audio_seconds",
    "delimiter_id",
    "format_transcript",
    "mono",
    "open_recording",
    "read_audio",
    "resample",
    "resampled",
    "speech_segments",
    "spell",
    "spelling_tokens",
    "subtitles",
    "text_tokens",
    "textgrid",
    "transcript_from_logits",
    "vocabulary_spelling",
]
