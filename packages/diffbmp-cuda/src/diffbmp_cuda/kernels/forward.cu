// Drawing: every pixel of a tile, over all sprites that touch the tile, from the front to the back.
//
//   thread   owns 2 pixels, one above the other: their colour and what is still open of the view, in registers
//   warp     owns 16 x 4 pixels, and skips chunks once all of them are closed
//   block    owns a tile of 16 x 16 pixels; brings sprites into shared memory, a chunk at a time, and ends once all
//            of its pixels are closed. Nothing is kept for the backward pass, which walks again.
//
// Chosen when the kernel is compiled: DIFFBMP_BLEND, a number of Blend.
#include "sample.cuh"

namespace diffbmp {

constexpr bool kOver = Blend(DIFFBMP_BLEND) == Blend::kOver;

struct Color {
  float red, green, blue;
};

__device__ __forceinline__ void draw(const Texel* texels, const Staged& s, int column, int row, Color& sum,
                                     float& open) {
  const Look look(s, column, row);
  if (!look.inside) return;
  float unused;
  const float coverage = look.read(texels, s, Channel{s.channels - 1}, unused).value;
  const float keep = (1.f - s.mu) * coverage;
  Color paint{keep * s.color[0], keep * s.color[1], keep * s.color[2]};
  if (s.channels == 4) {
    paint.red += s.mu * look.read(texels, s, Channel{0}, unused).value;
    paint.green += s.mu * look.read(texels, s, Channel{1}, unused).value;
    paint.blue += s.mu * look.read(texels, s, Channel{2}, unused).value;
  }
  const float seen = kOver ? open * s.opacity : s.opacity;
  sum.red += seen * paint.red;
  sum.green += seen * paint.green;
  sum.blue += seen * paint.blue;
  open -= open * (s.opacity * coverage);
}

}  // namespace diffbmp

DIFFBMP_KERNEL(diffbmp::kThreads, 5)
forward(const diffbmp::Plan* plans, const diffbmp::Bounds* bounds, const unsigned* masks,
        const diffbmp::Texel* texels, int count, int width, int height, float* image) {
  using namespace diffbmp;
  DIFFBMP_SHARED(Staged, staged, kChunk);
  DIFFBMP_SHARED(int, chunk, kChunk);
  DIFFBMP_SHARED(int, candidates, kThreads);
  DIFFBMP_SHARED(int, totals, kWarps);
  const Canvas canvas{width, height, count};
  const Tile tile(canvas, int(blockIdx.x));
  Color sum[kPixels] = {};
  float open[kPixels];
  for (int p = 0; p < kPixels; ++p) open[p] = tile.has(p) || !kOver ? 1.f : 0.f;
  bool awake = true;
  for (int cursor = 0; cursor < count;) {
    const int found = find_chunk(canvas, tile, bounds, masks, cursor, chunk, candidates, totals);
    stage_chunk(canvas, tile, plans, found, chunk, staged);
    if (__any_sync(kWholeWarp, awake))
      for (int n = 0; n < found; ++n) {
        const Staged s = staged[n];
#pragma unroll
        for (int p = 0; p < kPixels; ++p) draw(texels, s, tile.column, tile.row + p, sum[p], open[p]);
      }
    awake = !kOver;
    for (int p = 0; p < kPixels; ++p) awake = awake || !(open[p] < kOpaque);
    if (!__syncthreads_or(awake)) break;
  }
  float* out = image + 4 * tile.canvas * canvas.plane();
  for (int p = 0; p < kPixels; ++p) {
    if (!tile.has(p)) continue;
    const long long at = tile.at(canvas, p);
    out[at] = sum[p].red;
    out[at + canvas.plane()] = sum[p].green;
    out[at + 2 * canvas.plane()] = sum[p].blue;
    out[at + 3 * canvas.plane()] = 1.f - open[p];
  }
}
