"""One clip from its loss back to every weight.  ``Model.gradients`` and the pullbacks beneath it are the specification."""
