"""Training: a model's weights changed by what they got wrong, as transformers' recipes for fine-tuning do it.

A recipe (:mod:`~sewnp.training.recipe`) names clips (:mod:`~sewnp.training.data`), which are changed at random
(:mod:`~sewnp.training.augmentation`) and run one by one; their gradients are added (:mod:`~sewnp.training.batch`), AdamW makes a step of
them (:mod:`~sewnp.training.optimizer`) at the rate that the schedule says (:mod:`~sewnp.training.schedule`), and the loop
(:mod:`~sewnp.training.loop`) validates, saves, and goes on where it was stopped.

>>> from sewnp.training import learning_rate
>>> [round(learning_rate(step, peak=1e-3, steps=100, warmup=10), 6) for step in (0, 5, 10, 55, 99)]
[0.0, 0.0005, 0.001, 0.0005, 0.0]
"""

from sewnp.training.augmentation import (
    Augmentations,
    Band,
    Gain,
    Noise,
    Room,
    Speed,
    White,
    augment,
    change_speed,
    convolve,
    join,
    limit_band,
    mix,
    room_response,
)
from sewnp.training.batch import (
    BatchGradients,
    ClipResult,
    Masks,
    batch_gradients,
    clip_gradients,
    draw_masks,
    encode_text,
)
from sewnp.training.data import Clip, ClipSet, Example, batches, epoch_examples, plan_epoch, read_sources
from sewnp.training.log import Log, Record
from sewnp.training.loop import Run, prepare, train, training_step
from sewnp.training.optimizer import Moments, adamw, averaged, clip_by_norm, global_norm, is_decayed
from sewnp.training.recipe import Join, Recipe, Source, read_recipe, recipe_from_dict
from sewnp.training.schedule import SCHEDULES, learning_rate, warmup_steps
from sewnp.training.start import new_vocabulary, starting_model
from sewnp.training.state import State, read_state, write_state
from sewnp.training.validation import validate

__all__ = [
    "SCHEDULES",
    "Augmentations",
    "Band",
    "BatchGradients",
    "Clip",
    "ClipResult",
    "ClipSet",
    "Example",
    "Gain",
    "Join",
    "Log",
    "Masks",
    "Moments",
    "Noise",
    "Recipe",
    "Record",
    "Room",
    "Run",
    "Source",
    "Speed",
    "State",
    "White",
    "adamw",
    "augment",
    "averaged",
    "batch_gradients",
    "batches",
    "change_speed",
    "clip_by_norm",
    "clip_gradients",
    "convolve",
    "draw_masks",
    "encode_text",
    "epoch_examples",
    "global_norm",
    "is_decayed",
    "join",
    "learning_rate",
    "limit_band",
    "mix",
    "new_vocabulary",
    "plan_epoch",
    "prepare",
    "read_recipe",
    "read_sources",
    "read_state",
    "recipe_from_dict",
    "room_response",
    "starting_model",
    "train",
    "training_step",
    "validate",
    "warmup_steps",
    "write_state",
]
