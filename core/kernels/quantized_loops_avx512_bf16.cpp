#define DECANT_LEVEL avx512_bf16
#include "core/kernels/quantized_loops.inc"
