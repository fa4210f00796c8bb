// One time for all: where the cursor is, what part of the clip is shown, and the player.

const clip = DATA.clip;
const clock = { time: 0, start: 0, end: clip.seconds, moved: [], zoomed: [] };
const audio = document.getElementById("audio");

function seek(time) {
  clock.time = clamp(time, 0, clip.seconds);
  if (Math.abs(audio.currentTime - clock.time) > 1e-3) audio.currentTime = clock.time;
  if (clock.time < clock.start || clock.time > clock.end) show(clock.time - (clock.end - clock.start) / 2, clock.end - clock.start);
  moved();
}

function moved() {
  for (const react of clock.moved) react();
}

/** Show so many seconds from a start on. */
function show(start, length) {
  length = clamp(length, Math.min(0.004, clip.seconds), clip.seconds);
  clock.start = clamp(start, 0, clip.seconds - length);
  clock.end = clock.start + length;
  for (const react of clock.zoomed) react();
  moved();
}

/** Zoom around a moment that keeps its place. */
function zoom(factor, around = clock.time) {
  const length = clock.end - clock.start;
  const share = (clamp(around, clock.start, clock.end) - clock.start) / length;
  const wanted = clamp(length * factor, Math.min(0.004, clip.seconds), clip.seconds);
  show(around - share * wanted, wanted);
}

function run() {
  if (audio.paused) return;
  clock.time = Math.min(audio.currentTime, clip.seconds);
  if (clock.time > clock.end || clock.time < clock.start) show(clock.time, clock.end - clock.start); // turn the page
  moved();
  requestAnimationFrame(run);
}

let until = null; // where to stop, when a word alone is played

function play(from, to) {
  if (from !== undefined) seek(from);
  else if (clock.time > clip.seconds - 0.02) seek(0);
  until = to ?? null;
  audio.play();
}

function startPlayer() {
  const button = document.getElementById("play");
  const slider = document.getElementById("seek");
  const now = document.getElementById("now");
  const status = document.getElementById("status");
  audio.src = `data:audio/wav;base64,${clip.wav}`;
  slider.max = clip.seconds;
  slider.step = clip.frame;
  const toggle = () => (audio.paused ? play() : audio.pause());
  const playing = () => {
    button.textContent = audio.paused ? "Play" : "Pause";
    button.setAttribute("aria-pressed", String(!audio.paused));
    run();
  };
  for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, playing);
  audio.addEventListener("timeupdate", () => until !== null && audio.currentTime >= until && audio.pause());
  button.addEventListener("click", toggle);
  slider.addEventListener("input", () => seek(Number(slider.value)));
  document.getElementById("closer").addEventListener("click", () => zoom(0.5));
  document.getElementById("wider").addEventListener("click", () => zoom(2));
  document.getElementById("whole").addEventListener("click", () => show(0, clip.seconds));
  document.addEventListener("keydown", (event) => {
    const { tagName, type } = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || tagName === "SELECT" || type === "number") return;
    if (event.key === " " ? tagName === "BUTTON" : type === "range" && event.key.length > 1) return; // these keys are theirs
    const actions = {
      " ": toggle,
      ArrowLeft: () => seek(clock.time - clip.frame),
      ArrowRight: () => seek(clock.time + clip.frame),
      Home: () => seek(0),
      "+": () => zoom(0.5),
      "=": () => zoom(0.5),
      "-": () => zoom(2),
      0: () => show(0, clip.seconds),
    };
    if (actions[event.key] === undefined) return;
    event.preventDefault();
    actions[event.key]();
  });
  clock.moved.push(() => {
    slider.value = clock.time;
    const said = summary(clock.time);
    slider.setAttribute("aria-valuetext", said);
    now.textContent = `${clock.time.toFixed(2)} / ${seconds(clip.seconds)}`;
    if (audio.paused) status.textContent = said; // while it plays, a screen reader would never stop
  });
}

/** What there is at a moment, in words. */
function summary(time) {
  const word = DATA.words.find((each) => time >= each.start && time < each.end);
  const best = likeliest(frameAt(time), 2).map(([row, p]) => `${tokenName(row)} ${percent(p)}`);
  return `${seconds(time)}${word ? `, in ${word.word}` : ""}: ${best.join(", ")}`;
}

const frameAt = (time) => clamp(Math.floor(time / clip.frame + 1e-6), 0, DATA.letters.log_probs.shape[0] - 1);

/** The likeliest tokens of a frame: [row, probability]. */
function likeliest(frame, count) {
  const [, rows] = DATA.letters.log_probs.shape;
  const all = Array.from({ length: rows }, (_, row) => [row, Math.exp(DATA.letters.log_probs.values[frame * rows + row])]);
  return all.sort((a, b) => b[1] - a[1]).slice(0, count);
}
