// Letters over time, with the greedy path.

function drawLetters() {
  const { log_probs: logs, path } = DATA.letters;
  const [frames, rows] = logs.shape;
  const body = bodyOf("letters");
  const high = clamp(Math.round(360 / rows), 12, 20);
  const readout = el("output", { class: "readout" });
  const p = (frame, row) => Math.exp(logs.values[frame * rows + row]);
  let shown = null;
  let shownTheme = 0;

  new Strip(body, {
    height: rows * high,
    label: `How likely each of ${rows} tokens is at each of ${frames} frames; the greedy path spells ${DATA.text.heard}`,
    draw(context, strip) {
      if (shownTheme !== themeCount) shown = picture(rows, frames, (i) => Math.sqrt(p(i % frames, Math.floor(i / frames))), theme.sequential);
      shownTheme = themeCount;
      stretch(context, strip, shown, clip.frame);
      for (let row = 0; row < rows; row++) name(context, strip, shortName(row), (row + 0.5) * high, theme.ink);
      inside(context, strip, () => {
        context.strokeStyle = theme.cursor;
        context.lineWidth = clamp((strip.x(clip.frame) - strip.x(0)) / 3, 0.6, 1.5); // many letters on a narrow screen
        context.beginPath();
        path.forEach((row, t) => context.lineTo(strip.x((t + 0.5) * clip.frame), (row + 0.5) * high));
        context.stroke();
        context.lineWidth = 1;
      });
    },
    point(time, share) {
      if (time === null) return tell(clock.time);
      const [frame, row] = [frameAt(time), Math.floor(share * rows)];
      tell(time, `${tokenName(row)} ${percent(p(frame, row))}; `);
    },
  });
  body.append(readout);

  function tell(time, first = "") {
    const best = likeliest(frameAt(time), 3).map(([row, probability]) => `${tokenName(row)} ${percent(probability)}`);
    readout.textContent = `frame ${frameAt(time)}, ${seconds(time)}: ${first}likeliest ${best.join(", ")}`;
  }

  const written = el("p", { class: "quiet" }, "The path, without its blanks: ");
  path.forEach((row, t) => row !== blankRow && row !== path[t - 1] && written.append(row === path[t - 1] ? "" : `${tokenName(row) === "space" ? "␣" : shortName(row)} `));
  body.append(written);
  clock.moved.push(() => tell(clock.time));
}
