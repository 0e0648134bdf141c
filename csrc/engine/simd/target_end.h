// Ends what target_avx512.h or target_avx2.h began; once a file.
#pragma once
#if defined(__clang__) && defined(__x86_64__)
#pragma clang attribute pop
#endif
