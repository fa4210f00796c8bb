// Which frames merge, and what comes back.

function drawSqueeze() {
  const { factor, frames, squeezed, images } = DATA.squeeze;
  const body = bodyOf("squeeze");
  const long = clip.frame * factor; // seconds of a squeezed frame
  const readout = el("output", { class: "readout" });
  const groupAt = (time) => Math.floor(frameAt(time) / factor);

  const merging = new Strip(body, {
    height: 132,
    label: `${frames} frames become ${squeezed}, ${factor} at a time, and ${frames} again`,
    draw(context, strip) {
      const [tops, high] = [[4, 54, 104], 24];
      const now = groupAt(clock.time);
      [["frames", frames, clip.frame], ["squeezed", squeezed, long], ["restored", frames, clip.frame]].forEach(([title, count, length], row) => {
        name(context, strip, title, tops[row] + high / 2);
        inside(context, strip, () => boxes(context, strip, { count, length, top: tops[row], high, mine: (i) => (row === 1 ? i : Math.floor(i / factor)) === now, zero: row === 2 }));
      });
      inside(context, strip, () => ties(context, strip, tops, high, now));
    },
    point(time) {
      readout.textContent = told(time ?? clock.time);
    },
  });
  body.append(readout);

  function boxes(context, strip, { count, length, top, high, mine, zero }) {
    const width = strip.x(length) - strip.x(0);
    const gap = width > 4 ? 1 : 0;
    for (let i = Math.max(0, Math.floor(strip.start / length)); i < Math.min(count, Math.ceil(strip.end / length)); i++) {
      const dropped = length < long && i >= squeezed * factor;
      context.fillStyle = mine(i) && !dropped ? theme.cursor : dropped ? theme.line : theme.middle;
      context.globalAlpha = mine(i) || dropped ? 1 : 0.45;
      if (dropped && zero) context.strokeRect(strip.x(i * length) + 1, top + 1, width - 2, high - 2);
      else context.fillRect(strip.x(i * length), top, Math.max(0.5, width - gap), high);
    }
    context.globalAlpha = 1;
  }

  function ties(context, strip, tops, high, now) {
    const few = strip.width / ((strip.end - strip.start) / long) > 14; // room to tie every group
    const [from, to] = few ? [Math.floor(strip.start / long), Math.ceil(strip.end / long)] : [now, now + 1];
    for (let group = from; group < Math.min(to, squeezed); group++) {
      context.strokeStyle = group === now ? theme.cursor : theme.line;
      context.lineWidth = group === now ? 2 : 1;
      const middle = strip.x((group + 0.5) * long);
      for (let k = 0; k < factor; k++) {
        const x = strip.x((group * factor + k + 0.5) * clip.frame);
        for (const [from, to] of [[[x, tops[0] + high], [middle, tops[1]]], [[middle, tops[1] + high], [x, tops[2]]]]) {
          context.beginPath();
          context.moveTo(...from);
          context.lineTo(...to);
          context.stroke();
        }
      }
    }
    context.lineWidth = 1;
  }

  function told(time) {
    const group = groupAt(time);
    if (group >= squeezed) return `frame ${frameAt(time)} fills no group of ${factor}: it is dropped, and zeros come back`;
    const [first, last] = [group * factor, group * factor + factor - 1];
    return `frames ${first} to ${last} make squeezed frame ${group} (${seconds(group * long)} to ${seconds((group + 1) * long)}), which comes back as frames ${first} to ${last}`;
  }

  const titles = {
    frames: "the frames, as the encoder is given them",
    pool: "their means",
    position: "position, by a convolution",
    squeezed: "means plus position: what the transformer starts from",
    restored: "restored, behind the transformer",
  };
  for (const [key, title] of Object.entries(titles)) {
    const image = images[key];
    const step = image.step * (image.frames === frames && key !== "pool" ? clip.frame : long);
    body.append(el("h3", {}, title, " ", el("code", {}, image.stage)));
    new Strip(body, {
      height: 64,
      label: `${title}: ${image.values.shape[0]} channels, ${image.frames} frames`,
      draw(context, strip) {
        stretch(context, strip, stagePicture(image), step);
        name(context, strip, `${Math.round(image.step / step)} / s`, strip.height / 2);
      },
      point(time, share) {
        if (time === null) return (readout.textContent = told(clock.time));
        const [rows, columns] = image.values.shape;
        const [row, column] = [Math.floor(share * rows), Math.min(columns - 1, Math.floor(time / step))];
        readout.textContent = `${image.stage}, channel ${row}, ${seconds(time)}: ${number(image.values.values[row * columns + column])}`;
      },
    });
  }
  clock.moved.push(() => {
    merging.redraw();
    readout.textContent = told(clock.time);
  });
}
