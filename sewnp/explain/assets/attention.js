// Who looks where: arcs and rows of one query, maps of all, and for SEW-D the terms of the scores apart.

function drawAttention() {
  const { layers, heads, depth, step, squeezed, buckets, span } = DATA.attention;
  const body = bodyOf("attention");
  if (layers.length === 0) return body.append(el("p", {}, "No layer was asked for."));
  const length = clip.frame * DATA.squeeze.factor * step; // seconds of a query, and of a key
  const count = layers[0].probabilities.shape[1];
  const disentangled = Object.keys(layers[0].terms).length > 0;
  const state = { layer: 0, head: "all", shown: "probabilities", query: 0 };
  const chosen = () => (state.head === "all" ? Array.from({ length: heads }, (_, h) => h) : [Number(state.head)]);
  const at = (array, head, query, key) => array.values[(head * count + query) * count + key];
  const placeOf = (time) => clamp(Math.floor(time / length), 0, count - 1);
  const colour = (head) => theme.lines[head % theme.lines.length];
  const signed = ["content", "c2p", "p2c"];

  const layerChoice = choice("Layer:", layers.map((each, i) => [i, `${each.layer} of 0 to ${depth - 1}`]), (value) => set({ layer: Number(value) }));
  const headChoice = choice("Head:", [["all", "all"], ...Array.from({ length: heads }, (_, h) => [h, String(h)])], (value) => set({ head: value }));
  const controls = el("div", { class: "controls" }, layerChoice.label, headChoice.label);
  const titles = { probabilities: "where they look", content: "content with content", c2p: "content to position (c2p)", p2c: "position to content (p2c)" };
  const kinds = ["probabilities", ...Object.keys(layers[0].terms)];
  if (disentangled) controls.append(choice("Maps of:", kinds.map((kind) => [kind, titles[kind]]), (value) => set({ shown: value })).label);
  body.append(controls);
  if (layers.length < depth) body.append(el("p", { class: "quiet" }, `Of ${depth} layers these are kept: ${layers.map((each) => each.layer).join(", ")}.`));
  if (step > 1) body.append(el("p", { class: "quiet" }, `The clip has ${squeezed} squeezed frames: each ${step} of them are shown as one, queries averaged, shares of keys added up.`));

  const readout = el("output", { class: "readout" });
  const legend = el("div", { class: "legend" });
  const follow = (time) => {
    const query = placeOf(time ?? clock.time);
    if (query !== state.query) redraw(query);
    else tell();
  };
  const queryAt = () => (state.query + 0.5) * length;
  const arcs = new Strip(body, {
    height: 190,
    label: "Arcs from the query to the moments that its heads look at, over the waveform",
    draw(context, strip) {
      const floor = strip.height - 44;
      wave(context, strip, floor, strip.height, theme.soft);
      const from = strip.x(queryAt());
      const shares = layers[state.layer].probabilities;
      name(context, strip, "query", floor - 14, theme.cursor);
      name(context, strip, seconds(queryAt()), floor, theme.cursor);
      inside(context, strip, () => {
        for (const head of chosen()) {
          context.strokeStyle = colour(head);
          for (let key = 0; key < count; key++) {
            const share = at(shares, head, state.query, key);
            if (share < 0.02) continue;
            context.globalAlpha = clamp(0.2 + share, 0, 0.95);
            context.lineWidth = 0.8 + 7 * share;
            const to = strip.x((key + 0.5) * length);
            context.beginPath();
            const radius = Math.abs(to - from) / 2;
            if (radius < 2) context.arc(from, floor - 6, 5, 0, 2 * Math.PI);
            else context.ellipse((from + to) / 2, floor, radius, Math.min(radius, floor - 6), 0, Math.PI, 2 * Math.PI);
            context.stroke();
          }
        }
        context.globalAlpha = 1;
        context.lineWidth = 1;
        context.fillStyle = theme.cursor;
        context.beginPath();
        context.arc(from, floor, 4, 0, 2 * Math.PI);
        context.fill();
      });
    },
    point: follow,
  });
  body.append(legend, readout, el("h3", {}, "The same as shares: a row a head, a column a moment"));
  const rows = new Strip(body, {
    height: Math.max(44, heads * 15),
    label: "How much each head looks at each moment from the query",
    draw(context, strip) {
      const [shares, list] = [layers[state.layer].probabilities, chosen()];
      const shown = picture(list.length, count, (i) => Math.sqrt(at(shares, list[Math.floor(i / count)], state.query, i % count)), theme.sequential);
      stretch(context, strip, shown, length);
      list.forEach((head, i) => name(context, strip, `head ${head}`, ((i + 0.5) * strip.height) / list.length));
    },
    point: follow,
  });
  const terms = disentangled ? drawTerms() : null;

  body.append(el("h3", {}, "All queries: each row one, its keys from left to right"));
  const maps = el("div", { class: "maps" });
  body.append(maps);
  const canvases = Array.from({ length: heads }, (_, head) => {
    const canvas = el("canvas", { role: "img", "aria-label": `Map of head ${head}`, width: count, height: count });
    const figure = el("figure", { pointermove: (event) => pointMap(event, canvas, head), pointerleave: () => follow(null) }, canvas, el("figcaption", {}, `head ${head}`));
    figure.addEventListener("click", (event) => seek((mapPlace(event, canvas)[0] + 0.5) * length));
    maps.append(figure);
    return canvas;
  });

  function mapPlace(event, canvas) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((share) => clamp(Math.floor(share * count), 0, count - 1));
  }

  function pointMap(event, canvas, head) {
    const [query, key] = mapPlace(event, canvas);
    if (query !== state.query) redraw(query);
    const kind = state.shown;
    const value = kind === "probabilities" ? percent(at(layers[state.layer].probabilities, head, query, key)) : number(at(layers[state.layer].terms[kind], head, query, key));
    readout.textContent = `head ${head}, query ${seconds((query + 0.5) * length)}, key ${seconds((key + 0.5) * length)}: ${value}`;
  }

  function drawMaps() {
    const layer = layers[state.layer];
    const array = state.shown === "probabilities" ? layer.probabilities : layer.terms[state.shown];
    canvases.forEach((canvas, head) => {
      canvas.parentElement.hidden = !chosen().includes(head);
      const values = array.values.subarray(head * count * count, (head + 1) * count * count);
      const most = values.reduce((high, x) => Math.max(high, Math.abs(x)), 1e-9);
      const isTerm = signed.includes(state.shown);
      const shade = isTerm ? (i) => 0.5 + values[i] / (2 * most) : (i) => Math.sqrt(values[i] / most);
      canvas.getContext("2d").drawImage(picture(count, count, shade, isTerm ? theme.diverging : theme.sequential), 0, 0);
    });
  }

  /** SEW-D: what the score of every key is made of, and the bucket of its distance. */
  function drawTerms() {
    const names = Object.keys(layers[0].terms);
    body.append(el("h3", {}, "What the scores are made of: content, and position both ways"));
    const key = el("div", { class: "legend" });
    const strip = new Strip(body, {
      height: 150,
      label: "The terms of the scores of every key, for the query and one head",
      draw(context, strip) {
        const head = chosen()[0];
        const lines = names.map((kind) => Array.from({ length: count }, (_, k) => at(layers[state.layer].terms[kind], head, state.query, k)));
        lines.push(lines[0].map((_, k) => lines.reduce((sum, line) => sum + line[k], 0)));
        const most = Math.max(1e-9, ...lines.flat().map(Math.abs));
        const y = (value) => strip.height / 2 - (value / most) * (strip.height / 2 - 6);
        name(context, strip, number(most), 8);
        name(context, strip, "0", strip.height / 2);
        name(context, strip, number(-most), strip.height - 8);
        context.strokeStyle = theme.line;
        context.strokeRect(strip.left, y(0), strip.width, 0);
        inside(context, strip, () => lines.forEach((line, i) => {
          context.strokeStyle = i === names.length ? theme.ink : theme.lines[i];
          context.lineWidth = i === names.length ? 2 : 1.3;
          context.setLineDash(i === names.length ? [] : [[], [6, 3], [2, 2]][i]);
          context.beginPath();
          line.forEach((value, k) => context.lineTo(strip.x((k + 0.5) * length), y(value)));
          context.stroke();
        }));
        context.setLineDash([]);
        context.lineWidth = 1;
        key.replaceChildren(...[...names.map((kind) => titles[kind]), `their sum, the score, of head ${head}`].map((title, i) => swatch(i === names.length ? theme.ink : theme.lines[i], title)));
      },
      point(time) {
        if (time === null) return tell();
        const head = chosen()[0];
        const k = placeOf(time);
        const parts = names.map((kind) => `${kind} ${number(at(layers[state.layer].terms[kind], head, state.query, k))}`);
        readout.textContent = `head ${head}, query ${seconds(queryAt())}, key ${seconds((k + 0.5) * length)}: ${parts.join(", ")}${bucketTold(k)}`;
      },
    });
    body.append(key);
    if (buckets === null) return [strip];
    const furthest = Math.max(...buckets.values.map(Math.abs), 1);
    body.append(el("h3", {}, "The bucket of every distance, query minus key: exact when near, shared when far ", el("code", {}, "encoder.encoder.relative_positions")));
    const steps = new Strip(body, {
      height: 90,
      label: "The bucket of the distance from the query to every key",
      draw(context, strip) {
        const y = (bucket) => strip.height / 2 - (bucket / furthest) * (strip.height / 2 - 6);
        name(context, strip, `+${furthest}`, 8);
        name(context, strip, "0", strip.height / 2);
        name(context, strip, `−${furthest}`, strip.height - 8);
        context.strokeStyle = theme.line;
        context.strokeRect(strip.left, y(0), strip.width, 0);
        context.strokeStyle = theme.accent;
        inside(context, strip, () => {
          context.beginPath();
          for (let k = 0; k < squeezed; k++) {
            for (const edge of [k, k + 1]) context.lineTo(strip.x((edge * length) / step), y(bucketOf(k)));
          }
          context.stroke();
        });
      },
      point(time) {
        if (time === null) return tell();
        const k = placeOf(time);
        readout.textContent = `query ${seconds(queryAt())}, key ${seconds((k + 0.5) * length)}${bucketTold(k)}`;
      },
    });
    return [strip, steps];
  }

  function bucketOf(key) {
    return buckets.values[Math.round((state.query + 0.5) * step - 0.5) - key + squeezed - 1];
  }

  function bucketTold(k) {
    if (buckets === null) return "";
    const key = Math.min(squeezed - 1, Math.round((k + 0.5) * step - 0.5));
    const query = Math.min(squeezed - 1, Math.round((state.query + 0.5) * step - 0.5));
    const bucket = buckets.values[query - key + squeezed - 1];
    const sharing = buckets.values.reduce((sum, each) => sum + (each === bucket), 0);
    const beyond = bucket >= span || bucket < -span ? ", past the end of the table, whose last row it takes" : "";
    return `; distance ${minus(query - key)}, bucket ${minus(bucket)}${sharing > 1 ? `, which ${sharing} distances of this clip share` : ""}${beyond}`;
  }

  function swatch(colour, text) {
    const mark = el("span", { class: "key" });
    mark.style.background = colour;
    return el("span", {}, mark, text);
  }

  function tell() {
    const parts = chosen().map((head) => {
      const line = Array.from({ length: count }, (_, k) => at(layers[state.layer].probabilities, head, state.query, k));
      const best = line.indexOf(Math.max(...line));
      return `head ${head} looks most at ${seconds((best + 0.5) * length)} (${percent(line[best])})`;
    });
    readout.textContent = `From ${seconds(queryAt())}: ${parts.slice(0, 4).join(", ")}${parts.length > 4 ? " …" : ""}`;
  }

  function set(change) {
    Object.assign(state, change);
    document.getElementById("attention-stage").textContent = layers[state.layer].stage;
    legend.replaceChildren(...chosen().map((head) => swatch(colour(head), `head ${head}`)));
    drawMaps();
    redraw(state.query);
  }

  function redraw(query) {
    state.query = query;
    for (const strip of [arcs, rows, ...(terms ?? [])]) strip.redraw();
    tell();
  }

  set({});
  clock.moved.push(() => placeOf(clock.time) !== state.query && redraw(placeOf(clock.time)));
  return { retheme: () => set({}) };
}
