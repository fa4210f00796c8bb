// All paths of the text through the lattice, and one of them that can be dragged.

function drawLattice() {
  const body = bodyOf("lattice");
  const { lattice } = DATA;
  if (lattice === null) return body.append(el("p", {}, "No text was heard, so there is no lattice."));
  const { states, alpha, beta, posteriors } = lattice;
  const [frames, count] = posteriors.shape;
  const FLOOR = 25; // nats below the best of a frame, under which everything is as pale; more says that no path leads there
  const held = new Map(); // frame -> state
  let path = lattice.path;
  let shown = "posteriors";
  let dragged = null; // the frame whose point is being dragged
  const pictures = {};
  const readout = el("output", { class: "readout" });
  const verdict = el("output", { class: "readout" });
  const sweeps = { alpha, beta };

  body.append(
    el(
      "div",
      { class: "controls" },
      choice("Show:", [["posteriors", "both: where paths stand"], ["alpha", "alpha: beginnings"], ["beta", "beta: ends"]], (value) => {
        shown = value;
        strip.redraw();
      }).label,
      el("button", { type: "button", click: () => nudge(-1) }, "Hold a state earlier"),
      el("button", { type: "button", click: () => nudge(1) }, "Hold a state later"),
      el("button", { type: "button", click: release }, "Let go of all"),
    ),
  );
  const strip = new Strip(body, {
    height: clamp(count * 9, 150, 420),
    label: `The lattice: ${count} states of the text over ${frames} frames`,
    draw(context, strip) {
      const [low, high] = range(strip);
      const cell = strip.height / (high - low);
      const image = shade();
      const [from, to] = [Math.max(0, Math.floor(strip.start / clip.frame)), Math.min(frames, Math.ceil(strip.end / clip.frame))];
      inside(context, strip, () => {
        context.imageSmoothingEnabled = false;
        if (to > from) context.drawImage(image, from, low, to - from, high - low, strip.x(from * clip.frame), 0, strip.x(to * clip.frame) - strip.x(from * clip.frame), strip.height);
        line(context, strip, lattice.path, theme.soft, 1, low, cell);
        line(context, strip, path, theme.cursor, 2, low, cell);
        for (const [frame, state] of held) {
          context.fillStyle = theme.cursor;
          context.beginPath();
          context.arc(strip.x((frame + 0.5) * clip.frame), (state - low + 0.5) * cell, 5, 0, 2 * Math.PI);
          context.fill();
        }
      });
      const every = Math.max(1, Math.ceil(11 / (2 * cell))); // tokens stand on the odd states
      for (let s = low; s < high; s++) {
        if (s % 2 === 1 && ((s - 1) / 2) % every === 0) name(context, strip, shortName(states[s]), (s - low + 0.5) * cell, theme.ink);
      }
    },
    point(time, share, event) {
      if (time === null) return tell();
      const [frame, state] = placed(time, share);
      if (dragged !== null) {
        justDragged ||= state !== path[dragged];
        return hold(dragged, state);
      }
      strip.box.style.cursor = Math.abs(path[frame] - state) <= grip() ? "grab" : "crosshair";
      readout.textContent = told(frame, state);
    },
    press: () => justDragged,
  });
  let justDragged = false;
  strip.box.addEventListener("pointerdown", (event) => {
    justDragged = false;
    const [frame, state] = placed(...strip.place(event));
    if (Math.abs(path[frame] - state) > grip()) return;
    dragged = frame;
    strip.box.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  for (const end of ["pointerup", "pointercancel"]) strip.box.addEventListener(end, () => (dragged = null));
  strip.box.style.touchAction = "none";
  body.append(readout, verdict);
  clock.moved.push(() => dragged === null && tell());

  /** The states that paths of the part shown come by. */
  function range(strip) {
    const last = Math.min(frames - 1, Math.ceil(strip.end / clip.frame));
    const first = clamp(Math.floor(strip.start / clip.frame), 0, last);
    const all = [lattice.path[first], lattice.path[last], path[first], path[last]];
    const [low, high] = [Math.max(0, Math.min(...all) - 4), Math.min(count, Math.max(...all) + 5)];
    return first === 0 && last === frames - 1 ? [0, count] : [low, high];
  }

  function placed(time, share) {
    const [low, high] = range(strip);
    return [frameAt(time), Math.floor(low + share * (high - low))];
  }

  /** How many states beside the line still take hold of it: about 12 pixels. */
  function grip() {
    const [low, high] = range(strip);
    return Math.max(1, Math.round((12 * (high - low)) / strip.height));
  }

  function shade() {
    const key = `${shown} ${themeCount}`;
    if (pictures[key] === undefined) {
      const at = (i) => (i % frames) * count + Math.floor(i / frames); // a row a state
      const values = shown === "posteriors" ? posteriors.values : sweeps[shown].below.values;
      const bright = shown === "posteriors" ? (i) => Math.sqrt(values[at(i)]) : (i) => (values[at(i)] > FLOOR + 0.2 ? 0 : 0.06 + 0.94 * (1 - values[at(i)] / FLOOR));
      pictures[key] = picture(count, frames, bright, theme.sequential);
    }
    return pictures[key];
  }

  function line(context, strip, path, colour, width, low, cell) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    path.forEach((state, t) => context.lineTo(strip.x((t + 0.5) * clip.frame), (state - low + 0.5) * cell));
    context.stroke();
    context.lineWidth = 1;
  }

  function told(frame, state) {
    const i = frame * count + state;
    const summed = (sweep) => {
      const below = sweep.below.values[i];
      if (below > FLOOR + 0.2) return "no path";
      return `${below > FLOOR - 0.05 ? "less than " : ""}${minus((sweep.best.values[frame] - below).toFixed(1))}`;
    };
    const here = emission(frame, state);
    return `frame ${frame}, state ${state} (${tokenName(states[state])}, ${percent(Math.exp(here))}): alpha ${summed(alpha)}, beta ${summed(beta)}, paths stand here ${percent(posteriors.values[i])}`;
  }

  function emission(frame, state) {
    const [, rows] = DATA.letters.log_probs.shape;
    return DATA.letters.log_probs.values[frame * rows + states[state]];
  }

  const total = (path) => path.reduce((sum, state, t) => sum + emission(t, state), 0);

  function tell() {
    const frame = frameAt(clock.time);
    readout.textContent = told(frame, path[frame]);
    const mine = total(path);
    const held_ = held.size ? `through ${held.size} held ${held.size === 1 ? "point" : "points"}: ` : "the likeliest: ";
    const share = Math.exp(mine - lattice.log_likelihood);
    verdict.textContent = `This path, ${held_}log-probability ${minus(mine.toFixed(2))}, ${share > 1e-4 ? percent(Math.min(1, share)) : share.toExponential(1)} of the text's ${minus(lattice.log_likelihood.toFixed(2))}, which all paths have together.`;
  }

  function nudge(by) {
    const frame = frameAt(clock.time);
    hold(frame, clamp(path[frame] + by, 0, count - 1));
  }

  function release() {
    held.clear();
    path = lattice.path;
    strip.redraw();
    tell();
  }

  /** Hold the path at a point.  Where no path of the text leads through it and the other points, nothing changes. */
  function hold(frame, state) {
    const before = held.get(frame);
    held.set(frame, state);
    const found = bestPath(states, frames, held, emission);
    if (found === null) {
      if (before === undefined) held.delete(frame);
      else held.set(frame, before);
    } else path = found;
    strip.redraw();
    tell();
  }
}

/** The likeliest path of the states through the held points (Viterbi's algorithm); null where there is none.  Of equals the one on higher states. */
function bestPath(states, frames, held, emission) {
  const count = states.length;
  const from = new Int8Array(frames * count);
  let best = new Float64Array(count).fill(-Infinity);
  for (let t = 0; t < frames; t++) {
    const next = new Float64Array(count).fill(-Infinity);
    const only = held.get(t);
    for (let s = only ?? 0; s < (only === undefined ? count : only + 1); s++) {
      let [most, back] = t === 0 ? [s <= 1 ? 0 : -Infinity, 0] : [-Infinity, 0];
      const leap = s % 2 === 1 && s >= 3 && states[s] !== states[s - 2];
      for (const step of t === 0 ? [] : leap ? [2, 1, 0] : [1, 0]) {
        if (s >= step && best[s - step] > most) [most, back] = [best[s - step], step];
      }
      next[s] = most + emission(t, s);
      from[t * count + s] = back;
    }
    best = next;
  }
  let state = best[count - 1] >= best[count - 2] ? count - 1 : count - 2;
  if (best[state] === -Infinity) return null;
  const path = new Array(frames);
  for (let t = frames - 1; t >= 0; t--) {
    path[t] = state;
    state -= from[t * count + state];
  }
  return path;
}
