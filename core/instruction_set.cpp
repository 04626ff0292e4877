#include "core/instruction_set.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "core/error.h"

namespace decant {
namespace {

InstructionSet of_this_machine() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // avx512f also asks whether the system saves the registers.
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0) {
    // Leaf 7: AMX-BF16 is bit 22 of edx; its subleaf 1: AVX512-BF16 is bit 5 of eax.
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || (a >> 5 & 1U) == 0) return InstructionSet::kAvx512;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 1U) != 0) return InstructionSet::kAmxBf16;
    return InstructionSet::kAvx512Bf16;
  }
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) return InstructionSet::kAvx2;
#endif
  return InstructionSet::kOther;
}

InstructionSet wanted() {
  const auto machine = of_this_machine();
  const char* limit = std::getenv("DECANT_ISA");
  if (limit == nullptr || *limit == '\0') return machine;
  check(std::string_view(limit) == "avx2", "the environment's DECANT_ISA: expected 'avx2', found '", limit,
        "'; unset it to use what the machine has");
  return std::min(machine, InstructionSet::kAvx2);
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet set = wanted();
  return set;
}

const char* to_string(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx512Bf16:
      return "avx512_bf16";
    case InstructionSet::kAmxBf16:
      return "amx_bf16";
    case InstructionSet::kOther:
      break;
  }
  return "other";
}

}  // namespace decant
