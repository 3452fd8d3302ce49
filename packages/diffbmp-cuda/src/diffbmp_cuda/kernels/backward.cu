// The gradient of a tile.
//
//   thread   owns 2 pixels: the gradient of the image there, and what is behind (see over.h)
//   warp     adds up what its 16 x 4 pixels give to a sprite
//   block    takes one tile after another (16 x 16 pixels). From the front to the back it notes what is open of the view
//            (tape.cuh); then from the back to the front it reads each texture again, adds up over its warps in shared
//            memory, and gives one sum for each sprite and tile to global memory
//
// Chosen when the kernel is compiled: DIFFBMP_BLEND; DIFFBMP_TEXEL_GRADIENT 1 where the gradient of the texels is
// wanted; DIFFBMP_EXACT 1 to add in integers, which gives the same bits every time, or 0 to add floats in any order.
#include "sums.cuh"
#include "tape.cuh"

namespace diffbmp {

constexpr bool kOver = Blend(DIFFBMP_BLEND) == Blend::kOver;
constexpr int kFlush = 8;  // sprites whose sums are collected in shared memory before they leave

struct ImageGradient {
  float red, green, blue, alpha;
};

// One sprite at one pixel: coverage, and the texture's own colour times the gradient of the image.
struct Seen {
  Look look;
  Sample<float> coverage, own;
  float coverage_lambda, own_lambda, open;

  __device__ __forceinline__ Seen(const Texel* texels, const Staged& s, int column, int row, const ImageGradient& g,
                                  float open)
      : look(s, column, row), coverage{}, own{}, coverage_lambda(0.f), own_lambda(0.f), open(open) {
    if (!look.inside) return;
    coverage = look.read(texels, s, Channel{s.channels - 1}, coverage_lambda);
    if (s.channels == 4) own = look.read(texels, s, Mixture{g.red, g.green, g.blue}, own_lambda);
  }
};

#if DIFFBMP_EXACT
using Sum = long long;
using TexelSum = long long;
#else
using Sum = float;
using TexelSum = float;
#endif

__device__ __forceinline__ void add_texel(TexelSum* sum, float value) {
#if DIFFBMP_EXACT
  add_integer(sum, __float2ll_rn(value));  // in units of 1 / scale, which the caller has multiplied by
#else
  atomicAdd(sum, value);
#endif
}

// Hands the gradient of one sample on to the four texels it was made of.
__device__ __forceinline__ void scatter(TexelSum* sums, const StagedLevel& level, int channels, const Cell& cell,
                                        float coverage, float red, float green, float blue) {
  if (!cell.inside) return;
  TexelSum* to = sums + cell.at;
  const Weights<float> w = kNearestTexel ? Weights<float>{1.f, 0.f, 0.f, 0.f} : bilinear_weights(cell.x, cell.y);
  const float weights[4] = {w.w00, w.w10, w.w01, w.w11};
#pragma unroll
  for (int corner = 0; corner < (kNearestTexel ? 1 : 4); ++corner) {
    TexelSum* texel = to + (corner % 2) * channels + (corner / 2) * level.stride;
    const float weight = weights[corner];
    if (channels == 4) {
      add_texel(texel, weight * red);
      add_texel(texel + 1, weight * green);
      add_texel(texel + 2, weight * blue);
    }
    add_texel(texel + channels - 1, weight * coverage);
  }
}

// Adds one sprite at one pixel to the sums, and moves `behind` in front of the sprite.
__device__ __forceinline__ void add_pixel(const Staged& s, const Seen& seen, const ImageGradient& g, int column,
                                          int row, float& behind, float (&sums)[kPaddedParts], [[maybe_unused]] TexelSum* texel_sums,
                                          [[maybe_unused]] float texel_scale) {
  if (!seen.look.inside) return;
  const float tint = g.red * s.color[0] + g.green * s.color[1] + g.blue * s.color[2];
  const float textured = s.mu * seen.own.value;
  const float painted = (1.f - s.mu) * tint;
  const LayerAdjoint<float> d =
      kOver ? over_adjoint(seen.coverage.value, seen.open, painted, g.alpha, textured, s.opacity, behind)
            : add_adjoint(seen.coverage.value, seen.open, painted, g.alpha, textured, s.opacity, behind);
  sums[kOpacity] += d.opacity;
  sums[kRed] += d.color * g.red;
  sums[kGreen] += d.color * g.green;
  sums[kBlue] += d.color * g.blue;
  if (s.channels == 4) sums[kColorBlend] += d.texture * seen.own.value - d.color * tint;
  const float x = d.coverage * seen.coverage.dx + s.mu * (d.texture * seen.own.dx);
  const float y = d.coverage * seen.coverage.dy + s.mu * (d.texture * seen.own.dy);
  const float across = float(column) - s.column, down = float(row) - s.row;
  sums[kX] += x;
  sums[kY] += y;
  sums[kXColumn] += x * across;
  sums[kXRow] += x * down;
  sums[kYColumn] += y * across;
  sums[kYRow] += y * down;
  if (kTwoLevels) sums[kLambda] += d.coverage * seen.coverage_lambda + s.mu * (d.texture * seen.own_lambda);
#if DIFFBMP_TEXEL_GRADIENT
  const float whole = texel_scale * s.opacity, coverage = whole * d.coverage, own = whole * (s.mu * d.texture);
  const float fine = kTwoLevels ? 1.f - s.weight : 1.f;
  scatter(texel_sums, s.level, s.channels, seen.look.fine, fine * coverage, fine * (own * g.red), fine * (own * g.green),
          fine * (own * g.blue));
  if (kTwoLevels) {
    const float far = s.weight;
    scatter(texel_sums, s.coarser, s.channels, seen.look.coarse, far * coverage, far * (own * g.red),
            far * (own * g.green), far * (own * g.blue));
  }
#endif
}

// Leaves the warp's sums of a sprite in shared memory.
__device__ __forceinline__ void leave_sums(bool any, float (&sums)[kPaddedParts], int place,
                                           Shared<float> collected) {
  const int lane = int(threadIdx.x) % kLanes, warp = int(threadIdx.x) / kLanes;
  float sum = 0.f;
  if (__any_sync(kWholeWarp, any)) sum = warp_sums(sums);
  if (lane % 2 == 0 && lane / 2 < kParts) collected[(place * kWarps + warp) * kParts + lane / 2] = sum;
}

// Adds up over the warps, one sum of one sprite a thread, and gives it away.
__device__ __forceinline__ void flush(const Canvas& canvas, const Tile& tile, int first, int found,
                                      Shared<Staged> staged, Shared<float> collected, Sum* sums) {
  const int place = int(threadIdx.x) / kParts, part = int(threadIdx.x) % kParts;
  if (place >= kFlush || first + place >= found) return;
  const Staged s = staged[first + place];
  // Moments about the anchor become moments about the origin.
  const bool is_moment = part >= kXColumn && part <= kYRow;
  const int plain = part >= kYColumn ? kY : kX;
  const int shift = part == kXColumn || part == kYColumn ? s.shift_x : s.shift_y;
  float sum = 0.f, moved = 0.f;
  for (int warp = 0; warp < kWarps; ++warp) {
    const int from = (place * kWarps + warp) * kParts;
    const float own = collected[from + part];
    sum += own;
    if (is_moment) {
      const float other = collected[from + plain];
      moved += other;
    }
  }
  if (is_moment) sum += moved * float(shift);
  const long long sprite = tile.canvas * canvas.count + s.sprite;
#if DIFFBMP_EXACT
  add_exactly(sums + sprite * kAccumulator * kParts + part, kParts, sum);
#else
  if (sum != 0.f) atomicAdd(sums + sprite * kParts + part, sum);
#endif
}

// Walks a chunk from its back to its front; its tape must be there.
__device__ __forceinline__ void replay_chunk(const Canvas& canvas, const Tile& tile, const Texel* texels, int found,
                                             Shared<Staged> staged, Shared<float> tape, Shared<float> collected,
                                             const ImageGradient (&g)[kPixels], float (&behind)[kPixels], Sum* sums,
                                             TexelSum* texel_sums, float texel_scale) {
  for (int first = (found - 1) / kFlush * kFlush; first >= 0; first -= kFlush) {
    const int end = smaller(found, first + kFlush);
    for (int n = (end - 1) / kGroup * kGroup; n >= first; n -= kGroup) {
      const bool has_back = n + 1 < end;
      const Staged front = staged[n];
      const Staged back = staged[has_back ? n + 1 : n];
      float front_sums[kPaddedParts] = {}, back_sums[kPaddedParts] = {};
      bool any_front = false, any_back = false;
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
        const int row = tile.row + p;
        const float open = tape[on_tape(n, p)];
        const Seen near(texels, front, tile.column, row, g[p], open);
        if (has_back) {
          const float left = open - open * (front.opacity * near.coverage.value);
          const Seen far(texels, back, tile.column, row, g[p], left);
          add_pixel(back, far, g[p], tile.column, row, behind[p], back_sums, texel_sums, texel_scale);
          any_back = any_back || far.look.inside;
        }
        add_pixel(front, near, g[p], tile.column, row, behind[p], front_sums, texel_sums, texel_scale);
        any_front = any_front || near.look.inside;
      }
      if (has_back) leave_sums(any_back, back_sums, n + 1 - first, collected);
      leave_sums(any_front, front_sums, n - first, collected);
    }
    __syncthreads();
    flush(canvas, tile, first, found, staged, collected, sums);
    __syncthreads();
  }
}

}  // namespace diffbmp

// `open` and `cursors` are (blocks, slots + segment_slots, ...) scratch; `ticket` counts the tiles that are taken.
DIFFBMP_KERNEL(diffbmp::kThreads, 2)
backward(const diffbmp::Plan* plans, const diffbmp::Bounds* bounds, const unsigned* masks,
         const diffbmp::Texel* texels, const float* grad_image, int count, int width, int height, int tiles,
         int* ticket, float* open_scratch, int* cursor_scratch, int slots, int segment_slots, diffbmp::Sum* sums,
         diffbmp::TexelSum* texel_sums, const float* texel_scale) {
  using namespace diffbmp;
  DIFFBMP_SHARED(Staged, staged, kChunk);
  DIFFBMP_SHARED(float, tape, kTape);
  DIFFBMP_SHARED(float, collected, kFlush * kWarps * kParts);
  DIFFBMP_SHARED(int, chunk, kChunk);
  DIFFBMP_SHARED(int, candidates, kThreads);
  DIFFBMP_SHARED(int, totals, kWarps);
  DIFFBMP_SHARED(int, taken, 1);
  const Canvas canvas{width, height, count};
  const int all_slots = slots + segment_slots;
  const Scratch checkpoints{open_scratch + (long long)(blockIdx.x) * all_slots * kTilePixels,
                            cursor_scratch + (long long)(blockIdx.x) * all_slots};
  const Scratch between{checkpoints.open + (long long)(slots) * kTilePixels, checkpoints.cursor + slots};
  const float scale = DIFFBMP_TEXEL_GRADIENT != 0 ? *texel_scale : 0.f;

  for (;;) {
    if (threadIdx.x == 0) taken[0] = atomicAdd(ticket, 1);
    __syncthreads();
    const int index = taken[0];
    if (index >= tiles) return;
    const Tile tile(canvas, index);
    ImageGradient g[kPixels] = {};
    float open[kPixels], veil[kPixels], behind[kPixels];
    const float* from = grad_image + 4 * tile.canvas * canvas.plane();
    for (int p = 0; p < kPixels; ++p) {
      open[p] = veil[p] = !kOver || tile.has(p) ? 1.f : 0.f;
      behind[p] = !kOver ? 1.f : 0.f;
      if (!tile.has(p)) continue;
      const long long at = tile.at(canvas, p);
      g[p] = {from[at], from[at + canvas.plane()], from[at + 2 * canvas.plane()], from[at + 3 * canvas.plane()]};
    }

    auto bring = [&](int& cursor) {
      const int found = find_chunk(canvas, tile, bounds, masks, cursor, chunk, candidates, totals);
      stage_chunk(canvas, tile, plans, found, chunk, staged);
      return found;
    };
    auto record = [&](int found) { record_chunk(texels, tile, found, staged, tape, open, veil); };
    auto replay = [&](int found) {
      replay_chunk(canvas, tile, texels, found, staged, tape, collected, g, behind, sums, texel_sums, scale);
    };
    auto save = [&](const Scratch& to, int slot, int cursor) {
      for (int p = 0; p < kPixels; ++p) to.at(slot, p) = open[p];
      if (threadIdx.x == 0) to.cursor[slot] = cursor;
    };
    auto restore = [&](const Scratch& kept, int slot) {
      for (int p = 0; p < kPixels; ++p) open[p] = kept.at(slot, p);
      return kept.cursor[slot];
    };

    // From the front to the back: where chunks begin, what is open there, and where everything is closed.
    int chunks = 0, stored = 0, every = 1, found = 0;
    for (int cursor = 0; cursor < count;) {
      const int begin = cursor;
      const int next = bring(cursor);
      if (next == 0) break;
      if (chunks == stored * every && stored == slots) {  // no room: keep every second
        for (int slot = 1; slot < slots / 2; ++slot) {
          for (int p = 0; p < kPixels; ++p) checkpoints.at(slot, p) = checkpoints.at(2 * slot, p);
          if (threadIdx.x == 0) checkpoints.cursor[slot] = checkpoints.cursor[2 * slot];
        }
        stored = slots / 2;
        every *= 2;
      }
      if (chunks == stored * every) save(checkpoints, stored++, begin);
      found = next;
      record(found);
      ++chunks;
      bool awake = !kOver;
      for (int p = 0; p < kPixels; ++p) awake = awake || !(veil[p] < kOpaque);
      if (!__syncthreads_or(awake)) break;
    }

    // From the back to the front. The last chunk is still at hand.
    bool at_hand = true;
    for (int segment = stored - 1; segment >= 0; --segment) {
      const int first = segment * every, last = smaller(first + every, chunks) - 1;
      if (!at_hand || last > first) {
        int cursor = restore(checkpoints, segment);
        for (int c = first; c <= last; ++c) {
          if (last > first) save(between, c - first, cursor);
          found = bring(cursor);
          record(found);
          __syncthreads();
        }
      }
      at_hand = false;
      replay(found);
      for (int c = last - 1; c >= first; --c) {
        int cursor = restore(between, c - first);
        found = bring(cursor);
        record(found);
        __syncthreads();
        replay(found);
      }
    }
    __syncthreads();
  }
}
