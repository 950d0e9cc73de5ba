// What there is to see: the page's data, the state of what is chosen of it, and what each pane shows of it.

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

const state = { window: about.start, index: 0, mode: ONE, sources: ["", ""], hidden: new Set(), camera: "chase",
  playing: null, picked: null, dark: matchMedia("(prefers-color-scheme: dark)").matches };
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
  window.layers.forEach(({ name, kind }, k) => {
    if (kind !== SAMPLE) { found.push({ key: `${kind}/${name}`, label: name, kind, layers: [k] }); return; }
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push(k);
  });
  for (const [name, layers] of samples)
    found.push({ key: `${SHARE}/${name}`, label: `${name}, share of ${layers.length} samples`, kind: SHARE, layers });
  for (const [name, layers] of samples) layers.forEach((k, number) =>
    found.push({ key: `${SAMPLE}/${name}/${number}`, label: `${name}, sample ${number + 1}`, kind: SAMPLE,
      layers: [k] }));
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

// Truth on the left and the one forecast on the right, where there are such.
function usualSource(sources, pane) {
  const order = pane ? [FORECAST, TRUTH, HISTORY] : [TRUTH, HISTORY, FORECAST];
  const found = order.map((kind) => sources.find((one) => one.kind === kind)).filter(Boolean);
  return (pane && sources.length > 1 && found[0] === sources[0] ? sources[1] : found[0] || sources[0]).key;
}
