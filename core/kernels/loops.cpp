#include "core/kernels/loops.h"

namespace decant {
namespace {

struct Chosen {
  Loops loops;
  bool any;
};

Chosen choose() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return {avx512::make_loops(), true};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {avx2::make_loops(), true};
  return {{}, false};
}

}  // namespace

const Loops* loops() {
  static const Chosen chosen = choose();
  return chosen.any ? &chosen.loops : nullptr;
}

}  // namespace decant
