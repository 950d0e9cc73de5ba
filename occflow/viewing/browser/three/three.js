// What of three.js goes into the page; README.md says how three.min.js is made of it.
export { BufferAttribute, BufferGeometry, GLSL3, Mesh, PerspectiveCamera, RawShaderMaterial, Scene, Vector3, WebGLRenderer }
  from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
