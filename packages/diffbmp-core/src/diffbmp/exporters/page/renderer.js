// Draws the composition as DiffBMP does: one quad for each sprite, its texture read by our own bilinear filter from our
// own mip chain, in floats. The rendering equation is in docs/rendering.md of DiffBMP.
"use strict";

const VERTEX = `#version 300 es
precision highp float;
precision highp int;
precision highp isampler2D;
layout(location = 0) in vec3 rowX;     // a, b, tx
layout(location = 1) in vec3 rowY;     // c, d, ty
layout(location = 2) in vec4 paint;    // opacity, colour blend, level of detail at zoom 1, texture
layout(location = 3) in vec3 tint;
layout(location = 4) in vec2 state;    // 1 where shown, number of the instance
uniform vec3 view;                     // zoom, and where canvas (0, 0) is in the target
uniform vec2 size;                     // of the target, in pixels
uniform float time;                    // instances of numbers below it have begun to appear
uniform float fade;                    // how many instances are appearing at once
uniform int filtering;                 // 0 mipmap, 1 trilinear, 2 bilinear, 3 nearest_texel
uniform isampler2D table;              // a row for each texture: (levels, channels, first level), then the levels
flat out vec4 inverse_;
flat out vec2 center;
flat out vec2 strength;                // opacity, colour blend
flat out vec3 color;
flat out ivec4 finer, coarser;         // offset, width, height, channels
flat out float weight;

ivec4 level(int texture_, int number, int channels) {
  return ivec4(texelFetch(table, ivec2(number + 1, texture_), 0).xyz, channels);
}

void main() {
  float a = rowX.x * view.x, b = rowX.y * view.x, c = rowY.x * view.x, d = rowY.y * view.x;
  float determinant = a * d - b * c;
  float seen = state.x * clamp((time - state.y) / fade, 0.0, 1.0);
  int number = int(paint.w);
  ivec4 chain = texelFetch(table, ivec2(0, number), 0);
  float detail = paint.z - log2(view.x) - float(chain.z);
  float last = float(chain.x - 1);
  finer = coarser = level(number, 0, chain.y);
  weight = 0.0;
  if (filtering == 0) {
    finer = coarser = level(number, int(clamp(floor(detail + 0.5), 0.0, last)), chain.y);
  } else if (filtering == 1) {
    float clamped = clamp(detail, 0.0, last);
    int below = min(int(floor(clamped)), max(chain.x - 2, 0));
    finer = level(number, below, chain.y);
    coarser = level(number, min(below + 1, chain.x - 1), chain.y);
    weight = clamped - float(below);
  }
  center = vec2(rowX.z, rowY.z) * view.x + view.yz;
  strength = vec2(paint.x * seen, chain.y == 4 ? paint.y : 0.0);
  color = tint;
  if (abs(determinant) <= 1e-12 || strength.x <= 0.0) {
    inverse_ = vec4(0);
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    return;
  }
  inverse_ = vec4(d, -b, -c, a) / determinant;
  // Half a texel of the coarsest level that is read beyond the edge of the texture, where the filter fades to nothing.
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  corner *= 1.001 + 1.0 / vec2(coarser.yz);
  vec2 at = vec2(a, c) * corner.x + vec2(b, d) * corner.y + center;
  gl_Position = vec4(at / size * 2.0 - 1.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
uniform sampler2D coverage, colors;    // every mip level of every texture one after the other, row by row
uniform int filtering;
flat in vec4 inverse_;
flat in vec2 center;
flat in vec2 strength;
flat in vec3 color;
flat in ivec4 finer, coarser;
flat in float weight;
out vec4 layer;

vec4 texel(ivec4 level, ivec2 at) {
  int index = level.x + (at.y + 1) * (level.y + 2) + at.x + 1;
  int columns = textureSize(coverage, 0).x;
  ivec2 place = ivec2(index % columns, index / columns);
  return level.w == 4 ? texelFetch(colors, place, 0) : vec4(0, 0, 0, texelFetch(coverage, place, 0).r);
}

vec4 sampled(ivec4 level, vec2 uv) {
  vec2 size = vec2(level.yz);
  vec2 at = (uv + 1.0) / 2.0 * size - 0.5;
  if (filtering == 3) {
    vec2 nearest = floor(at + 0.5);
    bool inside = all(greaterThanEqual(nearest, vec2(0))) && all(lessThan(nearest, size));
    return inside ? texel(level, ivec2(nearest)) : vec4(0);
  }
  vec2 low = floor(at), part = at - low;
  if (any(lessThan(low, vec2(-1))) || any(greaterThanEqual(low, size))) return vec4(0);
  ivec2 first = ivec2(low);
  vec4 upper = mix(texel(level, first), texel(level, first + ivec2(1, 0)), part.x);
  vec4 lower = mix(texel(level, first + ivec2(0, 1)), texel(level, first + ivec2(1, 1)), part.x);
  return mix(upper, lower, part.y);
}

void main() {
  vec2 offset = gl_FragCoord.xy - center;
  vec2 uv = vec2(dot(inverse_.xy, offset), dot(inverse_.zw, offset));
  vec4 own = sampled(finer, uv);
  if (weight > 0.0) own = mix(own, sampled(coarser, uv), weight);
  layer = strength.x * vec4(mix(color * own.a, own.rgb, strength.y), own.a);
}`;

const SCREEN_VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;

const SCREEN_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D layer, picture;
uniform vec3 view;
uniform vec2 size, canvas;
uniform vec4 ground;                   // background colour and whether there is one
uniform bool pictured;
out vec4 shown;
void main() {
  vec2 at = vec2(gl_FragCoord.x, size.y - gl_FragCoord.y);
  vec2 place = (at - view.yz) / view.x;
  if (any(lessThan(place, vec2(0))) || any(greaterThanEqual(place, canvas))) { shown = vec4(0); return; }
  vec4 above = texelFetch(layer, ivec2(at), 0);
  vec4 behind = pictured ? vec4(texture(picture, place / canvas).rgb, 1.0) : ground;
  shown = clamp(above + (1.0 - above.a) * behind, 0.0, 1.0);
}`;

const FILTERS = ["mipmap", "trilinear", "bilinear", "nearest_texel"];

// Half of a texture: each new texel is the mean of the area that it covers; at odd sizes texels are covered in part.
function halved(image, width, height, channels) {
  const across = Math.ceil(width / 2), down = Math.ceil(height / 2);
  const rows = new Float32Array(across * height * channels), result = new Float32Array(across * down * channels);
  const covers = (count, length, index) => {
    const start = index * length / count, end = start + length / count, parts = [];
    for (let i = Math.floor(start); i < Math.min(length, Math.ceil(end)); i++) {
      parts.push([i, (Math.min(end, i + 1) - Math.max(start, i)) * count / length]);
    }
    return parts;
  };
  for (let x = 0; x < across; x++) for (const [from, part] of covers(across, width, x)) {
    for (let y = 0; y < height; y++) for (let c = 0; c < channels; c++) {
      rows[(y * across + x) * channels + c] += part * image[(y * width + from) * channels + c];
    }
  }
  const line = across * channels;
  for (let y = 0; y < down; y++) for (const [from, part] of covers(down, height, y)) {
    for (let i = 0; i < line; i++) result[y * line + i] += part * rows[from * line + i];
  }
  return [result, across, down];
}

class Renderer {
  // `scene`: what data.js made of the file. Throws an Error with a sentence where this browser cannot draw it.
  constructor(element, scene) {
    this.element = element;
    this.scene = scene;
    this.start();
    element.addEventListener("webglcontextlost", (event) => event.preventDefault());
    element.addEventListener("webglcontextrestored", () => { this.start(); this.onrestored?.(); });
  }

  start() {
    const gl = this.element.getContext("webgl2", { alpha: true, premultipliedAlpha: true, antialias: false });
    if (!gl) throw new Error("This page draws with WebGL2, which this browser does not have or has switched off.");
    this.gl = gl;
    const floats = gl.getExtension("EXT_color_buffer_float");
    const blended = floats && gl.getExtension("EXT_float_blend");
    this.format = blended ? gl.RGBA32F : floats ? gl.RGBA16F : gl.RGBA8;
    this.precision = blended ? "32-bit floats" : floats ? "16-bit floats" : "8 bits";
    this.stamps = this.program(VERTEX, FRAGMENT);
    this.screen = this.program(SCREEN_VERTEX, SCREEN_FRAGMENT);
    this.targets = null;
    this.done = null;
    this.loadTextures();
    this.loadStamps();
    this.loadPicture();
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const at = (name) => gl.getUniformLocation(program, name);
    return { program, at };
  }

  loadTextures() {
    const { gl, scene } = this, chains = [];
    const used = { 1: 0, 4: 0 };
    for (const texture of scene.textures) {
      const levels = [];
      let level = [texture.premultiplied(), texture.width, texture.height];
      for (;;) {
        levels.push({ offset: used[texture.channels], pixels: level[0], width: level[1], height: level[2] });
        used[texture.channels] += (level[1] + 2) * (level[2] + 2);
        if (Math.max(level[1], level[2]) === 1) break;
        level = halved(...level, texture.channels);
      }
      chains.push(levels);
    }
    const columns = Math.min(gl.getParameter(gl.MAX_TEXTURE_SIZE), 8192);
    const upload = (unit, channels, format, kind) => {
      const rows = Math.max(1, Math.ceil(used[channels] / columns));
      if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
        throw new Error("The stamps are too large for this device's graphics; export them with less detail.");
      }
      const texels = new Float32Array(columns * rows * channels);
      scene.textures.forEach((texture, number) => {
        if (texture.channels !== channels) return;
        for (const { offset, pixels, width, height } of chains[number]) {
          for (let y = 0; y < height; y++) {
            const line = pixels.subarray(y * width * channels, (y + 1) * width * channels);
            texels.set(line, (offset + (y + 1) * (width + 2) + 1) * channels);
          }
        }
      });
      this.texture(unit, gl.NEAREST);
      gl.texImage2D(gl.TEXTURE_2D, 0, format, columns, rows, 0, kind, gl.FLOAT, texels);
    };
    const small = used[1] + 4 * used[4] < 2 ** 25;
    upload(0, 1, small ? gl.R32F : gl.R16F, gl.RED);
    upload(1, 4, small ? gl.RGBA32F : gl.RGBA16F, gl.RGBA);
    const width = 1 + Math.max(...chains.map((levels) => levels.length));
    const table = new Int32Array(width * chains.length * 4);
    chains.forEach((levels, number) => {
      const { channels, first } = scene.textures[number];
      table.set([levels.length, channels, first, 0], number * width * 4);
      levels.forEach(({ offset, width: w, height: h }, k) => table.set([offset, w, h, 0], (number * width + k + 1) * 4));
    });
    this.texture(2, gl.NEAREST);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32I, width, chains.length, 0, gl.RGBA_INTEGER, gl.INT, table);
  }

  loadStamps() {
    const { gl, scene } = this;
    const values = new Float32Array(scene.opacity.length * 15);
    for (let i = 0; i < scene.count; i++) for (let k = scene.starts[i]; k < scene.starts[i + 1]; k++) {
      values.set(scene.frame.subarray(k * 6, k * 6 + 6), k * 15);
      values.set([scene.opacity[k], scene.blend[k], scene.detail[k], scene.texture[k]], k * 15 + 6);
      values.set(scene.color.subarray(k * 3, k * 3 + 3), k * 15 + 10);
      values.set([1, i], k * 15 + 13);
    }
    this.values = values;
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    this.buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    for (let location = 0; location < 5; location++) {
      gl.enableVertexAttribArray(location);
      gl.vertexAttribDivisor(location, 1);
    }
    this.empty = gl.createVertexArray();
    this.showAll();
  }

  showAll() {
    for (let k = 13; k < this.values.length; k += 15) this.values[k] = this.scene.hidden.has(this.values[k + 1]) ? 0 : 1;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, this.values, this.gl.DYNAMIC_DRAW);
    this.done = null;
  }

  loadPicture() {
    const { gl, scene } = this;
    this.texture(4, gl.LINEAR);
    if (!scene.picture) return;
    const { width, height, peak } = scene.picture, values = scene.picture.opaque();
    if (peak === 255) {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, values);
    } else {
      const floats = Float32Array.from(values, (value) => value / peak);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA16F, width, height, 0, gl.RGBA, gl.FLOAT, floats);
      if (this.format === gl.RGBA8) return; // such a device makes no mip levels of floats
    }
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.generateMipmap(gl.TEXTURE_2D);
  }

  texture(unit, filter) {
    const gl = this.gl, texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return texture;
  }

  // Two targets: `settled` holds the instances that have wholly appeared, `moving` those that are appearing besides.
  resize(width, height) {
    if (this.targets && this.targets.width === width && this.targets.height === height) return;
    const gl = this.gl;
    for (const old of this.targets?.all ?? []) { gl.deleteTexture(old.texture); gl.deleteFramebuffer(old.frame); }
    const all = [5, 6].map((unit) => {
      const texture = this.texture(unit, gl.NEAREST), frame = gl.createFramebuffer();
      gl.texStorage2D(gl.TEXTURE_2D, 1, this.format, width, height);
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
      return { texture, frame, unit };
    });
    this.targets = { width, height, all, settled: all[0], moving: all[1] };
    this.done = null;
  }

  // Draws instances first .. last - 1 into the bound framebuffer.
  range(first, last, view, time, fade) {
    const { gl, scene, targets } = this, { program, at } = this.stamps, start = scene.starts[first], end = scene.starts[last];
    if (end <= start) return;
    gl.useProgram(program);
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    let place = start * 60;
    [3, 3, 4, 3, 2].forEach((count, location) => {
      gl.vertexAttribPointer(location, count, gl.FLOAT, false, 60, place);
      place += 4 * count;
    });
    gl.uniform3f(at("view"), view.zoom, view.x, view.y);
    gl.uniform2f(at("size"), targets.width, targets.height);
    gl.uniform1f(at("time"), time);
    gl.uniform1f(at("fade"), fade);
    gl.uniform1i(at("filtering"), FILTERS.indexOf(scene.filter));
    ["coverage", "colors", "table"].forEach((name, unit) => gl.uniform1i(at(name), unit));
    gl.viewport(0, 0, targets.width, targets.height);
    gl.enable(gl.BLEND);
    const color = scene.mode === "add" ? gl.ONE : gl.ONE_MINUS_SRC_ALPHA;
    gl.blendFuncSeparate(gl.ONE, color, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, end - start);
    gl.disable(gl.BLEND);
  }

  // The composition at `time` (instances that have begun to appear), seen through `view`, onto the page's canvas.
  draw(view, time, fade) {
    const { gl, scene } = this;
    if (gl.isContextLost()) return;
    this.resize(this.element.width, this.element.height);
    const { settled, moving, width, height } = this.targets;
    const key = `${view.zoom} ${view.x} ${view.y}`;
    const whole = Math.max(0, Math.min(scene.count, Math.floor(time - fade) + 1));
    const begun = Math.max(0, Math.min(scene.count, Math.ceil(time)));
    gl.bindFramebuffer(gl.FRAMEBUFFER, settled.frame);
    if (!this.done || this.done.key !== key || this.done.count > whole) {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      this.done = { key, count: 0 };
    }
    this.range(this.done.count, whole, view, 1e9, 1);
    this.done.count = whole;
    let shown = settled;
    if (begun > whole) {
      gl.bindFramebuffer(gl.READ_FRAMEBUFFER, settled.frame);
      gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, moving.frame);
      gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
      gl.bindFramebuffer(gl.FRAMEBUFFER, moving.frame);
      this.range(whole, begun, view, time, fade);
      shown = moving;
    }
    this.present(shown, view);
  }

  present(target, view) {
    const { gl, scene, targets } = this, { program, at } = this.screen;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, targets.width, targets.height);
    gl.useProgram(program);
    gl.bindVertexArray(this.empty);
    gl.uniform1i(at("layer"), target.unit);
    gl.uniform1i(at("picture"), 4);
    gl.uniform3f(at("view"), view.zoom, view.x, view.y);
    gl.uniform2f(at("size"), targets.width, targets.height);
    gl.uniform2f(at("canvas"), scene.width, scene.height);
    gl.uniform1i(at("pictured"), scene.picture ? 1 : 0);
    gl.uniform4f(at("ground"), ...(scene.ground ? [...scene.ground, 1] : [0, 0, 0, 0]));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // The whole composition at a scale, premultiplied RGBA without background, row by row from the top.
  pixels(scale) {
    const { gl, scene } = this;
    const width = Math.max(1, Math.round(scene.width * scale)), height = Math.max(1, Math.round(scene.height * scale));
    this.resize(width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.targets.settled.frame);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.range(0, scene.count, { zoom: scale, x: 0, y: 0 }, 1e9, 1);
    const result = new Float32Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.FLOAT, result);
    this.done = null;
    return { width, height, pixels: result };
  }
}
