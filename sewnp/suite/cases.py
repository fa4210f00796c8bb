"""The cases of the conformance suite: plain data.

Every case is as small as it can be while the branch that it is there for still shows: hidden size 16, one or two layers, clips of a dozen frames.
"""

from itertools import product
from typing import Literal

from sewnp.layers.activations import ACTIVATIONS
from sewnp.layers.masking import Masking
from sewnp.suite.kinds import NO_SAMPLE, Case, CTCCase, FeatureCase, NetworkCase, SpecAugmentCase, TokenizerCase

PUBLISHED = {
    "conv_dim": (4, 4, 4, 4, 4, 4, 4, 4, 4, 8, 8, 8, 8),
    "conv_kernel": (10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1),
    "conv_stride": (5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1),
    "num_conv_pos_embeddings": 31,
    "layer_norm_eps": 1e-5,
}
"""The geometry of the published models, and their epsilon."""

LABELS = ((3, 3, -100, 5), (0, 7, 0, -100))
"""For two clips: a repeat, padding, and tokens that are the blank where the blank is 0."""


def _squeezes() -> list[NetworkCase]:
    """Every squeeze factor, remainder, parity of the kernel; families, norms and mask rules take turns."""
    cases: list[NetworkCase] = []
    masks: tuple[Masking | None, ...] = ("any", "floor", None)
    for factor, kernel in product((1, 2, 3, 4), (4, 5)):
        for rest in range(factor):
            family: Literal["sew", "sew-d"] = "sew" if (rest + kernel) % 2 else "sew-d"
            frames, mask = 3 * factor + rest, masks[len(cases) % 3]
            cases.append(
                NetworkCase(
                    f"{family}-squeeze-{factor}-rest-{rest}-{'even' if kernel % 2 == 0 else 'odd'}-kernel",
                    f"{frames} frames squeezed by {factor}, position kernel of {kernel} taps",
                    family,
                    {
                        "squeeze_factor": factor,
                        "num_conv_pos_embeddings": kernel,
                        "feat_extract_norm": "layer" if len(cases) % 2 else "group",
                    },
                    frames=frames,
                    # ends inside a group of frames and between two, where there are such places
                    lengths=(frames, factor + 1, 2 * factor) if mask else None,
                    masking=mask or "any",
                )
            )
    return cases


def _activations() -> list[NetworkCase]:
    """Every name once in the feed-forward and once in the convolutions."""
    names = sorted(ACTIVATIONS)
    return [
        NetworkCase(
            f"activation-{name.replace('_', '-')}",
            f"{name} in the feed-forward, {names[(i + 7) % len(names)]} in convolutions, position and upsampling",
            "sew-d" if i % 2 else "sew",
            {"hidden_act": name, "feat_extract_activation": names[(i + 7) % len(names)]},
            head=None,
            frames=5,
            steep=4.0,
        )
        for i, name in enumerate(names)
    ]


def _padding() -> list[NetworkCase]:
    """Clips without a single real frame, or squeezed frame, under both rule sets."""
    families: tuple[Literal["sew", "sew-d"], ...] = ("sew", "sew-d")
    rules: tuple[Masking, ...] = ("any", "floor")
    return [
        NetworkCase(
            f"{family}-all-padding-{masking}",
            f"clips too short for one squeezed frame, for one frame, and without any sample, rules {masking!r}",
            family,
            head=None,
            lengths=(9, 0, NO_SAMPLE, 1),
            masking=masking,
        )
        for family, masking in product(families, rules)
    ]


def _relative_positions() -> list[NetworkCase]:
    """Which terms, from which projections."""
    cases: list[NetworkCase] = []
    for terms, shared in product(((), ("c2p",), ("p2c",), ("p2c", "c2p")), (True, False)):
        said = "-".join(terms) or "neither"
        cases.append(
            NetworkCase(
                f"sew-d-{said}-{'shared' if shared else 'own'}-keys",
                f"pos_att_type {list(terms)}, {'projections shared with the content' if shared else 'projections of their own'}",
                "sew-d",
                {"pos_att_type": terms, "share_att_key": shared},
                lengths=(9, 5) if shared else None,
            )
        )
    return cases


NETWORKS: tuple[NetworkCase, ...] = (
    *_squeezes(),
    *_activations(),
    *_padding(),
    *_relative_positions(),
    NetworkCase(
        "sew-published",
        "kernels, strides and position kernel of the published models",
        "sew",
        PUBLISHED,
        frames=5,
    ),
    NetworkCase(
        "sew-d-published",
        "kernels, strides and position kernel of the published models",
        "sew-d",
        {**PUBLISHED, "layer_norm_eps": 1e-7},
        frames=5,
    ),
    NetworkCase(
        "sew-two-layers", "two layers of four heads", "sew", {"num_hidden_layers": 2, "num_attention_heads": 4}, lengths=(9, 6)
    ),
    NetworkCase(
        "sew-d-two-layers", "two layers of four heads", "sew-d", {"num_hidden_layers": 2, "num_attention_heads": 4}, lengths=(9, 6)
    ),
    NetworkCase("sew-no-layers", "no layer at all", "sew", {"num_hidden_layers": 0}),
    NetworkCase("sew-d-no-layers", "no layer at all, the position table computed for nothing", "sew-d", {"num_hidden_layers": 0}),
    NetworkCase("sew-conv-bias", "convolutions with bias, group norm", "sew", {"conv_bias": True}),
    NetworkCase(
        "sew-d-conv-bias", "convolutions with bias, layer norm", "sew-d", {"conv_bias": True, "feat_extract_norm": "layer"}
    ),
    NetworkCase("sew-no-projection", "as many channels as the hidden size: no feature_projection", "sew", {"conv_dim": (6, 16)}),
    NetworkCase(
        "sew-d-no-projection", "as many channels as the hidden size: no feature_projection", "sew-d", {"conv_dim": (6, 16)}
    ),
    NetworkCase("sew-quiet", "so quiet a clip that the group norm's epsilon shows", "sew", gain=1e-3),
    NetworkCase(
        "sew-d-quiet",
        "so quiet a clip that the epsilon of the layer norms in the convolutions shows",
        "sew-d",
        {"feat_extract_norm": "layer"},
        gain=1e-3,
    ),
    NetworkCase("sew-wide-kernel", "a position kernel wider than the clip", "sew", {"num_conv_pos_embeddings": 32}, lengths=(9, 7)),
    NetworkCase("sew-one-group", "position convolution in one group", "sew", {"num_conv_pos_embedding_groups": 1}),
    NetworkCase("sew-d-depthwise", "position convolution with a group a channel", "sew-d", {"num_conv_pos_embedding_groups": 16}),
    NetworkCase(
        "sew-left-padding", "padding on the left is read as if it were on the right", "sew", lengths=(9, 6), padding="left"
    ),
    NetworkCase("sew-whole-mask", "a mask without padding", "sew", lengths=(9, 9)),
    NetworkCase("sew-spec-augment", "hidden frames, and padding", "sew", hidden=True, lengths=(9, 8)),
    NetworkCase("sew-d-spec-augment", "hidden frames", "sew-d", hidden=True),
    NetworkCase(
        "sew-spec-augment-off",
        "apply_spec_augment is false: indices are ignored",
        "sew",
        {"apply_spec_augment": False},
        hidden=True,
    ),
    NetworkCase(
        "sew-d-no-positions",
        "relative_attention false: no positions, and still their scale",
        "sew-d",
        {"relative_attention": False},
    ),
    NetworkCase("sew-d-raw-distances", "no buckets: distances as they are", "sew-d", {"position_buckets": 0}, lengths=(9, 5)),
    NetworkCase(
        "sew-d-raw-distances-beyond",
        "no buckets, more squeezed frames than the table has distances",
        "sew-d",
        {"position_buckets": 0, "max_position_embeddings": 3},
        frames=16,
    ),
    NetworkCase(
        "sew-d-max-relative-positions",
        "max_relative_positions outranks max_position_embeddings",
        "sew-d",
        {"max_relative_positions": 7, "position_buckets": 4},
        frames=16,
    ),
    NetworkCase(
        "sew-d-max-relative-positions-raw",
        "the same without buckets",
        "sew-d",
        {"max_relative_positions": 4, "position_buckets": 0},
        frames=14,
    ),
    NetworkCase(
        "sew-d-beyond-the-span",
        "more squeezed frames than the buckets reach: the table is clipped, at one end sooner than at the other",
        "sew-d",
        {"position_buckets": 4, "max_position_embeddings": 6},
        frames=25,
        lengths=(25, 21),
    ),
    NetworkCase("sew-d-odd-buckets", "an odd number of buckets", "sew-d", {"position_buckets": 5}, frames=20),
    NetworkCase(
        "sew-d-exact-powers",
        "32 buckets over 129 distances: float64 arithmetic puts distance 32 into the wrong one",
        "sew-d",
        {"position_buckets": 32, "max_position_embeddings": 129, "squeeze_factor": 1},
        head=None,
        frames=34,
    ),
    NetworkCase(
        "sew-d-table-as-it-is", "norm_rel_ebd none: the position table is not normalised", "sew-d", {"norm_rel_ebd": "none"}
    ),
    NetworkCase(
        "sew-d-table-normalised", "norm_rel_ebd is a list of words in any case", "sew-d", {"norm_rel_ebd": "other | Layer_Norm"}
    ),
    NetworkCase("sew-classes", "classification; zero frames of an odd tail enter the mean", "sew", head="classification"),
    NetworkCase("sew-d-classes-padded", "classification over real frames", "sew-d", head="classification", lengths=(9, 5)),
    NetworkCase(
        "sew-classes-floor",
        "a clip that is all padding counts as whole",
        "sew",
        head="classification",
        lengths=(9, 0),
        masking="floor",
    ),
    NetworkCase(
        "sew-weighted", "weighted sum of layers", "sew", {"use_weighted_layer_sum": True, "num_hidden_layers": 2}, "classification"
    ),
    NetworkCase(
        "sew-d-weighted-padded",
        "weighted sum of layers; frames at the full rate are counted over squeezed ones",
        "sew-d",
        {"use_weighted_layer_sum": True, "num_hidden_layers": 2},
        "classification",
        lengths=(9, 3),
    ),
    NetworkCase("loss-sew", "CTC loss of labels with repeats, padding and blanks", "sew", labels=LABELS, lengths=(9, 7)),
    NetworkCase(
        "loss-sew-d", "CTC loss, summed, blank 10", "sew-d", {"pad_token_id": 10, "ctc_loss_reduction": "sum"}, labels=LABELS
    ),
    NetworkCase(
        "loss-sew-infeasible",
        "CTC loss of a clip without frames: infinite, and made zero; no reduction",
        "sew",
        {"ctc_loss_reduction": "none", "ctc_zero_infinity": True},
        labels=LABELS,
        lengths=(9, 0),
    ),
    NetworkCase("loss-classes", "cross-entropy, one label left out", "sew", head="classification", labels=(2, -100, 0)),
    NetworkCase("loss-classes-column", "cross-entropy, labels in a column", "sew-d", head="classification", labels=((1,), (2,))),
)

LOSSES: tuple[CTCCase, ...] = (
    CTCCase("ctc-mean", "mean of the losses, each over its target's length", ((1, 2, 3), (4, 5, -100)), (8, 6)),
    CTCCase("ctc-sum", "sum of the losses", ((1, 2, 3), (4, 5, -100)), (8, 6), reduction="sum"),
    CTCCase("ctc-none", "a loss a clip", ((1, 2, 3), (4, 5, -100)), (8, 6), reduction="none"),
    CTCCase(
        "ctc-repeats",
        "equal neighbours need a blank between them: 5 tokens just fit into 8 frames",
        ((1, 1, 2, 2, 2), (3, 3, 3, 3, -100)),
        (8, 8),
    ),
    CTCCase("ctc-ignored-labels", "-100 and blanks vanish wherever they stand", ((0, 1, -100, 1, 0), (-100, 0, 2, 0, 3)), (8, 7)),
    CTCCase("ctc-blank-last", "the blank is the last token, and 0 is a token as others", ((0, 0, 5), (5, 1, 0)), (8, 7), blank=5),
    CTCCase("ctc-infeasible", "one target is longer than its clip", ((1, 2, 3), (1, 1, 2)), (8, 3)),
    CTCCase("ctc-infeasible-none", "the same without reduction", ((1, 2, 3), (1, 1, 2)), (8, 3), reduction="none"),
    CTCCase("ctc-zero-infinity", "infinite losses count as zero", ((1, 2, 3), (1, 1, 2)), (8, 3), zero_infinity=True),
    CTCCase(
        "ctc-zero-infinity-sum",
        "infinite losses count as zero, summed",
        ((1, 2, 3), (1, 1, 2)),
        (8, 3),
        reduction="sum",
        zero_infinity=True,
    ),
    CTCCase("ctc-empty-target", "one target is empty, one holds only blanks", ((-100, -100), (0, 0), (1, 2)), (5, 4, 6)),
    CTCCase(
        "ctc-no-frames",
        "without frames the empty target costs nothing and any other everything",
        ((-100,), (1,), (2,)),
        (0, 0, 4),
        reduction="none",
    ),
)

FEATURES: tuple[FeatureCase, ...] = (
    FeatureCase("features-one-clip", "zero mean, unit variance", (400,), offset=0.3),
    FeatureCase("features-padded", "without mask, padding is normalised along", (320, 200, 41), offset=0.2),
    FeatureCase(
        "features-masked", "with mask, each clip by its own samples", (320, 200, 41), {"return_attention_mask": True}, offset=0.2
    ),
    FeatureCase(
        "features-padding-value", "padding of another value", (300, 120), {"return_attention_mask": True, "padding_value": -0.5}
    ),
    FeatureCase("features-padding-value-unmasked", "the same, normalised along", (300, 120), {"padding_value": -0.5}),
    FeatureCase("features-raw", "do_normalize false", (300, 120), {"do_normalize": False, "return_attention_mask": True}),
    FeatureCase("features-quiet", "so quiet that the epsilon of 1e-7 shows", (400,), gain=3e-4),
    FeatureCase("features-silence", "nothing but zeros", (100,), gain=0.0),
)

TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C", "'", "?")
PATHS = (
    (0, 5, 5, 0, 5, 4, 6, 6, 4, 0, 4, 7, 0, 0),
    (4, 4, 5, 0, 0, 6, 4, 4, 4, 9, 4),
    (),
    (0, 0, 0),
    (4, 0, 4),
    (5, 1, 6, 3, 2, 2, 0, 2),
    (5, 99, 98, 5, 0, -100, 6),
    (5, 4, 8, 4, 6, 4, 9),
    (6,),
)
"""Repeats, blanks between them, delimiters in a row and at the ends, nothing, special tokens, ids that no token has."""

TOKENIZERS: tuple[TokenizerCase, ...] = (
    TokenizerCase("tokenizer-plain", "repeats merged, blanks dropped, delimiters spaces", TOKENS, PATHS),
    TokenizerCase(
        "tokenizer-lower-case", "text in lower case, offsets as in the vocabulary", TOKENS, PATHS, {"do_lower_case": True}
    ),
    TokenizerCase("tokenizer-clean-up", "spaces before punctuation removed", TOKENS, PATHS, {"clean_up_tokenization_spaces": True}),
    TokenizerCase("tokenizer-labels", "nothing merged", TOKENS, PATHS, options={"group_tokens": False}),
    TokenizerCase(
        "tokenizer-skip-special",
        "special tokens dropped before repeats are merged",
        TOKENS,
        PATHS,
        options={"skip_special_tokens": True},
    ),
    TokenizerCase(
        "tokenizer-replace-char", "delimiters shown as another character", TOKENS, PATHS, {"replace_word_delimiter_char": "_"}
    ),
    TokenizerCase(
        "tokenizer-blank-last",
        "blank and delimiter elsewhere, under other names, and a token of several characters",
        ("a", "b", "ch", "é", "*", "[UNK]", "[PAD]"),
        ((6, 0, 0, 6, 0, 4, 2, 2, 3), (4, 1, 6, 1, 4), (2, 6, 2, 5, 5), (6, 6)),
        {"pad_token": "[PAD]", "unk_token": "[UNK]", "word_delimiter_token": "*", "bos_token": None, "eos_token": None},
    ),
)

SPEC_AUGMENT: tuple[SpecAugmentCase, ...] = (
    SpecAugmentCase(
        "spec-augment",
        "frames replaced by masked_spec_embed; all of one clip, none of another",
        ((0, 2, 3, 6), tuple(range(7)), ()),
    ),
)

CASES: tuple[Case, ...] = (*NETWORKS, *LOSSES, *FEATURES, *TOKENIZERS, *SPEC_AUGMENT)
"""The whole suite, in its order."""
