// The page itself: what is shown when, and the controls. Names that come from a run are set as text, never as markup.

// Show what the state says; of several calls the last one counts.
async function show() {
  const mine = ++turn;
  controls();
  const wanted = state.mode === DIFFERENCE ? [differenceContent()]
    : state.mode === BESIDE ? [paneContent(0), paneContent(1)] : [paneContent(0)];
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
    if (index !== state.index && Math.abs(index - state.index) < every) return [];
    const tick = document.createElement("button"), whole = Math.abs(s - Math.round(s)) < 0.05;
    tick.tabIndex = -1;
    tick.textContent = timeText(s).replace(...(whole || index === state.index ? [".0 s", " s"] : [" s", ""]));
    tick.style.left = count > 1 ? `${100 * index / (count - 1)}%` : "0";
    tick.classList.toggle("here", index === state.index);
    tick.addEventListener("click", () => go(index));
    return [tick];
  }));
}

// Panes over the canvas: side by side, or one above the other where the screen is narrow.
function arrange() {
  const { clientWidth: width, clientHeight: height } = element("stage");
  const two = state.mode === BESIDE, tall = width < height;
  const half = tall ? { width, height: height / 2 } : { width: width / 2, height };
  const first = { x: 0, y: 0, ...(two ? half : { width, height }) };
  const second = { x: tall ? 0 : half.width, y: tall ? half.height : 0, ...half };
  [first, second].forEach((box, pane) => {
    const plate = element(pane ? "pane-b" : "pane-a");
    Object.assign(plate.style, { left: `${box.x}px`, top: `${box.y}px`, width: `${box.width}px`,
      height: `${box.height}px`, borderLeftWidth: pane && !tall ? "1px" : "0",
      borderTopWidth: pane && tall ? "1px" : "0" });
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
  for (const what of ["mode", "camera"]) for (const button of document.querySelectorAll(`[data-${what}]`))
    button.addEventListener("click", () => set({ [what]: button.dataset[what] }));
  let down = null;
  const canvas = element("canvas");
  canvas.addEventListener("pointerdown", ({ isPrimary, button, clientX, clientY }) => {
    down = isPrimary && button === 0 ? [clientX, clientY] : null;
  });
  canvas.addEventListener("pointerup", ({ isPrimary, clientX, clientY }) => {
    if (!down || !isPrimary || Math.hypot(clientX - down[0], clientY - down[1]) > SHORT_PRESS_PX) return;
    const { left, top } = canvas.getBoundingClientRect();
    pick(clientX - left, clientY - top);
  });
  new ResizeObserver(() => { arrange(); ticks(currentWindow()); }).observe(element("stage"));
}

async function begin() {
  document.title = `${about.title} \u2013 occflow`;
  element("title").textContent = about.title;
  element("windows").hidden = about.windows.length < 2;
  element("window").append(...about.windows.map(({ name }, number) => new Option(name, number)));
  const filters = Object.keys(about.filters).map((name) => new Option(name, name));
  element("filter").append(...filters, new Option("some classes", ""));
  element("filter").lastChild.hidden = true;
  if (matchMedia("(max-width: 800px)").matches) element("legend").open = false;
  if (!self.DecompressionStream) throw new Error("this browser is too old for this page: use one of 2023 or later");
  packed = bytesOf(element("voxels").textContent);
  try { drawing = new Drawing(element("canvas"), about); } catch (error) {
    throw new Error(`this browser cannot draw in 3D (no WebGL 2): ${error.message}`);
  }
  const { now, instants } = currentWindow(), ahead = instants.findIndex(({ s }) => s > 0.95);
  state.index = !foretells(currentWindow()) ? 0 : ahead > now ? ahead : now + 1; // one second ahead
  if (sourcesOf(currentWindow()).length > 1) state.mode = BESIDE;
  bind();
  await show();
}

// What tests and a browser's console can ask and set.
window.occflow = { about, state, set, go, goWindow, pick, drawing: () => drawing, shown: () => shown,
  ready: begin().catch((error) => { message(error.message); throw error; }) };
