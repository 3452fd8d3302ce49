// Each sprite by itself: what layered files are made of.
//
//   layer   the pixels of one sprite in a box of its own, (4, height, width); layers follow each other without a gap
//   job     a band of kBandRows rows of one layer: a canvas of that size with that one sprite on it, drawn tile by tile
//           by the kernels that draw every picture, so that a layer's samples are the picture's
//   thread  takes job after job, whatever layer they are of, and keeps one band of floats
#pragma once

#include "kernels.h"

namespace diffbmp {

struct LayerBox {
  int64_t left, top, width, height;  // pixels of the canvas
};

// Premultiplied floats. `inputs` is one canvas, of which only the sprites count; a box for each.
void draw_layers(const Inputs<float>& inputs, const Target& target, int threads, const LayerBox* boxes, float* out);

// Straight alpha in bytes, nearest. Where alpha is 0, colours are those of the tint for an alpha-only texture, which so
// has one colour throughout and packs well, and 0 for the others. `shown` is where in its box each layer's alpha is not
// 0: empty (all four 0) where it is nowhere.
void draw_layer_bytes(const Inputs<float>& inputs, const Target& target, int threads, const LayerBox* boxes,
                      uint8_t* out, LayerBox* shown);

}  // namespace diffbmp
