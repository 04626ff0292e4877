// Eight-bit codes in blocks of 256: what the moments of AdamW are kept in when they are not fp32 (Dettmers et
// al., "8-bit Optimizers via Block-wise Quantization", arXiv 2110.02861; bitsandbytes' AdamW8bit).
//
// A block keeps the magnitude of its largest element; an element is the level of a map that is nearest to x /
// absmax, of two equally near ones that nearer to 0. The maps are bitsandbytes' create_dynamic_map() bit for
// bit: seven decades, each with twice the levels of the one below, so that small elements keep their relative
// error. The signed map is for first moments, the other for second moments.
//
// One thing is otherwise than nearest: a second moment above 0 is never coded as 0, which as a divisor would
// be a step without bound (bitsandbytes' CUDA form does that, its CPU form codes no 0 either).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/kernels/loops.h"

namespace decant {

enum class CodeMap { kSigned, kUnsigned };

struct BlockCodes {
  at::Tensor codes;   // u8, as many as there are elements, in the shape of what they code
  at::Tensor absmax;  // fp32 [ceil(elements / 256)]
};

constexpr int64_t code_blocks(int64_t elements) { return (elements + kCodeBlock - 1) / kCodeBlock; }

// Of zeros.
BlockCodes zero_codes(at::IntArrayRef shape, CodeMap map);

// x fp32, contiguous, finite; kUnsigned: not negative.
BlockCodes encode_blocks(const at::Tensor& x, CodeMap map);
// Level times absmax, fp32, in the shape of the codes.
at::Tensor decode_blocks(const BlockCodes& x, CodeMap map);

// The 256 levels, rising, fp32.
at::Tensor dynamic_map(CodeMap map);
// The way the loops find the nearest level.
const CodeTable& code_table(CodeMap map);

}  // namespace decant
