// The level of instructions that decant's own loops use, and whether bf16 is multiplied by hardware: the one
// place that asks the processor, because results are the same bytes only on the same level (machine_key()).
//
// DECANT_ISA=avx2 in the environment keeps decant's loops on AVX2 on a larger machine, and makes fp32 the
// fastest type. libtorch's own products follow ATEN_CPU_CAPABILITY=avx2 and ONEDNN_MAX_CPU_ISA=AVX2; with all
// three a machine behaves as an AVX2 one does. Any other value is an Error.
#pragma once

namespace decant {

enum class InstructionSet { kOther, kAvx2, kAvx512, kAvx512Bf16, kAmxBf16 };

// Read once. kAvx2 means AVX2 with FMA, kAvx512 means F, BW, VL and DQ; the bf16 levels include kAvx512.
InstructionSet instruction_set();

// "avx2", "avx512", "avx512_bf16", "amx_bf16" or "other".
const char* to_string(InstructionSet set);

}  // namespace decant
