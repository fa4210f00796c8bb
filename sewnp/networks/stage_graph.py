"""Which stage of a run is computed from which, and which are read by which: forwards the inputs in the rows, backwards their readers."""

from collections import defaultdict
from collections.abc import Collection

from sewnp.networks.stages import GRADIENT, WEIGHTS, layer_of, stage_of, weight_of


def sources(name: str, run: Collection[str]) -> list[str]:
    """The stages of the run that a stage is computed from, in the order of its row's inputs; "" for an input that the run does not have.

    Layers that were left out are passed over: the layer before is the last before it that the run has.
    """
    return _sources(name, run, _layers(run))


def readers(run: Collection[str]) -> dict[str, list[str]]:
    """What a run has, stages and weights with a gradient, and the stages that read each, in the order of the run."""
    run = dict.fromkeys(run)  # ordered, and quick to ask
    layers = _layers(run)
    found: dict[str, list[str]] = defaultdict(list)
    for name in run:
        key = name.removeprefix(GRADIENT)
        if key == name:
            for source in filter(None, _sources(name, run, layers)):
                found[source].append(name)
        elif key not in run and stage_of(name).group == "weights":
            places = [place.format(i=layer_of(key)) for place in WEIGHTS[weight_of(key)]]
            apart = f"{GRADIENT}{key.replace('.self.', '.self.pos_')}" in run  # positions have a projection of their own
            found[key] = [place for place in places[: 1 if apart else None] if place in run]
    return dict(found)


def _layers(run: Collection[str]) -> list[int]:
    return sorted({layer_of(name) for name in run})


def _sources(name: str, run: Collection[str], layers: list[int]) -> list[str]:
    stage, own = stage_of(name), layer_of(name)
    before = [number for number in reversed(layers) if "{i}" not in stage.name or number < own]
    found = []
    for given in stage.inputs:
        if "{each}" in given:
            found += [path for number in layers for path in given.format(each=number).split("|") if path in run]
            continue
        names = (path.format(i=own, h=h) for path in given.split("|") for h in (before if "{h}" in path else [own]))
        found.append(next((path for path in names if path in run), ""))
    return found
