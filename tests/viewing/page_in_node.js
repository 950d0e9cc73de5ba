// node page_in_node.js VOXELS.JS PAGE.HTML: what the page's program makes of a page's data, as JSON (test_page.py asks).
const fs = require("fs"), [program, page] = process.argv.slice(2);
const found = new Function(`${fs.readFileSync(program, "utf8")}
  return { decodeBlock, ofLayer, differenceOf, sharesOf, scoresOf, classColours, buildFaces, pickVoxel, middleOf }`)();
const text = fs.readFileSync(page, "utf8"), part = (id) => text.split(`id="${id}">`)[1].split("</script>")[0];
const about = JSON.parse(part("about")), packed = Buffer.from(part("voxels"), "base64"), { grid, palette } = about;
const starts = [0];
for (const [size] of about.blocks) starts.push(starts[starts.length - 1] + size);
const blockOf = ({ block, layers }) => found.decodeBlock(new Uint8Array(require("zlib").gunzipSync(
  packed.subarray(starts[block], starts[block + 1]))), about.blocks[block][1], layers.length);

const { instants } = about.windows[0], block = blockOf(instants[5]), first = blockOf(instants[0]);
const list = ({ place, ...rest }) => Object.fromEntries(Object.entries(
  { flat: Array.from(place, (k) => block.flat[k]), ...rest }).map(([key, value]) => [key, Array.from(value)]));
const layer = found.ofLayer(block, 0), flats = Int32Array.from(list(layer).flat);
const colours = found.classColours(palette, grid, block, layer);
const faces = found.buildFaces(grid, flats, colours, about.light, -1e9);
let area = 0;
for (let q = 0; q < faces.quads; q++) {
  const across = (a) => Math.abs(faces.corners[16 * q + 8 + a] - faces.corners[16 * q + a]);
  const [width, height] = [0, 1, 2].map(across).filter((side) => side);
  area += width * height;
}
const filled = new Uint8Array(grid.shape.reduce((a, b) => a * b));
for (const flat of flats) filled[flat] = 1;

console.log(JSON.stringify({
  layer: list(layer), difference: list(found.differenceOf(block, 0, 2)), shares: list(found.sharesOf(block, [4, 5, 6])),
  scores: found.scoresOf(block, 0, 2, about.movable), area, quads: faces.quads, colours: Array.from(colours),
  blind: Array.from(found.classColours(palette, grid, first, found.ofLayer(first, 0))),
  down: found.middleOf(grid, found.pickVoxel(grid, filled, [-20.1, 0.3, 50], [0, 0, -1])),
  past: found.pickVoxel(grid, filled, [0, 0, 50], [0, 0, 1]),
}));
