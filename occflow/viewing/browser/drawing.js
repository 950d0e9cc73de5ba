// Drawing with three.js: up to two panes of one canvas under one camera, one draw call for the voxels of each.

const VERTEX = `
in vec4 corner;
in vec4 tint;
uniform mat4 modelViewMatrix, projectionMatrix;
uniform vec3 origin;
uniform float size;
out vec3 colour;
out vec2 place;
void main() {
  int which = int(corner.w), axis = which & 3, u = (axis + 1) % 3, v = (axis + 2) % 3;
  vec3 at = origin + size * corner.xyz;
  // A quad reaches a tenth of a pixel beyond its edges: where short ones end at a long one no gap shines through.
  float reach = 2e-4 * abs((modelViewMatrix * vec4(at, 1.0)).z);
  at[u] += (which & 4) != 0 ? reach : -reach;
  at[v] += (which & 8) != 0 ? reach : -reach;
  place = vec2(corner[u], corner[v]);
  colour = tint.rgb;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(at, 1.0);
}`;
// The light is in the tints; a line around every voxel's face gets thinner with distance, to its mean at last.
const FRAGMENT = `
precision highp float;
in vec3 colour;
in vec2 place;
uniform float line, lineLight;
out vec4 pixel;
void main() {
  vec2 within = fract(place), edge = min(within, 1.0 - within), width = max(fwidth(place), 1e-4);
  vec2 covered = clamp((line - edge) / width + 0.5, 0.0, 1.0);
  covered = line * mix(covered, vec2(2.0 * line), smoothstep(0.25, 0.75, width)) / max(line, 1e-4);
  pixel = vec4(colour * mix(1.0, lineLight, max(covered.x, covered.y)), 1.0);
}`;
const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i; // names of renderers without a GPU
const MOST_PIXEL_RATIO = 2;
const USUAL_ASPECT = 1.5; // a narrower pane sees as much of the width
const ARROW_M = [[4.2, 1.5], [6.6, 0]]; // before the ego vehicle: base and half width, tip
const ARROW_HEIGHT_M = [0.9, 1.05];

class Drawing {
  constructor(canvas, about) {
    this.about = about;
    this.canvas = canvas;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: smoothIsCheap() });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, MOST_PIXEL_RATIO));
    this.renderer.setScissorTest(true);
    this.camera = new THREE.PerspectiveCamera(50, 1, 0.5, 4000);
    this.camera.up.set(0, 0, 1);
    this.controls = new THREE.OrbitControls(this.camera, canvas);
    Object.assign(this.controls, { screenSpacePanning: false, maxPolarAngle: 1.54, minPolarAngle: 0.001,
      minDistance: about.distance_m[0], maxDistance: about.distance_m[1] });
    this.controls.addEventListener("change", () => this.soon());
    const { grid, light } = about;
    this.voxelMaterial = this.material(grid.origin_m, grid.voxel_size_m, light.outline / 2);
    this.plainMaterial = this.material([0, 0, 0], 1, 0);
    this.scene = new THREE.Scene();
    this.panes = [0, 1].map(() => ({ voxels: null, mark: null, box: null }));
    this.ego = this.add(plainMesh(egoQuads(about.palette.ego, light.sides)), this.plainMaterial);
    this.view(about.cameras.chase);
    this.background = 0xffffff;
    this.drawn = 0; // pictures so far
  }

  material(origin, size, line) {
    return new THREE.RawShaderMaterial({ glslVersion: THREE.GLSL3, vertexShader: VERTEX, fragmentShader: FRAGMENT,
      uniforms: { origin: { value: new THREE.Vector3(...origin) }, size: { value: size }, line: { value: line },
        lineLight: { value: this.about.light.outline_light } } });
  }

  // A mesh of `corners`, `tints` and `index` as buildFaces makes them.
  add({ corners, tints, index }, material) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("corner", new THREE.BufferAttribute(corners, 4));
    geometry.setAttribute("tint", new THREE.BufferAttribute(tints, 4, true));
    geometry.setIndex(new THREE.BufferAttribute(index, 1));
    const mesh = new THREE.Mesh(geometry, material);
    mesh.frustumCulled = false;
    this.scene.add(mesh);
    return mesh;
  }

  replace(pane, what, data, material) {
    const before = this.panes[pane][what];
    if (before) {
      this.scene.remove(before);
      before.geometry.dispose();
    }
    this.panes[pane][what] = data && data.index.length ? this.add(data, material) : null;
    this.soon();
  }

  show(pane, faces) { this.replace(pane, "voxels", faces, this.voxelMaterial); }

  // The wires around a voxel, by its middle; null for none.
  mark(pane, middle) {
    const half = this.about.grid.voxel_size_m * 0.53, thick = this.about.grid.voxel_size_m * 0.06, quads = [];
    for (let a = 0; a < 3 && middle; a++) for (const s of [-1, 1]) for (const t of [-1, 1]) {
      const lower = [...middle], upper = [...middle], b = (a + 1) % 3, c = (a + 2) % 3;
      lower[a] -= half; upper[a] += half;
      lower[b] += s * half - thick; upper[b] += s * half + thick;
      lower[c] += t * half - thick; upper[c] += t * half + thick;
      quads.push(...boxQuads(lower, upper, [255, 0, 190], [1, 1, 1, 1, 1, 1]));
    }
    this.replace(pane, "mark", middle ? plainMesh(quads) : null, this.plainMaterial);
  }

  // Boxes of the panes within the canvas, CSS pixels: {x, y, width, height}; null where there is none.
  layout(width, height, boxes) {
    this.renderer.setSize(width, height, false);
    boxes.forEach((box, pane) => { this.panes[pane].box = box; });
    this.height = height;
    this.soon();
  }

  view({ eye, target, opening_deg }) {
    this.camera.fov = opening_deg;
    this.camera.position.set(...eye);
    this.controls.target.set(...target);
    this.controls.update();
    this.soon();
  }

  aim(box) {
    this.camera.aspect = box.width / box.height;
    this.camera.zoom = Math.min(1, this.camera.aspect / USUAL_ASPECT);
    this.camera.updateProjectionMatrix();
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  draw() {
    const { renderer } = this;
    renderer.setClearColor(this.background, 1);
    this.panes.forEach((pane, number) => {
      if (!pane.box) return;
      const { x, y, width, height } = pane.box, up = this.height - y - height;
      this.panes.forEach((other, k) => {
        for (const mesh of [other.voxels, other.mark]) if (mesh) mesh.visible = k === number;
      });
      this.aim(pane.box);
      renderer.setViewport(x, up, width, height);
      renderer.setScissor(x, up, width, height);
      renderer.render(this.scene, this.camera);
    });
    this.drawn++;
  }

  // Draws now and waits until it is done; for measurements.
  finish() {
    this.draw();
    this.renderer.getContext().readPixels(0, 0, 1, 1, 6408, 5121, new Uint8Array(4)); // RGBA, bytes
  }

  // The pane under a point of the canvas, and the ray through it, metres; null beside all panes.
  ray(x, y) {
    const pane = this.panes.findIndex(({ box }) => box && x >= box.x && x < box.x + box.width && y >= box.y
      && y < box.y + box.height);
    if (pane < 0) return null;
    const { box } = this.panes[pane];
    this.aim(box);
    this.camera.updateMatrixWorld();
    const far = new THREE.Vector3(2 * (x - box.x) / box.width - 1, 1 - 2 * (y - box.y) / box.height, 0.5);
    const direction = far.unproject(this.camera).sub(this.camera.position).normalize();
    return { pane, origin: this.camera.position.toArray(), direction: direction.toArray() };
  }
}

// Whether several samples a pixel are worth it: not without a GPU, where they cost twice the time, nor where pixels are
// tiny.
function smoothIsCheap() {
  const gl = document.createElement("canvas").getContext("webgl2");
  const named = gl && gl.getExtension("WEBGL_debug_renderer_info");
  const software = named && SOFTWARE.test(gl.getParameter(named.UNMASKED_RENDERER_WEBGL));
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return !software && (window.devicePixelRatio || 1) < 1.5;
}

// A quad: four corners, counter-clockwise from outside, and a colour.
function boxQuads(lower, upper, colour, light) {
  return SIDES.map(([axis, sign], k) => {
    const u = (axis + 1) % 3, v = (axis + 2) % 3;
    const corners = CORNERS.map(([cu, cv]) => {
      const at = [0, 0, 0];
      at[axis] = (sign > 0 ? upper : lower)[axis];
      at[u] = (cu > 0 ? upper : lower)[u];
      at[v] = (cv * sign > 0 ? upper : lower)[v];
      return at;
    });
    return { corners, colour: colour.map((value) => value * light[k]) };
  });
}

// The ego vehicle, as in all pictures, and an arrow before it that says where it heads.
function egoQuads([body, cabin], light) {
  const [[base, half], [tip]] = ARROW_M, [low, high] = ARROW_HEIGHT_M;
  const arrow = (grow, z, colour) => ({ colour, corners: [[base - grow, half + 2 * grow, z],
    [base - grow, -half - 2 * grow, z], [tip + 2 * grow, 0, z], [tip + 2 * grow, 0, z]] });
  return [...boxQuads([-1.2, -1, 0.3], [3.6, 1, 1.1], body, light),
    ...boxQuads([-0.9, -0.85, 1.1], [1.9, 0.85, 1.9], cabin, light),
    arrow(0.25, low, cabin), arrow(0, high, body)];
}

function plainMesh(quads) {
  const corners = new Float32Array(16 * quads.length), tints = new Uint8Array(16 * quads.length), index = [];
  quads.forEach((quad, q) => {
    quad.corners.forEach((at, c) => {
      corners.set([...at, 0], 16 * q + 4 * c);
      tints.set([...quad.colour, 255], 16 * q + 4 * c);
    });
    index.push(4 * q, 4 * q + 1, 4 * q + 2, 4 * q, 4 * q + 2, 4 * q + 3);
  });
  return { corners, tints, index: Uint32Array.from(index) };
}
