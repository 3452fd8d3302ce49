// The kernels as the driver knows them: one table of functions for each instruction set they were compiled for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan.h"

namespace diffbmp {

// Memory of one thread, in blocks that are allocated when they are first asked for and kept from tile to tile.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();
  // Block number `index`, of at least `bytes`, aligned to a cache line. Growing a block loses what it held.
  void* block(size_t index, size_t bytes);

 private:
  struct Block {
    void* at;
    size_t bytes;
  };
  std::vector<Block> blocks_;
};

// A sprite's share of the gradient from one tile: sums over pixels, still to be multiplied by constants of the sprite.
enum Share {
  kShareOpacity,
  kShareRed,  // of (1 - mu) color, to be multiplied by opacity (1 - mu)
  kShareGreen,
  kShareBlue,
  kShareBlend,
  kShareX,  // along x and y of the texture, to be multiplied by opacity; in texels of the level that was read
  kShareY,
  kShareXColumn,  // the same times the pixel's column (minus origin_x) and row
  kShareXRow,
  kShareYColumn,
  kShareYRow,
  kShareLambda,
  kShares
};

template <class Real>
struct Backward {
  const Plan<Real>* plan;
  const Real* grad_image;  // (batch, 4, height, width)
  Real* shares;            // (slots, kShares)
  int64_t* texels;         // fixed-point gradient of the texels, or null
  double texel_scale;      // fixed-point units per unit of gradient
  bool alone;              // whether no other thread adds to `texels`
};

template <class Real>
struct KernelTable {
  // Draws a tile into image (batch, 4, height, width).
  void (*forward)(const Plan<Real>& plan, int64_t tile, Scratch& scratch, Real* image);
  // Fills the shares of the tile's entries.
  void (*backward)(const Backward<Real>& job, int64_t tile, Scratch& scratch);
};

// A row of pixels of one sprite whose span is known: what the floor of the benchmark walks over.
struct FetchRow {
  const float* texels;  // texel (0, 0)
  int64_t stride;
  float x, y, step_x, step_y;  // texel position of the first pixel, and its step
  int32_t count;
};

template <class Real>
struct BlendKernels {
  KernelTable<Real> table[kBlends];
};

template <class Real>
struct Kernels {
  BlendKernels<Real> table[kFilters];
  const KernelTable<Real>& at(Filter filter, Blend blend) const { return table[int(filter)].table[int(blend)]; }
};

// One instruction set: its name, whether this machine has it, and its kernels.
struct Target {
  const char* name;
  const Kernels<float>* single;
  const Kernels<double>* twice;
  // Reads an alpha texture bilinearly for every pixel of the rows and returns the sum: `plain` as anyone would write
  // it, for the compiler to make the best of; `tuned` with the kernels' own vector code.
  double (*fetch_plain)(const FetchRow* rows, int64_t count);
  double (*fetch_tuned)(const FetchRow* rows, int64_t count);
};

constexpr int kMostTargets = 4;

// The targets that this machine has, the best first; returns how many.
int available_targets(const Target** targets);

// The target of that name where this machine has it, the best where the name is empty, otherwise null.
const Target* find_target(const char* name);

}  // namespace diffbmp
