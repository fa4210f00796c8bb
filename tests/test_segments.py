"""Recordings with pauses: pieces run each for itself, in their places in the whole."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.cli import main
from sewnp.config import SEWConfig
from sewnp.decoding import BeamSearch
from sewnp.errors import ConfigError, InputError
from sewnp.long import alone, segmented_logits
from sewnp.speech import CTCTokenizer, FeatureExtractor, open_recording, read_audio, speech_segments
from sounds import noise

CLIPS = Path(__file__).parent / "clips"
NAMES = ["three_one_four.wav", "eight_six_seven.flac", "two_seven_one.mp3"]
RATE = 16000


@pytest.fixture(scope="module")
def paused():
    """Three clips with a second of silence around each."""
    silence = np.zeros(RATE, np.float32)
    return np.concatenate([silence, *(part for name in NAMES for part in (read_audio(CLIPS / name), silence))])


def logits(model, audio, segment):
    with open_recording(audio) as recording:
        return model.recording_logits(recording, segment=segment)[0]


@pytest.mark.parametrize("name", ["digits", "digits-d"])
@pytest.mark.parametrize("clip", NAMES)
def test_a_clip_without_pauses_is_what_it_was_to_the_last_bit(name, clip):
    model = sewnp.load(name)
    plain = model(model.features(read_audio(CLIPS / clip)).input_values).logits[0]
    assert logits(model, CLIPS / clip, True).tobytes() == plain.tobytes()
    assert model.transcribe(CLIPS / clip) == model.transcribe(CLIPS / clip, segment=False)


def test_frames_between_pieces_are_blanks_and_one_delimiter():
    config = SEWConfig(vocab_size=3)
    tokenizer = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "A": 2})
    loud, silence = noise(RATE), np.zeros(RATE, np.float32)
    x = np.concatenate([silence, loud, silence, silence, loud])

    def run(recording):
        samples = len(recording.read())
        return (yield np.zeros(samples)), samples

    def answer(waveform):
        return np.tile(np.float32([1, 2, 3]), (config.frames(len(waveform)), 1))

    for given, middle in ((tokenizer, 1), (None, 0)):
        with open_recording(x) as recording:
            steps = segmented_logits(recording, run, config, given, dtype=np.dtype(np.float64), rate=RATE)
            found, samples = alone(steps, answer)
        assert (samples, found.shape, found.dtype) == (len(x), (config.frames(len(x)), 3), np.float64)
        best = found.argmax(axis=1)
        assert (best[192:] == 2).all()
        first, second = (np.flatnonzero(best[a:b] == 2) + a for a, b in ((0, 150), (150, len(best))))
        # 0.15 s, 8 frames of 20 ms, to either side; the last frame of a piece would need the piece's next samples
        assert (first[0], first[-1] + 1, second[0], second[-1] + 1) == (42, 107, 192, len(best))
        assert len(first) + len(second) == (best == 2).sum() == 65 + len(best) - 192
        between = np.zeros(192 - 107, int)
        between[len(between) // 2] = middle
        assert best[107:192].tolist() == between.tolist()
        assert np.sort(found[107:192], axis=1).tolist() == [[-100.0, -100.0, 0.0]] * len(between)
        assert best[:42].tolist() == [0] * 42


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pieces_keep_their_places(paused, dtype):
    model = sewnp.load("digits", dtype=dtype)
    found, whole = logits(model, paused, True), logits(model, paused, False)
    assert (found.shape, found.dtype) == (whole.shape, whole.dtype)
    pieces = list(speech_segments([paused], rate=RATE, frame=320))
    assert len(pieces) == 3
    spoken = np.zeros(len(found), bool)
    for piece in pieces:
        alone = model(model.features(piece.waveform).input_values).logits[0]
        start = piece.start // 320
        assert found[start : start + len(alone)].tobytes() == alone.tobytes()
        spoken[start : start + len(alone)] = True
    blank, delimiter = model.tokenizer.pad_token_id, model.tokenizer.id_of("|")
    silent = found[~spoken]
    assert set(silent.argmax(axis=1)) == {blank, delimiter}
    assert np.sort(silent, axis=1)[:, -2:].tolist() == [[-100.0, 0.0]] * len(silent)
    (words,) = np.nonzero(~spoken & (found.argmax(axis=1) == delimiter))
    ends = [(piece.start + len(piece.waveform)) // 320 for piece in pieces]
    starts = [piece.start // 320 for piece in pieces]
    assert len(words) == 2  # between pieces, and neither before the first nor behind the last
    assert all(end - 1 <= word < start for word, end, start in zip(words, ends, starts[1:], strict=False))


def test_texts_and_times_are_those_of_the_recording(digits, paused):
    transcript = digits.transcribe(paused)
    pieces = list(speech_segments([paused], rate=RATE, frame=320))
    alone = [digits.transcribe(piece.waveform) for piece in pieces]
    assert transcript.text == " ".join(piece.text for piece in alone)
    assert transcript != digits.transcribe(paused, segment=False)
    assert transcript.duration == len(paused) / RATE
    expected = [
        (w.text, w.start + p.start / RATE, w.end + p.start / RATE) for p, t in zip(pieces, alone, strict=True) for w in t.words
    ]
    assert [word.text for word in transcript.words] == [text for text, _, _ in expected]
    np.testing.assert_allclose([(w.start, w.end) for w in transcript.words], [times for _, *times in expected], atol=1e-9)
    assert [w.probability for w in transcript.words] == pytest.approx([w.probability for t in alone for w in t.words], abs=1e-6)
    greedy = digits.transcribe(paused, decoder="greedy").text
    assert greedy == digits.transcribe(paused, decoder=BeamSearch(beam_width=1)).text


def test_a_piece_longer_than_a_window_has_windows(digits):
    options = {"window": 1.5, "overlap": 0.2}
    clip = CLIPS / NAMES[0]
    assert digits.transcribe(clip, segment=True, **options) == digits.transcribe(clip, segment=False, **options)
    assert digits.transcribe(clip, segment=True, **options) != digits.transcribe(clip)
    with pytest.raises(InputError, match="window: expected more than twice the overlap"):
        digits.transcribe(np.zeros(RATE, np.float32), window=1.0, overlap=0.6)


def test_silence_is_not_run(digits, monkeypatch):
    monkeypatch.setattr(sewnp.Model, "__call__", lambda *_, **__: pytest.fail("the network was run"))
    transcript = digits.transcribe(np.zeros(3 * RATE, np.float32))
    assert (transcript.text, transcript.words, transcript.duration) == ("", (), 3.0)


def test_progress_counts_the_seconds_of_pieces(digits, paused):
    told = []
    digits.transcribe(paused, progress=lambda done, total: told.append((done, total)))
    seconds = len(paused) / RATE
    assert (told[0], told[-1], len(told)) == ((0.0, None), (seconds, seconds), 5)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_models_folder_says_whether(digits, paused, tmp_path):
    assert digits.feature_extractor.segment
    digits.save(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    content = json.loads(path.read_text())
    assert content["sewnp"]["segment"] is True
    assert sewnp.load(tmp_path).transcribe(paused) == digits.transcribe(paused) == digits.transcribe(paused, segment=True)
    for own in ({}, {"sewnp": {}}, {"sewnp": {"segment": False, "other": 1}}):
        path.write_text(json.dumps({key: value for key, value in content.items() if key != "sewnp"} | own))
        model = sewnp.load(tmp_path)
        assert not model.feature_extractor.segment
        assert model.transcribe(paused) == digits.transcribe(paused, segment=False, decoder="greedy")
        assert model.transcribe(paused, segment=True) == digits.transcribe(paused, decoder="greedy")
        assert model.feature_extractor.to_dict().get("sewnp") == own.get("sewnp")
    sewnp.convert(tmp_path, tmp_path / "converted")
    assert json.loads((tmp_path / "converted" / "preprocessor_config.json").read_text())["sewnp"] == {"segment": False, "other": 1}


@pytest.mark.parametrize(
    ("own", "message"),
    [(True, "sewnp: expected an object, found True"), ({"segment": "yes"}, "sewnp.segment: expected true or false, found 'yes'")],
)
def test_a_key_that_makes_no_sense_is_refused(own, message):
    with pytest.raises(ConfigError, match=message):
        FeatureExtractor.from_dict({"sewnp": own})


def test_a_file_without_the_key_does_not_ask_for_it():
    found = [FeatureExtractor.from_dict(content).segment for content in ({}, {"sewnp": {}}, {"sewnp": {"segment": True}})]
    assert found == [False, False, True]


def test_transformers_loads_the_key_and_keeps_it(digits, tmp_path):
    transformers = pytest.importorskip("transformers")
    digits.save(tmp_path)
    theirs = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "theirs")
    assert FeatureExtractor.from_dict(json.loads((tmp_path / "theirs" / "preprocessor_config.json").read_text())).segment
    x = read_audio(CLIPS / NAMES[0])
    assert theirs(x, sampling_rate=RATE, return_tensors="np").input_values.tobytes() == digits.features(x).input_values.tobytes()


def test_what_is_asked_for_frame_by_frame_is_never_cut(digits, paused, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("cut at pauses")

    monkeypatch.setattr("sewnp.long.speech_segments", refuse)
    digits.transcribe(paused, compat="transformers", window=4.0)
    digits.align(paused, "THREE ONE FOUR")
    logits(digits, paused, False)
    with open_recording(paused) as recording:
        digits.recording_logits(recording)
    with pytest.raises(InputError, match="segment: expected None or False with compat='transformers'"):
        digits.transcribe(paused, compat="transformers", segment=True)
    with pytest.raises(InputError, match="segment: expected True, False or None, found 'yes'"):
        digits.transcribe(paused, segment="yes")


def test_the_command_line(digits, paused, tmp_path, capsys):
    path = tmp_path / "paused.wav"
    soundfile.write(path, paused, RATE, subtype="FLOAT")
    manifest = tmp_path / "set.tsv"
    manifest.write_text("path\ttext\npaused.wav\tTHREE ONE FOUR\n")
    texts = {flag: digits.transcribe(paused, segment=flag != "--no-segment").text for flag in ("", "--segment", "--no-segment")}
    for flag, text in texts.items():
        assert main(["transcribe", str(path), *flag.split()]) == 0
        assert capsys.readouterr().out == text + "\n"
        out = tmp_path / f"out{flag}"
        assert main(["evaluate", str(manifest), "-f", "json", "-o", str(out), *flag.split()]) == 0
        assert json.loads(capsys.readouterr().out)["segment"] == ("no" if flag == "--no-segment" else "at pauses")
        assert json.loads((out / "results.jsonl").read_text().splitlines()[1])["hypothesis"] == text
    assert main(["evaluate", str(manifest), "-o", str(tmp_path / "out"), "--resume", "--no-segment"]) == 1
    assert "made with another segment: expected no, found 'at pauses'" in capsys.readouterr().err
