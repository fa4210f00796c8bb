// The document, and small things that everything uses.

const DATA = JSON.parse(document.getElementById("data").textContent);

/** The bytes behind base64. */
function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** A packed array as {shape, values}: see sewnp.explain.pack. */
async function unpacked(packed) {
  const stream = new Blob([bytesOf(packed.data)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const kinds = { uint8: Uint8Array, int8: Int8Array, int16: Int16Array, float32: Float32Array };
  const codes = new kinds[packed.dtype](buffer); // little-endian, as every current browser is
  if (packed.dtype === "float32") return { shape: packed.shape, values: codes };
  const { offset, scale, power } = packed;
  const value = (code) => (offset + scale * code) ** power;
  const table = packed.dtype.endsWith("int8") ? Float32Array.from({ length: 256 }, (_, byte) => value(packed.dtype === "int8" ? (byte << 24) >> 24 : byte)) : null;
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = table ? table[codes[i] & 255] : value(codes[i]);
  return { shape: packed.shape, values };
}

/** Unpack every array in an object, in place. */
async function unpackAll(owner) {
  const waiting = [];
  for (const [key, value] of Object.entries(owner)) {
    if (value === null || typeof value !== "object") continue;
    if (typeof value.data === "string" && Array.isArray(value.shape)) waiting.push(unpacked(value).then((array) => (owner[key] = array)));
    else waiting.push(unpackAll(value));
  }
  await Promise.all(waiting);
}

/** An element.  Strings among the children become text, whatever stands in them. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A labelled select.  options: [value, text]; change is called with the value. */
function choice(label, options, change, selected) {
  const select = el("select", { change: () => change(select.value) }, ...options.map(([value, text]) => el("option", { value }, text)));
  if (selected !== undefined) select.value = selected;
  return { label: el("label", {}, label, select), select };
}

const bodyOf = (id) => document.querySelector(`#${id} .body`);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const seconds = (t) => `${t.toFixed(2)} s`;
const percent = (p) => (p > 0.9995 ? ">\u00a099.9\u00a0%" : p < 0.001 ? "<\u00a00.1\u00a0%" : `${(100 * p).toFixed(p < 0.0995 || p > 0.99 ? 1 : 0)}\u00a0%`);
const minus = (text) => String(text).replace("-", "−");
const number = (x) => (Number.isFinite(x) ? minus(x.toPrecision(3)) : "−∞");

/** What a token is called: white space and marks that would not show are spelled out. */
function tokenName(row) {
  if (row === blankRow) return "blank";
  const token = DATA.letters.tokens[row];
  if (token === DATA.letters.delimiter) return "space";
  return token.trim() === "" ? JSON.stringify(token) : token;
}
const blankRow = 0; // letters() in sewnp.explain puts it first
const shortName = (row) => (tokenName(row).length > 6 ? `${[...tokenName(row)].slice(0, 5).join("")}…` : tokenName(row));

// --- colours ---

let theme = {};
let themeCount = 0; // pictures that were coloured before are coloured anew

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(named(name).slice(i, i + 2), 16));
  theme = Object.fromEntries(["ink", "soft", "line", "accent", "cursor", "back", "card", "above", "below", "middle"].map((n) => [n, named(n)]));
  theme.sequential = ramp([rgb("low"), rgb("middle"), rgb("high")]);
  theme.diverging = ramp([rgb("below"), rgb("zero"), rgb("above")]);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  // Okabe and Ito's, which colour-blind eyes tell apart, darker or lighter for the background
  theme.lines = dark
    ? ["#e69f00", "#56b4e9", "#2fbf93", "#f0e442", "#5aa2ff", "#ff7f50", "#e59ac4", "#c8c8c8"]
    : ["#b26a00", "#2a8ac4", "#00795a", "#8a7d00", "#004f8a", "#c04a00", "#a3487a", "#444444"];
  themeCount += 1;
}

/** 256 colours through some stops, as a canvas keeps them: a whole number a pixel. */
function ramp(stops) {
  const bytes = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) bytes[4 * i + c] = Math.round(stops[k][c] + (place - k) * (stops[k + 1][c] - stops[k][c]));
    bytes[4 * i + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}

/** A ramp's colour for a share, as a style. */
function colourOf(colours, share) {
  const [red, green, blue] = new Uint8Array(colours.buffer, 4 * Math.round(255 * clamp(share, 0, 1)), 3);
  return `rgb(${red},${green},${blue})`;
}

/** A picture of rows x columns values: shade(i) from 0 to 1 of each, coloured by a ramp of the theme. */
function picture(rows, columns, shade, colours) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  const words = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = colours[Math.round(255 * clamp(shade(i), 0, 1))];
  context.putImageData(pixels, 0, 0);
  return canvas;
}
