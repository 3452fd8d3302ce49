// Binning: for every bin one bit a sprite, whether the sprite may touch it.
//
//   lane     owns one sprite, the front one of its canvas first
//   warp     owns one word (32 sprites) of all bins in one row of one canvas, and votes bin by bin
//   block    4 warps with neighbouring words
//
// The size of the masks follows from the sizes of the inputs alone, whatever is where: nothing to count, to scan or to
// sort, no list that could overflow, and nothing that the host would have to wait for.
#include "scene.cuh"

DIFFBMP_KERNEL(diffbmp::kThreads, 8)
bin(const diffbmp::Bounds* bounds, int width, int height, int count, long long jobs, unsigned* masks) {
  using namespace diffbmp;
  const Canvas canvas{width, height, count};
  const int lane = int(threadIdx.x) % kLanes;
  const int words = canvas.words(), groups = (words - 1) / kWarps + 1;
  // Jobs are (canvas, row of bins, group of four words).
  const long long job = blockIdx.x;
  if (job >= jobs) return;
  const int word = int(job % groups) * kWarps + int(threadIdx.x) / kLanes;
  if (word >= words) return;
  const long long line = job / groups;  // of bins, over all canvases
  const int row = int(line % canvas.bins_y());
  const long long canvas_index = line / canvas.bins_y();
  const int depth = word * kLanes + lane;
  Bounds b = {};
  if (depth < count) b = bounds[canvas_index * count + (count - 1 - depth)];
  Area area{0, row * kBin, 0, smaller(kBin, height - row * kBin)};
  const bool in_row = b.left < b.right && b.top < area.top + area.height && b.bottom > area.top;
  const bool any_in_row = __any_sync(kWholeWarp, in_row);
  unsigned* mask = masks + line * canvas.bins_x() * words + word;
  for (int column = 0; column < canvas.bins_x(); ++column, mask += words) {
    unsigned bits = 0;
    if (any_in_row) {
      area.left = column * kBin;
      area.width = smaller(kBin, width - area.left);
      bits = __ballot_sync(kWholeWarp, in_row && touches(b, area));
    }
    if (lane == 0) *mask = bits;
  }
}
