// Words with times and confidence, beams, and the samples that a word depends on.

function drawWords() {
  const body = bodyOf("words");
  if (DATA.text.given !== null) body.append(el("p", {}, `The text was given; the network alone hears: ${DATA.text.heard || "nothing"}`));
  if (DATA.words.length === 0) return body.append(el("p", {}, "No words were heard."));
  const rows = DATA.words.map((word) => {
    const listen = el("button", { type: "button", "aria-label": `Play ${word.word}`, click: () => play(Math.max(0, word.start - 0.12), word.end + 0.12) }, "Play");
    const meter = el("meter", { min: 0, max: 1, value: word.probability, "aria-label": "confidence" });
    return el("tr", {}, el("td", {}, listen), el("td", { class: "wrap" }, word.word), el("td", {}, `${word.start.toFixed(2)} to ${seconds(word.end)}`), el("td", {}, meter, ` ${percent(word.probability)}`));
  });
  const head = ["", "word", "when", DATA.text.given === null ? "confidence" : "how sure its place is"];
  body.append(table(head, rows));
  clock.moved.push(() => rows.forEach((row, i) => row.toggleAttribute("aria-current", clock.time >= DATA.words[i].start && clock.time < DATA.words[i].end)));
  if (DATA.beams.length === 0) return;
  body.append(el("h3", {}, "The beam: the decoder's best texts"));
  body.append(table(["", "text", "score", "log-probability"], DATA.beams.map((each, i) => el("tr", {}, el("td", {}, String(i + 1)), el("td", { class: "wrap" }, each.text), el("td", {}, number(each.score)), el("td", {}, number(each.log_probability))))));
}

function table(head, rows) {
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...head.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...rows)));
}

function drawGradients() {
  const body = bodyOf("gradients");
  const found = DATA.gradients;
  if (found === null) return body.append(el("p", {}, "No words were heard."));
  const { words, values } = found;
  const columns = values.shape[1];
  const step = clip.seconds / columns;
  if (words.length < DATA.words.length) body.append(el("p", { class: "quiet" }, `Of ${DATA.words.length} words these ${words.length} are shown, the least sure ones: the clip is long.`));
  const high = 22;
  let [shown, shownTheme] = [null, 0];
  let row = 0;
  const titles = words.map((i) => DATA.words[i].word);
  body.append(el("div", { class: "controls" }, choice("Word:", titles.map((title, i) => [i, title]), (value) => {
    row = Number(value);
    sound.redraw();
  }).label));
  const share = (time) => values.values[row * columns + clamp(Math.floor(time / step), 0, columns - 1)];
  const readout = el("output", { class: "readout" });
  const sound = new Strip(body, {
    height: 110,
    label: "The waveform, strongest in colour where the word depends on it",
    draw(context, strip) {
      wordMarks(context, strip, 7);
      const colours = theme.sequential;
      wave(context, strip, 20, strip.height - 4, theme.accent, (time) => colourOf(colours, 0.12 + 0.88 * Math.sqrt(share(time))));
      const word = DATA.words[words[row]];
      inside(context, strip, () => {
        context.strokeStyle = theme.cursor;
        context.strokeRect(strip.x(word.start), 18, Math.max(3, strip.x(word.end) - strip.x(word.start)), strip.height - 22);
      });
    },
    point(time) {
      readout.textContent = time === null ? "" : `${seconds(time)}: ${percent(share(time))} of the steepest slope of ${titles[row]}`;
    },
  });
  body.append(readout, el("h3", {}, "All words: a row each"));
  new Strip(body, {
    height: titles.length * high,
    label: "How much each word depends on each moment",
    draw(context, strip) {
      if (shownTheme !== themeCount) shown = picture(titles.length, columns, (i) => Math.sqrt(values.values[i]), theme.sequential);
      shownTheme = themeCount;
      stretch(context, strip, shown, step);
      titles.forEach((title, i) => name(context, strip, title, (i + 0.5) * high, theme.ink));
      inside(context, strip, () => titles.forEach((_, i) => {
        const word = DATA.words[words[i]];
        context.strokeStyle = theme.cursor;
        context.strokeRect(strip.x(word.start), i * high + 1, Math.max(3, strip.x(word.end) - strip.x(word.start)), high - 2);
      }));
    },
  });
}
