// The page itself: what is shown when, and the controls. Names that come from a run are set as text, never as markup.

const about = JSON.parse(document.getElementById("about").textContent);
const { grid, palette } = about;
const element = (id) => document.getElementById(id);
const HISTORY = "observed", TRUTH = "truth", FORECAST = "forecast", SAMPLE = "sample", SHARE = "share";
const GROUPS = { [HISTORY]: "observed", [TRUTH]: "what came true", [FORECAST]: "forecasts", [SHARE]: "probability",
  [SAMPLE]: "samples" };
const MOST_BLOCKS = 40; // that stay unpacked
const STEP_MS = [150, 1000]; // of playing, between instants of the recording's own pace
const PLAY_WINDOW_MS = 500;
const SHORT_PRESS_PX = 5; // a pointer that moved farther has turned the camera
const FEW_TICKS = 12;
const [BESIDE, ONE, DIFFERENCE] = ["beside", "one", "difference"];

const state = { window: about.start, index: 0, mode: ONE, sources: ["", ""], hidden: new Set(), camera: "chase", playing: null,
  picked: null, dark: matchMedia("(prefers-color-scheme: dark)").matches };
let drawing, shown = [null, null], timer = 0, turn = 0;

// Blocks: unpacked when they are first shown.
const blockStarts = [0];
for (const [bytes] of about.blocks) blockStarts.push(blockStarts[blockStarts.length - 1] + bytes);
const blocks = new Map();
let packed = null;

function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

function block(number, layers) {
  if (!blocks.has(number)) {
    const part = packed.subarray(blockStarts[number], blockStarts[number + 1]);
    const stream = new Blob([part]).stream().pipeThrough(new DecompressionStream("gzip"));
    const unpacked = new Response(stream).arrayBuffer().then((raw) =>
      decodeBlock(new Uint8Array(raw), about.blocks[number][1], layers));
    blocks.set(number, unpacked);
    for (const old of blocks.keys()) if (blocks.size > MOST_BLOCKS) blocks.delete(old);
  }
  return blocks.get(number);
}

// Sources of a window: {key, label, kind, layers: numbers of its layers}; the samples of one forecaster also together.
const sourceCache = new Map();
function sourcesOf(window) {
  if (sourceCache.has(window)) return sourceCache.get(window);
  const found = [], samples = new Map();
  window.layers.forEach(({ name, kind, sampler }, k) => {
    if (kind !== SAMPLE) { found.push({ key: `${kind}/${name}`, label: name, kind, layers: [k], sampler }); return; }
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push(k);
  });
  for (const [name, layers] of samples)
    found.push({ key: `${SHARE}/${name}`, label: `${name}, share of ${layers.length} samples`, kind: SHARE, layers, sampler: name });
  for (const [name, layers] of samples) layers.forEach((k, number) =>
    found.push({ key: `${SAMPLE}/${name}/${number}`, label: `${name}, sample ${number + 1}`, kind: SAMPLE, layers: [k], sampler: name }));
  sourceCache.set(window, found);
  return found;
}

// What a source shows at an instant: {source, instant, layers: places in the block}. Until the present every forecast
// shows what was observed; what was observed stands still after it. Null where nothing is known.
function at(window, source, index) {
  const instant = window.instants[index];
  const here = (one, when) => one.layers.map((k) => when.layers.indexOf(k)).filter((k) => k >= 0);
  if (here(source, instant).length) return { source, instant, layers: here(source, instant) };
  if (index > window.now && source.kind !== HISTORY) return null;
  const when = window.instants[Math.min(index, window.now)];
  const observed = sourcesOf(window).find((one) => one.kind === HISTORY && here(one, when).length);
  return observed ? { source: observed, instant: when, layers: here(observed, when) } : null;
}

const currentWindow = () => about.windows[state.window];
const sourceOf = (pane) => sourcesOf(currentWindow()).find(({ key }) => key === state.sources[pane]);
const unpack = ({ instant }) => block(instant.block, instant.layers.length);

// What a pane shows: {block, place, label, colours, text, ...}; null where nothing is known.
async function paneContent(pane) {
  const window = currentWindow(), source = sourceOf(pane), view = at(window, source, state.index);
  if (!view) return null;
  const union = await unpack(view);
  if (view.source.kind === SHARE) {
    const found = sharesOf(union, view.layers);
    return { union, ...found, view, colours: shareColours(palette, found), drawn: SHARE };
  }
  const found = ofLayer(union, view.layers[0]);
  return { union, ...found, view, colours: classColours(palette, grid, union, found), drawn: "classes" };
}

async function differenceContent() {
  const window = currentWindow(), pair = [0, 1].map((pane) => at(window, sourceOf(pane), state.index));
  if (pair.some((one) => !one || one.source.kind === SHARE || one.instant !== window.instants[state.index]) ||
      pair[0].layers[0] === pair[1].layers[0]) return paneContent(pair[1] ? 1 : 0);
  const union = await unpack(pair[0]), found = differenceOf(union, pair[0].layers[0], pair[1].layers[0]);
  return { union, ...found, view: pair[1], colours: differenceColours(palette, found), drawn: DIFFERENCE };
}

// Show what the state says; of several calls the last one counts.
async function show() {
  const mine = ++turn;
  controls();
  const wanted = state.mode === DIFFERENCE ? [differenceContent()] : state.mode === BESIDE ? [paneContent(0), paneContent(1)]
    : [paneContent(0)];
  const contents = await Promise.all(wanted);
  if (mine !== turn) return;
  shown = [0, 1].map((pane) => contents[pane] || null);
  shown.forEach((content, pane) => { drawing.show(pane, content && facesOf(content)); });
  await captions(contents);
  legend(contents);
  if (mine === turn) await tell();
  const next = currentWindow().instants[state.index + 1];
  if (next && state.playing) block(next.block, next.layers.length);
}

function facesOf(content) {
  const { label, place, union } = content, hidden = new Uint8Array(NO_CLASS + 1);
  for (const one of state.hidden) hidden[one] = 1;
  const flats = new Int32Array(label.length), colours = new Uint8Array(content.colours.length);
  content.filled = new Uint8Array(grid.shape[0] * grid.shape[1] * grid.shape[2]);
  let count = 0;
  for (let i = 0; i < label.length; i++) {
    if (hidden[label[i]]) continue;
    content.filled[flats[count] = union.flat[place[i]]] = 1;
    for (let c = 0; c < 3; c++) colours[3 * count + c] = content.colours[3 * i + c];
    count++;
  }
  return buildFaces(grid, flats.subarray(0, count), colours, about.light, about.light.lowest_eye_m);
}

const timeText = (s) => Math.abs(s) < 0.05 ? "now" : `${s < 0 ? "\u2212" : "+"}${Math.abs(s).toFixed(1)} s`;
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
    const held = state.mode === DIFFERENCE && content.drawn === DIFFERENCE ? at(window, sourceOf(0), state.index) : known;
    if (held && when === instant && state.index > window.now && [FORECAST, SAMPLE].includes(source.kind) && held.instant === when
        && held.layers[0] !== content.view.layers[0]) {
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
    const colour = label < NO_CLASS ? css(palette.classes[label]) : `linear-gradient(0deg, ${css(palette.low)}, ${css(palette.high)})`;
    const one = entry("button", label < NO_CLASS ? about.classes[label] : "no class: by height", colour);
    one.setAttribute("aria-pressed", String(!state.hidden.has(label)));
    one.addEventListener("click", () => { state.hidden[state.hidden.has(label) ? "delete" : "add"](label); show(); });
  }
  entry("div", "ego vehicle (arrow: ahead)", css(palette.ego[0]));
  entries.replaceChildren(...parts);
}

// The controls as the state has them.
function controls() {
  const window = currentWindow(), count = window.instants.length;
  state.index = Math.min(Math.max(state.index, 0), count - 1);
  const sources = sourcesOf(window);
  for (const pane of [0, 1]) {
    const list = element(pane ? "source-b" : "source-a");
    if (!sources.some(({ key }) => key === state.sources[pane])) state.sources[pane] = usualSource(sources, pane);
    if (list.dataset.window !== String(state.window)) fillSources(list, sources);
    list.value = state.sources[pane];
  }
  const [first, second] = [element("pane-a"), element("pane-b")], pair = state.mode === DIFFERENCE;
  (pair ? first : second).querySelector(".head").append(element("source-b"));
  first.querySelector(".against").hidden = !pair;
  second.hidden = state.mode !== BESIDE;
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
    button.hidden = sources.length < 2 && button.dataset.mode !== ONE;
  }
  element("modes").hidden = sources.length < 2;
  for (const button of document.querySelectorAll("[data-camera]"))
    button.setAttribute("aria-pressed", String(button.dataset.camera === state.camera));
  const time = element("time");
  time.max = count - 1;
  time.value = state.index;
  time.setAttribute("aria-valuetext", timeText(window.instants[state.index].s));
  ticks(window);
  element("play").textContent = state.playing === "time" ? "\u23F8\uFE0E" : "\u25B6\uFE0E";
  element("play").setAttribute("aria-label", state.playing === "time" ? "pause" : "play");
  element("drive").textContent = state.playing === "windows" ? "pause" : "play windows";
  element("window").value = state.window;
  element("note").textContent = window.note;
  const hidden = [...state.hidden].sort((a, b) => a - b).join();
  const filter = Object.entries(about.filters).find(([, labels]) => labels.join() === hidden);
  element("filter").value = filter ? filter[0] : "";
  document.documentElement.dataset.theme = state.dark ? "dark" : "light";
  drawing.background = state.dark ? 0x14151a : 0xfafafc;
  arrange();
}

// Truth on the left and the one forecast on the right, where there are such.
function usualSource(sources, pane) {
  const order = pane ? [FORECAST, TRUTH, HISTORY] : [TRUTH, HISTORY, FORECAST];
  const found = order.map((kind) => sources.find((one) => one.kind === kind)).filter(Boolean);
  return (pane && sources.length > 1 && found[0] === sources[0] ? sources[1] : found[0] || sources[0]).key;
}

function fillSources(list, sources) {
  list.replaceChildren(...Object.entries(GROUPS).map(([kind, name]) => {
    const group = document.createElement("optgroup");
    group.label = name;
    group.append(...sources.filter((one) => one.kind === kind).map((one) => new Option(one.label, one.key)));
    return group;
  }).filter((group) => group.children.length));
  list.dataset.window = String(state.window);
}

// Labels below the slider: every instant where there is room, else some, the present always.
function ticks(window) {
  const row = element("ticks"), count = window.instants.length;
  const every = Math.ceil(count / Math.min(FEW_TICKS, Math.max(3, Math.floor(row.clientWidth / 34))));
  row.replaceChildren(...window.instants.flatMap(({ s }, index) => {
    if ((index - window.now) % every && index !== state.index) return [];
    if (index !== state.index && every > 1 && Math.abs(index - state.index) < every / 2) return [];
    const tick = document.createElement("button"), whole = Math.abs(s - Math.round(s)) < 0.05;
    tick.tabIndex = -1;
    tick.textContent = whole || index === state.index ? timeText(s).replace(".0 s", " s") : timeText(s).replace(" s", "");
    tick.style.left = count > 1 ? `${100 * index / (count - 1)}%` : "0";
    tick.classList.toggle("here", index === state.index);
    tick.addEventListener("click", () => go(index));
    return [tick];
  }));
}

// Panes over the canvas: side by side, or one above the other where the screen is narrow.
function arrange() {
  const { clientWidth: width, clientHeight: height } = element("stage"), two = state.mode === BESIDE, tall = width < height;
  const first = !two ? { x: 0, y: 0, width, height } : tall ? { x: 0, y: 0, width, height: height / 2 } : { x: 0, y: 0, width: width / 2, height };
  const second = tall ? { x: 0, y: height / 2, width, height: height / 2 } : { x: width / 2, y: 0, width: width / 2, height };
  [first, second].forEach((box, pane) => {
    const plate = element(pane ? "pane-b" : "pane-a");
    Object.assign(plate.style, { left: `${box.x}px`, top: `${box.y}px`, width: `${box.width}px`, height: `${box.height}px`,
      borderLeftWidth: pane && !tall ? "1px" : "0", borderTopWidth: pane && tall ? "1px" : "0" });
  });
  if (width && height) drawing.layout(width, height, [first, two ? second : null]);
}

// A voxel under the pointer: which sources fill it, and how probable it is.
function pick(x, y) {
  const ray = drawing.ray(x, y), content = ray && shown[ray.pane];
  const flat = content ? pickVoxel(grid, content.filled, ray.origin, ray.direction) : -1;
  state.picked = flat < 0 ? null : { flat, pane: ray.pane };
  return tell();
}

async function tell() {
  const plate = element("picked"), { picked } = state, content = picked && shown[picked.pane];
  for (const pane of [0, 1]) drawing.mark(pane, content ? middleOf(grid, picked.flat) : null);
  plate.hidden = !content;
  if (!content) return;
  const window = currentWindow(), { instant } = content.view, union = content.union, place = placeOf(union, picked.flat);
  const codeOf = (k) => place < 0 ? 0 : union.planes[k][place];
  const name = (code) => !code ? "free" : code - 1 < NO_CLASS ? about.classes[code - 1] : "no class";
  const [x, y, z] = middleOf(grid, picked.flat), metres = (value) => `${Math.abs(value).toFixed(1)} m`;
  const own = content.place.indexOf(place), label = own < 0 ? null : content.label[own];
  const title = document.createElement("b"), swatch = document.createElement("i"), where = document.createElement("p");
  if (label !== null && label < NO_CLASS) swatch.style.background = `rgb(${palette.classes[label]})`;
  const kind = content.kind && own >= 0 ? `, ${differences()[content.kind[own]]}` : "";
  title.append(swatch, label === null ? "free here at this instant" : `${name(label + 1)}${kind}`);
  where.textContent = `${metres(x)} ${x < 0 ? "behind" : "ahead"}, ${metres(y)} ${y < 0 ? "right" : "left"}, ` +
    `${metres(z)} ${z < 0 ? "below" : "up"} in the vehicle's frame (x ${x.toFixed(1)}, y ${y.toFixed(1)}, z ${z.toFixed(1)}), ${timeText(instant.s)}`;
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

// Steps in time.
function go(index) {
  state.index = index;
  state.picked = null;
  return show();
}

function goWindow(number) {
  const count = about.windows.length, after = state.index - currentWindow().now;
  state.window = (number + count) % count;
  state.index = currentWindow().now + after; // the same time after the present
  state.picked = null;
  return show();
}

function play(what) {
  clearTimeout(timer);
  state.playing = state.playing === what ? null : what;
  if (state.playing) later();
  controls();
}

function later() {
  const { instants } = currentWindow(), next = instants[state.index + 1];
  const gap = next ? 1000 * (next.s - instants[state.index].s) : STEP_MS[1];
  timer = setTimeout(async () => {
    if (state.playing === "windows") await goWindow(state.window + 1);
    else if (state.playing) await go((state.index + 1) % instants.length);
    if (state.playing) later();
  }, state.playing === "windows" ? PLAY_WINDOW_MS : Math.min(Math.max(gap, STEP_MS[0]), STEP_MS[1]));
}

function set(changes) {
  if (changes.mode || changes.sources || changes.window !== undefined) state.picked = null;
  Object.assign(state, changes);
  if (changes.camera) drawing.view(about.cameras[changes.camera]);
  return show();
}

function nextFilter() {
  const names = Object.keys(about.filters), here = names.indexOf(element("filter").value);
  filterBy(names[(here + 1) % names.length]);
}

function filterBy(name) {
  if (about.filters[name]) set({ hidden: new Set(about.filters[name]) });
}

const nextOf = (list, one) => list[(list.indexOf(one) + 1) % list.length];
const KEYS = {
  " ": ["play, pause", () => play("time")],
  ArrowLeft: ["a step back", () => go(state.index - 1)],
  ArrowRight: ["a step on", () => go(state.index + 1)],
  Home: ["the beginning", () => go(0)],
  End: ["the end", () => go(currentWindow().instants.length - 1)],
  b: ["side by side, or one", () => set({ mode: state.mode === BESIDE ? ONE : BESIDE })],
  d: ["difference, or one", () => set({ mode: state.mode === DIFFERENCE ? ONE : DIFFERENCE })],
  f: ["filter classes", nextFilter],
  c: ["next camera", () => set({ camera: nextOf(Object.keys(about.cameras), state.camera) })],
  t: ["from the top", () => set({ camera: "birds_eye" })],
  v: ["from behind the vehicle", () => set({ camera: "chase" })],
  n: ["next window", () => goWindow(state.window + 1)],
  p: ["the window before", () => goWindow(state.window - 1)],
  l: ["dark or light", () => set({ dark: !state.dark })],
  k: ["hide, show the keys", toggleKeys],
  Escape: ["close what is open", () => { element("keys").hidden = true; state.picked = null; tell(); }],
};
const KEY_NAMES = { " ": "space", ArrowLeft: "\u2190", ArrowRight: "\u2192", Home: "Home", End: "End", Escape: "Esc" };

function toggleKeys() {
  const plate = element("keys"), table = document.createElement("table");
  const rows = [...Object.entries(KEYS).map(([key, [meaning]]) => [KEY_NAMES[key] || key.toUpperCase(), meaning]),
    ["1 to 9", "a source (of the second pane, or of the only one)"], ["click, tap", "what a voxel is"],
    ["drag; right button, two fingers", "turn; push"], ["wheel, pinch", "zoom"]];
  for (const [key, meaning] of rows) {
    const row = table.insertRow();
    row.insertCell().textContent = key;
    row.insertCell().textContent = meaning;
  }
  plate.replaceChildren(table);
  plate.hidden = !plate.hidden;
}

function pressed(event) {
  const { target, key } = event, lower = key.length === 1 ? key.toLowerCase() : key;
  if (event.ctrlKey || event.metaKey || event.altKey || target.tagName === "SELECT") return;
  if (key === " " && ["BUTTON", "SUMMARY"].includes(target.tagName)) return; // it presses that
  if (/^[1-9]$/.test(key)) {
    const source = sourcesOf(currentWindow())[key - 1], pane = state.mode === ONE ? 0 : 1;
    if (source) set({ sources: state.sources.map((one, k) => k === pane ? source.key : one) });
  } else if (KEYS[lower]) KEYS[lower][1]();
  else return;
  event.preventDefault();
}

function message(text) {
  element("message").textContent = text;
  element("message").hidden = false;
}

function bind() {
  const on = (id, type, job) => element(id).addEventListener(type, job);
  document.addEventListener("keydown", pressed);
  on("time", "input", () => go(Number(element("time").value)));
  on("play", "click", () => play("time"));
  on("drive", "click", () => play("windows"));
  on("previous", "click", () => goWindow(state.window - 1));
  on("next", "click", () => goWindow(state.window + 1));
  on("window", "change", () => goWindow(Number(element("window").value)));
  on("theme", "click", KEYS.l[1]);
  on("help", "click", toggleKeys);
  on("keys", "click", toggleKeys);
  on("filter", "change", () => filterBy(element("filter").value));
  [0, 1].forEach((pane) => on(pane ? "source-b" : "source-a", "change", (event) =>
    set({ sources: state.sources.map((one, k) => k === pane ? event.target.value : one) })));
  for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", () => set({ mode: button.dataset.mode }));
  for (const button of document.querySelectorAll("[data-camera]")) button.addEventListener("click", () => set({ camera: button.dataset.camera }));
  let down = null;
  const canvas = element("canvas");
  canvas.addEventListener("pointerdown", (event) => { down = event.isPrimary && event.button === 0 ? [event.clientX, event.clientY] : null; });
  canvas.addEventListener("pointerup", (event) => {
    if (!down || !event.isPrimary || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > SHORT_PRESS_PX) return;
    const { left, top } = canvas.getBoundingClientRect();
    pick(event.clientX - left, event.clientY - top);
  });
  new ResizeObserver(() => { arrange(); ticks(currentWindow()); }).observe(element("stage"));
}

async function begin() {
  document.title = `${about.title} \u2013 occflow`;
  element("title").textContent = about.title;
  element("windows").hidden = about.windows.length < 2;
  element("window").append(...about.windows.map(({ name }, number) => new Option(name, number)));
  element("filter").append(...Object.keys(about.filters).map((name) => new Option(name, name)), new Option("some classes", ""));
  element("filter").lastChild.hidden = true;
  if (matchMedia("(max-width: 800px)").matches) element("legend").open = false;
  if (!self.DecompressionStream) throw new Error("this browser is too old for this page (no DecompressionStream): use one of 2023 or later");
  packed = bytesOf(element("voxels").textContent);
  try { drawing = new Drawing(element("canvas"), about); } catch (error) {
    throw new Error(`this browser cannot draw in 3D (no WebGL 2): ${error.message}`);
  }
  const { now, instants } = currentWindow(), ahead = instants.findIndex(({ s }) => s > 0.95);
  state.index = now === instants.length - 1 ? 0 : ahead > now ? ahead : now + 1; // one second ahead
  if (sourcesOf(currentWindow()).length > 1) state.mode = BESIDE;
  bind();
  await show();
}

// What tests and a browser's console can ask and set.
window.occflow = { about, state, set, go, goWindow, pick, drawing: () => drawing, shown: () => shown,
  ready: begin().catch((error) => { message(error.message); throw error; }) };
