// A strip: a canvas over time, with a gutter for names, the common cursor, and what the pointer does.

const strips = [];
const GUTTER = () => (innerWidth < 560 ? 44 : 64);
const MARGIN = 4;

class Strip {
  /** draw(context, strip) draws; point(time, share of the height, event) is told where the pointer is, null when it leaves.  whole: of the clip, always. */
  constructor(parent, { height, label, draw, point = () => {}, press = null, whole = false }) {
    Object.assign(this, { draw, point, whole, dirty: true, near: false, height });
    this.canvas = el("canvas", { role: "img", "aria-label": label });
    this.cursor = el("div", { class: "cursor" });
    this.box = el("div", { class: "strip" }, this.canvas, this.cursor);
    this.resize(height);
    parent.append(this.box);
    strips.push(this);
    new ResizeObserver(() => this.redraw()).observe(this.box);
    new IntersectionObserver((entries) => {
      this.near = entries[entries.length - 1].isIntersecting;
      if (this.near && this.dirty) this.redraw();
    }, { rootMargin: "200px" }).observe(this.box);
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [this.time(event.clientX - box.left), clamp((event.clientY - box.top) / box.height, 0, 0.9999)];
    };
    this.box.addEventListener("pointermove", (event) => this.point(...place(event), event));
    this.box.addEventListener("pointerleave", () => this.point(null));
    this.box.addEventListener("click", (event) => (press && press(...place(event), event)) || seek(place(event)[0]));
    this.box.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return; // the wheel alone scrolls the page
      event.preventDefault();
      if (event.ctrlKey) zoom(Math.exp(event.deltaY / 200), place(event)[0]);
      else show(clock.start + ((event.deltaY || event.deltaX) / 800) * (clock.end - clock.start), clock.end - clock.start);
    }, { passive: false });
    this.place = place;
  }

  resize(height) {
    this.height = height;
    this.box.style.height = `${height}px`;
    this.dirty = true;
  }

  get start() { return this.whole ? 0 : clock.start; }
  get end() { return this.whole ? clip.seconds : clock.end; }
  get left() { return GUTTER(); }
  get width() { return Math.max(1, this.box.clientWidth - this.left - MARGIN); }
  x(time) { return this.left + ((time - this.start) / (this.end - this.start)) * this.width; }
  time(x) { return clamp(this.start + ((x - this.left) / this.width) * (this.end - this.start), 0, clip.seconds); }

  redraw() {
    this.dirty = !this.near;
    if (!this.near || this.box.clientWidth === 0) return;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.box.clientWidth, this.height];
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    this.draw(context, this);
    this.move();
  }

  move() {
    const x = this.x(clock.time);
    this.cursor.style.transform = `translateX(${x}px)`;
    this.cursor.style.visibility = x >= this.left - 1 && x <= this.left + this.width + 1 ? "visible" : "hidden";
  }
}

clock.moved.push(() => strips.forEach((strip) => strip.move()));
clock.zoomed.push(() => strips.forEach((strip) => !strip.whole && strip.redraw()));

/** A name in the gutter at a height; long ones are cut. */
function name(context, strip, text, y, colour = theme.soft) {
  context.fillStyle = colour;
  context.textAlign = "right";
  context.fillText(text, strip.left - 6, y, strip.left - 8);
}

/** Draw only where time is. */
function inside(context, strip, draw) {
  context.save();
  context.beginPath();
  context.rect(strip.left, 0, strip.width, strip.height);
  context.clip();
  draw();
  context.restore();
}

/** A picture over time: columns of ``step`` seconds each, from 0 on. */
function stretch(context, strip, image, step, top = 0, height = strip.height) {
  const from = Math.max(0, Math.floor(strip.start / step));
  const to = Math.min(image.width, Math.ceil(strip.end / step));
  if (to <= from) return;
  const [left, right] = [strip.x(from * step), strip.x(to * step)];
  inside(context, strip, () => {
    context.imageSmoothingEnabled = to - from > (right - left) * (devicePixelRatio || 1);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, from, 0, to - from, image.height, left, top, right - left, height);
  });
}

/** A stage's image as a picture around zero, coloured once a theme. */
function stagePicture(image) {
  if (image.theme !== themeCount) {
    const [rows, columns] = image.values.shape;
    const { values } = image.values;
    image.picture = picture(rows, columns, (i) => 0.5 + values[i] / (2 * image.shown || 1), theme.diverging);
    image.theme = themeCount;
  }
  return image.picture;
}

/** Marks of time along the bottom. */
function ruler(context, strip, y) {
  const length = strip.end - strip.start;
  const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10].find((each) => (each / length) * strip.width > 55) || 20;
  context.fillStyle = theme.soft;
  context.strokeStyle = theme.line;
  context.textAlign = "center";
  for (let t = Math.ceil(strip.start / step) * step; t <= strip.end + 1e-9; t += step) {
    const x = strip.x(t);
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, y - 7);
    context.stroke();
    if (x < strip.left + strip.width - 12) context.fillText(`${Number(t.toFixed(3))} s`, x, y);
  }
}

// --- the waveform ---

const samples = new Int16Array(bytesOf(clip.wav).buffer, 44); // behind the header that sewnp writes
const loudest = Math.max(1, samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0));

/** The waveform between two heights, in one colour, or in that of colourAt(time). */
function wave(context, strip, top, bottom, colour, colourAt = null) {
  const middle = (top + bottom) / 2;
  const high = (bottom - top) / 2 - 1;
  const perPixel = ((strip.end - strip.start) * clip.rate) / strip.width;
  context.fillStyle = context.strokeStyle = colour;
  inside(context, strip, () => {
    if (perPixel < 1) return singleSamples(context, strip, middle, high);
    for (let x = 0; x < strip.width; x++) {
      const from = Math.floor((strip.start + (x / strip.width) * (strip.end - strip.start)) * clip.rate);
      let [low, most] = [32767, -32768];
      for (let i = from; i <= Math.min(from + perPixel, samples.length - 1); i++) {
        low = Math.min(low, samples[i]);
        most = Math.max(most, samples[i]);
      }
      if (colourAt) context.fillStyle = colourAt(strip.time(strip.left + x));
      const y = middle - (most / loudest) * high;
      if (most >= low) context.fillRect(strip.left + x, y, 1, Math.max(1, middle - (low / loudest) * high - y));
    }
  });
}

function singleSamples(context, strip, middle, high) {
  const from = Math.max(0, Math.floor(strip.start * clip.rate) - 1);
  const to = Math.min(samples.length - 1, Math.ceil(strip.end * clip.rate) + 1);
  context.beginPath();
  for (let i = from; i <= to; i++) context.lineTo(strip.x(i / clip.rate), middle - (samples[i] / loudest) * high);
  context.stroke();
  const dots = strip.width / (to - from) > 5;
  for (let i = from; dots && i <= to; i++) context.fillRect(strip.x(i / clip.rate) - 1.5, middle - (samples[i] / loudest) * high - 1.5, 3, 3);
}

/** The words over their times: a bar each, and its text where there is room before the next. */
function wordMarks(context, strip, y) {
  inside(context, strip, () => {
    let free = -Infinity;
    for (const word of DATA.words) {
      const [left, right] = [strip.x(word.start), strip.x(word.end)];
      context.fillStyle = theme.accent;
      context.fillRect(left, y + 8, Math.max(2, right - left), 3);
      const middle = clamp((left + right) / 2, strip.left, strip.left + strip.width);
      const width = Math.min(context.measureText(word.word).width, 120);
      if (right < strip.left || left > strip.left + strip.width || middle - width / 2 < free) continue;
      context.textAlign = "center";
      context.fillStyle = theme.ink;
      context.fillText(word.word, middle, y, 120);
      free = middle + width / 2 + 4;
    }
  });
}

function drawSound() {
  new Strip(document.getElementById("overview"), {
    height: 54,
    whole: true,
    label: "The whole clip, with its words",
    draw(context, strip) {
      wave(context, strip, 16, strip.height, theme.soft);
      wordMarks(context, strip, 6);
      context.fillStyle = theme.accent;
      context.globalAlpha = 0.14;
      if (clock.end - clock.start < clip.seconds) context.fillRect(strip.x(clock.start), 0, Math.max(2, strip.x(clock.end) - strip.x(clock.start)), strip.height);
      context.globalAlpha = 1;
      name(context, strip, "clip", 35);
    },
  });
  const overview = strips[strips.length - 1];
  clock.zoomed.push(() => overview.redraw());
  const readout = el("output", { class: "readout" });
  const sound = new Strip(bodyOf("sound"), {
    height: 150,
    label: `The waveform: ${samples.length} samples, ${seconds(clip.seconds)}`,
    draw(context, strip) {
      ruler(context, strip, strip.height - 7);
      wave(context, strip, 22, strip.height - 16, theme.accent);
      wordMarks(context, strip, 7);
      name(context, strip, "samples", (strip.height + 6) / 2);
    },
    point(time) {
      const i = time === null ? -1 : Math.min(samples.length - 1, Math.floor(time * clip.rate));
      readout.textContent = i < 0 ? resting() : `sample ${i} of ${samples.length}: ${(samples[i] / 32768).toFixed(4)}`;
    },
  });
  const resting = () => `${clip.rate.toLocaleString("en")} samples a second; ${seconds(clock.end - clock.start)} shown`;
  clock.zoomed.push(() => (readout.textContent = resting()));
  bodyOf("sound").append(readout);
  sound.point(null);
}
