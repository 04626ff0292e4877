#define DECANT_LEVEL avx2
#include "core/kernels/quantized_loops.inc"
