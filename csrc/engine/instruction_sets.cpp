// What this processor has: see instruction_sets.h.
#include "engine/instruction_sets.h"

namespace d3 {

bool supported(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  if (set == InstructionSet::avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  if (set == InstructionSet::avx512 || set == InstructionSet::avx2) return false;
#endif
  return true;
}

InstructionSet chosen(InstructionSet set) {
  if (set != InstructionSet::best) return set;
  if (supported(InstructionSet::avx512)) return InstructionSet::avx512;
  return supported(InstructionSet::avx2) ? InstructionSet::avx2 : InstructionSet::baseline;
}

}  // namespace d3
