#include "core/kernels/loops.h"

#include "core/instruction_set.h"

namespace decant {
namespace {

struct Chosen {
  Loops loops;
  bool any;
};

Chosen choose() {
  if (instruction_set() >= InstructionSet::kAvx512Bf16) return {avx512_bf16::make_loops(), true};
  if (instruction_set() >= InstructionSet::kAvx512) return {avx512::make_loops(), true};
  if (instruction_set() >= InstructionSet::kAvx2) return {avx2::make_loops(), true};
  return {{}, false};
}

}  // namespace

const Loops* loops() {
  static const Chosen chosen = choose();
  return chosen.any ? &chosen.loops : nullptr;
}

}  // namespace decant
