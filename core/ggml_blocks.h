// ggml's tensor types: their block sizes, and the exact inverse of their packing. Source: ggml-common.h
// (layouts) and dequantize_row_* of ggml-quants.c, whose order of operations is kept: results are the same
// bits (references/export 2.4).
#pragma once

#include <cstdint>

namespace decant {

struct GgmlType {
  uint32_t code;
  const char* name;
  int64_t block_elements;
  uint64_t block_bytes;
};

// Null for a code that ggml does not know (or no longer).
const GgmlType* ggml_type(uint32_t code);
const char* ggml_type_name(uint32_t code);  // "Q4_K"; "?" if unknown

// Whether dequantize_ggml knows the type: F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K.
bool can_dequantize(uint32_t code);

// `data` holds `elements` (a multiple of the block) in the type's packing, at any alignment.
void dequantize_ggml(uint32_t code, const char* data, int64_t elements, float* out);

// IEEE half to single: exact for every value, subnormals and NaN payloads included.
float half_to_float(uint16_t half);

}  // namespace decant
