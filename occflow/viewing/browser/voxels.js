// What is made of voxels before anything is drawn: blocks are unpacked, sources compared, faces built, rays followed.
// No document and no WebGL here. A block is one instant: the union of the voxels of its layers, `flat` [n] (increasing
// flat indices of the grid), and a plane of codes [n] for each layer: 0 where it is free, else 1 + class.

const NO_CLASS = 17; // of voxels that no log names
const ALL_OF_ONE = 0.5; // a frame with a larger share of others has no classes worth a colour
const AGREED = 0, MISSED = 1, INVENTED = 2, CONFUSED = 3; // as occflow/viewing/palette.py counts them

// Block of n voxels and so many layers: differences of flat indices as numbers of 7 bits a byte (low ones first, the
// eighth bit: more follow), then the planes, each as its difference (xor) from the one before.
function decodeBlock(bytes, n, layers) {
  const flat = new Int32Array(n);
  let at = 0, last = -1;
  for (let i = 0; i < n; i++) {
    let step = 0, shift = 0, byte;
    do {
      byte = bytes[at++];
      step |= (byte & 127) << shift;
      shift += 7;
    } while (byte & 128);
    flat[i] = last += step;
  }
  const planes = [];
  for (let k = 0; k < layers; k++) {
    const plane = bytes.slice(at, at += n);
    if (k) for (let i = 0, before = planes[k - 1]; i < n; i++) plane[i] ^= before[i];
    planes.push(plane);
  }
  return { flat, planes };
}

// What is shown of one layer: the places in the union, and the class of each.
function ofLayer(block, k) {
  const plane = block.planes[k], n = plane.length;
  let count = 0;
  for (let i = 0; i < n; i++) if (plane[i]) count++;
  const place = new Int32Array(count), label = new Uint8Array(count);
  for (let i = 0, j = 0; i < n; i++) if (plane[i]) { place[j] = i; label[j++] = plane[i] - 1; }
  return { place, label };
}

// What has no class worth a colour among voxels, by their codes, as occflow/viewing/film.py has it: what no log names, and
// others where they are `plain`, more than ALL_OF_ONE of all; `most` where that is more than ALL_OF_ONE of all.
function nameless(codes) {
  let filled = 0, others = 0, none = 0;
  for (const code of codes) if (code) { filled++; if (code === 1) others++; else if (code > NO_CLASS) none++; }
  const plain = others > ALL_OF_ONE * filled;
  return { plain, most: none + (plain ? others : 0) > ALL_OF_ONE * filled };
}

// Whether a layer says what things are.
const hasClasses = (plane) => !nameless(plane).most;

// Where two layers agree: the places that either fills, the class (the first layer has the last word) and the kind. Of
// what has no classes none is another one.
function differenceOf(block, first, second) {
  const a = block.planes[first], b = block.planes[second], n = a.length;
  const named = hasClasses(a) && hasClasses(b);
  let count = 0;
  for (let i = 0; i < n; i++) if (a[i] || b[i]) count++;
  const place = new Int32Array(count), label = new Uint8Array(count), kind = new Uint8Array(count);
  for (let i = 0, j = 0; i < n; i++) {
    if (!a[i] && !b[i]) continue;
    place[j] = i;
    label[j] = (a[i] || b[i]) - 1;
    kind[j++] = !b[i] ? MISSED : !a[i] ? INVENTED : a[i] === b[i] || !named ? AGREED : CONFUSED;
  }
  return { place, label, kind };
}

// Which share of layers (samples) fills each voxel, and the class that most of them give it, the lower on a tie.
function sharesOf(block, layers) {
  const n = block.flat.length, planes = layers.map((k) => block.planes[k]), place = [], label = [], share = [];
  const votes = new Uint16Array(NO_CLASS + 2);
  for (let i = 0; i < n; i++) {
    let count = 0, best = 0;
    votes.fill(0);
    for (const plane of planes) if (plane[i]) { votes[plane[i]]++; count++; }
    if (!count) continue;
    for (let code = 1; code < votes.length; code++) if (votes[code] > votes[best]) best = code;
    place.push(i);
    label.push(best - 1);
    share.push(count / planes.length);
  }
  return { place: Int32Array.from(place), label: Uint8Array.from(label), share: Float32Array.from(share) };
}

// Intersection over union of two layers: of all occupied voxels, and of movable objects as one class; NaN of nothing.
function scoresOf(block, truth, forecast, movable) {
  const a = block.planes[truth], b = block.planes[forecast], moves = new Uint8Array(NO_CLASS + 2);
  for (const one of movable) moves[one + 1] = 1;
  let both = 0, either = 0, movingBoth = 0, movingEither = 0;
  for (let i = 0; i < a.length; i++) {
    if (a[i] || b[i]) either++;
    if (a[i] && b[i]) both++;
    if (moves[a[i]] || moves[b[i]]) movingEither++;
    if (moves[a[i]] && moves[b[i]]) movingBoth++;
  }
  return { iou: either ? both / either : NaN, movers: movingEither && hasClasses(a) ? movingBoth / movingEither : NaN };
}

// Colours [3 m] of m voxels of classes, as the pictures have them: by height where a frame has no classes.
function classColours(palette, grid, block, { place, label }) {
  const out = new Uint8Array(3 * place.length), depth = grid.shape[2];
  const { plain } = nameless(label.map((one) => one + 1));
  for (let i = 0; i < place.length; i++) {
    const named = label[i] < NO_CLASS && !(plain && label[i] === 0);
    const height = (block.flat[place[i]] % depth) / Math.max(depth - 1, 1);
    for (let c = 0; c < 3; c++)
      out[3 * i + c] = named ? palette.classes[label[i]][c]
        : palette.low[c] + (palette.high[c] - palette.low[c]) * height;
  }
  return out;
}

// Colours of a difference: what agrees keeps a trace of its class, the ground is pale.
function differenceColours(palette, { label, kind }) {
  const out = new Uint8Array(3 * label.length);
  for (let i = 0; i < label.length; i++) {
    const own = Math.min(label[i], NO_CLASS - 1);
    const colour = kind[i] === AGREED ? palette.agreed[own]
      : palette.flat.includes(label[i]) ? palette.pale_difference[kind[i]] : palette.difference[kind[i]];
    out.set(colour, 3 * i);
  }
  return out;
}

// Colours of shares, the ground in grey.
function shareColours(palette, { label, share }) {
  const out = new Uint8Array(3 * label.length);
  for (let i = 0; i < label.length; i++) {
    if (palette.flat.includes(label[i])) out.fill(Math.round(235 - 60 * share[i]), 3 * i, 3 * i + 3);
    else out.set(rampColour(palette, share[i]), 3 * i);
  }
  return out;
}

function rampColour(palette, share) {
  const stops = palette.probability, at = share * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((value, c) => Math.round(value + (stops[low + 1][c] - value) * (at - low)));
}

// The faces between what is shown and free space (or the rim of the grid), as one buffer of quads. Neighbours of one
// colour and light are one quad: a street has a fifth as many.
// flats [N], colours [3 N]; light: of the six sides, and of corners by how many voxels stand around them.
// Returns corners [4 M, 4] Int16 (x, y, z in voxels from the grid's lower corner; the axis of the face, and 4 and 8
// where the corner is the upper one along the two other axes), tints [4 M, 4] Uint8, and two triangles a quad.
const SIDES = [[2, 1], [0, -1], [1, 1], [1, -1], [0, 1], [2, -1]]; // axis, sign; as occflow/viewing/meshes.py has them
const CORNERS = [[-1, -1], [1, -1], [1, 1], [-1, 1]]; // along the two other axes; counter-clockwise from outside

function buildFaces(grid, flats, colours, light, lowestEyeM) {
  const [X, Y, Z] = grid.shape, stride = [(Y + 2) * (Z + 2), Z + 2, 1], volume = (X + 2) * stride[0];
  const count = flats.length;
  const full = new Uint8Array(volume), keys = new Int32Array(volume), runs = new Int32Array(volume);
  const at = new Int32Array(count), cells = new Int16Array(3 * count), equal = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const z = flats[i] % Z, rest = (flats[i] - z) / Z, y = rest % Y, x = (rest - y) / Y;
    cells[3 * i] = x; cells[3 * i + 1] = y; cells[3 * i + 2] = z;
    full[at[i] = (x + 1) * stride[0] + (y + 1) * stride[1] + z + 1] = 1;
  }
  const lowest = (lowestEyeM - grid.origin_m[2]) / grid.voxel_size_m; // what looks down is never seen below it
  const out = new Quads(count);
  SIDES.forEach(([axis, sign], k) => {
    const u = (axis + 1) % 3, v = (axis + 2) % 3, normal = sign * stride[axis], du = stride[u], dv = stride[v];
    let waiting = 0;
    for (let i = 0; i < count; i++) {
      if (full[at[i] + normal] || (axis === 2 && sign < 0 && cells[3 * i + 2] <= lowest)) continue;
      const above = at[i] + normal, vv = sign * dv; // the second tangent turns where the normal does
      const east = full[above + du], west = full[above - du], north = full[above + vv], south = full[above - vv];
      const a = west && south ? 3 : west + south + full[above - du - vv];
      const b = east && south ? 3 : east + south + full[above + du - vv];
      const c = east && north ? 3 : east + north + full[above + du + vv];
      const d = west && north ? 3 : west + north + full[above - du + vv];
      if (a === b && b === c && c === d) {
        keys[at[i]] = (((colours[3 * i] << 16 | colours[3 * i + 1] << 8 | colours[3 * i + 2]) << 2) | a) + 1;
        equal[waiting++] = i;
      } else out.add(cells, colours, i, axis, sign, u, v, 1, 1, light, k, a, b, c, d);
    }
    for (let w = 0; w < waiting; w++) { // rows of one key, their length where they begin
      const here = at[equal[w]], key = keys[here];
      if (keys[here - du] === key) continue;
      let length = 1;
      while (keys[here + length * du] === key) length++;
      runs[here] = length;
    }
    for (let w = 0; w < waiting; w++) { // and equal rows side by side
      const i = equal[w], here = at[i], length = runs[here], key = keys[here];
      if (!length || (runs[here - dv] === length && keys[here - dv] === key)) continue;
      let width = 1;
      while (runs[here + width * dv] === length && keys[here + width * dv] === key) width++;
      const dark = (key - 1) & 3;
      out.add(cells, colours, i, axis, sign, u, v, length, width, light, k, dark, dark, dark, dark);
    }
    for (let w = 0; w < waiting; w++) keys[at[equal[w]]] = runs[at[equal[w]]] = 0;
  });
  return out.finished();
}

// Quads while they are being made; room grows as they do.
class Quads {
  constructor(guess) {
    this.count = 0;
    this.room(Math.max(64, guess));
  }

  room(quads) {
    const { corners, tints, index } = this;
    this.corners = new Int16Array(16 * quads);
    this.tints = new Uint8Array(16 * quads);
    this.index = new Uint32Array(6 * quads);
    if (corners) { this.corners.set(corners); this.tints.set(tints); this.index.set(index); }
  }

  // From voxel i on, `length` voxels along u and `width` along v; a, b, c, d: what darkens its corners, as in CORNERS.
  add(cells, colours, i, axis, sign, u, v, length, width, light, side, a, b, c, d) {
    const q = this.count++;
    if (6 * q === this.index.length) this.room(2 * q);
    const { corners, tints, index } = this, level = cells[3 * i + axis] + (sign > 0 ? 1 : 0), own = light.sides[side];
    for (let n = 0; n < 4; n++) {
      const o = 16 * q + 4 * n, lit = own * light.corners[n === 0 ? a : n === 1 ? b : n === 2 ? c : d];
      corners[o + axis] = level;
      const far = n === 1 || n === 2, wide = (n >= 2) === (sign > 0);
      corners[o + u] = cells[3 * i + u] + (far ? length : 0);
      corners[o + v] = cells[3 * i + v] + (wide ? width : 0);
      corners[o + 3] = axis | (far ? 4 : 0) | (wide ? 8 : 0);
      tints[o] = colours[3 * i] * lit;
      tints[o + 1] = colours[3 * i + 1] * lit;
      tints[o + 2] = colours[3 * i + 2] * lit;
      tints[o + 3] = 255;
    }
    const of = light.corners, first = 4 * q, o = 6 * q;
    const turn = of[b] + of[d] > of[a] + of[c] ? 1 : 0; // cut along the brighter diagonal
    index[o] = first; index[o + 1] = first + 1; index[o + 2] = first + 2 + turn;
    index[o + 3] = first + turn; index[o + 4] = first + 2; index[o + 5] = first + 3;
  }

  finished() {
    return { corners: this.corners.slice(0, 16 * this.count), tints: this.tints.slice(0, 16 * this.count),
      index: this.index.slice(0, 6 * this.count), quads: this.count };
  }
}

// The first voxel that is shown (filled [V], by flat index) on a ray from `origin` along `direction`, metres; -1: none.
function pickVoxel(grid, filled, origin, direction) {
  const shape = grid.shape, size = grid.voxel_size_m;
  const from = origin.map((value, a) => (value - grid.origin_m[a]) / size);
  let enter = 0, leave = Infinity;
  for (let a = 0; a < 3; a++) {
    if (Math.abs(direction[a]) < 1e-12) { if (from[a] < 0 || from[a] > shape[a]) return -1; continue; }
    const one = -from[a] / direction[a], two = (shape[a] - from[a]) / direction[a];
    enter = Math.max(enter, Math.min(one, two));
    leave = Math.min(leave, Math.max(one, two));
  }
  if (enter >= leave) return -1;
  const inside = (value, a) => Math.min(Math.max(Math.floor(value), 0), shape[a] - 1);
  const cell = from.map((value, a) => inside(value + (enter + 1e-6) * direction[a], a));
  const next = cell.map((value, a) => direction[a] === 0 ? Infinity
    : (value + (direction[a] > 0 ? 1 : 0) - from[a]) / direction[a]);
  for (;;) {
    const flat = (cell[0] * shape[1] + cell[1]) * shape[2] + cell[2];
    if (filled[flat]) return flat;
    const a = next[0] < next[1] ? (next[0] < next[2] ? 0 : 2) : (next[1] < next[2] ? 1 : 2);
    cell[a] += Math.sign(direction[a]);
    if (cell[a] < 0 || cell[a] >= shape[a]) return -1;
    next[a] += 1 / Math.abs(direction[a]);
  }
}

// The middle of a voxel, metres, in the grid's frame (x forward, y left, z up).
function middleOf(grid, flat) {
  const [, Y, Z] = grid.shape, z = flat % Z, rest = (flat - z) / Z, y = rest % Y;
  return [(rest - y) / Y, y, z].map((value, a) => grid.origin_m[a] + (value + 0.5) * grid.voxel_size_m);
}

// Where a flat index lies in the union; -1 where it does not.
function placeOf(block, flat) {
  let low = 0, high = block.flat.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (block.flat[middle] === flat) return middle;
    if (block.flat[middle] < flat) low = middle + 1; else high = middle - 1;
  }
  return -1;
}
