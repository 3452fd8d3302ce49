// The page around the renderer: playing, looking closer, picking, hiding.
"use strict";

const ROW = 40; // pixels, as in the style sheet
const SECONDS = 6; // that the stamps take to appear at speed 1
const byId = (id) => document.getElementById(id);

async function begin() {
  const scene = await readScene(JSON.parse(byId("about-scene").textContent), byId("packed").textContent.trim());
  const renderer = new Renderer(byId("canvas"), scene);
  return new Viewer(scene, renderer);
}

class Viewer {
  constructor(scene, renderer) {
    Object.assign(this, { scene, renderer });
    this.fade = Math.max(1, scene.count / 40);
    this.end = scene.count - 1 + this.fade;
    this.time = this.end;
    this.view = { zoom: 1, x: 0, y: 0 };
    this.fitted = true;
    this.chosen = this.hovered = -1;
    this.playing = false;
    this.thumbnails = scene.textures.map((texture) => texture.thumbnail(56));
    this.matching = this.everyStamp();
    const { width, height, count } = scene;
    byId("about").textContent = `${width} × ${height} pixels, drawn in ${renderer.precision}`;
    byId("scrub").max = count;
    renderer.onrestored = () => this.redraw();
    this.listenToStage();
    this.listenToTransport();
    this.listenToList();
    new ResizeObserver(() => this.resized()).observe(byId("stage"));
    this.resized();
    this.fill();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.play();
  }

  everyStamp() {
    return Array.from({ length: this.scene.count }, (_, i) => this.scene.count - 1 - i);
  }

  // --- the picture ---

  resized() {
    const box = byId("stage").getBoundingClientRect(), canvas = byId("canvas");
    this.ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(box.width * this.ratio));
    canvas.height = Math.max(1, Math.round(box.height * this.ratio));
    if (this.fitted) this.fit(); else this.redraw();
  }

  fit() {
    const { scene } = this, { width, height } = byId("canvas"), margin = Math.min(width, height) * 0.04;
    const top = 64 * this.ratio; // the zoom bar
    const zoom = Math.min((width - 2 * margin) / scene.width, (height - top - margin) / scene.height);
    this.fitted = true;
    this.look(zoom, (width - scene.width * zoom) / 2, top + (height - top - margin - scene.height * zoom) / 2, true);
  }

  look(zoom, x, y, fitted = false) {
    zoom = Math.min(512, Math.max(0.01, zoom));
    this.fitted = fitted;
    this.view = { zoom, x: Math.round(x), y: Math.round(y) };
    byId("percent").textContent = `${Math.round(100 * zoom / this.ratio)} %`;
    this.redraw();
  }

  zoomBy(factor, x = byId("canvas").width / 2, y = byId("canvas").height / 2) {
    const { zoom } = this.view, next = Math.min(512, Math.max(0.01, zoom * factor)), change = next / zoom;
    this.look(next, x - (x - this.view.x) * change, y - (y - this.view.y) * change);
  }

  actualSize() {
    this.zoomBy(this.ratio / this.view.zoom);
  }

  redraw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.drawNow(); });
  }

  drawNow() {
    const { view, ratio, scene } = this;
    this.renderer.draw(view, this.time, this.fade);
    const style = byId("stage").style;
    const place = { x: view.x, y: view.y, w: scene.width * view.zoom, h: scene.height * view.zoom };
    for (const [name, value] of Object.entries(place)) style.setProperty(`--${name}`, `${value / ratio}px`);
    this.mark("hovered", this.hovered);
    this.mark("chosen", this.chosen);
    const begun = Math.max(0, Math.min(scene.count, Math.ceil(this.time)));
    byId("scrub").value = begun;
    byId("shown").textContent = `${begun} of ${scene.count}`;
  }

  mark(id, i) {
    if (i < 0) return byId(id).setAttribute("d", "");
    const { zoom, x, y } = this.view, at = (value) => (value / this.ratio).toFixed(2);
    const quads = this.scene.corners(i).map((quad) => quad.map(([px, py]) => `${at(px * zoom + x)} ${at(py * zoom + y)}`));
    byId(id).setAttribute("d", quads.map((quad) => `M${quad.join("L")}Z`).join(""));
  }

  at(event) {
    const box = byId("stage").getBoundingClientRect(), { zoom, x, y } = this.view;
    const left = event.clientX - box.left, top = event.clientY - box.top;
    return { left, top, x: (left * this.ratio - x) / zoom, y: (top * this.ratio - y) / zoom };
  }

  under(event) {
    const { x, y } = this.at(event), { width, height } = this.scene;
    if (x < 0 || y < 0 || x >= width || y >= height) return -1;
    return pick(this.scene, x, y, Math.ceil(this.time));
  }

  hover(i, event) {
    byId("stage").classList.toggle("over", i >= 0);
    byId("tip").hidden = i < 0;
    if (i >= 0) {
      const { left, top } = this.at(event), tip = byId("tip");
      tip.textContent = this.scene.name(i);
      tip.style.left = `${Math.max(4, Math.min(left + 14, byId("stage").clientWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${top + 34 > byId("stage").clientHeight ? top - 34 : top + 16}px`;
    }
    if (i === this.hovered) return;
    this.hovered = i;
    this.mark("hovered", i);
  }

  listenToStage() {
    const stage = byId("stage"), fingers = new Map();
    let moved = 0, spread = 0;
    stage.addEventListener("pointerdown", (event) => {
      if (event.target.closest(".bar") || event.button > 0) return;
      stage.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
      moved = fingers.size > 1 ? 99 : 0;
      spread = 0;
    });
    stage.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) {
        if (event.pointerType !== "touch") this.hover(event.target.closest(".bar") ? -1 : this.under(event), event);
        return;
      }
      fingers.set(event.pointerId, event);
      const dx = (event.clientX - before.clientX) * this.ratio, dy = (event.clientY - before.clientY) * this.ratio;
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved < 4 * this.ratio) { fingers.set(event.pointerId, before); moved = 0; return; }
      stage.classList.add("dragging");
      this.hover(-1);
      const share = 1 / fingers.size;
      this.look(this.view.zoom, this.view.x + dx * share, this.view.y + dy * share);
      if (fingers.size === 2) {
        const [one, two] = [...fingers.values()], apart = Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY);
        const box = stage.getBoundingClientRect();
        const middle = [(one.clientX + two.clientX) / 2 - box.left, (one.clientY + two.clientY) / 2 - box.top];
        if (spread) this.zoomBy(apart / spread, middle[0] * this.ratio, middle[1] * this.ratio);
        spread = apart;
      }
    });
    const lift = (event) => {
      if (!fingers.delete(event.pointerId)) return;
      spread = 0;
      stage.classList.remove("dragging");
      if (event.type === "pointerup" && moved === 0) this.choose(this.under(event));
    };
    stage.addEventListener("pointerup", lift);
    stage.addEventListener("pointercancel", lift);
    stage.addEventListener("pointerleave", () => this.hover(-1));
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { left, top } = this.at(event), lines = event.deltaMode === 1 ? 20 : 1;
      this.zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0018)), left * this.ratio, top * this.ratio);
    }, { passive: false });
    stage.addEventListener("dblclick", (event) => {
      if (event.target.closest(".bar")) return;
      const { left, top } = this.at(event);
      this.zoomBy(2, left * this.ratio, top * this.ratio);
    });
    stage.addEventListener("keydown", (event) => {
      if (event.target !== stage) return;
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.look(this.view.zoom, this.view.x + step[0] * this.ratio, this.view.y + step[1] * this.ratio);
    });
    byId("out").addEventListener("click", () => this.zoomBy(1 / 1.5));
    byId("in").addEventListener("click", () => this.zoomBy(1.5));
    byId("fit").addEventListener("click", () => this.fit());
    byId("actual").addEventListener("click", () => this.actualSize());
    byId("toggle").addEventListener("click", () => {
      const open = byId("panel").classList.toggle("open");
      byId("toggle").setAttribute("aria-expanded", open);
      if (open) this.fill();
    });
    const keys = {
      " ": () => this.toggle(), "+": () => this.zoomBy(1.5), "=": () => this.zoomBy(1.5), "-": () => this.zoomBy(1 / 1.5),
      0: () => this.fit(), 1: () => this.actualSize(), h: () => this.hide(this.chosen), Escape: () => this.choose(-1),
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
      const act = keys[event.key] ?? keys[event.key.toLowerCase()];
      if (!act || (event.key === " " && event.target.closest("button"))) return;
      event.preventDefault();
      act();
    });
  }

  // --- playing ---

  play() {
    if (this.time >= this.end) this.time = 0;
    this.setPlaying(true);
    let before = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      const speed = Number(byId("speed").value);
      this.time = Math.min(this.end, this.time + Math.max(0, now - before) / 1000 * speed * this.end / SECONDS);
      before = now;
      if (this.time >= this.end) this.setPlaying(false);
      this.drawNow();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  setPlaying(playing) {
    this.playing = playing;
    byId("glyph").setAttribute("d", playing ? "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z" : "M7 4.5v15l12.5-7.5z");
    byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  toggle() {
    if (this.playing) this.setPlaying(false); else this.play();
  }

  // Shows the first `count` stamps, each wholly.
  seek(count) {
    this.setPlaying(false);
    this.time = count >= this.scene.count ? this.end : count;
    this.redraw();
  }

  listenToTransport() {
    byId("play").addEventListener("click", () => this.toggle());
    byId("scrub").addEventListener("input", (event) => this.seek(Number(event.target.value)));
  }

  // --- choosing and hiding ---

  choose(i) {
    this.chosen = i;
    this.mark("chosen", i);
    this.describe();
    const row = this.matching.indexOf(i), list = byId("list");
    if (row >= 0 && (row * ROW < list.scrollTop || (row + 1) * ROW > list.scrollTop + list.clientHeight)) {
      list.scrollTop = row * ROW - list.clientHeight / 2;
    }
    this.fill();
  }

  hide(i) {
    if (i < 0) return;
    const { hidden } = this.scene;
    if (!hidden.delete(i)) hidden.add(i);
    this.changed();
  }

  changed() {
    this.renderer.showAll();
    byId("all").disabled = this.scene.hidden.size === 0;
    this.describe();
    this.fill();
    this.redraw();
  }

  describe() {
    const box = byId("details"), { scene } = this, i = this.chosen;
    const made = (tag, text, parent) => { const e = document.createElement(tag); e.textContent = text; parent.append(e); return e; };
    box.replaceChildren();
    if (i < 0) {
      made("p", "Click a stamp in the picture or choose one below.", box).className = "quiet";
      return;
    }
    made("h2", scene.name(i), box);
    const rows = made("dl", "", box);
    for (const [term, text] of this.facts(i)) {
      made("dt", term, rows);
      const value = made("dd", text, rows);
      if (term.startsWith("Tint")) {
        const swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = text;
        value.prepend(swatch);
      }
    }
    const actions = made("div", "", box);
    actions.className = "actions";
    const button = (text, act) => made("button", text, actions).addEventListener("click", act);
    button(scene.hidden.has(i) ? "Show" : "Hide", () => this.hide(i));
    button("Hide all above", () => { for (let k = i + 1; k < scene.count; k++) scene.hidden.add(k); this.changed(); });
    button("Only this", () => { for (let k = 0; k < scene.count; k++) if (k !== i) scene.hidden.add(k); scene.hidden.delete(i); this.changed(); });
  }

  // What is said of an instance: of one of several sprites, how many, the box around them and what they share.
  facts(i) {
    const { scene } = this, first = scene.starts[i], count = scene.starts[i + 1] - first;
    if (!count) return [["Sprites", "none"]];
    const of = (values, size = 1) => Array.from({ length: count }, (_, k) => [...values.subarray((first + k) * size, (first + k + 1) * size)]);
    const alike = (all) => all.every((one) => one.every((value, k) => value === all[0][k]));
    const [[a, b, tx, c, d, ty]] = of(scene.frame, 6), facts = [];
    if (count === 1) {
      facts.push(["Place", `${tx.toFixed(1)}, ${ty.toFixed(1)}`]);
      facts.push(["Size", `${(2 * Math.hypot(a, c)).toFixed(1)} × ${(2 * Math.hypot(b, d)).toFixed(1)}`]);
      facts.push(["Turned", `${(Math.atan2(c, a) * 180 / Math.PI).toFixed(1)}°`]);
    } else {
      const points = scene.corners(i).flat(), sides = [0, 1].map((axis) => points.map((point) => point[axis]));
      const [[left, right], [top, bottom]] = sides.map((values) => [Math.min(...values), Math.max(...values)]);
      facts.push(["Place", `${((left + right) / 2).toFixed(1)}, ${((top + bottom) / 2).toFixed(1)}`]);
      facts.push(["Size", `${(right - left).toFixed(1)} × ${(bottom - top).toFixed(1)}`]);
      facts.push(["Sprites", String(count)]);
    }
    const opacity = of(scene.opacity), colors = of(scene.color, 3), blends = of(scene.blend), textures = of(scene.texture);
    if (alike(opacity)) facts.push(["Opacity", `${(opacity[0][0] * 100).toFixed(1)} %`]);
    if (alike(colors) && alike(blends) && alike(textures)) {
      const own = scene.textures[textures[0][0]].channels === 4 && blends[0][0] > 0;
      const hex = colors[0].map((value) => Math.round(value * 255).toString(16).padStart(2, "0"));
      facts.push([own ? `Tint (${Math.round((1 - blends[0][0]) * 100)} %)` : "Tint", `#${hex.join("")}`]);
    }
    return facts;
  }

  listenToList() {
    const list = byId("list");
    list.addEventListener("scroll", () => this.fill());
    new ResizeObserver(() => this.fill()).observe(list);
    list.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (!row) return;
      const i = Number(row.dataset.stamp);
      if (event.target.closest(".eye")) this.hide(i); else this.choose(i);
    });
    list.addEventListener("pointerover", (event) => {
      const row = event.target.closest(".row");
      this.hovered = row ? Number(row.dataset.stamp) : -1;
      this.mark("hovered", this.hovered);
    });
    list.addEventListener("pointerleave", () => { this.hovered = -1; this.mark("hovered", -1); });
    list.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1), last = this.matching.length - 1;
      const row = this.matching.indexOf(this.chosen);
      const next = { ArrowDown: row + 1, ArrowUp: row - 1, PageDown: row + page, PageUp: row - page, Home: 0, End: last }[event.key];
      if (next === undefined || last < 0) return;
      event.preventDefault();
      this.choose(this.matching[Math.max(0, Math.min(last, next))]);
    });
    byId("search").addEventListener("input", (event) => {
      const wanted = event.target.value.trim().toLowerCase();
      this.matching = this.everyStamp().filter((i) => this.scene.name(i).toLowerCase().includes(wanted));
      list.scrollTop = 0;
      this.fill();
    });
    byId("all").addEventListener("click", () => { this.scene.hidden.clear(); this.changed(); });
  }

  // Only the rows in sight exist, whatever the number of stamps.
  fill() {
    const list = byId("list"), rows = byId("rows"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    rows.style.height = `${this.matching.length * ROW}px`;
    const seen = this.matching.slice(first, first + Math.ceil(list.clientHeight / ROW) + 8);
    rows.replaceChildren(...seen.map((i, k) => this.row(i, first + k)));
    const active = this.matching.includes(this.chosen) ? `stamp-${this.chosen}` : "";
    list.setAttribute("aria-activedescendant", active);
  }

  row(i, place) {
    const { scene } = this, row = document.createElement("div"), hidden = scene.hidden.has(i), name = scene.name(i);
    row.className = hidden ? "row off" : "row";
    row.id = `stamp-${i}`;
    row.dataset.stamp = i;
    row.style.top = `${place * ROW}px`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", i === this.chosen);
    row.setAttribute("aria-setsize", this.matching.length);
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-label", hidden ? `${name}, hidden` : name);
    const thumb = document.createElement("span"), label = document.createElement("span"), eye = document.createElement("button");
    thumb.className = "thumb";
    this.paint(thumb, i);
    label.className = "name";
    label.textContent = name;
    eye.className = "eye";
    eye.tabIndex = -1;
    eye.setAttribute("aria-label", hidden ? `Show ${name}` : `Hide ${name}`);
    eye.innerHTML = EYE;
    row.append(thumb, label, eye);
    return row;
  }

  // The first sprite of an instance as a small picture: its own colours, its tint, or one over the other.
  paint(thumb, i) {
    const { scene } = this, k = scene.starts[i];
    if (k === scene.starts[i + 1]) return;
    const picture = `url("${this.thumbnails[scene.texture[k]]}")`, mu = scene.textures[scene.texture[k]].channels === 4 ? scene.blend[k] : 0;
    if (mu > 0) {
      const own = document.createElement("i");
      own.style.backgroundImage = picture;
      thumb.append(own);
    }
    if (mu < 1) {
      const tint = document.createElement("i"), rgb = [...scene.color.subarray(k * 3, k * 3 + 3)].map((v) => Math.round(v * 255));
      tint.style.background = `rgb(${rgb})`;
      tint.style.maskImage = tint.style.webkitMaskImage = picture;
      tint.style.opacity = 1 - mu;
      thumb.append(tint);
    }
  }
}

const EYE = `<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M1.8 10S4.8 4.6 10 4.6 18.2 10 18.2 10 15.2 15.4 10 15.4 1.8 10 1.8 10z"/><circle cx="10" cy="10" r="2.4"/><path class="lash" d="M3.5 16.5l13-13"/></svg>`;

begin().then((viewer) => { window.diffbmp = viewer; }, (error) => {
  byId("app").hidden = true;
  byId("failure").hidden = false;
  byId("failure").textContent = error.message;
});
