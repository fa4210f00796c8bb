"""What whisper's command takes (https://github.com/openai/whisper) and this one does not: an answer to each of its options."""

from collections.abc import Sequence

_NO_DECODER = "there is none of it here: CTC has no decoder that samples, is prompted or falls back"
_NO_PUNCTUATION = "this model has no punctuation"

ANSWERS = {
    "--language": "a model has one language",
    "--task": "a model transcribes; nothing is translated",
    "--word_timestamps": "see --timestamps word; json always has the words",
    "--model_dir": "see --model, which takes a folder",
    "--device": "NumPy computes on processors alone; see --threads and --jobs",
    "--fp16": "NumPy computes in float32",
    "--clip_timestamps": "a recording is transcribed whole",
    "--hallucination_silence_threshold": "CTC says nothing where nothing is heard",
    "--no_speech_threshold": "CTC says nothing where nothing is heard",
    "--prepend_punctuations": _NO_PUNCTUATION,
    "--append_punctuations": _NO_PUNCTUATION,
} | dict.fromkeys(
    [
        "--temperature",
        "--temperature_increment_on_fallback",
        "--best_of",
        "--patience",
        "--length_penalty",
        "--suppress_tokens",
        "--initial_prompt",
        "--carry_initial_prompt",
        "--condition_on_previous_text",
        "--compression_ratio_threshold",
        "--logprob_threshold",
    ],
    _NO_DECODER,
)
"""By the option as whisper spells it."""


def translated(words: Sequence[str]) -> list[str]:
    """A command line with ``--verbose True`` and ``--verbose False`` as ``-v`` and ``-q``."""
    made = list(words)
    for i in reversed(range(len(made))):
        option, is_, value = made[i].partition("=")
        value = value or " ".join(made[i + 1 : i + 2])
        if option == "--verbose" and value.lower() in ("true", "false"):
            made[i : i + (1 if is_ else 2)] = ["-v" if value.lower() == "true" else "-q"]
    return made
