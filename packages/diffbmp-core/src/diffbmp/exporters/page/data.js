// What is in the file: the composition as numbers and 8-bit textures, packed by exporters/page/packing.py.
"use strict";

const KINDS = { f4: Float32Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };

async function unpacked(base64) {
  if (!("DecompressionStream" in window)) throw new Error("This page needs a browser of 2023 or later.");
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

class Texture {
  constructor(about, values) {
    Object.assign(this, about); // label, channels, width, height, first (its level in the whole chain)
    this.values = values; // planes of differences along each row, modulo the type's range
    const { width, height, channels } = this, peak = values instanceof Uint16Array ? 65535 : 255;
    const plain = new values.constructor(values.length);
    for (let line = 0; line < channels * height; line++) {
      let sum = 0;
      for (let i = line * width; i < (line + 1) * width; i++) plain[i] = sum = (sum + values[i]) & peak;
    }
    this.plain = plain;
    this.peak = peak;
  }

  get coverage() {
    return this.plain.subarray((this.channels - 1) * this.width * this.height);
  }

  // Alpha, or premultiplied RGBA, texel by texel.
  premultiplied() {
    const { channels, plain, peak, coverage } = this, count = this.width * this.height;
    const result = new Float32Array(count * channels);
    for (let i = 0; i < count; i++) {
      const alpha = coverage[i] / peak;
      for (let c = 0; c < channels - 1; c++) result[i * channels + c] = plain[c * count + i] / peak * alpha;
      result[i * channels + channels - 1] = alpha;
    }
    return result;
  }

  // Opaque RGBA, texel by texel, in values of the type that they are stored in.
  opaque() {
    const { channels, plain, peak } = this, count = this.width * this.height, result = new plain.constructor(count * 4);
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < channels; c++) result[i * 4 + c] = plain[c * count + i];
      result[i * 4 + 3] = peak;
    }
    return result;
  }

  // A small picture for lists, at most `side` pixels large: white where it is alpha-only.
  thumbnail(side) {
    const { channels, plain, peak, coverage } = this, step = Math.max(1, Math.ceil(Math.max(this.width, this.height) / side));
    const canvas = document.createElement("canvas");
    canvas.width = Math.ceil(this.width / step);
    canvas.height = Math.ceil(this.height / step);
    const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
    const count = this.width * this.height;
    for (let y = 0, at = 0; y < canvas.height; y++) for (let x = 0; x < canvas.width; x++, at += 4) {
      const i = y * step * this.width + x * step;
      for (let c = 0; c < 3; c++) image.data[at + c] = channels === 4 ? plain[c * count + i] * 255 / peak : 255;
      image.data[at + 3] = coverage[i] * 255 / peak;
    }
    context.putImageData(image, 0, 0);
    return canvas.toDataURL();
  }
}

async function readScene(about, base64) {
  const buffer = await unpacked(base64), sections = {};
  let place = 0;
  for (const [name, kind, length] of about.sections) {
    const Kind = KINDS[kind];
    sections[name] = new Kind(buffer, place, length);
    place += Math.ceil(length * Kind.BYTES_PER_ELEMENT / 4) * 4;
  }
  const scene = { ...about, ...sections, hidden: new Set(), picture: null };
  // The sprites of instance i, a stamp or a stroke, are those from starts[i] to starts[i + 1].
  scene.starts = new Uint32Array(scene.count + 1);
  for (let i = 0; i < scene.count; i++) scene.starts[i + 1] = scene.starts[i] + (sections.sprites ? sections.sprites[i] : 1);
  scene.textures = about.textures.map((texture, number) => new Texture(texture, sections[`texture-${number}`]));
  if (sections.backdrop) scene.picture = new Texture({ channels: 3, width: about.width, height: about.height }, sections.backdrop);
  const label = (i) => sections.label ? about.labels[sections.label[i]] : scene.textures[scene.texture[i]].label;
  scene.name = (i) => `${label(i)} ${i + 1}`;
  // The corners of each sprite of an instance, in canvas pixels.
  scene.corners = (i) => Array.from({ length: scene.starts[i + 1] - scene.starts[i] }, (_, k) => {
    const [a, b, tx, c, d, ty] = scene.frame.subarray((scene.starts[i] + k) * 6);
    return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([u, v]) => [a * u + b * v + tx, c * u + d * v + ty]);
  });
  return scene;
}

// The topmost shown instance that covers a place of the canvas, below instance `limit`, or -1.
function pick(scene, x, y, limit) {
  for (let i = Math.min(limit, scene.count) - 1; i >= 0; i--) {
    if (scene.hidden.has(i)) continue;
    for (let k = scene.starts[i]; k < scene.starts[i + 1]; k++) {
      if (coverageAt(scene, k, x, y) * scene.opacity[k] * 255 >= 1) return i;
    }
  }
  return -1;
}

function coverageAt(scene, k, x, y) {
  const [a, b, tx, c, d, ty] = scene.frame.subarray(k * 6, k * 6 + 6), determinant = a * d - b * c;
  if (Math.abs(determinant) <= 1e-12) return 0;
  const u = (d * (x - tx) - b * (y - ty)) / determinant, v = (a * (y - ty) - c * (x - tx)) / determinant;
  if (Math.abs(u) >= 1 || Math.abs(v) >= 1) return 0;
  const texture = scene.textures[scene.texture[k]];
  const column = Math.floor((u + 1) / 2 * texture.width), row = Math.floor((v + 1) / 2 * texture.height);
  return texture.coverage[row * texture.width + column] / texture.peak;
}
