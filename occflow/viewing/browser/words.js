// What the page says of what it shows: captions, the legend, what a picked voxel is.

const foretells = (window) => window.now < window.instants.length - 1; // a scene of a store does not: it has no present
const zeroText = () => foretells(currentWindow()) ? "now" : "0.0 s";
const timeText = (s) => Math.abs(s) < 0.05 ? zeroText() : `${s < 0 ? "\u2212" : "+"}${Math.abs(s).toFixed(1)} s`;
const percent = (value) => (100 * value).toFixed(1);

async function captions(contents) {
  const window = currentWindow(), instant = window.instants[state.index];
  const truth = sourcesOf(window).find(({ kind }) => kind === TRUTH), known = truth && at(window, truth, state.index);
  for (const [pane, content] of contents.entries()) {
    const line = element(pane ? "pane-b" : "pane-a").querySelector("p");
    if (!content) { line.textContent = `${timeText(instant.s)}\nnot known at this instant`; continue; }
    const { source, instant: when } = content.view, wanted = sourceOf(state.mode === DIFFERENCE ? 1 : pane);
    const parts = [`${timeText(when.s)}${source.key === wanted.key ? "" : `, ${source.label}`}`];
    parts[0] += ` \u00B7 ${content.place.length.toLocaleString("en")} voxels`;
    const held = content.drawn === DIFFERENCE ? at(window, sourceOf(0), state.index) : known;
    const foretold = [FORECAST, SAMPLE].includes(source.kind) && when === instant && state.index > window.now;
    if (held && foretold && held.instant === when && held.layers[0] !== content.view.layers[0]) {
      const { iou, movers } = scoresOf(content.union, held.layers[0], content.view.layers[0], about.movable);
      parts.push([["IoU", iou], ["movers", movers]].filter(([, value]) => !isNaN(value))
        .map(([name, value]) => `${name} ${percent(value)} %`).join(" \u00B7 "));
    }
    if (state.mode === DIFFERENCE && content.drawn !== DIFFERENCE) parts.push("nothing to compare at this instant");
    line.textContent = parts.join("\n");
  }
}

// What the kinds of difference are called: of the truth and a forecast, or of any two sources.
function differences() {
  const [first, second] = [sourceOf(0), sourceOf(1)];
  if (first.kind === TRUTH && first.label === "truth") return about.differences;
  const [missed, invented] = first.kind === TRUTH ? ["missed: ", "invented: "] : ["", ""];
  return ["agreed", `${missed}only in ${first.label}`, `${invented}only in ${second.label}`, "other class"];
}

// The classes that the window has, and what the colours say where they say something else.
function legend(contents) {
  const drawn = new Set(contents.filter(Boolean).map((one) => one.drawn)), entries = element("entries"), parts = [];
  const css = (rgb) => `rgb(${rgb.map(Math.round).join(",")})`;
  const entry = (tag, text, colour) => {
    const one = document.createElement(tag), swatch = document.createElement("i");
    swatch.style.background = colour;
    one.append(swatch, text);
    parts.push(one);
    return one;
  };
  const heading = (text) => { const one = document.createElement("b"); one.textContent = text; parts.push(one); };
  if (drawn.has(DIFFERENCE)) {
    heading(`against ${sourceOf(0).label}`);
    differences().forEach((name, kind) => entry("div", name, css(palette.difference[kind])));
    entry("div", "pale: the ground", css(palette.pale_difference[AGREED]));
  }
  if (drawn.has(SHARE)) {
    heading("share of the samples");
    for (const share of about.ramp) entry("div", `${100 * share} %`, css(rampColour(palette, share)));
    entry("div", "grey: the ground", css([205, 205, 205]));
  }
  heading("classes: click hides");
  for (const label of currentWindow().classes) {
    const colour = label < NO_CLASS ? css(palette.classes[label])
      : `linear-gradient(0deg, ${css(palette.low)}, ${css(palette.high)})`;
    const one = entry("button", label < NO_CLASS ? about.classes[label] : "no class: by height", colour);
    one.setAttribute("aria-pressed", String(!state.hidden.has(label)));
    one.addEventListener("click", () => { state.hidden[state.hidden.has(label) ? "delete" : "add"](label); show(); });
  }
  entry("div", "ego vehicle (arrow: ahead)", css(palette.ego[0]));
  entries.replaceChildren(...parts);
}

async function tell() {
  const plate = element("picked"), { picked } = state, content = picked && shown[picked.pane];
  for (const pane of [0, 1]) drawing.mark(pane, content ? middleOf(grid, picked.flat) : null);
  plate.hidden = !content;
  if (!content) return;
  const window = currentWindow(), { union, view: { instant } } = content, place = placeOf(union, picked.flat);
  const codeOf = (k) => place < 0 ? 0 : union.planes[k][place];
  const name = (code) => !code ? "free" : code - 1 < NO_CLASS ? about.classes[code - 1] : "no class";
  const [x, y, z] = middleOf(grid, picked.flat), metres = (value) => `${Math.abs(value).toFixed(1)} m`;
  const own = content.place.indexOf(place), label = own < 0 ? null : content.label[own];
  const title = document.createElement("b"), swatch = document.createElement("i"), where = document.createElement("p");
  if (label !== null && label < NO_CLASS) swatch.style.background = `rgb(${palette.classes[label]})`;
  const kind = content.kind && own >= 0 ? `, ${differences()[content.kind[own]]}` : "";
  title.append(swatch, label === null ? "free here at this instant" : `${name(label + 1)}${kind}`);
  where.textContent = `${metres(x)} ${x < 0 ? "behind" : "ahead"}, ${metres(y)} ${y < 0 ? "right" : "left"}, ` +
    `${metres(z)} ${z < 0 ? "below" : "up"} in the vehicle's frame ` +
    `(x ${x.toFixed(1)}, y ${y.toFixed(1)}, z ${z.toFixed(1)}), ${timeText(instant.s)}`;
  const table = document.createElement("table");
  for (const source of sourcesOf(window)) {
    const here = source.layers.map((k) => instant.layers.indexOf(k)).filter((k) => k >= 0);
    if (!here.length || source.kind === SAMPLE) continue;
    const row = table.insertRow(), filled = here.filter(codeOf).length;
    row.insertCell().textContent = source.label;
    row.insertCell().textContent = source.kind === SHARE ? `${percent(filled / here.length)} %`
      : name(codeOf(here[0]));
  }
  const close = document.createElement("button");
  close.textContent = "\u2715";
  close.setAttribute("aria-label", "close");
  close.addEventListener("click", () => { state.picked = null; tell(); });
  plate.replaceChildren(close, title, where, table);
}
