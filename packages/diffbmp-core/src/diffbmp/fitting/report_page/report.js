// The report of a fit: target and composition of a canvas under a slider, and the curves.
"use strict";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);

// --- the pictures ---

function show(mode) {
  const compare = mode === "compare";
  byId("target").hidden = mode === "picture" || mode === "error";
  byId("picture").hidden = mode === "target" || mode === "error";
  byId("error").hidden = byId("legend").hidden = mode !== "error";
  for (const id of ["slider", "handle", "left-tag", "right-tag"]) byId(id).hidden = !compare;
  byId("frame").style.setProperty("--part", compare ? `${byId("slider").value}%` : "100%");
}

// Shows one canvas of a batch, or the only one.
function choose(index) {
  const { pictures, peak, psnr, ssim } = data.canvases[index];
  for (const [id, address] of Object.entries(pictures)) byId(id).src = address;
  if (peak !== null) byId("peak").textContent = `${peak.toFixed(2)} or more: root mean square over red, green and blue`;
  const figures = [psnr != null && `PSNR ${psnr.toFixed(2)} dB`, ssim != null && `SSIM ${ssim.toFixed(3)}`].filter(Boolean);
  byId("about").textContent = [`Canvas ${index + 1} of ${data.canvases.length}`, ...figures].join(", ");
}

function listCanvases() {
  if (data.canvases.length === 1) return;
  byId("canvases").hidden = byId("about").hidden = false;
  data.canvases.forEach(({ pictures }, index) => {
    const label = document.createElement("label"), input = document.createElement("input"), image = document.createElement("img");
    const number = document.createElement("span");
    Object.assign(input, { type: "radio", name: "canvas", value: index, checked: index === 0 });
    Object.assign(image, { src: pictures.picture, alt: "" });
    number.textContent = index + 1;
    label.append(input, image, number);
    byId("canvases").append(label);
  });
  byId("canvases").addEventListener("change", (event) => choose(Number(event.target.value)));
}

function listenToPictures() {
  const frame = byId("frame"), { width, height } = data;
  listCanvases();
  choose(0);
  frame.style.aspectRatio = `${width} / ${height}`;
  // As large as fits the window, and small canvases with their pixels whole.
  const fit = () => {
    const room = Math.min(byId("frame").parentElement.clientWidth - 28, Math.max(320, innerHeight * 0.82) * width / height);
    frame.style.width = `${room}px`;
    frame.classList.toggle("small", room > 1.5 * width);
  };
  fit();
  addEventListener("resize", fit);
  if (!data.canvases[0].pictures.target) {
    byId("modes").hidden = true;
    return show("picture");
  }
  byId("modes").addEventListener("change", (event) => show(event.target.value));
  byId("slider").addEventListener("input", () => show("compare"));
  show("compare");
}

// --- the curves ---

const MARGIN = { left: 46, right: 10, top: 12, bottom: 24 };

function element(name, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

// About `count` round numbers within [low, high].
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// 1, 2 and 5 of each power of ten where these are few, else the powers alone.
function logarithmicTicks(low, high) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const k of [1, 2, 5]) all.push(Number((k * 10 ** power).toPrecision(3)));
  }
  const inside = all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  const whole = inside.filter((value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6));
  return inside.length > 6 && whole.length > 1 ? whole : inside.length > 1 ? inside : [low, high];
}

class Curve {
  constructor(title, values, { logarithmic = false, text }) {
    const box = document.createElement("div"), heading = document.createElement("h3");
    box.className = "curve";
    heading.append(title, this.output = document.createElement("output"));
    box.append(heading);
    this.svg = element("svg", { role: "img", "aria-label": `${title} over the steps` }, box);
    byId("curves").append(box);
    this.text = text;
    this.points = values.map((value, step) => [step + 1, value]).filter(([, value]) => value !== null);
    this.logarithmic = logarithmic && this.points.every(([, value]) => value > 0);
    this.steps = values.length;
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.rest());
    this.rest();
  }

  rest() {
    const [step, value] = this.points.at(-1);
    this.output.textContent = `${this.text(value)} at step ${step}`;
    if (this.cross) this.cross.style.visibility = this.dot.style.visibility = "hidden";
  }

  draw() {
    const { svg, points } = this, width = svg.clientWidth, height = svg.clientHeight;
    if (!width) return;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    let low = points[0][1], high = low;
    for (const [, value] of points) { low = Math.min(low, value); high = Math.max(high, value); }
    if (low === high) { low = this.logarithmic ? low / 2 : low - 0.5; high = this.logarithmic ? high * 2 : high + 0.5; }
    const scale = this.logarithmic ? Math.log : (value) => value, bottom = height - MARGIN.bottom;
    this.x = (step) => MARGIN.left + (step - 1) / Math.max(1, this.steps - 1) * (width - MARGIN.left - MARGIN.right);
    this.y = (value) => bottom - (scale(value) - scale(low)) / (scale(high) - scale(low)) * (bottom - MARGIN.top);
    for (const value of this.logarithmic ? logarithmicTicks(low, high) : ticks(low, high, 4)) {
      element("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: this.y(value), y2: this.y(value) }, svg);
      element("text", { x: MARGIN.left - 7, y: this.y(value) + 4, "text-anchor": "end" }, svg).textContent = String(Number(value.toPrecision(3)));
    }
    for (const step of ticks(1, Math.max(2, this.steps), Math.max(2, width / 90)).filter((value) => Number.isInteger(value) && value >= 1)) {
      element("text", { x: this.x(step), y: height - 6, "text-anchor": "middle" }, svg).textContent = step;
    }
    if (data.resumed) {
      const x = this.x(data.resumed + 0.5);
      const line = element("line", { class: "resumed", x1: x, x2: x, y1: MARGIN.top, y2: bottom }, svg);
      element("title", {}, line).textContent = `resumed after step ${data.resumed}`;
    }
    element("polyline", { class: "line", points: points.map(([step, value]) => `${this.x(step).toFixed(1)},${this.y(value).toFixed(1)}`).join(" ") }, svg);
    if (points.length === 1) element("circle", { class: "dot", r: 4, cx: this.x(points[0][0]), cy: this.y(points[0][1]) }, svg);
    this.cross = element("line", { class: "cross", y1: MARGIN.top, y2: bottom }, svg);
    this.dot = element("circle", { class: "dot", r: 4.5 }, svg);
    this.rest();
  }

  point(event) {
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    let nearest = this.points[0];
    for (const point of this.points) if (Math.abs(this.x(point[0]) - x) < Math.abs(this.x(nearest[0]) - x)) nearest = point;
    const [step, value] = nearest, at = this.x(step);
    for (const [key, number] of [["x1", at], ["x2", at]]) this.cross.setAttribute(key, number);
    this.dot.setAttribute("cx", at);
    this.dot.setAttribute("cy", this.y(value));
    this.cross.style.visibility = this.dot.style.visibility = "visible";
    this.output.textContent = `${this.text(value)} at step ${step}`;
  }
}

function drawCurves() {
  const { losses, psnrs, step_seconds: seconds } = data.curves;
  const some = (values) => values.some((value) => value !== null);
  if (some(losses)) new Curve("Loss", losses, { logarithmic: true, text: (value) => value.toPrecision(4) });
  if (some(psnrs)) new Curve("PSNR, dB", psnrs, { text: (value) => `${value.toFixed(2)} dB` });
  if (some(seconds)) {
    new Curve("Time a step, ms", seconds.map((value) => value * 1000), { text: (value) => `${value.toPrecision(3)} ms` });
  }
}

byId("resumed").hidden = !data.resumed;
listenToPictures();
drawCurves();
byId("all").addEventListener("click", (event) => {
  const all = byId("settings").classList.toggle("all");
  event.target.setAttribute("aria-expanded", all);
  event.target.textContent = all ? "Show only what was set" : "Show all settings";
});
