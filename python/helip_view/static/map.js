// A scatter of all rows by WebGL: a million points are one buffer that is drawn in one call.

const canvas = document.getElementById("map");
const over = document.getElementById("map-region");
const [of, layout, by, told] = ["map-of", "map-layout", "map-by", "map-told"].map((id) =>
  document.getElementById(id));
const draw = document.getElementById("map-draw");
const gl = canvas.getContext("webgl", { antialias: false });
const view = { x: 0, y: 0, zoom: 0.9 }; // the middle, and screens of half a width a unit
let count = 0;
let region = null; // corners on the screen while one is drawn

const VERTEX = `
attribute vec2 place; attribute float shade;
uniform vec2 middle, scale; uniform float size, verdicts;
varying vec4 colour;
vec3 ramp(float t) { // from blue over green to yellow, even in lightness
  return mix(mix(vec3(0.19, 0.30, 0.62), vec3(0.05, 0.58, 0.52), min(t * 2.0, 1.0)),
             vec3(0.93, 0.72, 0.16), max(t * 2.0 - 1.0, 0.0));
}
vec3 kind(float k) {
  return k < 1.5 ? vec3(0.04, 0.49, 0.43) : k < 2.5 ? vec3(0.78, 0.16, 0.12) :
         k < 3.5 ? vec3(0.85, 0.50, 0.06) : k < 4.5 ? vec3(0.45, 0.32, 0.80) : vec3(0.20, 0.45, 0.75);
}
void main() {
  gl_Position = vec4((place - middle) * scale, 0.0, 1.0);
  float s = floor(shade * 255.0 + 0.5);
  bool none = s < 0.5;
  gl_PointSize = none ? size : size * (1.0 + verdicts);
  colour = none ? vec4(0.53, 0.52, 0.50, 0.35)
                : vec4(verdicts > 0.5 ? kind(s) : ramp((s - 1.0) / 254.0), 0.75);
}`;
const FRAGMENT = `
precision mediump float; varying vec4 colour;
void main() {
  vec2 d = gl_PointCoord - 0.5;
  if (dot(d, d) > 0.25) discard;
  gl_FragColor = vec4(colour.rgb * colour.a, colour.a);
}`;

function compiled(kind, source) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw gl.getShaderInfoLog(shader);
  return shader;
}

let program, buffers;
function prepare() {
  program = gl.createProgram();
  gl.attachShader(program, compiled(gl.VERTEX_SHADER, VERTEX));
  gl.attachShader(program, compiled(gl.FRAGMENT_SHADER, FRAGMENT));
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  buffers = { place: gl.createBuffer(), shade: gl.createBuffer() };
}

function put(name, data) {
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
  gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(gl.getAttribLocation(program, name));
}

// Draw every n-th row, from the buffers of all: strides pass over the others.
function points(n) {
  for (const [name, size, type, normalised, bytes] of [
    ["place", 2, gl.FLOAT, false, 8], ["shade", 1, gl.UNSIGNED_BYTE, true, 1],
  ]) {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.vertexAttribPointer(
      gl.getAttribLocation(program, name), size, type, normalised, bytes * n, 0);
  }
  gl.drawArrays(gl.POINTS, 0, Math.ceil(count / n));
}

let asked = 0; // the newest wish; what comes for an older one is dropped

// Of a map that is being made the server says how much of it is.
async function fetched(address, mine) {
  for (;;) {
    const answer = await fetch(address);
    if (answer.status !== 202) {
      if (answer.ok) return answer.arrayBuffer();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      throw new Error(page.querySelector("main p")?.textContent ?? `${address}: ${answer.status}`);
    }
    const share = Number(await answer.text());
    if (mine !== asked) return null;
    told.textContent = `The map is being made: ${Math.round(100 * share)} %`;
  }
}

const shown = () => (layout.value === "pca" ? of.value : `${of.value}-${layout.value}`);

async function load() {
  const mine = ++asked;
  told.textContent = "Points come …";
  const [places, shades] = await Promise.all([
    fetched(`/map/points/${shown()}`, mine), fetched(`/map/shades/${by.value}`, mine),
  ]);
  if (mine !== asked) return;
  count = places.byteLength / 8;
  every = Math.min(Math.max(count >> 17, 1), MOST); // a start, which the first frames correct
  put("place", places);
  put("shade", shades);
  const verdicts = by.value === "verdict";
  gl.uniform1f(gl.getUniformLocation(program, "verdicts"), verdicts ? 1 : 0);
  document.getElementById("map-verdicts").hidden = !verdicts;
  document.getElementById("map-scale").hidden = verdicts;
  told.textContent = `${count.toLocaleString("en")} rows`;
  canvas.dataset.ready = `${shown()} ${by.value}`;
  paint();
}

function scale() { // clip units a unit of the map, in both directions
  const wide = canvas.width / canvas.height;
  return wide > 1 ? [view.zoom / wide, view.zoom] : [view.zoom, view.zoom * wide];
}

// While the map moves, only as many rows are drawn as leave it smooth; all of them once it rests.
const MOST = 31; // a stride of WebGL has 255 bytes at most
const SLOW = 60, QUICK = 20, REST = 200; // milliseconds
let every = 1;
let moved = 0; // when the last frame of a movement was drawn
let rest;
function move() {
  clearTimeout(rest);
  rest = setTimeout(() => { moved = 0; paint(); }, REST);
  paint(true);
}

let waiting = false;
function paint(moving = false) {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame((now) => {
    waiting = false;
    if (moving === true && moved) {
      if (now - moved > SLOW) every = Math.min(2 * every, MOST);
      else if (now - moved < QUICK) every = Math.max(every >> 1, 1);
    }
    moved = moving === true ? now : 0;
    const dense = devicePixelRatio || 1;
    for (const each of [canvas, over]) {
      const [w, h] = [canvas.clientWidth * dense, canvas.clientHeight * dense].map(Math.round);
      if (each.width !== w || each.height !== h) [each.width, each.height] = [w, h];
    }
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(gl.getUniformLocation(program, "middle"), view.x, view.y);
    gl.uniform2f(gl.getUniformLocation(program, "scale"), ...scale());
    const size = Math.max(2, 160 / Math.sqrt(Math.max(count, 400))) * dense * Math.sqrt(view.zoom);
    gl.uniform1f(gl.getUniformLocation(program, "size"), Math.min(size, 24));
    const drawn = moving === true ? every : 1;
    canvas.dataset.every = drawn;
    points(drawn);
    outline(dense);
  });
}

function outline(dense) {
  const pen = over.getContext("2d");
  pen.clearRect(0, 0, over.width, over.height);
  if (!region) return;
  pen.lineWidth = 2 * dense;
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.beginPath();
  for (const [x, y] of region) pen.lineTo(x * dense, y * dense);
  pen.closePath();
  pen.stroke();
}

function onMap(x, y) {
  const [sx, sy] = scale();
  return [view.x + ((2 * x) / canvas.clientWidth - 1) / sx,
    view.y - ((2 * y) / canvas.clientHeight - 1) / sy];
}

function show(corners) {
  const kept = corners.filter((_, i) => i % Math.ceil(corners.length / 48) === 0); // a short address
  const words = kept.map(([x, y]) => onMap(x, y).map((v) => v.toFixed(4)).join(",")).join(";");
  location.assign(`/?${new URLSearchParams({ region: `${shown()}:${words}` })}`);
}

function zoom(by, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const before = onMap(x, y);
  view.zoom = Math.min(Math.max(view.zoom * by, 0.3), 5000);
  const after = onMap(x, y);
  view.x += before[0] - after[0];
  view.y += before[1] - after[1];
  move();
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (event.shiftKey || draw.ariaPressed === "true") region = [[event.offsetX, event.offsetY]];
});
canvas.addEventListener("pointermove", (event) => {
  if (!event.buttons) return;
  if (region) region.push([event.offsetX, event.offsetY]);
  else {
    const [sx, sy] = scale();
    view.x -= (2 * event.movementX) / canvas.clientWidth / sx;
    view.y += (2 * event.movementY) / canvas.clientHeight / sy;
  }
  move();
});
canvas.addEventListener("pointerup", () => {
  const drawn = region;
  region = null;
  paint();
  if (drawn?.length > 2) show(drawn);
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.3 : 1 / 1.3);
  else if (moves[event.key]) {
    [view.x, view.y] = [view.x, view.y].map((v, i) => v + (0.2 * moves[event.key][i]) / view.zoom);
    move();
  } else return;
  event.preventDefault();
});
draw.addEventListener("click", () => {
  draw.ariaPressed = draw.ariaPressed === "true" ? "false" : "true";
});
document.getElementById("map-view").addEventListener("click", () => {
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  show([[0, 0], [w, 0], [w, h], [0, h]]);
});
document.getElementById("map-whole").addEventListener("click", () => {
  Object.assign(view, { x: 0, y: 0, zoom: 0.9 });
  paint();
});
const loaded = () => load().catch((error) => {
  told.textContent = `The map cannot be drawn: ${error.message ?? error}`;
});
for (const each of [of, layout, by]) each.addEventListener("change", loaded);
addEventListener("resize", () => paint());
if (gl) {
  prepare();
  loaded();
} else told.textContent = "The map needs WebGL, which this browser does not have.";
