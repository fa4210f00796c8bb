// Everything in its place, once the arrays are there.

async function main() {
  readTheme();
  document.getElementById("model").textContent = DATA.model.name;
  document.getElementById("clip").textContent = clip.name;
  document.getElementById("version").textContent = DATA.sewnp;
  document.getElementById("text").textContent = (DATA.text.given ?? DATA.text.heard) || "(no words heard)";
  document.title = `${clip.name}, as ${DATA.model.name} hears it`;
  await unpackAll(DATA);
  startPlayer();
  drawSound();
  const panels = [drawFunnel(), drawSqueeze(), drawAttention(), drawLetters(), drawLattice(), drawWords(), drawGradients()];
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readTheme();
    for (const panel of panels) panel?.retheme?.();
    for (const strip of strips) strip.redraw();
  });
  show(0, clip.seconds);
  document.documentElement.dataset.ready = "yes";
}

main();
