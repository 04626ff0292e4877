#define DECANT_LEVEL avx512
#define DECANT_LEVEL_NAME "avx512"
#include "core/kernels/loops.inc"
