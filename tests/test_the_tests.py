"""The judges are judged: break a layer, and its judge turns red.

Each mutant is one small mistake that somebody could have made, in a copy of the package; the tests that should notice it run against the
copy in a process of their own.  A control runs all of them against an unbroken copy, so that red means the mutant and nothing else.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
QUICKLY = """from hypothesis import Phase, settings

# a verdict needs a counterexample, not the smallest one, and no explanation of it
settings.register_profile("quickly", phases=[Phase.explicit, Phase.reuse, Phase.generate])
settings.load_profile("quickly")
"""


class Mutant(NamedTuple):
    name: str
    place: str  # the file under sewnp/, and the function in it
    old: str  # what stands there, exactly once; how its lines are broken and indented does not matter
    new: str
    judge: str  # the test that has to notice, under tests/

    @property
    def module(self) -> str:
        return self.place.partition(":")[0]

    def applied(self, source: str) -> str:
        """The source with the mistake in it."""
        first, last = _lines_of(source, self.place.partition(":")[2])
        lines = source.splitlines(keepends=True)
        before, there, after = ("".join(part) for part in (lines[:first], lines[first:last], lines[last:]))
        pattern = r"\s+".join(re.escape(word) for word in self.old.split())
        broken, count = re.subn(pattern, lambda match: self.new.strip(), there)
        assert count == 1, f"{self.place} holds {self.old!r} {count} times"
        return before + broken + after


def _lines_of(source: str, name: str) -> tuple[int, int]:
    """Where the function, method or class of that dotted name stands; all of the file for no name."""
    if not name:
        return 0, source.count("\n") + 1
    body = ast.parse(source).body
    for part in name.split("."):
        (node,) = (each for each in body if isinstance(each, ast.FunctionDef | ast.ClassDef) and each.name == part)
        body = node.body
    assert node.end_lineno is not None
    return node.lineno - 1, node.end_lineno


MUTANTS = [
    Mutant(
        "gelu by its tanh approximation",
        "layers/activations.py:gelu",
        "return 0.5 * x * (1.0 + _erf(x * math.sqrt(0.5)))",
        "return gelu_tanh(x)",
        "layers/test_activations.py::test_equals_its_formula_number_by_number[gelu]",
    ),
    Mutant(
        "linear forgets its bias",
        "layers/linear.py:linear",
        "return y + bias",
        "return y",
        "layers/test_linear.py::test_linear_equals_a_loop",
    ),
    Mutant(
        "feed-forward without its activation",
        "layers/linear.py:feed_forward",
        'see("activation", activation(hidden))',
        'see("activation", hidden)',
        "layers/test_linear.py::test_feed_forward_equals_a_loop",
    ),
    Mutant(
        "a stage is shown and its answer thrown away",
        "layers/linear.py:feed_forward",
        'return see("output_dense", linear(hidden, **p["output_dense"]))',
        'y = linear(hidden, **p["output_dense"])\n    see("output_dense", y)\n    return y',
        "layers/test_observe.py::test_the_answer_of_see_counts_at_every_stage[feed_forward]",
    ),
    Mutant(
        "scopes that get lost on the way in",
        "layers/observe.py:within",
        'see(f"{scope}.{name}", x)',
        "see(name, x)",
        "layers/test_observe.py::test_within_puts_scopes_in_front_and_passes_the_answer_on",
    ),
    Mutant(
        "a convolution that mirrors its kernel",
        "layers/convolution.py:conv1d",
        "@ weight[:, :, k].T for k in range(kernel))",
        "@ weight[:, :, kernel - 1 - k].T for k in range(kernel))",
        "layers/test_convolution.py::test_conv1d_equals_a_loop",
    ),
    Mutant(
        "a tap that reads a frame too early",
        "layers/convolution.py:_tap",
        "return slice(k, k + stride * (frames - 1) + 1, stride)",
        "return slice(max(k - 1, 0), max(k - 1, 0) + stride * (frames - 1) + 1, stride)",
        "layers/test_convolution.py::test_conv1d_equals_a_loop",
    ),
    Mutant(
        "a stride that is one too long",
        "layers/convolution.py:conv_length",
        "return (length - kernel) // stride + 1",
        "return (length - kernel) // (stride + 1) + 1",
        "layers/test_convolution.py::test_conv_length_counts_the_places_where_the_kernel_fits",
    ),
    Mutant(
        "ceil for floor in the number of frames",
        "layers/convolution.py:conv_length",
        "return (length - kernel) // stride + 1",
        "return -((kernel - length) // stride) + 1",
        "layers/test_convolution.py::test_conv_length_counts_the_places_where_the_kernel_fits",
    ),
    Mutant(
        "the output channels of groups interleaved",
        "layers/heads.py:merge_heads",
        "return x.swapaxes(1, 2).reshape(batch, frames, heads * size)",
        "return x.transpose(0, 2, 3, 1).reshape(batch, frames, heads * size)",
        "layers/test_convolution.py::test_grouped_conv1d_equals_a_loop",
    ),
    Mutant(
        "weight norm over the taps of an output channel",
        "layers/convolution.py:_tap_norms",
        "np.square(weight_v, dtype=np.float64), axis=(0, 1)",
        "np.square(weight_v, dtype=np.float64), axis=(1, 2)",
        "layers/test_convolution.py::test_weight_norm_equals_a_loop",
    ),
    Mutant(
        "weight norm that promotes float32",
        "layers/convolution.py:weight_norm",
        "(weight_g / _tap_norms(weight_v)).astype(weight_v.dtype)",
        "weight_g / _tap_norms(weight_v)",
        "layers/test_convolution.py::test_good_manners",
    ),
    Mutant(
        "epsilon outside the square root",
        "layers/normalization.py:_over_channels",
        "np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + eps)",
        "np.sqrt(np.square(centred).mean(axis=-1, keepdims=True)) + eps",
        "layers/test_normalization.py::test_layer_norm_equals_a_loop",
    ),
    Mutant(
        "the unbiased variance in layer norm",
        "layers/normalization.py:_over_channels",
        "np.square(centred).mean(axis=-1, keepdims=True)",
        "np.square(centred).sum(axis=-1, keepdims=True) / max(x.shape[-1] - 1, 1)",
        "layers/test_normalization.py::test_layer_norm_equals_a_loop",
    ),
    Mutant(
        "layer norm in place",
        "layers/normalization.py:_over_channels",
        "    centred = x - x.mean(axis=-1, keepdims=True)\n",
        "    x -= x.mean(axis=-1, keepdims=True)\n    centred = x\n",
        "layers/test_normalization.py::test_good_manners",
    ),
    Mutant(
        "group norm with a variance for each channel of the group",
        "layers/normalization.py:_over_time",
        "np.square(centred, dtype=np.float64).mean(axis=(1, 3)",
        "np.square(centred, dtype=np.float64).mean(axis=(1,)",
        "layers/test_normalization.py::test_group_norm_equals_a_loop",
    ),
    Mutant(
        "group norm with another epsilon by default",
        "layers/normalization.py:group_norm",
        "groups: int, eps: float = 1e-5) -> Array:",
        "groups: int, eps: float = 1e-6) -> Array:",
        "layers/test_normalization.py::test_the_epsilon_of_group_norm_is_that_of_torch_by_default",
    ),
    Mutant(
        "a float32 mean over a million frames",
        "layers/normalization.py:_over_time",
        "mean = grouped.mean(axis=(1, 3), dtype=np.float64, keepdims=True)",
        "mean = grouped.mean(axis=(1, 3), keepdims=True)",
        "layers/test_normalization.py::test_group_norm_of_a_million_frames_in_float32_loses_nothing",
    ),
    Mutant(
        "the last frame of an even kernel kept",
        "layers/positions.py:_cropped",
        "if kernel % 2 == 0 else y",
        "if kernel % 2 == 2 else y",
        "layers/test_positions.py::test_equals_a_loop",
    ),
    Mutant(
        "positions without their activation",
        "layers/positions.py:convolutional_position_embedding",
        'see("activation", activation(_cropped(y, kernel)))',
        'see("activation", _cropped(y, kernel))',
        "layers/test_positions.py::test_equals_a_loop",
    ),
    Mutant(
        "squeeze drops the head of the clip instead of its tail",
        "layers/squeeze.py:squeeze",
        "x[:, : squeezed * factor]",
        "x[:, frames - squeezed * factor :]",
        "layers/test_squeeze.py::test_squeeze_equals_a_loop",
    ),
    Mutant(
        "upsample skips its activation with factor one",
        "layers/squeeze.py:upsample",
        'see("activation", activation(y))',
        'see("activation", activation(y) if factor > 1 else y)',
        "layers/test_squeeze.py::test_upsample_activation_applies_with_factor_one",
    ),
    Mutant(
        "upsample reads channels across its blocks",
        "layers/squeeze.py:_side_by_side",
        "wide.reshape(batch, squeezed * factor, channels // factor)",
        "wide.reshape(batch, squeezed, -1, factor).swapaxes(2, 3).reshape(batch, squeezed * factor, channels // factor)",
        "layers/test_squeeze.py::test_upsample_equals_a_loop",
    ),
    Mutant(
        "the last squeezed frame repeated to fill the tail",
        "layers/squeeze.py:_side_by_side",
        "(0, frames - squeezed * factor), (0, 0)))",
        '(0, frames - squeezed * factor), (0, 0)), mode="edge")',
        "layers/test_squeeze.py::test_odd_tail_frames_are_exact_zeros",
    ),
    Mutant(
        "attention scores without the scale of a head",
        "layers/attention.py:multi_head_attention",
        "np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5",
        "np.swapaxes(k, -1, -2)",
        "layers/test_attention.py::test_equals_a_loop",
    ),
    Mutant(
        "attention scores scaled by the whole width",
        "layers/attention.py:multi_head_attention",
        "np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5",
        "np.swapaxes(k, -1, -2) * x.shape[-1] ** -0.5",
        "layers/test_attention.py::test_equals_a_loop",
    ),
    Mutant(
        "attention masks queries instead of keys",
        "layers/attention.py:multi_head_attention",
        "masked_softmax(scores, mask)",
        "masked_softmax(scores, mask if mask is None else np.swapaxes(mask, -1, -2))",
        "layers/test_attention.py::test_what_a_masked_frame_holds_reaches_no_other_frame",
    ),
    Mutant(
        "a fully masked clip attends to everything, as with an additive mask",
        "layers/softmax.py:masked_softmax",
        "np.where(_check_mask(mask, scores), scores, -np.inf)",
        "np.where(_check_mask(mask, scores), scores, np.finfo(scores.dtype).min)",
        "layers/test_attention.py::test_a_fully_masked_clip_gives_the_output_bias",
    ),
    Mutant(
        "log_softmax without taking the largest score off",
        "layers/softmax.py:_below_peak",
        "below: Array = x - x.max(axis=-1, keepdims=True)",
        "below: Array = x - 0",
        "layers/test_softmax.py::test_large_scores_neither_overflow_nor_vanish[60000.0-float64]",
    ),
    Mutant(
        "p2c is gathered and not transposed",
        "layers/disentangled.py:position_to_content",
        "np.swapaxes(_gather(k @ np.swapaxes(position_queries, -1, -2), -relative), -1, -2)",
        "_gather(k @ np.swapaxes(position_queries, -1, -2), -relative)",
        "layers/test_disentangled.py::test_equals_a_loop",
    ),
    Mutant(
        "p2c with key minus query turned round",
        "layers/disentangled.py:position_to_content",
        "np.swapaxes(position_queries, -1, -2), -relative)",
        "np.swapaxes(position_queries, -1, -2), relative)",
        "layers/test_disentangled.py::test_equals_a_loop",
    ),
    Mutant(
        "the score scale does not count the terms",
        "layers/disentangled.py:disentangled_attention",
        'scale = score_scale(q.shape[-1], 1 + len(terms))\n    scores = see("content"',
        'scale = score_scale(q.shape[-1], 1)\n    scores = see("content"',
        "layers/test_disentangled.py::test_equals_a_loop",
    ),
    Mutant(
        "a score scale in float64",
        "layers/disentangled.py:score_scale",
        "float(np.sqrt(np.float32(head_size * terms)))",
        "math.sqrt(head_size * terms)",
        "layers/test_disentangled.py::test_the_score_scale_is_rounded_to_float32",
    ),
    Mutant(
        "buckets in float64",
        "layers/disentangled.py:log_buckets",
        "np.ceil(log_ratio / log_range * np.float32(middle - 1))",
        "np.ceil(np.log(np.maximum(distance, middle) / middle) / math.log((max_distance - 1) / middle) * (middle - 1))",
        "layers/test_disentangled.py::test_buckets_are_computed_in_float32",
    ),
    Mutant(
        "floor for ceil in the buckets",
        "layers/disentangled.py:log_buckets",
        "np.ceil(log_ratio",
        "np.floor(log_ratio",
        "layers/test_disentangled.py::test_the_buckets_of_the_published_models",
    ),
    Mutant(
        "positions past the table wrap around instead of stopping at its end",
        "layers/disentangled.py:_table_rows",
        "np.clip(relative + size // 2, 0, size - 1)",
        "(relative + size // 2) % size",
        "layers/test_disentangled.py::test_each_gather_equals_a_loop",
    ),
    Mutant(
        "p2c projects positions with the key projection",
        "layers/disentangled.py:disentangled_attention",
        'p["query_proj"] if share_att_key',
        'p["key_proj"] if share_att_key',
        "layers/test_disentangled.py::test_equals_a_loop",
    ),
    Mutant(
        "a squeezed frame counts only when all its frames are real",
        "layers/masking.py:squeeze_mask",
        "return np.any(mask",
        "return np.all(mask",
        "layers/test_masking.py::test_a_half_valid_squeezed_frame_is_attended",
    ),
    Mutant(
        "a frame too many in every mask",
        "layers/masking.py:frame_mask",
        "np.arange(frames) < lengths[:, None]",
        "np.arange(frames) <= lengths[:, None]",
        "layers/test_masking.py::test_frame_mask_any_counts_frame_by_frame",
    ),
    Mutant(
        "the floor rules without their whole row for a clip without frames",
        "layers/masking.py:frame_mask",
        "np.where(lengths <= 0, frames + lengths, lengths)",
        "np.maximum(lengths, 0)",
        "layers/test_masking.py::test_frame_mask_floor_equals_transformers_4_57",
    ),
    Mutant(
        "spans that never start at the last place",
        "layers/spec_augment.py:draw_spans",
        "starts = steps - length + 1",
        "starts = max(steps - length, 1)",
        "layers/test_spec_augment.py::test_equals_a_loop_over_what_the_dice_say",
    ),
    Mutant(
        "a path may leap between two equal tokens",
        "ctc/lattice.py:_lattice",
        "leaps = extended != two_before",
        "leaps = extended != blank",
        "ctc/test_lattice.py::test_alpha_beta_and_posteriors_equal_the_enumeration_of_all_paths",
    ),
    Mutant(
        "alpha without leaps",
        "ctc/lattice.py:ctc_alpha",
        "np.where(leaps, behind[:, :-2], -np.inf)",
        "np.where(leaps, -np.inf, -np.inf)",
        "ctc/test_lattice.py::test_alpha_beta_and_posteriors_equal_the_enumeration_of_all_paths",
    ),
    Mutant(
        "the blank taken for token 0",
        "ctc/lattice.py:extended_targets",
        "np.full((batch, 2 * longest + 1), blank,",
        "np.full((batch, 2 * longest + 1), 0,",
        "ctc/test_lattice.py::test_the_lattice_of_the_docstring",
    ),
    Mutant(
        "a path must end on the last blank",
        "ctc/lattice.py:log_likelihood",
        "final = (state == 2 * tokens[:, None]) | (state == 2 * tokens[:, None] - 1)",
        "final = state == 2 * tokens[:, None]",
        "ctc/test_lattice.py::test_alpha_beta_and_posteriors_equal_the_enumeration_of_all_paths",
    ),
    Mutant(
        "a doubled delimiter begins an empty word",
        "ctc/prefix_search.py:prefix_search",
        "if c == blank or c == last == delimiter:",
        "if c == blank:",
        "decoding/test_beam.py::test_a_text_is_its_words_with_a_language_model",
    ),
    Mutant(
        "a delimiter at the end makes another text",
        "ctc/prefix_search.py:ended",
        "else (spelling.words(prefix), spelling.tidied(prefix))",
        "else (prefix, spelling.tidied(prefix))",
        "decoding/test_beam.py::test_a_text_is_its_words_with_a_language_model",
    ),
    Mutant(
        "blanks dropped before repeats are merged",
        "ctc/greedy.py:collapse",
        "for run in runs(ids) if run.token != blank]",
        "for run in runs([token for token in np.asarray(ids) if token != blank])]",
        "ctc/test_greedy.py::test_a_blank_keeps_two_equal_letters_apart",
    ),
    Mutant(
        "a long path is followed back from the wrong row",
        "ctc/band.py:best_path",
        "state = _retrace(lattice, kept[k], path, state,",
        "state = _retrace(lattice, kept[max(0, k - 1)], path, state,",
        "ctc/test_band.py::test_the_best_path_is_that_of_the_whole_table",
    ),
    Mutant(
        "a band is never widened",
        "ctc/band.py:probabilities_inside",
        "if total - before <= -math.log1p(-TOLERANCE):",
        "if total - before <= math.inf:",
        "ctc/test_band.py::test_a_band_is_widened_until_its_sums_stand",
    ),
    Mutant(
        "a backward band has its leaps a state too early",
        "ctc/band.py:_inside",
        "ahead[2:] + walls[start + 2 : end + 2])",
        "ahead[2:] + walls[start + 1 : end + 1])",
        "ctc/test_band.py::test_a_small_lattice_is_summed_whole",
    ),
    Mutant(
        "classification averages over padded frames",
        "layers/pooling.py:masked_mean",
        "np.where(mask[:, :, None], x, x.dtype.type(0)).sum(axis=1)",
        "x.sum(axis=1)",
        "networks/test_goldens.py::test_both_rule_sets_equal_their_goldens[any-sew-classification]",
    ),
    Mutant(
        "padded frames enter the squeeze",
        "networks/frontend.py:squeezed",
        'x = see("masked_frames", np.where(mask[:, :, None], x, x.dtype.type(0)))',
        'x = see("masked_frames", x)',
        "networks/test_goldens.py::test_both_rule_sets_equal_their_goldens[any-sew]",
    ),
    Mutant(
        "beams that meet take the larger probability and not the sum",
        "decoding/search.py:Search._merge",
        "stay_token[there] = log_add(",
        "stay_token[there] = np.maximum(",
        "decoding/test_beam.py::test_arrays_equal_the_plain_version",
    ),
    Mutant(
        "a search may end within a word",
        "decoding/search.py:Search._with_a_text",
        "if whole[rows].any() or not len(texts):",
        "if True:",
        "decoding/test_lexicon.py::test_arrays_equal_the_plain_version",
    ),
    Mutant(
        "words of a list may be cut short",
        "decoding/fusion.py:Fusion.step",
        "has(self.known, text)",
        "True",
        "decoding/test_lexicon.py::test_arrays_equal_the_plain_version",
    ),
    Mutant(
        "a word piece that begins a word goes on with the one before",
        "decoding/lexicon.py:Beginnings._fill",
        "if token in again:",
        "if False:",
        "decoding/test_lexicon.py::test_arrays_equal_the_plain_version",
    ),
    Mutant(
        "a hotword has its bonus only when it is whole",
        "decoding/fusion.py:Fusion._pending",
        "if hot else 0.0",
        "if False else 0.0",
        "decoding/test_lexicon.py::test_the_beginning_of_a_hotword_has_its_part",
    ),
    Mutant(
        "the fast softmax looks only where it may not",
        "fast/elementwise.py:exponentials",
        "where=~allowed)",
        "where=allowed)",
        "fast/test_parts.py::test_softmax_before_its_division[True]",
    ),
    Mutant(
        "the folded group norm keeps the mean",
        "networks/moments.py:fold_norm",
        '(mean - conv.get("bias", 0.0)) * scale',
        '0 * (mean - conv.get("bias", 0.0)) * scale',
        "fast/test_engine.py::test_a_loud_clip_with_an_offset",
    ),
    Mutant(
        "windows of positions are not moved along",
        "fast/attention.py:windows_by_distance",
        "step - item, item)",
        "step, item)",
        "fast/test_engine.py::test_clips_so_long_that_queries_come_in_blocks",
    ),
    Mutant(
        "the last rows of a product are left out",
        "fast/products.py:_multiply",
        "if even < rows:",
        "if even < 0:",
        "fast/test_products.py::test_threads_parts_are_parts_of_the_whole[blocks]",
    ),
    Mutant(
        "a model gives queries back for keys and values",
        "fast/transformer.py:Layer.weights",
        "fused[:, part]",
        "fused[:, 0]",
        "fast/test_engine.py::test_weights_are_held_once_and_given_back_to_the_last_bit",
    ),
    Mutant(
        "a written file that only its owner may read",
        "files/writing.py:whole_file",
        "scratch.chmod(_new_mode() if found is None else stat.S_IMODE(found.st_mode))",
        "scratch.chmod(0o600)",
        "test_files.py::test_a_file_appears_whole_or_not_at_all",
    ),
    Mutant(
        "a pipe replaced by a file",
        "files/writing.py:whole_file",
        "(found is not None and not stat.S_ISREG(found.st_mode))",
        "False",
        "test_files.py::test_a_pipe_reaches_its_reader",
    ),
    Mutant(
        "a link replaced by a file",
        "files/writing.py:whole_file",
        "place = Path(os.path.realpath(path))",
        "place = path",
        "test_files.py::test_links_are_followed",
    ),
    Mutant(
        "an interrupted exchange of files that is not undone",
        "files/writing.py:_exchange",
        "target.rename(source)",
        "pass",
        "test_files.py::test_when_one_step_fails_all_are_undone",
    ),
    Mutant(
        "inputs known by their names alone",
        "files/writing.py:_identity",
        "(found.st_dev, found.st_ino) if",
        "(0, hash(os.fspath(path))) if",
        "test_files.py::test_what_would_be_written_over",
    ),
    Mutant(
        "a new line in a name that begins a row",
        "errors.py:printable",
        "if short.isprintable() and",
        'if short.replace("\\n", "").isprintable() and',
        "test_errors.py::test_other_words_are_quoted_or_cut",
    ),
    Mutant(
        "a byte order mark dropped from every line",
        "files/reading.py:read_lines",
        "marked=number == 1",
        "marked=True",
        "test_files.py::test_text_and_its_lines",
    ),
    Mutant(
        "a row of a table said to stand where it ends",
        "manifests.py:_cells",
        "reader.line_num + 1",
        "reader.line_num",
        "test_manifests.py::test_quotes_in_csv_hold_commas_quotes_and_lines",
    ),
    Mutant(
        "results taken for those of the clips in order",
        "evaluation/run.py:evaluate",
        "utterance = sent[result.index]",
        "utterance = sent[len(done) + len(failed)]",
        "evaluation/test_results.py::test_results_in_any_order_are_those_of_their_clips",
    ),
    Mutant(
        "a budget of the luckiest run",
        "numerics/budgets.py:budgets",
        "max(errors, default=0.0)",
        "min(errors, default=0.0)",
        "numerics/test_budgets.py::test_the_largest_error_of_any_run_counts",
    ),
    Mutant(
        "NaN agrees with NaN",
        "numerics/measure.py:_errors",
        "np.where(a == b, 0.0, np.inf)",
        "np.where((a == b) | np.isnan(a), 0.0, np.inf)",
        "numerics/test_measure.py::test_what_is_not_finite",
    ),
    Mutant(
        "a replay that goes on with its own values",
        "numerics/replay.py:replay.see",
        "return used[name]",
        "return x",
        "numerics/test_replay.py::test_a_stage_depends_on_their_inputs_of_it_alone",
    ),
    Mutant(
        "every known mistake fits",
        "mistakes/naming.py:fitting",
        "and largest_error(value, found, least=least) <= budget",
        "and budget >= 0",
        "mistakes/test_mistakes.py::test_an_unknown_mistake_is_found_but_not_named",
    ),
    Mutant(
        "a gradient that is zero on paper measured against itself",
        "numerics/scales.py:zero_scales",
        "if size <= NOTHING * terms:",
        "if size < 0:",
        "numerics/test_gradient_traces.py::test_a_gradient_that_is_zero_on_paper_has_the_scale_of_what_it_comes_from",
    ),
    Mutant(
        "lattices of a moved run that are off by an epsilon whatever their logarithms",
        "numerics/jitter.py:of_float32_lattices",
        "(1.0 + signs * ends)",
        "(1.0 + signs)",
        "numerics/test_gradient_traces.py::test_a_moved_run_is_off_by_what_float32_lattices_cost",
    ),
    Mutant(
        "gradients by weights that may cost no more than others",
        "numerics/budgets.py:_budget",
        'stage_of(name).group == "weights"',
        'stage_of(name).group == "weight"',
        "numerics/test_gradient_traces.py::test_gradients_by_weights_may_cost_more",
    ),
    Mutant(
        "a budget that counts on stages which the port keeps to itself",
        "numerics/budgets.py:local_budgets",
        "for name, x in run.items() if name in given}",
        "for name, x in run.items() if name}",
        "numerics/test_gradient_traces.py::test_behind_what_a_port_keeps_to_itself_a_stage_costs_what_both_do",
    ),
    Mutant(
        "a replaced gradient that the pass does not go on with",
        "numerics/trace.py:both_ways",
        "lambda dy: see(GRADIENT + name, dy)",
        "lambda dy: (see(GRADIENT + name, dy), dy)[1]",
        "numerics/test_gradient_traces.py::test_a_gradient_is_wrong_in_itself_although_what_it_comes_from_agrees[gradient.logits]",
    ),
    Mutant(
        "a layer behind one that was left out reads the first that there is",
        "networks/stage_graph.py:_sources",
        "for number in reversed(layers) if",
        "for number in layers if",
        "numerics/test_gradient_traces.py::test_a_layer_that_was_left_out_is_passed_over",
    ),
    Mutant(
        "a mistake added to the right part in its place",
        "mistakes/gradients.py:gradient_mistakes",
        "rest = s.right - part",
        "rest = s.right",
        "numerics/test_gradient_traces.py::test_the_gradient_of_another_scale_is_seen_at_the_weight_alone",
    ),
    Mutant(
        "a captured gradient mixed with what the same value receives elsewhere",
        "ports/capture.py:_Watch._after",
        "result = result.clone()",
        "pass",
        "ports/test_capture_gradients.py::test_transformers_agrees_in_every_gradient[sew-classification-True]",
    ),
    Mutant(
        "torch's gradient at the log-probabilities taken for their derivative",
        "ports/capture.py:from_torch",
        "stages.pop(NO_TRUE_GRADIENT, None)",
        "stages.pop(GRADIENT, None)",
        "ports/test_capture_gradients.py::test_the_log_probabilities_have_no_gradient_that_torch_tells",
    ),
    Mutant(
        "a trace in a file that judges what is zero on paper by itself",
        "ports/judge.py:judge",
        "names=chosen(ours, stages), scales=scales)",
        "names=chosen(ours, stages), scales={})",
        "cli/test_cli_numerics.py::test_trace_of_a_loss_and_its_gradients",
    ),
    Mutant(
        "a map from other names that forgets the heads",
        "ports/names.py:_target",
        "return Target(stage, split(heads))",
        "return Target(stage)",
        "ports/test_names.py::test_names_axes_and_heads",
    ),
    Mutant(
        "a page whose words can end its script",
        "explain/page.py:render",
        '.replace("<", "\\\\u003c")',
        "",
        "explain/test_page.py::test_hostile_words_end_no_element",
    ),
    Mutant(
        "pooled attention whose shares no longer add up",
        "explain/arrays.py:pool_square",
        '(1 if keys == "sum" else sizes)',
        "sizes",
        "explain/test_arrays.py::test_shares_still_add_up_and_scores_are_means",
    ),
    Mutant(
        "buckets in the order of the keys, not of the distances",
        "explain/network.py:_buckets",
        "relative[0, :0:-1]",
        "relative[0, 1:]",
        "explain/test_collect.py::test_the_bucket_of_every_distance",
    ),
    Mutant(
        "a word's gradient that is the loss's",
        "explain/reading.py:_asks_for",
        'if name != "log_probs":',
        'if name != "probabilities":',
        "explain/test_collect.py::test_gradients_are_slopes",
    ),
    Mutant(
        "of joined recordings the first is read",
        "speech/containers/__init__.py:recordings",
        "while not pieces or (place < source.size and _is_known(source, place)):",
        "while not pieces:",
        "speech/test_containers.py::test_recordings_that_were_joined_are_read_one_after_the_other[FLAC-PCM_16]",
    ),
    Mutant(
        "a stale size is believed",
        "speech/containers/chunks.py:_sized",
        "elif ends := _ends(source, start, content + size, kind):",
        "elif ends := content + size:",
        "speech/test_containers.py::test_a_stale_riff_size_too",
    ),
    Mutant(
        "Ogg pages may be missing",
        "speech/containers/ogg.py:ogg_piece",
        "following[serial] = number + 1",
        "pass",
        "speech/test_containers.py::test_ogg_that_lacks_pages_or_has_others_is_refused[OPUS]",
    ),
    Mutant(
        "subtitles by whisper's options run over a long pause",
        "speech/cues.py:shown",
        "word.start - last.start > LONG_PAUSE",
        "False",
        "speech/test_whisper_writers.py::test_srt_by_whispers_options",
    ),
    Mutant(
        "what others write to standard error is swallowed with the decoders' remarks",
        "speech/chatter.py:_diverted",
        "os.write(number, line)",
        "pass",
        "speech/test_containers.py::test_what_others_write_to_standard_error_meanwhile_is_passed_on",
    ),
    Mutant(
        "norms that decay",
        "training/optimizer.py:adamw",
        "if is_decayed(key) else 1.0",
        "if key else 1.0",
        "training/test_optimizer.py::test_steps_are_those_of_torch",
    ),
    Mutant(
        "squares that begin at zero uncorrected",
        "training/optimizer.py:adamw",
        "root /= math.sqrt(largest)",
        "root /= 1.0",
        "training/test_optimizer.py::test_steps_are_those_of_torch",
    ),
    Mutant(
        "clipping without torch's 1e-6",
        "training/optimizer.py:clip_by_norm",
        "most / (norm + 1e-6)",
        "most / norm",
        "training/test_optimizer.py::test_clipping_is_that_of_torch",
    ),
    Mutant(
        "a norm that depends on the order of the weights",
        "training/optimizer.py:global_norm",
        "math.fsum(",
        "sum(",
        "training/test_optimizer.py::test_a_norm_does_not_depend_on_the_order",
    ),
    Mutant(
        "a warm-up that begins a step too late",
        "training/schedule.py:learning_rate",
        "peak * step / warmup",
        "peak * (step + 1) / warmup",
        "training/test_optimizer.py::test_schedules_are_those_of_transformers",
    ),
    Mutant(
        "decibels of amplitudes for those of power",
        "training/augmentation.py:mix",
        "(-decibels / 10.0)",
        "(-decibels / 20.0)",
        "training/test_augmentation.py::test_a_mix_has_the_ratio_asked_for",
    ),
    Mutant(
        "clips of different speakers joined",
        "training/data.py:_joined",
        'clip.columns.get(join.by, "") if join.by else ""',
        '""',
        "training/test_data.py::test_joined_are_those_of_a_speaker",
    ),
    Mutant(
        "a source that takes part a step too long",
        "training/data.py:epoch_examples",
        "first <= done < last",
        "first <= done <= last",
        "training/test_data.py::test_sources_take_part_in_their_span",
    ),
]


def fast_way_back(name: str, place: str, old: str, new: str, case: str = "sew-d-nothing") -> Mutant:
    """A mistake of the fast backward pass, and the model in training that has to notice."""
    judge = f"fast/test_clip_gradients.py::test_training_draws_the_same_numbers[{case}]"
    return Mutant(name, f"fast/backward/{place}", old, new, judge)


SEW = "sew-nothing"
MUTANTS += [
    fast_way_back(
        "softmax's sum taken with the wrong sign",
        "attention.py:attention_vjp",
        "dscores -= probabilities * shared",
        "dscores += probabilities * shared",
        SEW,
    ),
    fast_way_back(
        "dropped probabilities hand on all the same",
        "attention.py:attention_vjp",
        "dscores *= kept",
        "dscores *= probabilities",
        SEW,
    ),
    fast_way_back(
        "keys hear nothing of positions", "attention.py:attention_vjp", "dside += dproduct @ _split(lined, heads)", "pass"
    ),
    fast_way_back("what came back is left in the windows", "attention.py:attention_vjp", "dproduct.fill(0)", "pass"),
    fast_way_back(
        "rows of the table that distances share hear from the first alone",
        "distances.py:lined_up_vjp",
        "np.add.reduceat(dlined, starts, axis=0)",
        "dlined[starts]",
    ),
    fast_way_back("a table that is divided on the way there only", "distances.py:lined_up_vjp", "dprojected *= factor", ""),
    fast_way_back(
        "the slope of GELU without its density",
        "elementwise.py:_gelu_with_slope",
        "np.multiply(slope, _DENSITY, out=slope)",
        "pass",
        SEW,
    ),
    fast_way_back(
        "a layer norm that forgets what lies along its output",
        "elementwise.py:layer_norm_vjp",
        "dx -= normalised * along_mean[:, None]",
        "pass",
        SEW,
    ),
    fast_way_back(
        "what a convolution's later taps give replaces what the earlier gave",
        "convolutions.py:_give_back",
        "receivers += np.matmul(",
        "receivers[:] = np.matmul(",
        SEW,
    ),
    fast_way_back(
        "a group norm whose variance stands still",
        "convolutions.py:_normed_layer_vjp",
        "(dgain * scale)[:, None]",
        "(0 * scale)[:, None]",
        SEW,
    ),
    fast_way_back("hidden frames say what they would have said", "frontend.py:projected_vjp", "dy[time_mask] = 0", "", SEW),
    fast_way_back(
        "hidden channels are left as they are",
        "frontend.py:projected_vjp",
        "if feature_mask is not None: y[:, feature_mask] = 0",
        "",
        SEW,
    ),
    fast_way_back(
        "a squeeze that hands on the whole to every frame",
        "positions.py:squeeze_with_positions_vjp",
        "(dy * np.float32(1 / factor))[:, None]",
        "dy[:, None]",
        SEW,
    ),
    fast_way_back(
        "the kernel of positions is turned by a tap",
        "positions.py:squeeze_with_positions_vjp",
        "[:, there.margin : there.margin + frames]\n        dx",
        "[:, there.margin - 1 : there.margin - 1 + frames]\n        dx",
        SEW,
    ),
    fast_way_back(
        "a residual goes one way only",
        "transformer.py:_attention_vjp",
        "dy += dqkv @ layer.qkv[0]",
        "dy = dqkv @ layer.qkv[0]",
        SEW,
    ),
    fast_way_back(
        "the table hears from one layer alone",
        "transformer.py:transformer_vjp",
        "part if dtable is None or part is None else dtable + part",
        "part",
    ),
    fast_way_back(
        "the last dropout on the way there only", "heads.py:head_vjp", "dx[0] if by is None else dx[0] * by", "dx[0]", SEW
    ),
    fast_way_back(
        "a frozen base model draws nothing",
        "clip.py:ClipGradients.__call__",
        "(lambda name, x: None) if dropout is None",
        '(lambda name, x: None) if dropout is None or self._idle == "base"',
        "sew-base",
    ),
    Mutant(
        "memory of a clip that is still at work",
        "fast/backward/clip.py:ClipGradients.__call__",
        "shelf, scratch = self._spare.pop()",
        "shelf, scratch = self._spare[-1]",
        "fast/test_clip_gradients.py::test_long_clips_after_short_ones_and_threads_side_by_side[sew]",
    ),
    Mutant(
        "a frozen feature encoder keeps what nobody asks for",
        "fast/backward/clip.py:ClipGradients._run",
        "if self._idle is None:",
        "if True:",
        "fast/test_clip_gradients.py::test_a_frozen_part_costs_no_backward_work",
    ),
]


def backwards(
    name: str, module: str, old: str, new: str, case: str, judge: str = "test_gradients_equal_central_differences"
) -> Mutant:
    """A mistake on the way back, and the case of the pullbacks' judges that has to notice."""
    return Mutant(name, module, old, new, f"test_pullbacks.py::{judge}[{case}]")


AUTOGRAD = "test_gradients_equal_autograd"
MUTANTS += [
    backwards(
        "a weight hears from the first frame alone",
        "layers/linear.py:linear_vjp.pullback",
        "rows.T @ x.reshape(-1, x.shape[-1])",
        "rows[:1].T @ x.reshape(-1, x.shape[-1])[:1]",
        "linear",
    ),
    backwards(
        "a bias receives the mean",
        "layers/linear.py:summed",
        ".sum(axis=0, dtype=np.float64)",
        ".mean(axis=0, dtype=np.float64)",
        "linear",
    ),
    Mutant(
        "a bias summed in float32",
        "layers/linear.py:summed",
        ".sum(axis=0, dtype=np.float64)",
        ".sum(axis=0)",
        "layers/test_vjp.py::test_sums_over_a_long_clip_lose_nothing_in_float32",
    ),
    backwards(
        "a shared projection hears from its last use alone",
        "layers/linear.py:merged",
        "else whole[name] + value",
        "else value",
        "disentangled_attention-p2c+c2p-shared-table",
    ),
    backwards(
        "back past the activation",
        "layers/linear.py:feed_forward_vjp.pullback",
        "dhidden = activation_back(activated_back(dhidden))",
        "dhidden = activated_back(dhidden)",
        "feed_forward",
    ),
    backwards(
        "the slope of GELU without its bell",
        "layers/activations.py:gelu_derivative",
        " + x * (_bell(x) / math.sqrt(2.0 * math.pi))",
        "",
        "activation-gelu",
    ),
    Mutant(
        "the slope of relu at zero",
        "layers/activations.py:relu_derivative",
        "np.where(x <= 0, x.dtype.type(0), x.dtype.type(1))",
        "np.where(x < 0, x.dtype.type(0), x.dtype.type(1))",
        "layers/test_activations.py::test_derivative_equals_that_of_torch_at_the_corners[float64-1e-14-relu]",
    ),
    Mutant(
        "NaN times nothing",
        "layers/activations.py:activation_vjp.pullback",
        "np.where(slope == 0, slope, dy * slope) if activation in _WITH_FLAT_PIECES else dy * slope",
        "dy * slope",
        "layers/test_activations.py::test_nan_that_comes_back_passes_unless_a_piece_is_flat[relu]",
    ),
    backwards(
        "a kernel flipped on the way back",
        "layers/convolution.py:conv1d_vjp.pullback",
        "dx[:, tap] += dy @ weight[:, :, k]",
        "dx[:, tap] += dy @ weight[:, :, -1 - k]",
        "conv1d",
    ),
    backwards(
        "taps that overwrite each other",
        "layers/convolution.py:conv1d_vjp.pullback",
        "dx[:, tap] += dy",
        "dx[:, tap] = dy",
        "conv1d",
    ),
    backwards(
        "a tap's gradient from a frame too early",
        "layers/convolution.py:conv1d_vjp.pullback",
        "rows.T @ x[:, tap]",
        "rows.T @ x[:, _tap(max(k - 1, 0), frames, stride)]",
        "conv1d",
    ),
    backwards(
        "a grouped kernel flipped on the way back",
        "layers/convolution.py:grouped_conv1d_vjp.pullback",
        "+= dy_group @ taps[..., k]",
        "+= dy_group @ taps[..., -1 - k]",
        "grouped_conv1d",
    ),
    backwards(
        "a grouped kernel hears from the first clip alone",
        "layers/convolution.py:grouped_conv1d_vjp.pullback",
        ".sum(axis=0)  # over",
        "[0]  # over",
        "grouped_conv1d",
    ),
    backwards(
        "what the padding receives goes to the first frames",
        "layers/convolution.py:grouped_conv1d_vjp.pullback",
        "[:, padding : padding + x.shape[1]]",
        "[:, : x.shape[1]]",
        "grouped_conv1d",
    ),
    backwards(
        "weight norm's length alone",
        "layers/convolution.py:weight_norm_vjp.pullback",
        "(dw - weight_v * (along / norm))",
        "dw",
        "weight_norm",
    ),
    backwards(
        "group norm without its mean term",
        "layers/normalization.py:group_norm_vjp.pullback",
        "(given - mean.astype(x.dtype) - normalised",
        "(given - normalised",
        "group_norm",
    ),
    backwards(
        "group norm without its spread term",
        "layers/normalization.py:group_norm_vjp.pullback",
        " - normalised * along.astype(x.dtype))",
        ")",
        "group_norm",
    ),
    backwards(
        "layer norm without its mean term",
        "layers/normalization.py:layer_norm_vjp.pullback",
        "(given - mean - normalised",
        "(given - normalised",
        "layer_norm",
    ),
    backwards(
        "layer norm without its spread term",
        "layers/normalization.py:layer_norm_vjp.pullback",
        " - normalised * along) /",
        ") /",
        "layer_norm",
    ),
    backwards(
        "layer norm forgets its gain",
        "layers/normalization.py:layer_norm_vjp.pullback",
        "given = dy * weight\n",
        "given = dy\n",
        "layer_norm",
    ),
    backwards(
        "softmax without the row's sum",
        "layers/softmax.py:_share_out",
        "y * (dy - (y * dy).sum(axis=-1, keepdims=True))",
        "y * dy",
        "masked_softmax",
    ),
    backwards(
        "log-softmax without the row's sum",
        "layers/softmax.py:log_softmax_vjp",
        "np.exp(y) * dy.sum(axis=-1, keepdims=True)",
        "np.exp(y)",
        "log_softmax",
    ),
    backwards(
        "the first position taken for the dropped one",
        "layers/positions.py:convolutional_position_embedding_vjp.pullback",
        "((0, 0), (0, 1 - kernel % 2), (0, 0))",
        "((0, 0), (1 - kernel % 2, 0), (0, 0))",
        "convolutional_position_embedding",
    ),
    backwards(
        "each frame of a mean receives all of it",
        "layers/squeeze.py:squeeze_vjp.pullback",
        "np.repeat(dy, factor, axis=1) / factor",
        "np.repeat(dy, factor, axis=1)",
        "squeeze",
    ),
    backwards(
        "a mean that keeps what it averaged",
        "layers/squeeze.py:squeeze_vjp.pullback",
        "(0, frames - dx.shape[1])",
        "(0, x.shape[1] - dx.shape[1])",
        "squeeze",
        "test_keeps_no_more_than_it_needs",
    ),
    backwards(
        "attention that keeps its scores",
        "layers/attention.py:multi_head_attention_vjp.pullback",
        "dxk, dk = k_back(np.swapaxes(dscores, -1, -2) @ q)",
        "dxk, dk = k_back(np.swapaxes(dscores.reshape(scores.shape), -1, -2) @ q)",
        "multi_head_attention",
        "test_keeps_no_more_than_it_needs",
    ),
    backwards(
        "a norm that keeps its result",
        "layers/normalization.py:layer_norm_vjp.pullback",
        "deviation = _over_channels(x, eps)\n        grads",
        "deviation = _over_channels(x, eps)\n        dy = dy.astype(y.dtype)\n        grads",
        "layer_norm",
        "test_keeps_no_more_than_it_needs",
    ),
    backwards(
        "the tail that upsampling filled taken for its head",
        "layers/squeeze.py:upsample_vjp.pullback",
        "dy[:, : squeezed * factor]",
        "dy[:, dy.shape[1] - squeezed * factor :]",
        "upsample",
    ),
    backwards(
        "scores scaled on the way there only",
        "layers/attention.py:multi_head_attention_vjp.pullback",
        "probabilities_back(dprobabilities))) * scale",
        "probabilities_back(dprobabilities)))",
        "multi_head_attention",
    ),
    backwards(
        "what the keys answer is lost",
        "layers/attention.py:multi_head_attention_vjp.pullback",
        "dxq + dxk + dxv",
        "dxq + dxv",
        "multi_head_attention",
    ),
    backwards(
        "a pullback of the observer that is not called",
        "layers/attention.py:project_vjp.pullback",
        "merge_heads(seen_back(dy))",
        "merge_heads(dy)",
        "project",
        AUTOGRAD,
    ),
    backwards(
        "dropout of probabilities on the way back only",
        "layers/attention.py:multi_head_attention_vjp",
        'probabilities, probabilities_back = see("probabilities", probabilities)',
        '_, probabilities_back = see("probabilities", probabilities)',
        "multi_head_attention",
        AUTOGRAD,
    ),
    backwards(
        "a table's row hears from its last reader alone",
        "layers/disentangled.py:_scatter",
        "np.bincount(places.ravel(), weights=dy.ravel(), minlength=queries.size * size)",
        "np.zeros(queries.size * size)\n    sums[places.ravel()] = dy.ravel()",
        "content_to_position",
    ),
    backwards(
        "positions of keys hear from the first clip alone",
        "layers/disentangled.py:content_to_position_vjp.pullback",
        "@ q).sum(axis=0, keepdims=True)",
        "@ q)[:1]",
        "content_to_position",
    ),
    backwards(
        "positions of queries hear from the first clip alone",
        "layers/disentangled.py:position_to_content_vjp.pullback",
        "@ k).sum(axis=0, keepdims=True)",
        "@ k)[:1]",
        "position_to_content",
    ),
    backwards(
        "p2c scattered the other way round",
        "layers/disentangled.py:position_to_content_vjp.pullback",
        "_scatter(np.swapaxes(dy, -1, -2), -relative",
        "_scatter(np.swapaxes(dy, -1, -2), relative",
        "position_to_content",
    ),
    backwards(
        "queries hear from positions alone",
        "layers/disentangled.py:disentangled_attention_vjp.pullback",
        "dsides[side] = dsides[side] + dside",
        "dsides[side] = dside",
        "disentangled_attention-c2p-separate-table",
    ),
    backwards(
        "the table hears from the last term alone",
        "layers/disentangled.py:disentangled_attention_vjp.pullback",
        "dtable = drows if dtable is None else dtable + drows",
        "dtable = drows",
        "disentangled_attention-p2c+c2p-separate-table",
    ),
    backwards(
        "a term scaled on the way there only",
        "layers/disentangled.py:_term_vjp.pullback",
        "add_back(seen_back(dscores) / scale)",
        "add_back(seen_back(dscores))",
        "disentangled_attention-p2c-shared-table",
    ),
    backwards(
        "hidden frames receive all the same",
        "layers/spec_augment.py:mask_frames_vjp.pullback",
        "np.where(hidden, none, dy), ",
        "dy, ",
        "mask_frames",
    ),
    backwards(
        "a mean over padded frames on the way back",
        "layers/pooling.py:masked_mean_vjp.pullback",
        "mask.sum(axis=1, keepdims=True).astype(dy.dtype)",
        "dy.dtype.type(mask.shape[1])",
        "masked_mean",
    ),
    backwards(
        "the layers' shares without their softmax",
        "layers/pooling.py:weighted_layers_vjp.pullback",
        "softmax_back(np.array(dshares, dtype=shares.dtype))",
        "np.array(dshares, dtype=shares.dtype)",
        "weighted_layers",
    ),
    Mutant(
        "looking away costs something where one can go back",
        "layers/observe.py:within",
        "see is unseen or see is unseen_vjp",
        "see is unseen",
        "layers/test_observe.py::test_within_unseen_is_unseen_itself",
    ),
    backwards(
        "norm and convolution trade gradients",
        "networks/frontend.py:_back_through",
        "reversed(steps)",
        "steps",
        "frontend.conv_layer",
    ),
    backwards(
        "layers listed from the last",
        "networks/frontend.py:feature_extractor_vjp.pullback",
        "layers[::-1]",
        "layers",
        "frontend.feature_extractor",
        "test_manners",
    ),
    backwards(
        "padding receives all the same",
        "networks/frontend.py:squeezed_vjp.pullback",
        "dx = np.where(mask[:, :, None], masked_back(dx), dx.dtype.type(0))",
        "dx = masked_back(dx)",
        "frontend.squeezed",
    ),
    backwards(
        "frames hear from the pool alone",
        "networks/frontend.py:squeezed_vjp.pullback",
        "dx = dx + squeeze_back(pooled_back(dy))",
        "dx = squeeze_back(pooled_back(dy))",
        "frontend.squeezed",
    ),
    backwards(
        "a residual's gradient counted once",
        "networks/sew.py:encoder_layer_vjp.pullback",
        "return dy + dx, {",
        "return dx, {",
        "sew.encoder_layer",
    ),
    backwards(
        "the second residual's gradient counted once",
        "networks/sew.py:encoder_layer_vjp.pullback",
        "normed_back(dz + dy)",
        "normed_back(dy)",
        "sew.encoder_layer",
    ),
    backwards(
        "a residual's gradient counted twice",
        "networks/sew_d.py:encoder_layer_vjp.pullback",
        "return dx + through, grads",
        "return 2 * dx + through, grads",
        "sew_d.encoder_layer",
    ),
    backwards(
        "the table hears from the first layer alone",
        "networks/sew_d.py:transformer_vjp.pullback",
        "dtable = part if dtable is None else dtable + part",
        "dtable = part",
        "sew_d.transformer",
    ),
    backwards(
        "the table's norm is passed by",
        "networks/sew_d.py:position_table_vjp.pullback",
        "dtable, norm = norm_back(normed_back(dtable))",
        "_, norm = norm_back(normed_back(dtable))",
        "sew_d.position_table",
    ),
    backwards(
        "clips that do not count share the loss",
        "networks/heads.py:cross_entropy_vjp.pullback",
        "-dloss / max(1, len(rows))",
        "-dloss / len(logits)",
        "heads.cross_entropy",
    ),
    Mutant(
        "the CTC gradient of the logits at the log-probabilities",
        "ctc/loss.py:ctc_loss_vjp.pullback",
        "-dlosses[clip] * (occupancy[clip] @ is_token)",
        "dlosses[clip] * (np.exp(log_probs[clip]) - occupancy[clip] @ is_token)",
        "ctc/test_loss_vjp.py::test_equals_central_differences",
    ),
    Mutant(
        "a token hears from one of its states",
        "ctc/loss.py:ctc_loss_vjp.pullback",
        "(occupancy[clip] @ is_token)",
        "(occupancy[clip][:, :, None] * is_token).max(axis=1)",
        "ctc/test_loss_vjp.py::test_equals_autograd_over_the_enumeration_of_all_paths",
    ),
    Mutant(
        "the mean of losses forgets the targets' lengths",
        "ctc/loss.py:ctc_loss_vjp.pullback",
        "(batch * np.maximum(lengths[1], 1))",
        "(batch * np.ones_like(lengths[1]))",
        "ctc/test_loss_vjp.py::test_equals_torch_in_float64_at_the_logits",
    ),
    Mutant(
        "an infeasible sample receives nothing",
        "ctc/loss.py:ctc_loss_vjp",
        "undefined = ~np.isfinite(losses)",
        "undefined = np.isnan(losses)",
        "ctc/test_loss_vjp.py::test_equals_torch_in_float64_at_the_logits",
    ),
    Mutant(
        "an example that is not so",
        "layers/linear.py:linear",
        "array([[11.5,  2. ]])",
        "array([[11. ,  2. ]])",
        "layers/test_textbook.py::test_examples_run[sewnp.layers.linear]",
    ),
    Mutant(
        "a pause keeps nothing of itself",
        "speech/segmentation.py:speech_segments",
        "taken(last + 1 + pad)",
        "taken(last + 1)",
        "speech/test_segmentation.py::test_words_are_cut_at_their_pauses_and_keep_an_edge[0.0]",
    ),
    Mutant(
        "what is said in noise is cut",
        "speech/segmentation.py:_judged",
        "loudest_ever < floor * contrast",
        "loudest_ever < floor",
        "speech/test_segmentation.py::test_what_is_said_in_noise_is_one_segment",
    ),
    Mutant(
        "what was loud is soon forgotten",
        "speech/segmentation.py:_judged",
        "loudest_ever = max(loudest_ever, loudest)",
        "loudest_ever = loudest",
        "speech/test_segmentation.py::test_noise_after_speech_is_a_pause_however_long_it_lasts",
    ),
    Mutant(
        "a click is speech",
        "speech/segmentation.py:speech_segments",
        "if run >= least:",
        "if run >= 1:",
        "speech/test_segmentation.py::test_a_click_in_a_pause_is_none",
    ),
    Mutant(
        "cut anywhere",
        "speech/segmentation.py:speech_segments",
        "key=lambda i: piece[i][1]",
        "key=lambda i: -i",
        "speech/test_segmentation.py::test_a_long_piece_is_cut_at_its_quietest_place",
    ),
    Mutant(
        "frames begin anew with every block",
        "speech/segmentation.py:_frames",
        "held = np.concatenate([held, block]) if len(held) else block",
        "held = block",
        "speech/test_segmentation.py::test_segments_are_those_of_a_naive_loop_wherever_blocks_end",
    ),
    Mutant(
        "pieces lose their places",
        "long.py:segmented_logits",
        "parts.append((start // config.hop, logits))",
        "parts.append((sum(len(each) for _, each in parts), logits))",
        "test_segments.py::test_frames_between_pieces_are_blanks_and_one_delimiter",
    ),
    Mutant(
        "words run into each other over a pause",
        "long.py:segmented_logits",
        "if delimiter is not None and before < after:",
        "if delimiter is None and before < after:",
        "test_segments.py::test_frames_between_pieces_are_blanks_and_one_delimiter",
    ),
    Mutant(
        "a token's score is that of its best frame",
        "ctc/alignment.py:merge_tokens",
        "scores[run.start : run.end].mean()",
        "scores[run.start : run.end].max()",
        "ctc/test_alignment.py::test_tokens_merge_as_in_torchaudios_tutorial",
    ),
    Mutant(
        "a wildcard costs something",
        "ctc/alignment.py:with_wildcard",
        "np.zeros_like(log_probs[:, :1])",
        "np.zeros_like(log_probs[:, :1]) - 1",
        "ctc/test_alignment.py::test_a_wildcard_is_a_token_that_costs_nothing",
    ),
    Mutant(
        "a stream's times begin anew with each segment",
        "streaming.py:_transcripts",
        "first_frame=start // config.hop,",
        "first_frame=0,",
        "test_streaming.py::test_times_are_those_of_the_stream",
    ),
    Mutant(
        "half a sample is lost between two reads of a pipe",
        "speech/pipes.py:pcm",
        "held = held[whole:]",
        'held = b""',
        "speech/test_pipes.py::test_what_arrives_is_what_a_file_of_it_holds",
    ),
    Mutant(
        "every model is cut at pauses",
        "speech/features.py:FeatureExtractor.segment",
        "return bool(own_keys(self.extra).segment)",
        "return own_keys(self.extra).segment is not False",
        "test_segments.py::test_a_file_without_the_key_does_not_ask_for_it",
    ),
    Mutant(
        "confidence is that of a list's words",
        "speech/transcript.py:transcript_from_logits",
        "sure = [",
        "if search is not None: best = probabilities[np.arange(len(path)), _best_path(logits, tokenizer, search)]\n    sure = [",
        "test_own_words.py::test_confidence_is_that_of_the_greedy_path",
    ),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package without its checkpoints, ready to be broken; mutants are undone, and unbroken modules compiled only once."""
    folder = tmp_path_factory.mktemp("mutants")
    shutil.copytree(ROOT / "sewnp", folder / "sewnp", ignore=shutil.ignore_patterns("pretrained", "__pycache__"))
    (folder / "quickly.py").write_text(QUICKLY)
    return folder


def judged(copy, judges, *, keep_bytecode):
    """The exit code and the output of pytest on some tests, with the copy for the package."""
    paths = {"PYTHONPATH": os.pathsep.join([str(copy), str(ROOT / "tests")])}
    # no bytecode of a mutant may outlive it; wide columns, so that the summary says why each judge failed
    bytecode = {} if keep_bytecode else {"PYTHONDONTWRITEBYTECODE": "1"}
    # no plugins, no conftest.py and no cache: the judges stand alone, and start in a third of the time
    options = [
        "-x",
        "-q",
        "--tb=no",
        "-rf",
        "--noconftest",
        "-p",
        "no:cacheprovider",
        "-p",
        "quickly",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(str(ROOT / "tests" / judge) for judge in judges)],
        cwd=copy,  # which ``python -m`` puts first on the path
        env=os.environ | paths | bytecode | {"COLUMNS": "1000", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_control_the_judges_pass_an_unbroken_copy(copy):
    judges = dict.fromkeys(mutant.judge for mutant in MUTANTS)
    code, output = judged(copy, judges, keep_bytecode=True)
    assert code == 0, output
    assert re.search(r"^\d+ passed in", output, re.MULTILINE), output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_judge_turns_red(copy, mutant):
    file = copy / "sewnp" / mutant.module
    try:
        file.write_text(mutant.applied(file.read_text()))
        code, output = judged(copy, [mutant.judge], keep_bytecode=False)
    finally:
        shutil.copy2(ROOT / "sewnp" / mutant.module, file)  # with its time stamp, which its bytecode refers to
    assert code == 1, output
    # by a claim that does not hold, or a warning that none may escape, and not by a crash that any test would have noticed
    assert re.search(r"^FAILED \S+ - (AssertionError|assert |RuntimeWarning)", output, re.MULTILINE), output


def test_there_are_twenty_mutants_of_different_things():
    assert len({mutant.name for mutant in MUTANTS}) == len({mutant[1:4] for mutant in MUTANTS}) == len(MUTANTS) >= 20
    layers = {f"layers/{path.name}" for path in (ROOT / "sewnp" / "layers").glob("*.py")} - {"layers/__init__.py"}
    assert {mutant.module for mutant in MUTANTS} >= layers
