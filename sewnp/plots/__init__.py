"""Pictures of what happens inside: waveforms, frames, probabilities, attention, CTC lattices,
alignments, confusion matrices, and the model itself.

Every function draws into ``ax``, or into a new figure where none is given, and returns the Axes.  Time is in seconds.  The colours are
those of Okabe and Ito, the colour maps viridis (amounts) and PuOr (signed values): all can be told apart by colour-blind readers.
Needs matplotlib: ``python -m pip install 'sewnp[plots]'``.
"""

from sewnp.plots.alignment import plot_alignment
from sewnp.plots.architecture import plot_architecture
from sewnp.plots.clip import plot_clip
from sewnp.plots.confusion import plot_confusion
from sewnp.plots.growth import plot_growth
from sewnp.plots.saving import save_figure, save_plot
from sewnp.plots.stages import plot_attention, plot_frames, plot_lattice, plot_posteriors, plot_waveform
from sewnp.plots.style import COLORS, GREY, Axes, style
from sewnp.plots.training import plot_training
from sewnp.plots.transcript import plot_transcript

__all__ = [
    "COLORS",
    "GREY",
    "Axes",
    "plot_alignment",
    "plot_architecture",
    "plot_attention",
    "plot_clip",
    "plot_confusion",
    "plot_frames",
    "plot_growth",
    "plot_lattice",
    "plot_posteriors",
    "plot_training",
    "plot_transcript",
    "plot_waveform",
    "save_figure",
    "save_plot",
    "style",
]
