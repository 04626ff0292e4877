#define DECANT_LEVEL avx512
#include "core/kernels/quantized_loops.inc"
