#define DECANT_LEVEL avx512_bf16
#define DECANT_LEVEL_NAME "avx512_bf16"
#include "core/kernels/loops.inc"
