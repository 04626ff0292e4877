#define DECANT_LEVEL avx2
#define DECANT_LEVEL_NAME "avx2"
#include "core/kernels/loops.inc"
