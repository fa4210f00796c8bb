// From samples to frames: a strip a convolution, one of them large, with the filter that the pointer is on.

function drawFunnel() {
  const { convolutions, before_norm: before, after_norm: after } = DATA.funnel;
  const body = bodyOf("funnel");
  const rate = (layer) => clip.rate / layer.hop;
  const perSecond = (layer) => `${Math.round(rate(layer)).toLocaleString("en")} / s`;
  const views = convolutions.map((layer, i) => ({ layer, image: layer.image, i, title: `convolution ${i}, activated` }));
  views.splice(0, 0, { layer: convolutions[0], image: before, i: 0, title: "convolution 0, before its norm" });
  if (after) views.splice(1, 0, { layer: convolutions[0], image: after, i: 0, title: "convolution 0, after its norm" });

  const state = { view: views.length - convolutions.length, channel: 0, pinned: false };
  const rows = () => views[state.view].image.values.shape[0];
  const readout = el("output", { class: "readout" });
  const filter = el("canvas", { role: "img", width: 300, height: 130 });
  const passes = el("canvas", { role: "img", width: 300, height: 130 });
  const caption = el("figcaption");
  const passCaption = el("figcaption", {}, "How strongly it lets frequencies pass, from −40 dB to 0 dB");
  const filterFigure = el("figure", {}, filter, caption);
  const passFigure = el("figure", {}, passes, passCaption);

  const pick = choice("Large:", views.map((view, at) => [at, view.title]), (value) => choose(Number(value)), state.view);
  const channel = el("input", { type: "number", min: 0, value: 0, "aria-label": "Channel", input: () => pin(Number(channel.value)) });
  body.append(el("div", { class: "controls" }, pick.label, el("label", {}, "Channel:", channel)));
  const large = new Strip(body, {
    height: 240,
    label: "",
    draw(context, strip) {
      const { image, layer } = views[state.view];
      stretch(context, strip, stagePicture(image), (layer.hop * image.step) / clip.rate);
      const y = ((state.channel + 0.5) / rows()) * strip.height;
      name(context, strip, "channel", clamp(y - 7, 8, strip.height - 22), theme.ink);
      name(context, strip, String(state.channel), clamp(y + 7, 22, strip.height - 8), theme.ink);
      context.strokeStyle = theme.cursor;
      context.strokeRect(strip.left, (state.channel / rows()) * strip.height, strip.width, strip.height / rows());
    },
    point(time, share) {
      if (time === null) return tell(clock.time);
      if (!state.pinned) state.channel = Math.floor(share * rows());
      channel.value = state.channel;
      large.redraw();
      drawFilter();
      tell(time);
    },
    press(time, share) {
      state.channel = Math.floor(share * rows()); // and the cursor goes there too
      state.pinned = false;
      return false;
    },
  });
  body.append(readout, el("div", { class: "beside" }, filterFigure, passFigure), el("h3", {}, "All of them"));
  for (const [at, view] of views.entries()) {
    if (view.image === before || view.image === after) continue;
    const small = new Strip(body, {
      height: clamp(view.image.values.shape[0] / 3, 20, 40),
      label: `Convolution ${view.i}: ${view.image.values.shape[0]} channels, ${view.image.frames} frames`,
      draw(context, strip) {
        stretch(context, strip, stagePicture(view.image), (view.layer.hop * view.image.step) / clip.rate);
        name(context, strip, perSecond(view.layer), strip.height / 2, at === state.view ? theme.ink : theme.soft);
      },
      point(time) {
        readout.textContent = time === null ? "" : told(view, time, null);
      },
      press() {
        choose(at);
        return false;
      },
    });
    small.box.title = view.title;
  }

  function choose(at) {
    state.view = at;
    pick.select.value = at;
    pin(Math.min(state.channel, rows() - 1));
    state.pinned = false;
    for (const strip of strips) strip.redraw();
  }

  function pin(wanted) {
    state.channel = clamp(Number.isFinite(wanted) ? Math.round(wanted) : 0, 0, rows() - 1);
    state.pinned = true;
    channel.max = rows() - 1;
    const { image, title } = views[state.view];
    large.canvas.setAttribute("aria-label", `${title}: ${rows()} channels, ${image.frames} frames`);
    large.redraw();
    drawFilter();
    tell(clock.time);
  }

  function told({ layer, image, i }, time, row) {
    const frame = Math.min(Math.floor((time * clip.rate) / layer.hop), image.frames - 1);
    const column = Math.floor(frame / image.step);
    const first = frame * layer.hop;
    const value = row === null ? "" : `, channel ${row}: ${number(image.values.values[row * image.values.shape[1] + column])}`;
    const many = image.step > 1 ? `, the strongest of ${image.step} frames` : "";
    const span = `hears samples ${first} to ${Math.min(first + layer.field, samples.length) - 1}, ${((1000 * layer.field) / clip.rate).toFixed(1)} ms`;
    return `convolution ${i} (kernel ${layer.kernel}, stride ${layer.stride}), frame ${frame} of ${image.frames}${value}${many}; ${span}`;
  }

  function tell(time) {
    readout.textContent = `${views[state.view].image.stage.split(".").pop()}, ${told(views[state.view], time, state.channel)}`;
  }

  function drawFilter() {
    const { layer, i } = views[state.view];
    passFigure.hidden = i !== 0;
    if (layer.filters === null) {
      caption.textContent = "The filters of this convolution have too many weights for a page.";
      return clean(filter);
    }
    const [, inputs, taps] = layer.filters.shape;
    const kernel = layer.filters.values.subarray(state.channel * inputs * taps, (state.channel + 1) * inputs * taps);
    const most = kernel.reduce((high, w) => Math.max(high, Math.abs(w)), 1e-9);
    caption.textContent =
      i === 0
        ? `Channel ${state.channel}: its ${taps} taps, over ${((1000 * taps) / clip.rate).toFixed(2)} ms`
        : `Channel ${state.channel}: its weights, ${inputs} channels of convolution ${i - 1} across, ${taps} ${taps === 1 ? "tap" : "taps"} down`;
    filter.setAttribute("aria-label", caption.textContent);
    passes.setAttribute("aria-label", passCaption.textContent);
    if (i === 0) {
      plot(filter, Array.from(kernel, (w) => 0.5 + w / (2.1 * most)), { bars: true });
      const [, points] = DATA.funnel.response.shape;
      const decibels = DATA.funnel.response.values.subarray(state.channel * points, (state.channel + 1) * points);
      plot(passes, Array.from(decibels, (d) => 1 + d / 42), { labels: ["0 Hz", `${clip.rate / 2000} kHz`] });
    } else {
      const weights = picture(taps, inputs, (at) => 0.5 + kernel[(at % inputs) * taps + Math.floor(at / inputs)] / (2 * most), theme.diverging);
      const context = clean(filter);
      context.imageSmoothingEnabled = false;
      const height = Math.min(28 * taps, 120);
      context.drawImage(weights, 0, (120 - height) / 2, 300, height);
    }
  }

  pin(0);
  state.pinned = false;
  clock.moved.push(() => tell(clock.time));
  return { retheme: drawFilter };
}

/** An empty small canvas, sharp on any screen. */
function clean(canvas) {
  const ratio = devicePixelRatio || 1;
  canvas.style.width = "300px";
  canvas.style.maxWidth = "100%";
  canvas.width = 300 * ratio;
  canvas.height = 130 * ratio;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "11px system-ui, sans-serif";
  return context;
}

/** A curve, or bars from the middle, of values from 0 to 1. */
function plot(canvas, values, { bars = false, labels = [] } = {}) {
  const context = clean(canvas);
  const [height, step] = [labels.length ? 112 : 126, 292 / (bars ? values.length : values.length - 1)];
  context.strokeStyle = theme.line;
  context.strokeRect(4, 2, 292, height);
  if (bars) {
    values.forEach((value, k) => {
      context.fillStyle = value >= 0.5 ? theme.above : theme.below;
      context.fillRect(4 + (k + 0.15) * step, 2 + height * (1 - Math.max(value, 0.5)), step * 0.7, Math.max(1, height * Math.abs(value - 0.5)));
    });
    return;
  }
  context.strokeStyle = theme.accent;
  context.lineWidth = 1.5;
  context.beginPath();
  values.forEach((value, k) => context.lineTo(4 + k * step, 2 + height * (1 - clamp(value, 0, 1))));
  context.stroke();
  context.fillStyle = theme.soft;
  labels.forEach((text, k) => {
    context.textAlign = k ? "right" : "left";
    context.fillText(text, k ? 296 : 4, 128);
  });
}
